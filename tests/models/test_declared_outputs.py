"""Networks of one's own whose output is declared: which entry is the scores, and whether one score is two classes."""

import pytest

from looktwice.errors import ModelError
from looktwice.models import NetworkOutput, load_model

OUTPUTS = """
import torch
from torch import nn
from looktwice.models import IMAGENET, Model, NetworkOutput
from own_networks import small_net

class Packed(nn.Module):
    def __init__(self, pack, classes=3):
        super().__init__()
        self.net, self.pack = small_net(classes), pack
    def forward(self, images):
        return self.pack(self.net(images))

def heads():
    return Packed(lambda h: {"a": h, "b": h[:, :2]})

def declared():
    return Model("mine", heads(), IMAGENET, output=NetworkOutput("sigmoids", scores="b"))

def wrong():
    return Model("mine", heads(), IMAGENET, output="sigmoids")

def one():
    return Packed(lambda h: h.squeeze(), 1)

def one_sigmoid():
    return Packed(lambda h: h.squeeze(1).sigmoid(), 1)

def one_log_sigmoid():
    return Packed(nn.functional.logsigmoid, 1)
"""


@pytest.fixture
def packed(tmp_path):
    (tmp_path / "packed.py").write_text(OUTPUTS)
    return lambda factory, **given: load_model(f"{tmp_path / 'packed.py'}:{factory}", **given)


def test_a_declared_entry_says_how_many_classes_there_are(packed):
    assert len(packed("heads", output=NetworkOutput(scores="a")).classes) == 3
    assert packed("heads", output=NetworkOutput(scores="b"), classes=["x", "y"]).classes == ("x", "y")
    with pytest.raises(ModelError, match=r"may be class scores: a \(1, 3\), b \(1, 2\)"):
        packed("heads")
    with pytest.raises(ModelError, match=r"no entry 'c'; it has a \(1, 3\), b \(1, 2\)"):
        packed("heads", output=NetworkOutput(scores="c"))


def test_a_declaration_goes_over_that_of_the_factory(packed):
    assert packed("declared").output == NetworkOutput("sigmoids", scores="b")
    model = packed("declared", output=NetworkOutput(scores="a"))
    assert (model.output, len(model.classes)) == (NetworkOutput("sigmoids", scores="a"), 3)
    with pytest.raises(ModelError, match=r"the output of its Model is str; a looktwice\.models\.NetworkOutput"):
        packed("wrong")


@pytest.mark.parametrize(
    ("factory", "output", "kind"),
    [
        ("one", NetworkOutput(), "binary_logit"),
        ("one", NetworkOutput("logit"), "binary_logit"),
        ("one", NetworkOutput("binary_logit"), "binary_logit"),
        ("one_sigmoid", NetworkOutput(), "binary_probability"),
        ("one_sigmoid", NetworkOutput("binary_probability"), "binary_probability"),
    ],
)
def test_two_names_for_one_score(packed, factory, output, kind):
    model = packed(factory, output=output, classes=["no", "yes"])
    assert (model.classes, model.output.kind) == (("no", "yes"), kind)


def test_one_score_without_names(packed):
    assert packed("one").classes == ("class 0",)
    assert packed("one", classes=["yes"]).output == NetworkOutput()
    assert packed("one", output=NetworkOutput("binary_logit")).classes == ("class 0", "class 1")


@pytest.mark.parametrize(
    ("factory", "given", "message"),
    [
        ("one", {"classes": ["a", "b", "c"]}, "3 class names for .*which has 1 outputs"),
        ("one", {"classes": ["a"], "output": NetworkOutput("binary_logit")}, "1 class names for .*which has 2 outputs"),
        ("one_log_sigmoid", {"classes": ["a", "b"]}, "it is not certain what that is; declare it"),
        ("heads", {"output": NetworkOutput("binary_logit", scores="a")}, "3 scores for an image, and binary_logit"),
    ],
)
def test_names_that_do_not_fit_the_scores_are_refused(packed, factory, given, message):
    with pytest.raises(ModelError, match=message):
        packed(factory, **given)

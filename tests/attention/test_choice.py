"""Methods by name and by file, with some options changed."""

import hashlib
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from looktwice.attention import METHODS, Label, Method, attend
from looktwice.attention.choice import MethodCode, choose_method, choose_methods
from looktwice.errors import ModelError, OptionError
from own_methods import OWN_METHODS


@pytest.fixture
def own(tmp_path):
    """Where a method of the file of one's own is."""
    file = tmp_path / "mine.py"
    file.write_text(OWN_METHODS)
    return lambda name="BRIGHT": f"{file}:{name}"


def zeros(network, images, targets):
    return images.new_zeros(len(images), *images.shape[2:])


ZEROS = Method(Label("Zeros", "Zeros", "#123456"), "nothing", "mine", METHODS["grad_cam"].options, attribute=zeros)


def test_a_name_is_a_row_of_the_table_with_its_defaults():
    chosen = choose_method("feedback")
    assert (chosen.name, chosen.method, chosen.code) == ("feedback", METHODS["feedback"], None)
    assert (chosen.options, chosen.label.title) == (METHODS["feedback"].options, "Local feedback")
    changed = chosen.having({"steps": 2})
    assert (changed.steps, chosen.steps) == (2, METHODS["feedback"].options["steps"])
    assert changed.options == METHODS["feedback"].options | {"steps": 2}
    assert choose_method(changed) is changed
    assert choose_method("gradient").steps == 0
    # Its steps are none of gates'.
    assert choose_method("integrated_gradients").steps == 0


def test_a_method_of_a_file_has_the_name_after_the_colon(own, tmp_path):
    chosen = choose_method(own())
    assert (chosen.name, chosen.label) == ("BRIGHT", Label("Brightness", "Bright", "#123456"))
    content = (tmp_path / "mine.py").read_bytes()
    assert chosen.code == MethodCode("mine.py", hashlib.sha256(content).hexdigest())
    assert chosen.having({"power": 2.0}).options["power"] == 2.0
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.rand(1, 3, 8, 8)
    found = attend(network, images, 0, method=chosen.method)
    torch.testing.assert_close(found.maps, images.sum(1) / images.sum(1).amax((1, 2)))


def test_a_method_of_a_package_has_the_code_of_its_module(own, tmp_path, monkeypatch):
    own()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").rename(tmp_path / "methods_of_mine.py")
    assert choose_method("methods_of_mine:BRIGHT").code.file == "methods_of_mine.py"


def test_a_row_that_kept_another_ones_label_gets_its_own(own):
    assert choose_method(own("SHORT")).label.title == "Short"
    (chosen,) = choose_methods({"two_steps": replace(METHODS["feedback"], summary="two steps")})
    assert chosen.label.title == "Two steps"


def test_a_row_is_chosen_under_its_key():
    chosen = choose_methods({"gradient": {"blur": 0.0}, "zeros": ZEROS})
    assert [each.name for each in chosen] == ["gradient", "zeros"]
    assert (chosen[0].options["blur"], chosen[1].method) == (0.0, ZEROS)
    assert chosen[1].code.file == "test_choice.py"
    assert len(chosen[1].code.sha256) == 64


def test_the_code_of_a_row_is_its_functions():
    def code(row):
        return choose_methods({"mine": row})[0].code

    assert code(replace(ZEROS, attribute=partial(partial(zeros)))) == code(ZEROS)
    assert code(METHODS["feedback"]) is None  # the package's own, whose version is known
    assert code(METHODS["gradient"]) is None

    class Zeros:
        def __call__(self, network, images, targets):
            return zeros(network, images, targets)

    assert code(replace(ZEROS, attribute=Zeros())) == code(ZEROS)
    names: dict = {}
    exec("def typed_in(network, images, targets): return images.sum(1)", names)
    typed_in = names["typed_in"]
    typed_in.__module__ = "__main__"
    assert code(replace(ZEROS, attribute=typed_in)) == MethodCode(None, None)


@pytest.mark.parametrize(
    ("methods", "error", "said"),
    [
        ({}, OptionError, "no method is named; there are gradient"),
        ({"gradeint": {}}, OptionError, "did you mean gradient"),
        ({"feedback": {"step": 1}}, OptionError, "unknown option for feedback: 'step'; did you mean steps"),
        ({"FILE:BRIGHT": {"powre": 2}}, OptionError, "unknown option for BRIGHT: 'powre'; did you mean power"),
        ({"FILE:gradient": {}}, OptionError, "gradient of your own has a name of the package's"),
        ({"gradient": ZEROS}, OptionError, "gradient of your own has a name of the package's"),
        ({"a/b": ZEROS}, OptionError, "named 'a/b'; letters, digits and underscores"),
        ({"FILE:CODED": {}}, OptionError, "CODED has an option named code"),
        ({"FILE:BRIGHT": {}, "BRIGHT": ZEROS}, OptionError, "two methods are named BRIGHT"),
        ({"FILE:NUMBER": {}}, ModelError, "is int; a looktwice.attention.Method is needed"),
        ({"FILE:BRIHGT": {}}, ModelError, "has no 'BRIHGT'; it has BRIGHT"),
        ({"gone.py:BRIGHT": {}}, ModelError, "gone.py: no such file; check the path of the method"),
    ],
)
def test_what_cannot_be_chosen(own, methods, error, said):
    named = {own(name[5:]) if name.startswith("FILE:") else name: value for name, value in methods.items()}
    with pytest.raises(error, match=said):
        choose_methods(named)

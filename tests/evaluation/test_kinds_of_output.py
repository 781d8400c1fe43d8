"""Runs of networks whose output is declared: several heads, several labels an image, one score for two classes."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from evaluations import PREPROCESSING, assert_same, colours, draw, rows_of, run_on, summary_of
from looktwice.datasets import load_dataset
from looktwice.errors import LooktwiceWarning, ModelError, RunError
from looktwice.models import Model, NetworkOutput
from looktwice.runs.folder import read_manifest


class Packed(nn.Module):
    """The network in a dictionary with another head of the same width."""

    def __init__(self):
        super().__init__()
        self.net = colours().module

    def forward(self, images):
        scores = self.net(images)
        return {"logits": scores.flip(1), "mine": scores}


def packed(scores="mine", kind=None):
    return replace(colours(), module=Packed().eval(), output=NetworkOutput(kind, scores=scores))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(draw(tmp_path_factory.mktemp("drawn"), 12), "csv")


@pytest.mark.parametrize("target", ["predicted", "true"])
def test_a_declared_entry_is_evaluated_like_a_network_that_returns_it_alone(dataset, tmp_path, target):
    run_on(dataset, tmp_path / "alone", target=target)
    run_on(dataset, tmp_path / "packed", model=packed(), target=target)
    assert_same(tmp_path / "packed", tmp_path / "alone")


def test_sigmoids_change_the_probabilities_and_nothing_else(dataset, tmp_path):
    run_on(dataset, tmp_path / "softmax", target="true")
    run_on(dataset, tmp_path / "sigmoid", model=packed(kind="multilabel_logits"), target="true")
    softmax, sigmoid = rows_of(tmp_path / "softmax"), rows_of(tmp_path / "sigmoid")
    doubtful = ["probability", "predicted_probability"]
    assert softmax.drop_columns(doubtful).equals(sigmoid.drop_columns(doubtful))
    assert not softmax["probability"].equals(sigmoid["probability"])
    assert summary_of(tmp_path / "softmax") == summary_of(tmp_path / "sigmoid")


def test_a_run_knows_what_was_declared(dataset, tmp_path):
    run_on(dataset, tmp_path, model=packed())
    assert read_manifest(tmp_path).run.model.scores == "mine"
    with pytest.raises(RunError, match=r"model\.scores was mine, is logits"):
        run_on(dataset, tmp_path, model=packed("logits"))
    with pytest.raises(RunError, match=r"model\.output_kind was null, is sigmoids"):
        run_on(dataset, tmp_path, model=packed(kind="sigmoids"))


def test_a_run_without_declarations_has_the_facts_of_runs_that_knew_of_none(dataset, tmp_path):
    run_on(dataset, tmp_path, limit=4)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["run"]["model"].keys() == {"name", "weights_hash", "classes"}
    with pytest.raises(RunError, match=r"model\.scores was null, is mine"):
        run_on(dataset, tmp_path, limit=4, model=packed())


class WrittenOut(nn.Module):
    def __init__(self, several=False):
        super().__init__()
        self.net, self.several = colours().module, several

    def forward(self, images):
        scores = 1 / (1 + torch.exp(-self.net(images) / 50))
        return (scores, scores[:, :2]) if self.several else scores


def test_doubtful_scores_are_told_of_when_a_run_begins(dataset, tmp_path):
    model = replace(colours(), module=WrittenOut().eval())
    with pytest.warns(LooktwiceWarning, match="colours: all scores lie between 0 and 1"):
        run_on(dataset, tmp_path / "doubtful", model=model)
    with pytest.warns(LooktwiceWarning, match="colours: the network returned several tensors"):
        run_on(dataset, tmp_path / "several", model=replace(colours(), module=WrittenOut(several=True).eval()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_on(dataset, tmp_path / "declared", model=replace(model, output=NetworkOutput("sigmoids", scores=None)))
    for name, said in (("doubtful", "all scores lie between 0 and 1"), ("several", "the network returned several")):
        doubts = read_manifest(tmp_path / name).about.doubts  # a report tells them too
        assert any(said in doubt for doubt in doubts)
    assert read_manifest(tmp_path / "declared").about.doubts == ()
    rows = rows_of(tmp_path / "declared")
    assert max(rows["probability"].to_pylist()) > 0.6


class Bright(nn.Module):
    """One score: how much more red than blue there is."""

    def __init__(self):
        super().__init__()
        self.net = colours().module

    def forward(self, images):
        scores = self.net(images)
        return scores[:, 0] - scores[:, 2]


class BrightOfTwo(Bright):
    def forward(self, images):
        score = super().forward(images)
        return torch.stack([-score, score], 1)


def two(module, kind=None):
    return Model("two", module.eval(), PREPROCESSING, ("blue", "red"), output=NetworkOutput(kind))


def test_one_score_for_two_classes_is_evaluated_like_two_scores(tmp_path):
    folder = draw(tmp_path / "drawn", 12)
    lines = (folder / "images.csv").read_text().splitlines()
    (folder / "images.csv").write_text("\n".join([lines[0], *(line for line in lines if line.split(",")[1] in "01")]))
    data = load_dataset(folder, "csv")
    run_on(data, tmp_path / "one", model=two(Bright(), "binary_logit"), target="true")
    run_on(data, tmp_path / "two", model=two(BrightOfTwo()), target="true")
    doubtful = ["probability", "predicted_probability"]  # a softmax of (-s, s) is the sigmoid of 2 s
    one, both = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert {*one["target"].to_pylist()} == {0, 1}
    assert one.drop_columns(doubtful).equals(both.drop_columns(doubtful))


def test_a_model_with_other_names_than_scores_is_refused_before_anything_is_written(dataset, tmp_path):
    with pytest.raises(ModelError, match="6 class names for colours, which has 1 outputs"):
        run_on(dataset, tmp_path / "run", model=replace(colours(), module=Bright().eval()))
    assert not (tmp_path / "run").exists()

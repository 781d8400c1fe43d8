"""Which part of what a network returns is its class scores: recognised, declared, or refused."""

import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from looktwice.errors import ModelError
from looktwice.gating.class_scores import class_scores

SCORES = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 0.25]])
OTHER = SCORES.flip(1).contiguous()
MAPS = SCORES[:, :, None, None]


@dataclass
class Answer:
    main: Tensor
    other: Tensor


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Opaque:
    """An object whose parts are properties."""

    @property
    def main(self) -> Tensor:
        return SCORES

    @property
    def inner(self) -> Any:
        return Answer(SCORES, OTHER)


# ---- recognised ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pack",
    [
        lambda flat: flat,
        lambda flat: (flat, None),
        lambda flat: [flat],
        lambda flat: {"logits": flat, "features": SCORES},
        lambda flat: SimpleNamespace(logits=flat),
    ],
    ids=["itself", "tuple", "list", "dict", "object"],
)
def test_one_number_for_each_image_is_one_score(pack):
    flat = torch.tensor([0.5, -1.0])
    assert torch.equal(class_scores(pack(flat), 2).scores, flat[:, None])


@pytest.mark.parametrize("pack", [lambda score: score, lambda score: (score, None), lambda score: {"out": score}])
def test_a_number_without_a_batch_is_the_score_of_a_single_image(pack):
    assert class_scores(pack(torch.tensor(0.5)), 1).scores.tolist() == [[0.5]]
    with pytest.raises(ModelError, match=r"for 2 images; class scores \(N, classes\) are needed"):
        class_scores(pack(torch.tensor(0.5)), 2)


def test_a_vector_that_no_name_tells_of_is_no_score():
    assert class_scores({"uncertainty": SCORES[:, 0], "mine": SCORES}, 2).scores is SCORES
    assert class_scores((torch.tensor(0.7), SCORES), 2).scores is SCORES  # a loss
    assert class_scores((torch.tensor(0.7), SCORES[:1]), 1).scores.tolist() == SCORES[:1].tolist()


def test_a_tuple_of_a_vector_and_a_matrix_is_refused():
    """It may be a score and features, or an uncertainty and scores."""
    with pytest.raises(ModelError, match=r"0 \(2,\), 1 \(2, 3\).*or name them: NetworkOutput\(scores=NAME\)"):
        class_scores((SCORES[:, 0], SCORES), 2)


@pytest.mark.parametrize("flat", [False, True], ids=["matrix", "vector"])
def test_whole_numbers_are_no_scores(flat):
    predicted = SCORES.argmax(1) if flat else SCORES.long()
    with pytest.raises(ModelError, match=r"of int64 for 2 images"):
        class_scores(predicted, 2)
    assert class_scores({"prediction": predicted, "mine": SCORES}, 2).scores is SCORES


def test_a_dataclass_with_a_usual_name():
    @dataclass
    class Named:
        features: Tensor
        scores: Tensor

    assert class_scores(Named(OTHER, SCORES), 2).scores is SCORES


@pytest.mark.parametrize("empty", [None, {}, (), Opaque(), {"a": None}, (None, None)])
def test_an_output_without_scores_is_refused_with_the_remedy(empty):
    with pytest.raises(ModelError, match=r"are needed; if they are an entry of it, name it: .* --scores NAME"):
        class_scores(empty, 2)


@pytest.mark.parametrize(
    ("output", "note"),
    [
        ((SCORES, OTHER), r"may be class scores \(0 \(N, 3\), 1 \(N, 3\)\); the first is taken.* --scores 1"),
        ([SCORES, SCORES[:, :1]], r"0 \(N, 3\), 1 \(N, 1\)"),
        ((SCORES, None), None),
        ((SCORES, MAPS), None),
        ((SCORES, SCORES), None),
        ((MAPS, SCORES), None),
        ({"logits": SCORES, "features": OTHER}, None),
        (SCORES, None),
    ],
    ids=["same width", "list", "none", "maps", "twice", "maps first", "dict", "tensor"],
)
def test_a_tuple_that_may_mean_several_tensors_is_told_of(output, note):
    found = class_scores(output, 2)
    assert found.scores is SCORES
    assert len(found.notes) == (note is not None)
    assert note is None or re.search(note, found.notes[0])


# ---- declared --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ({"logits": OTHER, "mine": SCORES}, "mine"),
        ({"heads": {"main": SCORES, "other": OTHER}, "logits": OTHER}, "heads.main"),
        ({"heads.main": SCORES, "heads": {"main": OTHER}}, "heads.main"),
        ({"a": {"b.c": SCORES}}, "a.b.c"),
        ({1: SCORES, 0: OTHER}, 1),
        ({1: SCORES, 0: OTHER}, "1"),
        ((OTHER, SCORES), 1),
        ([OTHER, (OTHER, {"x": SCORES})], "1.1.x"),
        (Pair(OTHER, SCORES), "second"),
        (Pair(OTHER, SCORES), 1),
        (Answer(SCORES, OTHER), "main"),
        (SimpleNamespace(logits=OTHER, mine=SCORES), "mine"),
        (Opaque(), "main"),
        (Opaque(), "inner.main"),
    ],
)
def test_a_declared_entry_is_the_scores(output, place):
    found = class_scores(output, 2, place)
    assert found.scores is SCORES
    assert found.notes == ()


def test_a_declared_entry_may_be_one_number_for_each_image():
    assert class_scores({"p": SCORES[:, 0], "q": SCORES}, 2, "p").scores.tolist() == [[1.0], [3.0]]


@pytest.mark.parametrize(
    ("output", "place", "message"),
    [
        ({"a": SCORES, "h": {"b": MAPS}}, "c", r"no entry 'c'; it has a \(2, 3\), h\.b \(2, 3, 1, 1\)$"),
        ({"a": SCORES}, "A", r"no entry 'A'; it has a \(2, 3\)"),
        ({"a": SCORES}, "a.b", "no entry 'a.b'; it has a"),
        ({"a": SCORES}, "items", "no entry 'items'; it has a"),
        ((SCORES, OTHER), "2", r"no entry '2'; it has 0 \(2, 3\), 1 \(2, 3\)"),
        ((SCORES, OTHER), "-1", "no entry '-1'"),
        (SCORES, "logits", r"no entry 'logits'; it is a single tensor \(2, 3\), so name no entry"),
        (SCORES, 0, "so name no entry"),
        (None, "logits", "it is NoneType without tensors"),
        (Opaque(), "mian", "it is Opaque without tensors"),
        ({"a": MAPS}, "a", r"the entry 'a' of the network's output is \(2, 3, 1, 1\) for 2 images; class scores"),
        ({"a": SCORES[:1]}, "a", r"is \(1, 3\) for 2 images"),
        ({"a": {"b": SCORES}}, "a", r"is dict \(b \(2, 3\)\) for 2 images"),
        ({"a": SCORES.long()}, "a", r"is \(2, 3\) of int64"),
        ({"a": 3.0}, "a", "is float for 2 images"),
    ],
)
def test_a_declared_entry_that_is_no_class_scores_is_refused_and_all_entries_are_named(output, place, message):
    with pytest.raises(ModelError, match=message):
        class_scores(output, 2, place)

"""Which classes a data set has, and which are looked for in an image."""

import json
from pathlib import Path

import numpy as np
import pytest

from looktwice.datasets import Sample, known_classes
from looktwice.errors import DatasetError, OptionError
from looktwice.labelling.classes import label_classes, wanted_classes
from looktwice.labelling.plan import LabelPlan

NAMES = ("red", "green", "blue", "cyan", "magenta", "yellow")


def sample(id, *labels):
    return Sample(id, Path(id), labels, ((),) * len(labels))


def ids(*samples, **plan):
    return [(each.id, each.name, each.index) for each in label_classes(samples, NAMES, LabelPlan(**plan))]


def test_the_classes_are_the_labels_in_the_networks_order():
    assert ids(sample("a", 4), sample("b", 1, 2), sample("c", 4)) == [
        (0, "green", 1),
        (1, "blue", 2),
        (2, "magenta", 4),
    ]


def test_classes_of_one_name_carry_their_index_and_are_found_by_it_again():
    names = ("crane", "tench", "crane")
    found = label_classes([sample("a", 2)], names, LabelPlan())
    assert [(each.id, each.name, each.index) for each in found] == [(0, "crane (2)", 2)]
    known = known_classes(names)
    assert [known.find(name) for name in ("crane (2)", "Crane_(0)", "tench")] == [2, 0, 1]
    with pytest.raises(KeyError):
        known.find("crane")


def test_an_image_without_a_label_may_be_of_any_class():
    assert [each[1] for each in ids(sample("a", 4), sample("b"))] == list(NAMES)


def test_named_classes_come_beside_the_labels():
    assert [each[1] for each in ids(sample("a", 4), sample("b"), target=(5, 0))] == ["red", "magenta", "yellow"]


def test_a_label_that_the_network_lacks_is_refused():
    with pytest.raises(DatasetError, match="b is of class 6, and the network has 0 … 5"):
        ids(sample("a", 1), sample("b", 6))


@pytest.mark.parametrize("index", [6, -1])
def test_a_named_class_that_the_network_lacks_is_refused(index):
    with pytest.raises(OptionError, match=f"target is class {index}, and the network has 0 … 5"):
        ids(sample("a"), target=(index,))


@pytest.mark.parametrize(
    ("choice", "name"),
    [({"target": "top5"}, "target"), ({"target": (1,)}, "target"), ({"min_probability": 0.5}, "min_")],
)
def test_a_choice_for_images_without_a_label_is_refused_where_all_have_one(choice, name):
    with pytest.raises(OptionError, match=f"{name}.*all 2 images have one"):
        ids(sample("a", 1), sample("b", 2), **choice)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"target": "best"}, "unknown target"),
        ({"target": ()}, "no class is named"),
        ({"min_probability": 1.5}, "0 … 1"),
        ({"min_probability": float("nan")}, "0 … 1"),
        ({"batch_size": 0}, "1 or more"),
        ({"batch_size": "8"}, "batch_size is '8'; a whole number is needed"),
        ({"batch_size": 2.5}, r"batch_size is 2\.5; a whole number is needed"),
        ({"min_probability": "x"}, "min_probability is 'x'; a number is needed"),
        ({"min_probability": None}, "min_probability is None; a number is needed"),
        ({"target": (1.0,)}, r"a class of target is 1\.0; a whole number is needed"),
        ({"target": (0, True)}, "a class of target is True; a whole number is needed"),
        ({"target": ("tench",)}, "a class of target is 'tench'; a whole number is needed"),
        ({"target": 5}, r"target is 5; class indices are needed, as in \(3, 7\)"),
        ({"target": None}, "target is None; class indices are needed"),
        ({"rule": "objects"}, "rule is 'objects'; a BoxRule is needed"),
        ({"method": "gradcam"}, "unknown method"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(choice, said):
    with pytest.raises(OptionError, match=said):
        LabelPlan(**choice)


PROBABILITIES = np.array(
    [[0.1, 0.5, 0.4, 0, 0, 0], [0.3, 0.2, 0.1, 0.15, 0.2, 0.05], [0.05, 0.05, 0.9, 0, 0, 0]], dtype=np.float64
)


def wanted(samples, **plan):
    found = wanted_classes(samples, PROBABILITIES[: len(samples)], LabelPlan(**plan))
    return [(each.image, each.index, each.probability, each.given) for each in found]


def test_labels_are_looked_for_whatever_the_network_thinks():
    assert wanted([sample("a", 4, 0), sample("b"), sample("c", 1)], min_probability=0.25) == [
        (0, 4, 0.0, True),
        (1, 0, 0.3, False),
        (2, 1, 0.05, True),
        (0, 0, 0.1, True),
    ]


def test_five_predictions_come_rank_after_rank_and_equal_ones_in_the_order_of_their_indices():
    found = wanted([sample("a"), sample("b")], target="top5")
    assert [(image, index) for image, index, _, _ in found] == [
        *[(0, 1), (1, 0), (0, 2), (1, 1), (0, 0), (1, 4), (0, 3), (1, 3), (0, 4), (1, 2)]
    ]


def test_a_prediction_that_is_not_probable_enough_is_not_looked_for():
    assert wanted([sample("a"), sample("b"), sample("c")], min_probability=0.5) == [
        (0, 1, 0.5, False),
        (2, 2, 0.9, False),
    ]


def test_named_classes_are_looked_for_where_they_are_probable_enough():
    found = wanted([sample("a"), sample("b"), sample("c")], target=(2, 0), min_probability=0.1)
    assert found == [(0, 2, 0.4, False), (1, 2, 0.1, False), (2, 2, 0.9, False), (0, 0, 0.1, False), (1, 0, 0.3, False)]


def test_a_network_that_gives_nan_is_asked_so_that_it_is_told():
    found = wanted_classes([sample("a")], np.full((1, 6), np.nan), LabelPlan(min_probability=0.5))
    assert len(found) == 1


def test_numbers_of_numpy_become_pythons():
    plan = LabelPlan(target=[np.int64(3), 4], batch_size=np.int32(2), min_probability=np.float64(0.5))
    assert json.dumps([plan.target, plan.batch_size, plan.min_probability]) == "[[3, 4], 2, 0.5]"
    assert plan == LabelPlan(target=(3, 4), batch_size=2, min_probability=0.5)

"""The score of regions, and the choice among them."""

import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from looktwice.errors import OptionError
from looktwice.localization.components import component_tree
from looktwice.localization.objects import ObjectScorer, best_disjoint, choose_regions, object_scorer, score_regions
from noise import smooth_noise
from slow_regions import brute_best

WEIGHTS = {
    "numbers": ["fill", "ring"],
    "mean": [0.5, 1.0],
    "scale": [0.25, 2.0],
    "hidden": [[1.0, 0.0], [0.0, -1.0], [1.0, 1.0]],
    "hidden_bias": [0.0, 0.5, -1.0],
    "output": [1.0, 2.0, 0.5],
    "output_bias": -1.0,
}


# ---- the choice ------------------------------------------------------------------------------------------------------


@st.composite
def forests(draw):
    """Parents of at most ten regions, and what each is worth; quarters, so that sums are exact and often equal."""
    count = draw(st.integers(0, 10))
    parent = [draw(st.integers(-1, index - 1)) for index in range(count)]
    return parent, draw(st.lists(st.integers(-3, 4), min_size=count, max_size=count))


def leaves_of(parent):
    """Cells of each region: one of its own, and those of all regions in it."""
    cells = [{index} for index in range(len(parent))]
    for index in range(len(parent) - 1, -1, -1):
        if parent[index] >= 0:
            cells[parent[index]] |= cells[index]
    return cells


@given(forests())
def test_choice_against_all_disjoint_sets(forest):
    parent, quarters = forest
    worth = np.array(quarters) / 4
    chosen = best_disjoint(np.array(parent, dtype=np.int64), worth)
    best, sets = brute_best(leaves_of(parent), worth.tolist())
    assert worth[chosen].sum() == best
    assert tuple(chosen) in sets
    assert (worth[chosen] > 0).all()


def test_parent_worth_as_much_as_its_children_together_is_taken():
    parent = np.array([-1, 0, 0])
    assert best_disjoint(parent, np.array([0.5, 0.25, 0.25])) == [0]
    assert best_disjoint(parent, np.array([0.4, 0.25, 0.25])) == [1, 2]


def test_chosen_are_ordered_by_score():
    heat = np.zeros((60, 60))
    heat[5:15, 5:15] = heat[5:25, 30:50] = heat[40:50, 10:40] = 1
    tree = component_tree(heat)
    scores = np.array([0.4, 0.9, 0.6])[np.argsort(np.argsort(tree.area))]
    assert [scores[each] for each in choose_regions(tree, scores, min_score=0.3)] == [0.9, 0.6, 0.4]


def test_equal_scores_are_ordered_by_area_then_by_place():
    heat = np.zeros((60, 60))
    heat[40:50, 40:50] = heat[5:15, 30:40] = heat[5:15, 5:15] = heat[20:40, 5:25] = 1
    tree = component_tree(heat)
    order = choose_regions(tree, np.full(4, 0.5), min_score=0.3)
    assert tree.boxes[order, :2].tolist() == [[5, 20], [5, 5], [30, 5], [40, 40]]


def test_best_is_kept_where_no_region_reaches_the_least_score():
    tree = component_tree(smooth_noise((40, 40), seed=0))
    scores = np.linspace(0.01, 0.2, len(tree))
    assert choose_regions(tree, scores, min_score=0.3) == [len(tree) - 1]


def test_nothing_is_chosen_of_a_map_without_regions():
    tree = component_tree(np.zeros((4, 4)))
    assert choose_regions(tree, score_regions(tree), min_score=0.3) == []


def test_chosen_regions_are_disjoint():
    tree = component_tree(smooth_noise((60, 60), seed=4))
    covered = np.zeros(tree.values.shape, dtype=int)
    for each in choose_regions(tree, score_regions(tree), min_score=0.0):
        x1, y1, x2, y2 = tree.boxes[each]
        covered[y1:y2, x1:x2] += tree.mask(each)
    assert covered.max() == 1


# ---- the score -------------------------------------------------------------------------------------------------------


def test_score_by_hand():
    scorer = ObjectScorer.from_dict(WEIGHTS)
    standard = [(0.75 - 0.5) / 0.25, (3 - 1) / 2]
    units = [np.tanh(standard[0]), np.tanh(0.5 - standard[1]), np.tanh(sum(standard) - 1)]
    logit = units[0] + 2 * units[1] + 0.5 * units[2] - 1
    assert scorer.score(np.array([[0.75, 3.0]])) == pytest.approx([1 / (1 + np.exp(-logit))])


def test_numbers_are_clipped_at_four_deviations():
    scorer = ObjectScorer.from_dict(WEIGHTS)
    far, edge = scorer.score(np.array([[1e9, -1e9], [0.5 + 4 * 0.25, 1 - 4 * 2]]))
    assert far == edge


def test_score_of_the_package_is_a_probability():
    scores = score_regions(component_tree(smooth_noise((80, 80), seed=5)))
    assert ((scores > 0) & (scores < 1)).all()
    assert scores.max() > scores.min()


def test_weights_of_the_package_are_read_once():
    assert object_scorer() is object_scorer()
    content = json.loads((files("looktwice.localization") / "object_scorer.json").read_text())
    assert content["trained_on"]["maps"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.0]}, r"mean is \(1,\); \(2,\) finite numbers are needed"),
        ({"hidden": [[1.0, 2.0]]}, r"hidden is \(1, 2\); \(3, 2\) finite numbers"),
        ({"output": [1.0, 2.0, float("nan")]}, "output is not finite"),
        ({"scale": [1.0, 0.0]}, "a scale that is not positive"),
        ({"numbers": ["fill", "rings"]}, "unknown numbers: rings"),
        ({"mean": "much"}, "cannot be read"),
        ({"hidden": [[1.0], [1.0, 2.0]]}, "cannot be read"),
        ({"output_bias": None}, r"output_bias|cannot be read"),
    ],
)
def test_broken_weights_are_refused(change, message):
    with pytest.raises(OptionError, match=message):
        ObjectScorer.from_dict(WEIGHTS | change)


def test_missing_weights_are_refused():
    with pytest.raises(OptionError, match="cannot be read: 'scale'"):
        ObjectScorer.from_dict({name: value for name, value in WEIGHTS.items() if name != "scale"})

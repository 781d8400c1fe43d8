"""A box for each object: what is drawn on maps at the edge, and on maps whose objects are known."""

import numpy as np
import pytest

from looktwice.errors import InputError, OptionError
from looktwice.images import Window
from looktwice.localization import BoxRule, find_boxes, locate, object_boxes
from looktwice.localization.components import component_tree
from looktwice.localization.objects import best_disjoint, score_regions
from noise import smooth_noise

OBJECTS = BoxRule("objects")


def blobs(*places, size=(112, 112), spread=7.0):
    """A map (H, W) with a Gaussian at each place (x, y)."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2)) for x, y in places)


def centre(box):
    return (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2


# ---- known objects ---------------------------------------------------------------------------------------------------


def islands(*places):
    """Blobs with nothing between them: each is a root of the tree, whatever the scores."""
    return np.clip(blobs(*places) - 0.3, 0, None)


def test_one_blob_has_one_box_around_it():
    heat = blobs((40, 70), spread=12)
    (box,) = object_boxes(heat)
    assert box.x1 < 40 < box.x2
    assert box.y1 < 70 < box.y2


def test_two_equal_blobs_have_a_box_each():
    boxes = object_boxes(islands((28, 56), (84, 56)), min_score=0.001)
    assert len(boxes) == 2
    assert sorted(centre(box) for box in boxes) == [pytest.approx((28, 56), abs=1), pytest.approx((84, 56), abs=1)]
    assert boxes[0].score == pytest.approx(boxes[1].score, abs=0.02)


@pytest.mark.parametrize("size", [(112, 112), (112, 60), (40, 112)])
@pytest.mark.parametrize("times", [2, 3])
def test_larger_map_has_boxes_as_much_larger(size, times):
    heat = blobs((size[1] * 0.3, size[0] * 0.6), size=size, spread=size[0] / 9)
    small, large = object_boxes(heat), object_boxes(np.kron(heat, np.ones((times, times))))
    assert [box.corners for box in large] == [tuple(times * side for side in box.corners) for box in small]
    # The mean of equal cells is rounded, and a score is a probability: its fourth digit says nothing.
    assert [box.score for box in large] == pytest.approx([box.score for box in small], abs=1e-3)


def test_small_map_has_about_the_box_of_a_large_one():
    heat = blobs((20, 30), size=(56, 56), spread=6)
    (small,), (large,) = object_boxes(heat), object_boxes(np.kron(heat, np.ones((2, 2))))
    assert large.corners == pytest.approx(tuple(2 * side for side in small.corners), abs=4)


def test_scale_of_the_values_does_not_matter():
    heat = smooth_noise((80, 60), seed=1)
    assert object_boxes(heat) == object_boxes(heat * 4)


def test_boxes_have_the_scores_of_their_regions_best_first():
    heat = smooth_noise((100, 100), seed=2, sigma=8)
    tree = component_tree(heat)
    scores = score_regions(tree)
    chosen = best_disjoint(tree.parent, scores - 0.05)
    boxes = object_boxes(heat, min_score=0.05)
    assert sorted(box.score for box in boxes) == pytest.approx(sorted(scores[chosen]))
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
    assert {box.corners for box in boxes} == {tuple(tree.boxes[each].tolist()) for each in chosen}


def test_boxes_need_the_least_score_but_the_best_stays():
    heat = islands((20, 20), (60, 90), (90, 30))
    few, most = object_boxes(heat, min_score=1.0), object_boxes(heat, min_score=0.001)
    assert [box.score for box in few] == [score_regions(component_tree(heat)).max()]
    assert len(most) == 3
    assert all(box.score > 0.001 for box in most)


def test_regions_are_disjoint_and_fill_their_boxes():
    heat = smooth_noise((224, 150), seed=3, sigma=14)
    height, width = heat.shape
    covered = np.zeros((height, width), dtype=int)
    for box in object_boxes(heat, min_score=0.02):
        mask = box.region.mask(width, height)
        covered += mask
        ys, xs = np.nonzero(mask)
        found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert found == pytest.approx(box.corners, abs=1)  # a cell may end within a pixel
        assert len(box.region.polygons) == 1
    assert covered.max() == 1


def test_boxes_and_regions_lie_in_the_image():
    heat = smooth_noise((96, 96), seed=4, sigma=9)
    window = Window.of_crop(300, 200, resize=100, crop=96)
    boxes = locate(heat, window, BoxRule("objects", min_score=0.02))
    assert boxes
    for box in boxes:
        xs, ys = np.array(box.region.polygon).T
        assert (xs.min(), ys.min(), xs.max(), ys.max()) == pytest.approx(box.corners)


def test_region_does_not_keep_the_whole_tree():
    (box, *_) = object_boxes(smooth_noise((112, 112), seed=5))
    labels = box.region.labels
    assert labels.base is None
    assert labels.dtype == np.uint8


# ---- maps at the edge ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heat", [np.zeros((3, 4)), np.full((3, 4), -2.0), [[0.0]]])
def test_nothing_positive_gives_no_box(heat):
    assert find_boxes(heat, OBJECTS) == ()


@pytest.mark.parametrize("heat", [np.full((3, 4), 1e-3), np.full((1, 1), 5), np.full((300, 200), 1e308), [[True] * 2]])
def test_constant_map_is_one_box(heat):
    height, width = np.shape(heat)
    (box,) = find_boxes(heat, OBJECTS)
    assert box.corners == (0, 0, width, height)
    assert box.region.mask(width, height).all()


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 500), (500, 3)])
def test_narrow_map(shape):
    heat = np.zeros(shape)
    heat[shape[0] // 4 : shape[0] // 2 + 1, shape[1] // 4 : shape[1] // 2 + 1] = 1
    (box,) = find_boxes(heat, OBJECTS)
    assert 0 <= box.x1 < box.x2 <= shape[1]
    assert 0 <= box.y1 < box.y2 <= shape[0]


def test_one_positive_pixel_of_a_large_map_has_a_box():
    heat = np.zeros((1000, 700))
    heat[123, 456] = 1
    (box,) = find_boxes(heat, OBJECTS)
    assert box.x1 <= 456 < box.x2
    assert box.y1 <= 123 < box.y2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    heat = np.ones((4, 4))
    heat[1, 2] = value
    with pytest.raises(InputError, match="1 values that are NaN or infinite"):
        find_boxes(heat, OBJECTS)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int64, np.uint8])
def test_kind_of_number_does_not_matter(kind):
    heat = np.zeros((40, 60))
    heat[10:20, 10:30] = 3
    assert find_boxes(heat.astype(kind), OBJECTS) == find_boxes(heat, OBJECTS)


# ---- the rule --------------------------------------------------------------------------------------------------------


def test_rule_leads_to_its_boxes():
    heat = islands((20, 20), (60, 90), (90, 30))
    every = object_boxes(heat, min_score=0.001)
    assert find_boxes(heat, BoxRule("objects", min_score=0.001)) == every
    assert find_boxes(heat, BoxRule("objects", min_score=0.001, max_boxes=2)) == every[:2] != every


@pytest.mark.parametrize("rule", [BoxRule("contour", 0.6, smallest=0.0), BoxRule("energy", 0.9)])
def test_number_of_boxes_is_limited_by_every_rule(rule):
    heat = smooth_noise((60, 60), seed=6)
    limited = BoxRule(rule.rule, rule.threshold, rule.by, rule.smallest, max_boxes=1)
    assert find_boxes(heat, limited) == find_boxes(heat, rule)[:1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_score": 1.1}, "min_score is 1.1; a share from 0 to 1 is needed"),
        ({"min_score": -0.1}, "min_score is -0.1"),
        ({"min_score": float("nan")}, "min_score is nan"),
        ({"max_boxes": 0}, "max_boxes is 0; a whole number from 1 is needed"),
        ({"max_boxes": 1.5}, "max_boxes is 1.5"),
    ],
)
def test_numbers_outside_their_range(options, said):
    with pytest.raises(OptionError, match=said):
        BoxRule("objects", **options)


@pytest.mark.parametrize(
    ("rule", "options", "said"),
    [
        ("objects", {"threshold": 0.5}, "threshold is 0.5, and only contours and the energy box have one"),
        ("objects", {"by": "energy"}, "by is energy, and only contours have one"),
        ("objects", {"smallest": 0.5}, "smallest is 0.5, and only contours have one"),
        ("contour", {"min_score": 0.5}, "min_score is 0.5, and only objects have one"),
        ("energy", {"min_score": 0.5}, "min_score is 0.5, and only objects have one"),
    ],
)
def test_choice_of_another_rule_is_refused(rule, options, said):
    with pytest.raises(OptionError, match=said):
        BoxRule(rule, **options)


def test_score_outside_its_range():
    with pytest.raises(OptionError, match="min_score is 2"):
        object_boxes(np.ones((2, 2)), min_score=2)


def test_what_matters_of_a_rule():
    assert BoxRule("contour").as_dict() == {"rule": "contour", "threshold": 0.2, "by": "max", "smallest": 0.01}
    assert BoxRule("energy", 0.9, max_boxes=1).as_dict()["max_boxes"] == 1
    assert BoxRule("objects", min_score=0.5, max_boxes=3).as_dict() == {
        "rule": "objects",
        "min_score": 0.5,
        "max_boxes": 3,
    }


@pytest.mark.parametrize("most", [0, -1, True, 1.0, "2"])
def test_a_number_of_boxes_is_whole(most):
    with pytest.raises(OptionError, match="a whole number from 1 is needed"):
        BoxRule(max_boxes=most)
    assert BoxRule(max_boxes=np.int64(2)).max_boxes == 2


def test_a_threshold_is_said_to_be_of_both_rules_that_have_one():
    with pytest.raises(OptionError, match="only contours and the energy box have one"):
        BoxRule(threshold=0.3)

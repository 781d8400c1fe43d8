"""Boxes by hand, and against flood fill in plain loops, which shares nothing with OpenCV's contours."""

from math import isclose

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.errors import InputError, OptionError
from looktwice.images import Window
from looktwice.localization import Box, BoxRule, check_map, contour_boxes, energy_box, find_boxes, locate
from slow_boxes import slow_contour_regions, slow_foreground


def corners(boxes):
    return [box.corners for box in boxes]


def slow_contour_boxes(heat, threshold, by, smallest):
    """Area, corners and score of each box."""
    found = []
    for region, score in slow_contour_regions(heat, threshold, by, smallest):
        ys, xs = [y for y, _ in region], [x for _, x in region]
        found.append((len(region), (min(xs), min(ys), max(xs) + 1, max(ys) + 1), score))
    return found


maps = nst.arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 4))


@settings(max_examples=300)
@given(maps, st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.75, 0.9]), st.sampled_from(["max", "energy"]))
def test_contour_boxes_against_flood_fill(heat, threshold, by):
    fast = contour_boxes(heat, threshold=threshold, by=by, smallest=0.05)
    slow = slow_contour_boxes(heat, threshold, by, 0.05)
    assert sorted(corners(fast)) == sorted(box for _, box, _ in slow)
    areas = {box: (area, score) for area, box, score in slow}
    if len(areas) == len(slow):  # two regions may interlock in one box, and then a box does not say which it is
        assert [areas[box][0] for box in corners(fast)] == sorted((area for area, _, _ in slow), reverse=True)
        assert all(isclose(box.score, areas[box.corners][1], rel_tol=1e-9) for box in fast)


@given(maps, st.sampled_from([0.0, 0.3, 0.5, 0.8, 0.95, 1.0]))
def test_energy_box_against_loops(heat, share):
    chosen, values = slow_foreground(heat, share, "energy")
    box = energy_box(heat, energy=share)
    if not chosen:
        assert box is None
        return
    ys, xs = [y for y, _ in chosen], [x for _, x in chosen]
    assert box.corners == (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
    inside = sum(values[y, x] for y in range(min(ys), max(ys) + 1) for x in range(min(xs), max(xs) + 1))
    assert isclose(box.score, inside / sum(values.values()), rel_tol=1e-9)


# ---- contours by hand ----------------------------------------------------------------------------------------------


def test_two_objects_give_two_boxes_the_larger_first():
    heat = np.zeros((8, 10))
    heat[1:3, 1:3] = 3.0  # 4 pixels, energy 12
    heat[4:7, 5:9] = 2.0  # 12 pixels, energy 24
    assert contour_boxes(heat, threshold=0.5) == (Box(5, 4, 9, 7, 24 / 36), Box(1, 1, 3, 3, 12 / 36))


def test_strictly_above_the_share_of_the_maximum():
    heat = [[10.0, 2.0, 0.0, 3.0]]
    assert corners(contour_boxes(heat, threshold=0.2)) == [(0, 0, 1, 1), (3, 0, 4, 1)]
    assert corners(contour_boxes(heat, threshold=0.19)) == [(0, 0, 2, 1), (3, 0, 4, 1)]


def test_corners_touching_are_one_object():
    assert corners(contour_boxes(np.eye(3), threshold=0.5)) == [(0, 0, 3, 3)]


def test_holes_and_what_lies_in_them_belong_to_the_object():
    heat = np.zeros((7, 7))
    heat[0, :] = heat[-1, :] = heat[:, 0] = heat[:, -1] = 1.0
    heat[3, 3] = 1.0  # a region of its own, inside the ring: no external contour
    (box,) = contour_boxes(heat, threshold=0.5, smallest=1.0)
    assert box == Box(0, 0, 7, 7, 1.0)


def test_an_open_ring_does_not_enclose():
    heat = np.zeros((5, 5))
    heat[0, :] = heat[-1, :] = heat[:, 0] = heat[:, -1] = heat[2, 2] = 1.0
    heat[0, 2] = 0.0
    assert corners(contour_boxes(heat, threshold=0.5)) == [(0, 0, 5, 5), (2, 2, 3, 3)]


def test_smallest_is_a_share_of_the_map_and_keeps_what_reaches_it():
    heat = np.zeros((10, 10))
    heat[0, :5] = heat[5, :4] = 1.0
    assert corners(contour_boxes(heat, threshold=0.5, smallest=0.05)) == [(0, 0, 5, 1)]
    assert len(contour_boxes(heat, threshold=0.5, smallest=0.04)) == 2
    assert contour_boxes(heat, threshold=0.5, smallest=0.06) == ()


def test_equal_areas_come_by_energy_then_from_the_upper_left():
    heat = [[5.0, 0.0, 5.0, 0.0, 9.0], [0.0] * 5, [0.0, 0.0, 5.0, 0.0, 0.0]]
    assert corners(contour_boxes(heat, threshold=0.1)) == [(4, 0, 5, 1), (0, 0, 1, 1), (2, 0, 3, 1), (2, 2, 3, 3)]


# ---- energy by hand ------------------------------------------------------------------------------------------------


def test_the_fewest_highest_pixels_that_hold_the_energy():
    heat = [[4.0, 0.0, 3.0, 0.0, 2.0, 0.0, 1.0]]  # 4, 7, 9, 10 of 10
    for share, count in [(0.4, 1), (0.41, 2), (0.7, 2), (0.71, 3), (0.9, 3), (0.91, 4), (1.0, 4)]:
        assert len(contour_boxes(heat, threshold=share, by="energy")) == count
        assert energy_box(heat, energy=share).x2 == 2 * count - 1


def test_equal_pixels_enter_together():
    heat = [[4.0, 1.0, 0.0, 1.0, 1.0, 1.0]]
    assert corners(contour_boxes(heat, threshold=0.51, by="energy")) == [(3, 0, 6, 1), (0, 0, 2, 1)]
    assert energy_box(heat, energy=0.51).corners == (0, 0, 6, 1)


def test_rounding_does_not_add_a_pixel():
    heat = np.array([[10 - i + 0.1 for i in range(10)]]) / 7
    shares = np.cumsum(heat) / heat.sum()
    for count in range(1, 11):
        assert energy_box(heat, energy=min(shares[count - 1], 1.0)).x2 == count


def test_the_energy_box_scores_all_it_holds():
    heat = [[8.0, 1.0, 8.0, 1.0, 2.0]]
    assert energy_box(heat, energy=0.8) == Box(0, 0, 3, 1, 17 / 20)


# ---- maps at the edge ----------------------------------------------------------------------------------------------

RULES = [
    BoxRule("contour"),
    BoxRule("contour", threshold=0.0),
    BoxRule("contour", by="energy", threshold=0.8),
    BoxRule("energy", 0.95),
    BoxRule("energy", 1.0),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("heat", [np.zeros((3, 4)), np.full((3, 4), -2.0), [[0.0]]])
def test_nothing_positive_gives_no_box(heat, rule):
    assert find_boxes(heat, rule) == ()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("heat", [np.full((3, 4), 1e-3), np.full((1, 1), 5), np.full((2, 2), 1e308), [[True, True]]])
def test_a_constant_map_is_one_box(heat, rule):
    height, width = np.shape(heat)
    (box,) = find_boxes(heat, rule)
    assert box.corners == (0, 0, width, height)
    assert box.score == pytest.approx(1.0)


@pytest.mark.parametrize("rule", RULES)
def test_negative_values_count_as_zero(rule):
    heat = np.array([[3.0, -50.0, 1.0, -1.0]])
    assert find_boxes(heat, rule) == find_boxes(np.maximum(heat, 0), rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value, rule):
    heat = np.ones((3, 3))
    heat[1, 1] = value
    with pytest.raises(InputError, match="1 values that are NaN or infinite"):
        find_boxes(heat, rule)
    with pytest.raises(InputError, match="NaN or infinite"):
        locate(heat, Window.whole(3, 3), rule)


@pytest.mark.parametrize("heat", [np.zeros((0, 3)), np.zeros(3), np.zeros((1, 3, 3)), 1.0])
def test_only_one_map_at_a_time(heat):
    with pytest.raises(InputError, match=r"must be \(H, W\)"):
        check_map(heat)


@pytest.mark.parametrize("heat", [np.ones((2, 2)) * 1j, np.array([["a", "b"]]), [[1.0, 2.0], [3.0]]])
def test_only_maps_of_real_numbers(heat):
    with pytest.raises(InputError, match=r"a map cannot be read: .*; pass map"):
        check_map(heat)


def test_precision_is_kept_but_for_half():
    assert [check_map(np.ones((1, 1), dtype)).dtype for dtype in ("f2", "f4", "f8", "u1")] == ["f4", "f4", "f8", "f8"]


@given(maps, st.sampled_from(RULES), st.sampled_from([2.0**-20, 4.0, 2.0**60]))
def test_boxes_do_not_depend_on_the_scale_of_the_map(heat, rule, scale):
    assert find_boxes(heat * scale, rule) == find_boxes(heat, rule)


@given(maps, st.sampled_from(RULES))
def test_boxes_turn_with_the_map(heat, rule):
    turned = {(x1, y1, x2, y2) for y1, x1, y2, x2 in corners(find_boxes(heat.T, rule))}
    assert turned == set(corners(find_boxes(heat, rule)))


# ---- rules and original pixels -------------------------------------------------------------------------------------


def test_rules_lead_to_their_boxes():
    heat = [[4.0, 0.0, 3.0, 0.0, 2.0, 0.0, 1.0]]
    assert find_boxes(heat, BoxRule("energy", 0.7)) == (energy_box(heat, energy=0.7),)
    assert find_boxes(heat, BoxRule("contour", 0.7, "energy")) == contour_boxes(heat, threshold=0.7, by="energy")
    assert find_boxes(heat, BoxRule("contour", 0.7, smallest=0.2)) == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rule": "circle"}, "one of objects, contour, energy is needed"),
        ({"by": "mean"}, "one of max, energy is needed"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"threshold": 1.1, "by": "energy"}, "threshold is 1.1"),
        ({"threshold": 20, "rule": "energy"}, "threshold is 20"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"smallest": 5}, "smallest is 5"),
    ],
)
def test_unknown_names_and_shares_outside_their_range(options, said):
    with pytest.raises(OptionError, match=said):
        BoxRule(**options)


def test_the_functions_check_their_options_too():
    with pytest.raises(OptionError, match="by is 'mean'"):
        contour_boxes([[1.0]], threshold=0.5, by="mean")
    with pytest.raises(OptionError, match="energy is 95"):
        energy_box([[1.0]], energy=95)


def test_boxes_of_a_squashed_image():
    heat = np.zeros((4, 4))
    heat[1:3, 2:4] = 1.0
    assert locate(heat, Window.whole(400, 100), BoxRule("contour")) == (Box(200, 25, 400, 75, 1.0),)


def test_boxes_of_a_crop_are_pixels_of_the_original():
    heat = np.zeros((10, 10))
    heat[5, 5] = 1.0
    window = Window.cropped(400, 200, resized=(200, 100), crop=(50, 0, 150, 100))
    assert locate(heat, window, BoxRule("contour")) == (Box(200, 100, 220, 120, 1.0),)


def test_boxes_in_the_padding_are_left_out_and_others_clipped():
    heat = np.zeros((12, 12))
    heat[0, 0] = heat[6, 8:12] = 1.0
    window = Window.cropped(100, 100, resized=(100, 100), crop=(-10, -10, 110, 110))
    assert locate(heat, window, BoxRule("contour", smallest=0.0)) == (Box(70, 50, 100, 60, 0.8),)

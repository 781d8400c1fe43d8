"""The region of a box, against sets of pixels in plain loops, and its outline against a walk through every point."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.images import Window
from looktwice.localization import Box, BoxRule, contour_boxes, energy_box, find_boxes, locate, to_image
from looktwice.localization.regions import outlines, run_lengths
from slow_boxes import parts_of, slow_contour_regions, slow_foreground, without_holes

maps = nst.arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 4))
masks = nst.arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8)))
WINDOWS = [
    Window.whole(13, 7),
    Window.whole(3, 2),  # smaller than the map
    Window(-4.25, -2.5, 20.75, 12.5, 16, 10),  # with padding around the image
    Window(3.0, 1.0, 9.0, 7.0, 12, 8),  # the middle of the image
]


def pixels_of(mask):
    return {(int(y), int(x)) for y, x in np.argwhere(mask)}


def map_mask(box, heat):
    return pixels_of(box.region.mask(heat.shape[1], heat.shape[0]))


def slow_mask(pixels, heat, window, width, height):
    """The image pixels whose centre lies in one of the map's pixels, in exact numbers."""
    across = Fraction(window.right - window.left) / heat.shape[1]
    down = Fraction(window.bottom - window.top) / heat.shape[0]
    found = set()
    for y in range(height):
        for x in range(width):
            column = (Fraction(2 * x + 1, 2) - Fraction(window.left)) / across
            row = (Fraction(2 * y + 1, 2) - Fraction(window.top)) / down
            if (row.__floor__(), column.__floor__()) in pixels:
                found.add((y, x))
    return found


def encloses(polygon, x, y):
    """How often a closed polygon runs around a point, by the sides that a ray to the right crosses."""
    times = 0
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 <= y) != (y2 <= y) and x1 + (y - y1) * (x2 - x1) / (y2 - y1) > x:
            times += 1 if y2 > y1 else -1
    return times


# ---- the pixels of a region ----------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(maps, st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.sampled_from(["max", "energy"]))
def test_each_contour_box_has_the_region_it_was_drawn_around(heat, threshold, by):
    boxes = contour_boxes(heat, threshold=threshold, by=by, smallest=0.05)
    slow = [region for region, _ in slow_contour_regions(heat, threshold, by, 0.05)]
    assert sorted(sorted(map_mask(box, heat)) for box in boxes) == sorted(map(sorted, slow))
    for box in boxes:
        ys, xs = zip(*map_mask(box, heat), strict=True)
        assert box.corners == (min(xs), min(ys), max(xs) + 1, max(ys) + 1)


@given(maps, st.sampled_from([0.0, 0.3, 0.8, 1.0]))
def test_an_energy_box_has_the_pixels_that_hold_the_energy(heat, share):
    chosen, _ = slow_foreground(heat, share, "energy")
    box = energy_box(heat, energy=share)
    assert (set() if box is None else map_mask(box, heat)) == chosen


def test_a_mask_by_hand():
    heat = np.zeros((4, 4))
    heat[1, 1:4] = heat[2, 3] = 1.0
    (box,) = locate(heat, Window.whole(8, 4))
    assert box.region.mask(8, 4).astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert box.region.polygon == [(2, 1), (8, 1), (8, 3), (6, 3), (6, 2), (2, 2)]
    assert box.region.rle(8, 4) == {"size": [4, 8], "counts": [9, 1, 3, 1, 3, 1, 3, 1, 3, 2, 2, 2, 1]}


@settings(max_examples=100)
@given(
    maps,
    st.sampled_from(WINDOWS),
    st.sampled_from([BoxRule("contour", threshold=0.3, smallest=0.0), BoxRule("energy", 0.7)]),
)
def test_a_mask_in_the_image_against_every_pixel(heat, window, rule):
    for box in find_boxes(heat, rule):
        placed = box.region.to_image(window)
        found = pixels_of(placed.mask(window.width, window.height))
        assert found == slow_mask(map_mask(box, heat), heat, window, window.width, window.height)


def test_a_mask_has_the_size_that_is_asked_for():
    (box,) = locate(np.ones((2, 2)), Window.whole(6, 4))
    assert box.region.mask(6, 4).all()
    larger = box.region.mask(8, 5)
    assert larger.shape == (5, 8)
    assert pixels_of(larger) == {(y, x) for y in range(4) for x in range(6)}


# ---- outlines ------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(masks)
def test_outlines_enclose_each_part_and_its_holes_once(mask):
    height, width = mask.shape
    slow = [without_holes(part, height, width) for part in parts_of(pixels_of(mask))]
    found = []
    for corners in outlines(mask):
        outline = [(float(x), float(y)) for x, y in corners]
        times = {(y, x): encloses(outline, x + 0.5, y + 0.5) for y in range(height) for x in range(width)}
        assert set(times.values()) <= {0, 1}
        found.append({pixel for pixel, often in times.items() if often})
        for (x1, y1), (x2, y2), (x3, _) in zip(outline, np.roll(outline, -1, 0), np.roll(outline, -2, 0), strict=True):
            assert (x1 == x2) != (y1 == y2)  # along a side of pixels,
            assert (x2 == x3) == (y1 == y2)  # and each corner is a turn
    assert sorted(map(sorted, found)) == sorted(map(sorted, slow))


def test_pixels_that_touch_at_a_corner_have_one_outline():
    (outline,) = outlines(np.eye(2, dtype=np.bool_))
    assert outline.tolist() == [[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1], [0, 1]]


@settings(max_examples=100)
@given(maps, st.sampled_from(WINDOWS))
def test_polygons_and_box_have_the_same_ends(heat, window):
    for box in locate(heat, window, BoxRule("contour", threshold=0.3, smallest=0.0)):
        points = [point for polygon in box.region.polygons for point in polygon]
        inside = box.region.mask(window.width, window.height)
        for y in range(window.height):
            for x in range(window.width):
                around = sum(encloses(polygon, x + 0.5, y + 0.5) for polygon in box.region.polygons)
                assert bool(around) == inside[y, x]
        if points and window.left >= 0:  # without padding nothing is cut off
            xs, ys = zip(*points, strict=True)
            assert box.corners == (min(xs), min(ys), max(xs), max(ys))


def test_of_several_parts_the_largest_comes_first():
    heat = np.zeros((5, 6))
    heat[0, 0] = heat[2:4, 3:6] = 1.0
    region = energy_box(heat, energy=1.0).region
    assert region.polygons == [[(3, 2), (6, 2), (6, 4), (3, 4)], [(0, 0), (1, 0), (1, 1), (0, 1)]]
    assert region.polygon == region.polygons[0]


def test_the_largest_part_may_have_the_most_corners():
    heat = np.zeros((5, 8))
    heat[1, 0:3] = heat[0:3, 1] = heat[1:3, 5:7] = 1.0  # a cross of five pixels, a square of four
    cross, square = energy_box(heat, energy=1.0).region.polygons
    assert (len(cross), len(square)) == (12, 4)


def test_what_lies_in_the_padding_has_no_outline():
    heat = np.zeros((4, 4))
    heat[0, 0] = 1.0
    (box,) = find_boxes(heat)
    region = box.region.to_image(Window(-4.0, -4.0, 4.0, 4.0, 4, 4))
    assert (region.polygon, region.polygons) == ([], [])
    assert not region.mask(4, 4).any()


# ---- run lengths ---------------------------------------------------------------------------------------------------


@given(masks)
def test_run_lengths_against_a_loop(mask):
    found = run_lengths(mask)
    height, width = mask.shape
    assert found["size"] == [height, width]
    counts, value = [0], False
    for x in range(width):
        for y in range(height):
            if bool(mask[y, x]) != value:
                counts.append(0)
                value = not value
            counts[-1] += 1
    assert found["counts"] == counts


# ---- a box without its region --------------------------------------------------------------------------------------


def test_the_region_is_no_number_of_a_box():
    (box,) = find_boxes(np.ones((2, 2)), BoxRule("contour"))
    bare = Box(0, 0, 2, 2, 1.0)
    assert box == bare
    assert hash(box) == hash(bare)
    assert repr(box) == "Box(x1=0.0, y1=0.0, x2=2.0, y2=2.0, score=1.0)"
    assert list(box.as_dict().items()) == [("x1", 0.0), ("y1", 0.0), ("x2", 2.0), ("y2", 2.0), ("score", 1.0)]
    assert bare.region is None
    assert replace(box, score=0.5).region is box.region


def test_a_box_without_a_region_is_mapped_without_one():
    (mapped,) = to_image([Box(0, 0, 1, 1, 1.0)], Window.whole(4, 4), width=2, height=2)
    assert (mapped.corners, mapped.region) == ((0, 0, 2, 2), None)


@pytest.mark.parametrize("rule", [BoxRule("contour"), BoxRule("energy", 0.9)])
def test_nothing_is_computed_before_it_is_asked_for(rule):
    (box,) = locate(np.ones((3, 3)), Window.whole(9, 9), rule)
    assert not {"pixels", "polygons"} & set(vars(box.region))

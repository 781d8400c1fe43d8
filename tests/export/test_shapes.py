"""Boxes and regions as the forms write them: pycocotools makes the same mask of each outline."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from label_sets import ELL, PARTS, PINCH, RING, region_box
from looktwice.export.shapes import rounded, segment, whole_pixels
from looktwice.images import Window
from looktwice.localization.boxes import Box


def decoded(segmentation, width, height):
    runs = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(coco_mask.merge(runs) if isinstance(runs, list) else runs).astype(bool)


def check(box, width, height):
    shape = segment(box, width, height)
    mask = box.region.mask(width, height)
    if mask.any():
        assert shape.area == mask.sum()
        assert (decoded(shape.segmentation, width, height) == mask).all()
    return shape.segmentation


def test_a_region_without_holes_is_a_polygon_along_pixel_borders():
    assert check(region_box(ELL, (8, 4), map_size=(4, 2)), 8, 4) == [[0, 0, 2, 0, 2, 2, 4, 2, 4, 4, 0, 4]]


def test_a_region_with_a_hole_is_run_length_encoded():
    assert check(region_box(RING, (3, 3)), 3, 3) == {"size": [3, 3], "counts": [0, 4, 1, 4]}


def test_a_region_of_several_parts_is_a_polygon_each_the_largest_first():
    first, second = check(region_box(PARTS, (4, 3)), 4, 3)
    assert first == [0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 0, 2]
    assert second == [3, 2, 4, 2, 4, 3, 3, 3]


def test_a_part_in_the_hole_of_another_is_run_length_encoded():
    cells = np.ones((5, 5), dtype=int)
    cells[1:4, 1:4] = 0
    cells[2, 2] = 1
    assert isinstance(check(region_box(cells, (25, 35)), 25, 35), dict)


def test_two_parts_that_touch_at_a_corner():
    assert len(check(region_box(PINCH, (30, 30)), 30, 30)) == 1


def test_cells_that_begin_at_the_centre_of_a_pixel():
    check(region_box(ELL, (280, 280), at=(11, 21), map_size=(112, 112)), 280, 280)  # a cell has 2.5 pixels


def test_a_region_without_the_centre_of_a_pixel_is_its_box():
    box = region_box([[1]], (1, 1), at=(3, 4), map_size=(112, 112))
    assert segment(box, 1, 1).segmentation == [[0.027, 0.036, 0.036, 0.036, 0.036, 0.045, 0.027, 0.045]]
    assert segment(box, 1, 1).area > 0


def test_a_region_in_the_padding_of_a_crop():
    window = Window(-20.0, -20.0, 60.0, 60.0, 40, 40)
    check(region_box(PARTS, (40, 40), map_size=(4, 4), window=window), 40, 40)


def test_a_box_without_a_region_is_its_own_polygon():
    shape = segment(Box(1.0, 2.0, 4.5, 6.0, 0.5), 10, 10)
    assert shape.segmentation == [[1.0, 2.0, 4.5, 2.0, 4.5, 6.0, 1.0, 6.0]]
    assert shape.area == 14.0


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_region_in_any_window_gives_its_own_mask(data):
    width, height = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    across, down = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    cells = np.array(data.draw(st.lists(st.integers(0, 1), min_size=across * down, max_size=across * down)))
    left, top = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    sides = [data.draw(st.floats(-20, 20)), data.draw(st.floats(-20, 20)), width + 7.3, height + 2.5]
    window = data.draw(st.sampled_from([Window.whole(width, height), Window(*sides, width, height)]))
    box = region_box(cells.reshape(down, across), (width, height), at=(left, top), map_size=(14, 14), window=window)
    check(box, width, height)


@pytest.mark.parametrize(
    ("corners", "whole"),
    [
        ((0.0, 0.0, 10.0, 10.0), (0, 0, 10, 10)),
        ((0.4, 1.5, 3.5, 1.6), (0, 2, 4, 3)),
        ((9.7, 9.9, 10.0, 10.0), (9, 9, 10, 10)),
        ((2.2, 2.2, 2.3, 2.3), (2, 2, 3, 3)),
    ],
)
def test_whole_pixels_have_the_nearest_borders_and_at_least_one_pixel(corners, whole):
    assert whole_pixels(Box(*corners, 0.5), 10, 10) == whole


def test_a_box_that_rounding_would_empty_keeps_its_corners():
    assert rounded(Box(0.0001, 0.0, 0.0002, 1.00049, 0.5)) == (0.0001, 0.0, 0.0002, 1.00049)
    assert rounded(Box(0.0001, 0.0, 0.12345, 1.00049, 0.5)) == (0.0, 0.0, 0.123, 1.0)

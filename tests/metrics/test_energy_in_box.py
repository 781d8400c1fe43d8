"""Energy in boxes by hand, and against a mask of pixels."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.images import Window
from looktwice.metrics import (
    energy_in_box,
)
from squares import boxes_within, pixels_of, square


def test_energy_by_hand():
    heat = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert energy_in_box(heat, [[0, 0, 1, 2]], square(2)) == 0.4
    assert energy_in_box(heat, [[0, 0, 2, 2]], square(2)) == 1.0
    # Half of the pixel 4, cut by the box.
    assert energy_in_box(heat, [[1, 1, 1.5, 2]], square(2)) == 0.2
    # Boxes that overlap count once.
    assert energy_in_box(heat, [[0, 0, 1, 2], [0, 0, 2, 1]], square(2)) == pytest.approx(0.6)


def test_negative_values_and_empty_maps_hold_no_energy():
    assert energy_in_box([[-5.0, 1.0], [1.0, 2.0]], [[0, 0, 1, 2]], square(2)) == 0.25
    assert energy_in_box(np.zeros((2, 2)), [[0, 0, 1, 2]], square(2)) == 0.0


def test_what_lies_in_padding_or_outside_a_crop_is_outside():
    padded = Window(-10, 0, 10, 20, 10, 20)  # the map's left half is padding
    assert energy_in_box(np.ones((2, 2)), [[0, 0, 10, 20]], padded) == 0.5
    crop = Window(10, 0, 20, 20, 40, 20)
    assert energy_in_box(np.ones((2, 2)), [[0, 0, 15, 20]], crop) == 0.5
    assert energy_in_box(np.ones((2, 2)), [[30, 0, 40, 20]], crop) == 0.0


@given(nst.arrays(np.int8, (3, 4), elements=st.integers(-2, 9)), st.lists(boxes_within(), min_size=1, max_size=3))
def test_energy_against_a_mask_of_pixels(heat, boxes):
    # A map pixel is 3×4 pixels of a 12×12 image; spread its energy over them and count those inside.
    mask = set().union(*(pixels_of(box) for box in boxes))
    spread = {(y, x): max(int(heat[y // 4, x // 3]), 0) for y in range(12) for x in range(12)}
    total = sum(spread.values())
    assume(total)
    expected = sum(spread[pixel] for pixel in mask) / total
    assert energy_in_box(heat, boxes, square(12)) == pytest.approx(expected, abs=1e-12)

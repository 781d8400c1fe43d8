"""IoU by hand, and against sets of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.errors import InputError
from looktwice.metrics import (
    iou,
    iou_inclusive,
)
from squares import boxes_within, pixels_of


def test_iou_by_hand():
    boxes = [[0, 0, 10, 10], [0, 0, 5, 10], [20, 20, 30, 30]]
    truths = [[0, 0, 10, 10], [5, 5, 15, 15]]
    np.testing.assert_allclose(iou(boxes, truths), [[1, 25 / 175], [0.5, 0], [0, 0]], rtol=1e-15)


def test_boxes_that_touch_share_half_open_nothing_and_inclusive_a_column():
    assert iou([[0, 0, 2, 2]], [[2, 0, 4, 2]])[0, 0] == 0
    # Columns 0–2 and 2–4 of three rows: 3 of 15 pixels.
    assert iou_inclusive([[0, 0, 2, 2]], [[2, 0, 4, 2]])[0, 0] == 3 / 15


def test_inclusive_no_box_is_one_pixel():
    assert iou_inclusive([[0, 0, 0, 0]], [[0, 0, 1, 1]])[0, 0] == 1 / 4


def test_iou_of_nothing():
    assert iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)
    assert iou([], []).shape == (0, 0)
    assert iou([[3, 3, 3, 3]], [[3, 3, 3, 3]])[0, 0] == 0
    assert iou([[3, 3, 3.001, 3.001]], [[3, 3, 3.001, 3.001]])[0, 0] == 1
    with pytest.raises(InputError, match="boxes must be"):
        iou([0, 0, 1, 1], [[0, 0, 1, 1]])


@given(st.lists(boxes_within(), max_size=4), st.lists(boxes_within(), max_size=4))
def test_iou_against_sets_of_pixels_in_both_conventions(boxes, truths):
    slow = [[len(pixels_of(a) & pixels_of(b)) / len(pixels_of(a) | pixels_of(b)) for b in truths] for a in boxes]
    assert iou(boxes, truths).tolist() == slow
    last = [0, 0, 1, 1]
    if boxes and truths:
        assert iou_inclusive(np.subtract(boxes, last), np.subtract(truths, last)).tolist() == slow


coordinates = st.floats(-1e4, 1e4)


@given(nst.arrays(float, (3, 4), elements=coordinates), nst.arrays(float, (2, 4), elements=coordinates))
def test_iou_is_symmetric_and_within_0_and_1(boxes, truths):
    for measure in (iou, iou_inclusive):
        overlap = measure(boxes, truths)
        np.testing.assert_array_equal(overlap, measure(truths, boxes).T)
        assert ((overlap >= 0) & (overlap <= 1)).all()

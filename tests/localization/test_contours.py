"""Contours of many cuts in few calls, against a call for each cut and pixels filled one by one."""

from unittest.mock import patch

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from looktwice.localization import contours as outlines
from looktwice.localization.contours import trace_cuts

WAYS = {"external": cv2.RETR_EXTERNAL, "tree": cv2.RETR_TREE}


def picture_of(height, width, values, margin, seed):
    """Noise of a few values, so with holes and ties, in a black frame."""
    rng = np.random.default_rng(seed)
    return np.pad(rng.integers(0, values, (height, width), dtype=np.uint8), margin)


pictures = st.builds(
    picture_of, st.integers(1, 20), st.integers(1, 20), st.integers(1, 6), st.integers(0, 3), st.integers(0, 9999)
)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=80, deadline=None)
@given(
    picture=pictures, levels=st.lists(st.integers(0, 255) | st.integers(0, 5), min_size=1), pixels=st.integers(1, 2000)
)
def test_all_cuts_are_each_cut_on_its_own(way, picture, levels, pixels):
    """The same contours in the same order, wherever a tall picture ends and whatever the order of levels."""
    with patch.object(outlines, "PIXELS_AT_ONCE", pixels):
        found = trace_cuts(picture, np.array(levels, dtype=np.uint8), WAYS[way])
    assert found.cut.tolist() == sorted(found.cut.tolist())
    for cut, level in enumerate(levels):
        expected, _ = cv2.findContours((picture > level).astype(np.uint8), WAYS[way], cv2.CHAIN_APPROX_SIMPLE)
        places = np.flatnonzero(found.cut == cut).tolist()
        assert len(places) == len(expected)
        for place, contour in zip(places, expected, strict=True):
            assert np.array_equal(found.contours[place] - [0, found.below[place]], contour)
            assert tuple(found.rectangles[place]) == cv2.boundingRect(contour)
            assert found.areas[place] == cv2.contourArea(contour)


@settings(max_examples=80, deadline=None)
@given(picture=pictures)
def test_pixels_within_are_those_that_filling_paints(picture):
    contours, _ = cv2.findContours((picture > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = trace_cuts(picture, np.zeros(1, dtype=np.uint8), cv2.RETR_EXTERNAL)
    for number, pixels in enumerate(found.pixels_within.tolist()):
        filled = cv2.drawContours(np.zeros_like(picture), contours, number, 1, cv2.FILLED)
        assert pixels == filled.sum()
    assert len(found.pixels_within) == len(contours)

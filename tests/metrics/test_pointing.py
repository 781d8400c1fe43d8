"""The pointing game by hand, and against a mask of pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.images import Window
from looktwice.metrics import (
    pointing_hit,
)
from squares import boxes_within, pixels_of, square


def peak(side, x, y):
    heat = np.zeros((side, side), dtype=np.float32)
    heat[y, x] = 1
    return heat


def test_fifteen_pixels_away_is_a_miss_and_fourteen_a_hit():
    # The box's pixels are 40 … 59.
    box = [[40, 40, 60, 60]]
    for x, hit in [(25, False), (26, True), (40, True), (59, True), (73, True), (74, False)]:
        assert pointing_hit(peak(100, x, 50), box, square(100)) == hit
        assert pointing_hit(peak(100, 50, x), box, square(100)) == hit


def test_the_distance_is_euclidean_and_strict():
    box = [[40, 40, 60, 60]]
    assert not pointing_hit(peak(100, 40 - 9, 40 - 12), box, square(100))  # 9² + 12² = 15²
    assert pointing_hit(peak(100, 40 - 9, 40 - 11), box, square(100))
    assert pointing_hit(peak(100, 40 - 9, 40 - 12), box, square(100), tolerance=15.1)


def test_any_of_several_boxes_is_hit():
    far, near = [0, 0, 5, 5], [80, 80, 90, 90]
    assert not pointing_hit(peak(100, 85, 85), [far], square(100))
    assert pointing_hit(peak(100, 85, 85), [far, near], square(100))


def test_of_equal_maxima_the_first_in_reading_order_points():
    heat = np.zeros((100, 100))
    heat[10, 90] = heat[50, 5] = 1
    assert pointing_hit(heat, [[85, 5, 95, 15]], square(100))
    assert not pointing_hit(heat, [[0, 45, 10, 55]], square(100))
    assert pointing_hit(np.zeros((100, 100)), [[0, 0, 1, 1]], square(100))


def test_tolerance_is_pixels_of_the_original():
    # A map of 10×10 over 1000×500: its pixel (2, 5) has its centre at (249.5, 274.5) in the image's pixel indices.
    window = Window.whole(1000, 500)
    assert pointing_hit(peak(10, 2, 5), [[264, 270, 300, 280]], window)
    assert not pointing_hit(peak(10, 2, 5), [[265, 270, 300, 280]], window)
    # The same map over a crop, 100 … 200 of the width, half as wide again a map pixel: (124.5, 274.5).
    crop = Window(100, 0, 200, 500, 1000, 500)
    assert pointing_hit(peak(10, 2, 5), [[139, 270, 150, 280]], crop)
    assert not pointing_hit(peak(10, 2, 5), [[140, 270, 150, 280]], crop)


def slow_pointing_hit(heat, boxes, tolerance):
    best = max((value, -index) for index, value in enumerate(heat.ravel().tolist()))
    v, u = divmod(-best[1], heat.shape[1])
    mask = set().union(*(pixels_of(box) for box in boxes))
    return any((y - v) ** 2 + (x - u) ** 2 < tolerance**2 for y, x in mask)


@given(
    nst.arrays(np.int8, (12, 12), elements=st.integers(-3, 3)),
    st.lists(boxes_within(), min_size=1, max_size=3),
    st.sampled_from([0.5, 1, 3, 5]),
)
def test_pointing_against_a_mask_of_pixels(heat, boxes, tolerance):
    assert pointing_hit(heat, boxes, square(12), tolerance=tolerance) == slow_pointing_hit(heat, boxes, tolerance)

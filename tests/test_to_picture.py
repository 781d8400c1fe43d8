"""A map in the picture's own pixels, against a sum over all map pixels in plain loops, OpenCV and PyTorch."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.errors import InputError
from looktwice.images import Window
from looktwice.localization import locate
from looktwice.localization.regions import Region

maps = nst.arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.floats(-1, 1, width=16))
WINDOWS = [
    Window.whole(13, 7),
    Window.whole(3, 2),  # smaller than the map
    Window(-4.25, -2.5, 20.75, 12.5, 16, 10),  # with padding around the image
    Window(3.0, 1.0, 9.0, 7.0, 12, 8),  # the middle of the image
    Window(2.4, 0.6, 2.6, 5.2, 12, 8),  # one column of pixels
]


def slow_picture(heat, window):
    """Each pixel: the sum of all map pixels, each weighted by how near its centre is. Beyond the outer centres, the
    nearest place between them counts."""
    height, width = heat.shape
    picture = np.zeros((window.height, window.width))
    for y in range(window.height):
        for x in range(window.width):
            if not (window.left <= x + 0.5 < window.right and window.top <= y + 0.5 < window.bottom):
                continue
            across = (x + 0.5 - window.left) / (window.right - window.left) * width
            down = (y + 0.5 - window.top) / (window.bottom - window.top) * height
            across, down = min(max(across, 0.5), width - 0.5), min(max(down, 0.5), height - 0.5)
            for row in range(height):
                for column in range(width):
                    near = max(0, 1 - abs(across - column - 0.5)) * max(0, 1 - abs(down - row - 0.5))
                    picture[y, x] += near * heat[row, column]
    return picture


@settings(deadline=None)
@given(maps, st.sampled_from(WINDOWS))
def test_every_pixel_is_the_weighted_sum_of_the_map_s(heat, window):
    np.testing.assert_allclose(window.to_picture(heat), slow_picture(heat, window), atol=1e-12)


@pytest.mark.parametrize(("width", "height"), [(40, 24), (33, 50), (8, 6), (5, 4)])
def test_a_whole_picture_is_opencv_s_and_pytorch_s_bilinear(width, height):
    heat = np.random.default_rng(0).random((6, 8))
    found = Window.whole(width, height).to_picture(heat)
    np.testing.assert_allclose(found, cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), atol=1e-6)
    theirs = F.interpolate(torch.from_numpy(heat)[None, None], size=(height, width), mode="bilinear")
    np.testing.assert_allclose(found, theirs[0, 0].numpy(), atol=1e-12)


def test_a_map_as_large_as_the_picture_stays_as_it_is():
    heat = np.random.default_rng(0).random((5, 9))
    found = Window.whole(9, 5).to_picture(heat)
    np.testing.assert_array_equal(found, heat)
    assert not np.shares_memory(found, heat)


def test_outside_the_crop_is_zero_by_hand():
    # The middle 2×2 of 4×4, a map pixel each.
    picture = Window(1.0, 1.0, 3.0, 3.0, 4, 4).to_picture([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(picture, [[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]])


def test_what_a_crop_padded_is_left_out_by_hand():
    # A picture of 2×1 in the middle of a crop of 4×3.
    picture = Window(-1.0, -1.0, 3.0, 2.0, 2, 1).to_picture(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(picture, [[5, 6]])


def test_a_window_without_a_pixel_s_centre_shows_nothing():
    assert not Window(0.6, 0.0, 1.4, 2.0, 2, 2).to_picture(np.ones((3, 3))).any()


@given(maps, st.sampled_from(WINDOWS))
@settings(deadline=None)
def test_a_map_of_ones_lies_where_the_mask_of_all_its_pixels_lies(heat, window):
    ones = np.ones_like(heat)
    everything = Region(ones.astype(np.uint8), 1, 0, 0, (heat.shape[1], heat.shape[0]), window)
    np.testing.assert_array_equal(window.to_picture(ones), everything.mask(window.width, window.height))


def test_the_brightest_place_lies_in_the_box_around_it():
    heat = np.zeros((28, 28))
    heat[4:9, 15:21] = 1
    window = Window.of_crop(500, 375, resize=256, crop=224)
    (box,) = locate(heat, window)
    rows, columns = np.nonzero(window.to_picture(heat) > 0.99)
    assert box.x1 <= columns.min() < columns.max() < box.x2
    assert box.y1 <= rows.min() < rows.max() < box.y2


def test_single_precision_stays_single_and_values_stay_in_range():
    heat = np.random.default_rng(0).random((7, 7), dtype=np.float32)
    found = Window.whole(61, 47).to_picture(heat)
    assert found.dtype == np.float32
    assert heat.min() <= found.min() < found.max() <= heat.max()
    assert Window.whole(5, 5).to_picture(torch.rand(2, 2).half()).dtype == np.float32
    assert Window.whole(5, 5).to_picture([[True, False]]).dtype == np.float64


@pytest.mark.parametrize("heat", [np.ones(3), np.ones((1, 2, 2)), np.ones((0, 2)), [[float("nan")]]])
def test_what_is_no_map_is_refused(heat):
    with pytest.raises(InputError, match="map"):
        Window.whole(4, 4).to_picture(heat)

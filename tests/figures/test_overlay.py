"""What is drawn where: colours at places worked out by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from looktwice.figures.overlay import heat_alone, overlay, scaled
from looktwice.images import Window
from plain import GREY, pixels, plain

HOTTEST = tuple(int(v) for v in cv2.applyColorMap(np.array([[255]], np.uint8), cv2.COLORMAP_TURBO)[0, 0, ::-1])


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((4000, 3000), (1024, 768)),
        ((640, 427), (640, 427)),
        ((100, 200), (256, 512)),
        ((1, 1), (512, 512)),
        ((10_000, 50), (4096, 20)),  # 64 pixels high it would be 12,800 wide
        ((1000, 20), (3200, 64)),
        ((1, 60_000), (1, 4096)),
    ],
)
def test_an_image_is_scaled_to_be_looked_at(size, shown):
    assert scaled(plain(*size)).size == shown


def test_a_thumbnail_has_exactly_the_side_asked_for():
    assert [max(scaled(plain(*size), 90, smallest=90, strip=0).size) for size in [(900, 3), (3, 3), (60, 80)]] == [
        90
    ] * 3


def test_cold_parts_stay_as_they_are_and_hot_ones_take_the_colour():
    heat = np.zeros((2, 2), np.float32)
    heat[:, 1] = 1
    drawn = pixels(overlay(plain(80, 40), heat, Window.whole(80, 40), alpha=1.0))
    # The centres of the map's columns lie at x = 20 and x = 60 of the picture; between them the heat rises.
    assert (drawn[:, :20] == GREY).all()
    assert (drawn[:, 60:] == HOTTEST).all()
    assert (np.diff(np.abs(drawn[0, 20:60] - GREY).sum(1)[[0, 12, 39]]) > 0).all()


def test_the_picture_shows_through_by_the_opacity_asked_for():
    drawn = pixels(overlay(plain(8, 8), np.ones((4, 4)), Window.whole(8, 8), alpha=0.25))
    np.testing.assert_allclose(drawn[3, 3], 0.75 * np.array(GREY) + 0.25 * np.array(HOTTEST), atol=0.51)


def test_a_crop_is_coloured_where_it_was_cut_and_dimmed_around_it():
    window = Window(10, 5, 30, 25, 40, 30)
    drawn = pixels(overlay(plain(80, 60), np.ones((7, 7)), window, alpha=1.0))
    inside = np.zeros((60, 80), bool)
    inside[10:50, 20:60] = True  # the picture is twice the image
    assert (drawn[inside] == HOTTEST).all()
    assert (drawn[~inside] == 55).all()


def test_a_map_lies_where_its_window_is_also_beyond_the_image():
    # A 20 × 10 image, padded to 20 × 20: the map's rows 0 and 3 are padding, rows 1 and 2 the image.
    heat = np.zeros((4, 4), np.float32)
    heat[1:3, 1:3] = 1
    drawn = heat_alone(heat, (200, 100), Window(0, -5, 20, 15, 20, 10))
    rows, columns = np.nonzero((pixels(drawn) == HOTTEST).all(axis=2))
    # The hot pixels' centres lie at 3/8 and 5/8 of the window: of 200 columns, and of the rows from -50 to 150.
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (75, 125, 25, 75)
    assert len(rows) == 50 * 50


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_any_picture_takes_any_map(width, height, columns, rows):
    heat = np.linspace(0, 1, rows * columns).reshape(rows, columns)
    assert overlay(plain(width, height), heat, Window.whole(width, height)).size == (width, height)

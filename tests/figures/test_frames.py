"""Frames of boxes: where they lie, and that they are seen on any picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from looktwice.figures.frames import EDGE, FOUND, draw_boxes, frame, line_width
from looktwice.images import Window
from noise import noise
from plain import GREY, ink, pixels, plain

MAGENTA = (255, 64, 255)


def test_a_box_covers_its_half_open_pixels_with_a_dark_edge_outside():
    picture = plain(100, 60)
    drawn = pixels(draw_boxes(picture, [(10, 20, 30, 40)], Window.whole(100, 60)))
    # A line of one pixel within columns 10 … 29 and rows 20 … 39, dark at 9 and 30 and just inside it.
    coloured = (drawn == FOUND).all(axis=2)
    assert [coloured[20, 10], coloured[39, 29], coloured[30, 10], coloured[20, 15]] == [True] * 4
    assert coloured.sum() == 2 * 20 + 2 * 18
    assert (drawn[30, [9, 30, 11, 28]] == 0).all()
    assert (drawn[30, [8, 31, 12, 27]] == GREY).all()
    assert not ink(picture).any()


def test_boxes_scale_with_the_picture_and_take_other_colours():
    drawn = pixels(draw_boxes(plain(100, 60), [(10, 5, 20, 15)], Window.whole(50, 30), colour=MAGENTA))
    rows, columns = np.nonzero((drawn == MAGENTA).all(axis=2))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (20, 10, 39, 29)


def test_lines_grow_with_the_picture():
    thickness = []
    for side in (100, 500, 1024, 4000):
        drawn = pixels(draw_boxes(plain(side, side), [(0, 0, side, side)], Window.whole(side, side)))
        half = drawn[side // 2, : side // 2]
        thickness.append(tuple(int((half == colour).all(axis=1).sum()) for colour in (FOUND, EDGE)))
    assert thickness == [(1, 2), (3, 2), (6, 4), (6, 4)]  # the line, and its two edges


W, H = 200, 120
PLACES = {
    "inside": (60, 30, 140, 90),
    "whole": (0, 0, W, H),
    "left": (0, 30, 80, 90),
    "right": (120, 30, W, 90),
    "top": (60, 0, 140, 50),
    "bottom": (60, 70, 140, H),
    "upper left": (0, 0, 70, 50),
    "upper right": (130, 0, W, 50),
    "lower left": (0, 70, 70, H),
    "lower right": (130, 70, W, H),
    "a pixel": (99, 60, 100, 61),
    "a pixel in the upper left corner": (0, 0, 1, 1),
    "a pixel in the lower right corner": (W - 1, H - 1, W, H),
    "a thin one": (20, 60, 180, 62),
    "a thin one at the bottom": (20, H - 1, 180, H),
    "beyond the picture": (-30, -20, W + 9, H + 9),
    "outside of the picture": (W + 5, H + 5, W + 9, H + 9),
}
GROUNDS = {
    "white": plain(W, H, (255, 255, 255)),
    "black": plain(W, H, (0, 0, 0)),
    "gray": plain(W, H, (128, 128, 128)),
    "busy": noise(W, H),
    "checked": Image.fromarray(255 * (np.indices((H, W)).sum(0) // 2 % 2).astype(np.uint8)).convert("RGB"),
}


def luminance(colour):
    parts = np.asarray(colour) / 255
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    """WCAG's contrast of two colours, 1 … 21."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", [FOUND, MAGENTA])
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("place", PLACES)
def test_a_frame_is_seen_on_every_side(place, ground, colour):
    """From the outside inwards, each side is dark, light, dark; or dark, light to the middle of a tiny box."""
    drawn = pixels(draw_boxes(GROUNDS[ground], [PLACES[place]], Window.whole(W, H), colour=colour))
    place = frame(PLACES[place], (W, H), line=line_width(W, H), edge=1)
    x1, y1, x2, y2 = (int(side) for side in (place.x1, place.y1, place.x2, place.y2))
    assert 0 < x1 < x2 < W
    assert 0 < y1 < y2 < H
    across, down = drawn[(y1 + y2) // 2], drawn[:, (x1 + x2) // 2]
    sides = [(across, x1 - 1, x1), (across, x2, x2 - 1), (down, y1 - 1, y1), (down, y2, y2 - 1)]
    for outside, side in [(line[outer], line[inner]) for line, outer, inner in sides]:
        assert tuple(side) == colour
        assert tuple(outside) == EDGE
        assert contrast(side, outside) > 6.5
    width = int(place.line)
    if x2 - x1 >= 2 * width + 2 and y2 - y1 >= 2 * width + 2:
        for inner in (across[x1 + width], across[x2 - 1 - width], down[y1 + width], down[y2 - 1 - width]):
            assert tuple(inner) == EDGE
    # Around the corners, too, nothing of the frame is missing.
    assert (drawn[[y1 - 1, y2]][:, x1 - 1 : x2 + 1] == EDGE).all()
    assert (drawn[y1 - 1 : y2 + 1][:, [x1 - 1, x2]] == EDGE).all()


@pytest.mark.parametrize("side", range(1, 12))
def test_a_small_box_has_a_thin_line_and_shows_what_is_in_it(side):
    drawn = pixels(draw_boxes(plain(1024, 1024), [(500, 500, 500 + side, 500 + side)], Window.whole(1024, 1024)))
    light = (drawn == FOUND).all(axis=2)
    assert light.any()
    rows, columns = np.nonzero(light)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (500, 500, 500 + side, 500 + side)
    if side >= 3:
        assert not light[500 + side // 2, 500 + side // 2]


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 9), (3, 3), (4096, 1), (5, 2)])
def test_a_picture_of_a_few_pixels_takes_a_frame(size):
    drawn = draw_boxes(plain(*size), [(0, 0, *size)], Window.whole(*size))
    assert drawn.size == size
    assert (pixels(drawn) == FOUND).all(axis=2).any()


@given(
    st.tuples(*[st.floats(-50, 400)] * 4),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(0.5, 9),
    st.floats(0, 4),
)
def test_line_and_edges_of_any_box_lie_inside_the_picture(box, size, line, edge):
    x1, x2 = sorted(box[::2])
    y1, y2 = sorted(box[1::2])
    place = frame((x1, y1, x2, y2), size, line=line, edge=edge)
    assert -1e-9 <= place.x1 - place.edge <= place.x2 + place.edge <= size[0] + 1e-9
    assert -1e-9 <= place.y1 - place.edge <= place.y2 + place.edge <= size[1] + 1e-9
    assert min(place.x2 - place.x1, place.y2 - place.y1) >= 1 - 1e-9
    assert 0 < place.line <= max(line, 1)

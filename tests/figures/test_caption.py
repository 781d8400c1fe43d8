"""Text and legend below a picture."""

import cv2
import numpy as np
import pytest

from looktwice.figures.caption import caption
from looktwice.figures.frames import EDGE
from looktwice.figures.text import INK, MARGIN, QUIET, WARNING, fit_text, text_font, wrap
from plain import ink, pixels, plain


def test_a_caption_leaves_the_picture_alone_and_stays_on_its_strip():
    picture = plain(500, 200)
    drawn = caption(picture, "a class · 12.3%", ["details " * 40])
    assert drawn.width == 500
    assert not ink(drawn.crop((0, 0, 500, 200))).any()
    text = ink(drawn.crop((0, 200, 500, drawn.height)), (255, 255, 255))
    assert text.any()
    assert not text[:, -6:].any()
    assert not text[-3:].any()


def test_a_narrow_picture_is_centred_over_its_caption():
    drawn = caption(plain(20, 50), "a class", least_width=300)
    assert drawn.width == 300
    _, columns = np.nonzero(ink(drawn.crop((0, 0, 300, 50)), (255, 255, 255)))
    assert (columns.min(), columns.max()) == (140, 159)


def test_letters_that_the_font_lacks_are_replaced():
    assert caption(plain(200, 20), "café").tobytes() == caption(plain(200, 20), "cafe").tobytes()
    assert caption(plain(200, 20), "猫 \udc80").tobytes() == caption(plain(200, 20), "? ?").tobytes()


def colours(drawn, colour):
    """How many pixels have a colour."""
    return int((pixels(drawn) == colour).all(axis=2).sum())


def test_warnings_are_red_between_title_and_details_and_lose_no_word():
    warning = "shark is improbable (0.5 %): the network predicts a very long name of a class of fish (90 %). " * 2
    bare, told = (caption(plain(500, 200), "shark", ["details"], warnings=given) for given in ((), (warning,)))
    assert colours(bare, WARNING) == 0
    assert colours(told, WARNING) > 50
    rows = np.flatnonzero((pixels(told) == WARNING).all(axis=2).any(axis=1))
    (title, details) = (np.flatnonzero((pixels(told) == colour).all(axis=2).any(axis=1)) for colour in (INK, QUIET))
    assert title.max() < rows.min() < rows.max() < details.min()
    lines = wrap(warning, 500 - 2 * MARGIN, 12)
    assert " ".join(lines) == warning.strip()
    assert told.height - bare.height == len(lines) * round(12 * 1.4)
    assert [fit_text(line, text_font(12), 500 - 2 * MARGIN) for line in lines] == [
        line.replace(" ", "  ") for line in lines
    ]


@pytest.mark.parametrize("found", [False, True])
def test_the_legend_shows_the_map_s_colours_from_low_to_high_and_a_frame_if_there_is_one(found):
    drawn = caption(plain(500, 200), "a class", found=found)
    key = pixels(drawn.crop((0, 200, 500, drawn.height)))
    ends = [cv2.applyColorMap(np.array([[value]], np.uint8), cv2.COLORMAP_TURBO)[0, 0, ::-1] for value in (0, 255)]
    low, high = [np.flatnonzero((key == end).all(axis=2).any(axis=0)) for end in ends]
    assert low.max() < high.min()
    assert colours(drawn, EDGE) == 0 if not found else colours(drawn, EDGE) > 20


@pytest.mark.parametrize("room", range(120, 900, 30))
def test_a_number_is_not_parted_from_its_percent(room):
    text = "The network is not sure: nematode is most probable, with 2.1 %."
    lines = wrap(text, room, 12)
    assert " ".join(lines) == text
    assert not any(line.startswith("%") for line in lines)

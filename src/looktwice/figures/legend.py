"""The legend of a figure: the colours of the map from low to high, and what a frame is."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from looktwice.figures.frames import draw_boxes
from looktwice.figures.overlay import colours
from looktwice.figures.text import BACKGROUND, QUIET, Label, text_font, write
from looktwice.images import Window

_GROUND = (112, 128, 144)
"""Colour that the frame in the legend stands on: a picture's middle gray, with a little blue."""


@dataclass(frozen=True)
class Legend:
    """A legend, placed from its own upper left corner. All numbers are pixels.

    Attributes:
        width: of all of it.
        height: of all of it.
        bar: (x1, y1, x2, y2) of the scale of colours, low at the left.
        sample: (x1, y1, x2, y2) of a small picture with a frame; ``None`` where no box is drawn.
        labels: the words.
    """

    width: int
    height: int
    bar: tuple[int, int, int, int]
    sample: tuple[int, int, int, int] | None
    labels: tuple[Label, ...]


def legend(text_size: int, *, found: bool) -> Legend:
    """A legend for letters of a size.

    Args:
        text_size: height of the letters in pixels.
        found: whether the figure has boxes.
    """
    height, middle = round(1.5 * text_size), 0.75 * text_size
    top, bottom = round(middle - 0.4 * text_size), round(middle + 0.4 * text_size)
    place = 0.0
    labels = []

    def words(text: str, letters: float) -> None:
        nonlocal place
        labels.append(Label(text, place + letters * text_size / 2, middle, letters * text_size, colour=QUIET))
        place += letters * text_size

    words("attention: low", 7.6)
    bar = (round(place), top, round(place + 6 * text_size), bottom)
    place = bar[2]
    words("high", 2.9)
    sample = None
    if found:
        place += 0.9 * text_size
        above, below = round(middle - 0.55 * text_size), round(middle + 0.55 * text_size)
        sample = (round(place), above, round(place + 1.6 * text_size), below)
        place = sample[2]
        words("box found", 5.6)
    return Legend(round(place), height, bar, sample, tuple(labels))


def scale_colours(width: int, height: int) -> Image.Image:
    """The scale of colours as a picture, low at the left."""
    return Image.fromarray(colours(np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))))


def sample_picture(width: int, height: int) -> Image.Image:
    """The small picture that a frame is drawn on."""
    return Image.new("RGB", (width, height), _GROUND)


def legend_picture(text_size: int, *, found: bool) -> Image.Image:
    """A legend as a picture, RGB."""
    placed = legend(text_size, found=found)
    drawn = Image.new("RGB", (placed.width, placed.height), BACKGROUND)
    x1, y1, x2, y2 = placed.bar
    for label in placed.labels:
        write(label, drawn, text_font(text_size))
    drawn.paste(scale_colours(x2 - x1, y2 - y1), (x1, y1))
    if placed.sample is not None:
        x1, y1, x2, y2 = placed.sample
        ground = sample_picture(x2 - x1, y2 - y1)
        drawn.paste(draw_boxes(ground, [(0, 0, *ground.size)], Window.whole(*ground.size)), (x1, y1))
    return drawn

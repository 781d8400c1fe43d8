"""Boxes on a picture. One rule for every place that draws them: PNG, SVG, PDF, animations, the page and the report.

- The line is light: white for a box that was found, magenta (255, 64, 255) for a true one. The map has neither colour.
- On both sides of the line is a dark edge, black, a third as wide. So the line is seen on white as well as on black.
- The line lies inside the box, and all of it, with both edges, inside the picture. At the picture's border the line
  moves inwards by the width of its edge.
- In a small box the line is thinner: a fifth of the box's shorter side, but at least ``thinnest``.

The report and the sheet for review draw by ``look.css``. There the lines are as wide on a small picture as on a large
one, so a small box has no thinner line. A wrong box has an orange dashed line, and a class may have its own colour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from looktwice.figures.text import Colour
from looktwice.images import Window

FOUND: Colour = (255, 255, 255)
"""Colour of a found box's line."""


EDGE: Colour = (0, 0, 0)
"""Colour of the edges on both sides of the line."""


EDGE_SHARE = 1 / 3
"""Width of an edge, as a share of the line's."""


_SMALL = 1 / 5
"""Width of the line in a small box, as a share of the box's shorter side."""


@dataclass(frozen=True)
class Frame:
    """Where the light line of a box lies.

    Attributes:
        x1: left outer side of the line; all sides are half-open pixels of the picture.
        y1: upper outer side.
        x2: right outer side.
        y2: lower outer side.
        line: width of the line, inwards from these sides.
        edge: width of the dark edges, outwards from these sides and inwards from the line.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    line: float
    edge: float


def line_width(width: int, height: int) -> int:
    """Pixels of the light line on a picture of this size: 6 of 1024."""
    return max(1, round(min(max(width, height), 1024, 17 * min(width, height)) / 170))


def frame(box: Sequence[float], size: tuple[float, float], *, line: float, edge: float, thinnest: float = 1.0) -> Frame:
    """A box → its line, so that the line and both of its edges lie inside the picture.

    Args:
        box: (x1, y1, x2, y2) in half-open pixels of the picture.
        size: (width, height) of the picture, in pixels.
        line: width of the line where there is room for it.
        edge: width of each edge; less in a picture without room for it.
        thinnest: least width of the line, and least side of the frame.

    Returns:
        The line's place and the widths that fit.
    """
    edge = max(0, min(edge, *((side - thinnest) // 2 for side in size)))
    (x1, x2), (y1, y2) = (_between(box[axis], box[axis + 2], edge, size[axis] - edge, thinnest) for axis in range(2))
    return Frame(x1, y1, x2, y2, min(line, max(thinnest, _SMALL * min(x2 - x1, y2 - y1))), edge)


def _between(low: float, high: float, least: float, most: float, room: float) -> tuple[float, float]:
    """Moves two ends between two bounds, at least ``room`` apart."""
    low = min(max(low, least), most - room)
    return low, max(min(high, most), low + room)


def draw_boxes(
    picture: Image.Image, boxes: Iterable[Sequence[float]], window: Window, *, colour: Colour = FOUND
) -> Image.Image:
    """Draws boxes on a copy of a picture.

    Args:
        picture: the scaled image, RGB.
        boxes: (x1, y1, x2, y2) in half-open pixels of the original image.
        window: knows the size of the original image.
        colour: of the line, which has a dark edge on both sides.

    Returns:
        The copy.
    """
    across, down = picture.width / window.width, picture.height / window.height
    line = line_width(*picture.size)
    edge = max(1, round(line * EDGE_SHARE))
    drawn = picture.copy()
    canvas = ImageDraw.Draw(drawn)
    for x1, y1, x2, y2 in boxes:
        rounded = [round(x1 * across), round(y1 * down), round(x2 * across), round(y2 * down)]
        place = frame(rounded, picture.size, line=line, edge=edge)
        width, dark = int(place.line), int(place.edge)
        left, top, right, bottom = (int(side) for side in (place.x1, place.y1, place.x2, place.y2))
        _ring(canvas, (left - dark, top - dark, right + dark, bottom + dark), width + 2 * dark, EDGE)
        _ring(canvas, (left, top, right, bottom), width, colour)
    return drawn


def _ring(canvas: ImageDraw.ImageDraw, place: tuple[int, int, int, int], width: int, colour: Colour) -> None:
    """An outline inside half-open pixels. Pillow's own goes beyond a rectangle that is narrower than two lines."""
    x1, y1, x2, y2 = place
    across, down = min(width, x2 - x1), min(width, y2 - y1)
    for left, top, right, bottom in [
        (x1, y1, x2, y1 + down),
        (x1, y2 - down, x2, y2),
        (x1, y1, x1 + across, y2),
        (x2 - across, y1, x2, y2),
    ]:
        canvas.rectangle((left, top, right - 1, bottom - 1), fill=colour)

"""Sheets: pictures in rows and columns, with titles."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from PIL import Image

from looktwice.figures.frames import draw_boxes
from looktwice.figures.legend import Legend, legend, legend_picture
from looktwice.figures.text import BACKGROUND, MARGIN, WARNING, Label, text_font, wrap, write
from looktwice.images import Window


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet.

    Attributes:
        picture: RGB, in the size that it is shown in.
        boxes: (x1, y1, x2, y2) in half-open pixels of this picture.
        note: a line of text below it.
    """

    picture: Image.Image
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a sheet.

    Attributes:
        cells: from left to right.
        title: stands at the left side and reads upwards; newlines part its lines.
        warnings: sentences below it, in red. They are parted into lines, never cut.
    """

    cells: Sequence[Cell]
    title: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """Pictures in rows and columns, with a legend of the map's colours below.

    Attributes:
        columns: a title for each column; newlines part its lines.
        rows: from top to bottom.
        heading: one line above everything.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    heading: str = ""


@dataclass(frozen=True)
class Layout:
    """Where everything on a sheet lies. All numbers are pixels.

    Attributes:
        width: of the sheet.
        height: of the sheet.
        text_size: of the letters.
        cells: each cell with the left and the top of its picture.
        labels: every line of text but the legend's.
        legend: of the map's colours.
        legend_at: left and top of the legend.
    """

    width: int
    height: int
    text_size: int
    cells: tuple[tuple[Cell, int, int], ...]
    labels: tuple[Label, ...]
    legend: Legend
    legend_at: tuple[int, int]


def arrange(sheet: Sheet, *, text_size: int = 16) -> Layout:
    """Finds a place for every picture and every line of text. Pictures keep their size.

    Args:
        sheet: what to arrange.
        text_size: height of the letters in pixels.

    Returns:
        The places.
    """
    line = round(text_size * 1.5)
    widths = [max(c.picture.width for c in column if c) for column in zip_longest(*(row.cells for row in sheet.rows))]
    side = line * max(len(row.title.split("\n")) for row in sheet.rows)
    lefts = [side + MARGIN + sum(widths[:column]) + MARGIN * column for column in range(len(widths))]
    width = side + sum(widths) + MARGIN * (len(widths) + 1)
    top = 0
    labels = []
    if sheet.heading:
        labels.append(Label(sheet.heading, width / 2, line / 2 + 2, width - 2 * MARGIN))
        top = line
    for title, left, room in zip(sheet.columns, lefts, widths, strict=True):
        for number, text in enumerate(title.split("\n")):
            labels.append(Label(text, left + room / 2, top + line * (number + 0.5) + 2, room))
    top += line * max(len(title.split("\n")) for title in sheet.columns) + MARGIN
    cells = []
    for row in sheet.rows:
        height = max(6 * text_size, *(cell.picture.height for cell in row.cells))  # the row's title needs room
        below = line if any(cell.note for cell in row.cells) else 0
        for cell, left, room in zip(row.cells, lefts, widths, strict=False):
            picture = cell.picture
            cells.append((cell, left + (room - picture.width) // 2, top + (height - picture.height) // 2))
            labels.append(Label(cell.note, left + room / 2, top + height + line / 2, room))
        for number, text in enumerate(row.title.split("\n")):
            labels.append(Label(text, MARGIN // 2 + line * (number + 0.5), top + height / 2, height, upright=True))
        top += height + below
        room = width - side - 2 * MARGIN
        for text in (part for warning in row.warnings for part in wrap(warning, room, text_size)):
            labels.append(Label(text, side + MARGIN + room / 2, top + line / 2, room, colour=WARNING))
            top += line
        top += MARGIN
    key = legend(text_size, found=any(cell.boxes for cell, *_ in cells))
    width = max(width, side + key.width + 2 * MARGIN)
    place = (width - MARGIN - key.width, top)
    shown = tuple(label for label in labels if label.text)
    return Layout(width, top + key.height + MARGIN // 2, text_size, tuple(cells), shown, key, place)


def sheet_picture(sheet: Sheet, *, text_size: int = 16) -> Image.Image:
    """Draws a sheet as one picture.

    Args:
        sheet: what to draw.
        text_size: height of the letters in pixels.

    Returns:
        An RGB picture.
    """
    layout = arrange(sheet, text_size=text_size)
    font = text_font(text_size)
    drawn = Image.new("RGB", (layout.width, layout.height), BACKGROUND)
    for cell, left, top in layout.cells:
        drawn.paste(draw_boxes(cell.picture, cell.boxes, Window.whole(*cell.picture.size)), (left, top))
    for label in layout.labels:
        write(label, drawn, font)
    drawn.paste(legend_picture(text_size, found=layout.legend.sample is not None), layout.legend_at)
    return drawn

"""Sheets: pictures in rows and columns with titles."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from PIL import Image, ImageDraw, ImageFont

from looktwice.figures.overlay import BACKGROUND, INK, MARGIN, draw_boxes, fit_text, text_font
from looktwice.images import Window


@dataclass(frozen=True)
class Cell:
    """A picture on a sheet, boxes (x1, y1, x2, y2) in half-open pixels of that picture, and a line of text below."""

    picture: Image.Image
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Row:
    """Cells side by side and the title beside them, its lines split by newlines."""

    cells: Sequence[Cell]
    title: str


@dataclass(frozen=True)
class Sheet:
    """Rows under column titles, lines split by newlines, and a heading over it all."""

    columns: Sequence[str]
    rows: Sequence[Row]
    heading: str = ""


@dataclass(frozen=True)
class Label:
    """A line of text centred on (x, y) that has ``room`` in its direction; ``upright`` reads from bottom to top."""

    text: str
    x: float
    y: float
    room: float
    upright: bool = False


@dataclass(frozen=True)
class Layout:
    """Where everything on a sheet lies, in pixels: cells by the left and top of their pictures."""

    width: int
    height: int
    text_size: int
    cells: tuple[tuple[Cell, int, int], ...]
    labels: tuple[Label, ...]


def arrange(sheet: Sheet, *, text_size: int = 16) -> Layout:
    """A place for every picture, in its own size, and every line of text of a sheet."""
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
        height = max(6 * text_size, *(cell.picture.height for cell in row.cells))  # room for a strip's title
        below = line if any(cell.note for cell in row.cells) else 0
        for cell, left, room in zip(row.cells, lefts, widths, strict=False):
            picture = cell.picture
            cells.append((cell, left + (room - picture.width) // 2, top + (height - picture.height) // 2))
            labels.append(Label(cell.note, left + room / 2, top + height + line / 2, room))
        for number, text in enumerate(row.title.split("\n")):
            labels.append(Label(text, MARGIN // 2 + line * (number + 0.5), top + height / 2, height, upright=True))
        top += height + below + MARGIN
    return Layout(width, top, text_size, tuple(cells), tuple(label for label in labels if label.text))


def sheet_picture(sheet: Sheet, *, text_size: int = 16) -> Image.Image:
    """A sheet as pixels."""
    layout = arrange(sheet, text_size=text_size)
    font = text_font(text_size)
    drawn = Image.new("RGB", (layout.width, layout.height), BACKGROUND)
    for cell, left, top in layout.cells:
        drawn.paste(draw_boxes(cell.picture, cell.boxes, Window.whole(*cell.picture.size)), (left, top))
    for label in layout.labels:
        strip = _line(label, font)
        drawn.paste(strip, (round(label.x - strip.width / 2), round(label.y - strip.height / 2)))
    return drawn


def _line(label: Label, font: ImageFont.FreeTypeFont) -> Image.Image:
    """A label's text, as it reads, on a strip of the room it has."""
    strip = Image.new("RGB", (round(label.room), round(font.size * 1.4)), BACKGROUND)
    text = fit_text(label.text, font, label.room)
    ImageDraw.Draw(strip).text((strip.width / 2, strip.height / 2), text, font=font, fill=INK, anchor="mm")
    return strip.transpose(Image.Transpose.ROTATE_90) if label.upright else strip

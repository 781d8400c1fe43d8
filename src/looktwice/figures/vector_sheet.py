"""Sheets as SVG or PDF for a paper. Pictures keep their pixels, text stays text, and boxes are lines."""

import warnings
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from looktwice.errors import MissingExtraError
from looktwice.figures.frames import EDGE, EDGE_SHARE, FOUND, frame
from looktwice.figures.legend import sample_picture, scale_colours
from looktwice.figures.sheet import Cell, Layout, Sheet, arrange
from looktwice.figures.text import Colour, Label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text


Form = Literal["svg", "pdf"]


CELL = 540
"""Longer side, in pixels, of a picture on such a sheet. 300 pixels are one inch."""


_POINTS_A_PIXEL = 72 / 300


_TEXT = 32
"""Height of the letters in pixels: 7.7 points."""


_LINE = 1.0
_EDGE = _LINE * EDGE_SHARE
"""Width, in points, of a box's line and of the dark edge on each of its sides; see ``frames``."""


_STYLE = {
    "svg.fonttype": "none",  # letters stay letters: readers can search and edit them
    "pdf.fonttype": 42,
    "svg.hashsalt": "looktwice",  # the same sheet gives the same file
    "image.composite_image": False,  # each picture stays apart and keeps its resolution
    "font.family": "DejaVu Sans",
}


def require_matplotlib() -> Any:
    """Loads matplotlib.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import matplotlib.figure
        import matplotlib.patches
        import matplotlib.style
    except ImportError as error:
        raise MissingExtraError(
            "SVG and PDF files need matplotlib, which is not installed: pip install 'looktwice[figures]'"
        ) from error
    return matplotlib


def vector_sheet(sheet: Sheet, form: Form) -> bytes:
    """Draws a sheet as an SVG or PDF file. The same sheet gives the same bytes.

    Args:
        sheet: what to draw.
        form: "svg" or "pdf".

    Returns:
        The file's bytes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    matplotlib = require_matplotlib()
    metadata = {"Date": None} if form == "svg" else {"CreationDate": None}
    data = BytesIO()
    # The user's own matplotlibrc must change nothing. Warnings about letters that the font lacks are of no use to them.
    with matplotlib.style.context(["default", _STYLE], after_reset=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _figure(matplotlib, sheet).savefig(data, format=form, metadata=metadata)
    return data.getvalue()


def _figure(matplotlib: Any, sheet: Sheet) -> "Figure":
    layout = arrange(sheet, text_size=_TEXT)
    inches = (layout.width * _POINTS_A_PIXEL / 72, layout.height * _POINTS_A_PIXEL / 72)
    figure: Figure = matplotlib.figure.Figure(figsize=inches, dpi=72)
    plane = figure.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
    for cell, left, top in (*layout.cells, *_legend_cells(layout)):
        right, bottom = left + cell.picture.width, top + cell.picture.height
        plane.imshow(np.asarray(cell.picture), extent=(left, right, bottom, top), aspect="auto", interpolation="none")
        for box in cell.boxes:
            for patch in _frame(matplotlib, box, cell.picture.size, left, top):
                plane.add_patch(patch)
    plane.set(xlim=(0, layout.width), ylim=(layout.height, 0))
    left, top = layout.legend_at
    moved = [replace(label, x=label.x + left, y=label.y + top) for label in layout.legend.labels]
    for label in (*layout.labels, *moved):
        _write(plane, label, layout.text_size)
    return figure


def _legend_cells(layout: Layout) -> list[tuple[Cell, int, int]]:
    """The pictures of the legend, placed as the other ones."""
    left, top = layout.legend_at
    x1, y1, x2, y2 = layout.legend.bar
    cells = [(Cell(scale_colours(x2 - x1, y2 - y1)), left + x1, top + y1)]
    if layout.legend.sample is not None:
        x1, y1, x2, y2 = layout.legend.sample
        ground = sample_picture(x2 - x1, y2 - y1)
        cells.append((Cell(ground, ((0, 0, *ground.size),)), left + x1, top + y1))
    return cells


def _frame(
    matplotlib: Any, box: tuple[float, float, float, float], size: tuple[int, int], left: int, top: int
) -> list[Any]:
    """A light line on a wider dark one that is its edges, for a box of a picture at a place on the sheet."""
    place = frame(box, size, line=_LINE / _POINTS_A_PIXEL, edge=_EDGE / _POINTS_A_PIXEL)
    corner = (left + place.x1 + place.line / 2, top + place.y1 + place.line / 2)
    inner = (place.x2 - place.x1 - place.line, place.y2 - place.y1 - place.line)
    return [
        matplotlib.patches.Rectangle(
            corner,
            *inner,
            fill=False,
            edgecolor=_unit(colour),
            linewidth=width * _POINTS_A_PIXEL,
            joinstyle="miter",
        )
        for colour, width in [(EDGE, place.line + 2 * place.edge), (FOUND, place.line)]
    ]


def _write(plane: "Axes", label: Label, size: float) -> None:
    text = plane.text(
        label.x,
        label.y,
        "".join(letter if letter.isprintable() else "?" for letter in label.text),
        fontsize=size * _POINTS_A_PIXEL,
        ha="center",
        va="center",
        rotation=90 if label.upright else 0,
        color=_unit(label.colour),
        parse_math=False,  # a dollar sign in a file name starts no formula
    )
    _shorten(text, label.room * _POINTS_A_PIXEL, upright=label.upright)


def _unit(colour: Colour) -> tuple[float, ...]:
    """A colour as matplotlib has it, in 0 … 1."""
    return tuple(part / 255 for part in colour)


def _shorten(text: "Text", room: float, *, upright: bool) -> None:
    """Cuts a line of text that is longer than its room, in points. One dot of the figure is one point."""
    whole = text.get_text()
    for length in range(len(whole) - 1, -1, -1):
        extent = text.get_window_extent()
        if (extent.height if upright else extent.width) <= room:
            return
        text.set_text(whole[:length] + "…")

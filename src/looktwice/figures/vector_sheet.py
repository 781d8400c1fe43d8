"""Sheets as SVG or PDF for a paper. Pictures keep their pixels, text stays text, and boxes are lines."""

import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from looktwice.errors import MissingExtraError
from looktwice.figures.overlay import FOUND
from looktwice.figures.sheet import Sheet, arrange

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text


Form = Literal["svg", "pdf"]


CELL = 540
"""Longer side, in pixels, of a picture on such a sheet. 300 pixels are one inch."""


_POINTS_A_PIXEL = 72 / 300


_TEXT = 32
"""Height of the letters in pixels: 7.7 points."""


_LINE, _EDGE = 1.0, 0.4
"""Width, in points, of a box's line and of the dark edge on each of its sides."""


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
    for cell, left, top in layout.cells:
        right, bottom = left + cell.picture.width, top + cell.picture.height
        plane.imshow(np.asarray(cell.picture), extent=(left, right, bottom, top), aspect="auto", interpolation="none")
        for x1, y1, x2, y2 in cell.boxes:
            for patch in _box(matplotlib, left + x1, top + y1, left + x2, top + y2):
                plane.add_patch(patch)
    plane.set(xlim=(0, layout.width), ylim=(layout.height, 0))
    for label in layout.labels:
        text = plane.text(
            label.x,
            label.y,
            "".join(letter if letter.isprintable() else "?" for letter in label.text),
            fontsize=layout.text_size * _POINTS_A_PIXEL,
            ha="center",
            va="center",
            rotation=90 if label.upright else 0,
            parse_math=False,  # a dollar sign in a file name starts no formula
        )
        _shorten(text, label.room * _POINTS_A_PIXEL, upright=label.upright)
    return figure


def _box(matplotlib: Any, x1: float, y1: float, x2: float, y2: float) -> list[Any]:
    """A light line inside half-open pixels, on a wider dark line that is its edge."""
    inset = min(_LINE / 2 / _POINTS_A_PIXEL, (x2 - x1) / 2, (y2 - y1) / 2)
    corner, size = (x1 + inset, y1 + inset), (x2 - x1 - 2 * inset, y2 - y1 - 2 * inset)
    return [
        matplotlib.patches.Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=width, joinstyle="miter")
        for colour, width in [("black", _LINE + 2 * _EDGE), ([part / 255 for part in FOUND], _LINE)]
    ]


def _shorten(text: "Text", room: float, *, upright: bool) -> None:
    """Cuts a line of text that is longer than its room, in points. One dot of the figure is one point."""
    whole = text.get_text()
    for length in range(len(whole) - 1, -1, -1):
        extent = text.get_window_extent()
        if (extent.height if upright else extent.width) <= room:
            return
        text.set_text(whole[:length] + "…")

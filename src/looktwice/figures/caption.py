"""A caption below a picture: title, warnings, details, legend."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from looktwice.figures.legend import legend_picture
from looktwice.figures.text import BACKGROUND, INK, MARGIN, QUIET, WARNING, fit_text, text_font, wrap


def caption(
    picture: Image.Image,
    title: str,
    details: Sequence[str] = (),
    *,
    warnings: Sequence[str] = (),
    found: bool = False,
    least_width: int = 420,
) -> Image.Image:
    """Adds lines of text and the legend of the map's colours below a picture.

    Args:
        picture: RGB.
        title: the first line. It is larger. A line that is too long is cut.
        details: the last lines.
        warnings: sentences between them, in red. They are parted into lines, never cut.
        found: whether the legend says what a frame is.
        least_width: pixels; a narrower picture is centred on white paper of this width.

    Returns:
        A new picture.
    """
    width = max(picture.width, least_width)
    size = max(15, min(28, width // 34))
    small = round(size * 0.8)
    room = width - 2 * MARGIN
    told = [line for warning in warnings for line in wrap(warning, room, small)]
    lines = [
        (title, size, INK),
        *((line, small, WARNING) for line in told),
        *((line, small, QUIET) for line in details),
    ]
    key = legend_picture(small, found=found)
    heights = [round(letters * 1.4) for _, letters, _ in lines]
    sheet = Image.new("RGB", (width, picture.height + sum(heights) + key.height + 2 * MARGIN), BACKGROUND)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    canvas = ImageDraw.Draw(sheet)
    top = picture.height + MARGIN
    for (line, letters, colour), height in zip(lines, heights, strict=True):
        font = text_font(letters)
        canvas.text((MARGIN, top), fit_text(line, font, room), font=font, fill=colour)
        top += height
    sheet.paste(key, (width - MARGIN - key.width, top))
    return sheet

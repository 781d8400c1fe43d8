"""Text on pictures and sheets."""

import textwrap
import unicodedata
from dataclasses import dataclass
from typing import cast

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]


INK: Colour = (24, 24, 27)
"""Colour of text."""


QUIET: Colour = (96, 96, 104)
"""Colour of text that says less."""


WARNING: Colour = (180, 20, 20)
"""Colour of what a reader must know before anything else. On white it has a contrast of 6.9."""


BACKGROUND: Colour = (255, 255, 255)
"""Colour of the paper."""


MARGIN = 8
"""Pixels between the parts of a sheet."""


@dataclass(frozen=True)
class Label:
    """One line of text on a sheet.

    Attributes:
        text: the line.
        x: of its centre, in pixels.
        y: of its centre, in pixels.
        room: how long the line may be, in pixels.
        upright: whether it reads from bottom to top.
        colour: of its letters.
    """

    text: str
    x: float
    y: float
    room: float
    upright: bool = False
    colour: Colour = INK


def write(label: Label, sheet: Image.Image, font: ImageFont.FreeTypeFont) -> None:
    """Writes a label on a sheet, on a strip of paper of its own."""
    strip = Image.new("RGB", (max(1, round(label.room)), round(font.size * 1.4)), BACKGROUND)
    text = fit_text(label.text, font, label.room)
    place = (strip.width / 2, strip.height / 2)
    ImageDraw.Draw(strip).text(place, text, font=font, fill=label.colour, anchor="mm")
    turned = strip.transpose(Image.Transpose.ROTATE_90) if label.upright else strip
    sheet.paste(turned, (round(label.x - turned.width / 2), round(label.y - turned.height / 2)))


def text_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font.

    Args:
        size: pixels.
    """
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))


def fit_text(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """A text that Pillow's own font can write, cut to a width.

    The font has only ASCII letters, so accents are removed and other letters become question marks. Its space is too
    narrow to part two words, so each space becomes two.

    Args:
        text: the text.
        font: the font that it will be written in.
        width: pixels.

    Returns:
        The text. If it was cut, it ends in "…".
    """
    plain = unicodedata.normalize("NFKD", text).replace(" ", "  ")
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = "".join(letter if letter.isascii() or letter in "·…" else "?" for letter in plain)
    if font.getlength(plain) <= width:
        return plain
    while plain and font.getlength(plain + "…") > width:
        plain = plain[:-1]
    return plain + "…"


def wrap(text: str, room: float, size: float) -> list[str]:
    """Parts a sentence into lines that fit their room in any of the fonts.

    Args:
        text: the sentence.
        room: pixels for each line.
        size: of the letters, in pixels. A letter takes 0.6 of it at most, on average.
    """
    kept = text.replace(" %", "\u00a0%")  # a number and its % stay together
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(kept, max(8, int(room / (0.6 * size))))]

"""Maps, boxes and captions drawn on an image.

A *picture* is an image scaled to a size that people can look at. The ``Window`` says which part of the original image a
map covers and how large that image is. So maps and boxes find their place on the picture.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from looktwice.images import Window

Colour = tuple[int, int, int]


FOUND: Colour = (255, 255, 255)
"""Colour of predicted boxes: white, because the map's colours have no white and most pictures have little."""


INK: Colour = (24, 24, 27)
"""Colour of text."""


BACKGROUND: Colour = (255, 255, 255)
"""Colour of the paper."""


_EDGE: Colour = (0, 0, 0)


MARGIN = 8
"""Pixels between the parts of a sheet."""


def scaled(image: Image.Image, longest: int = 1024, *, smallest: int = 512, strip: int = 64) -> Image.Image:
    """An image at a size that people can look at. Its proportions stay.

    Args:
        image: RGB, of any size.
        longest: the longer side gets at most this many pixels.
        smallest: the longer side gets at least this many pixels, but never more than ``longest``.
        strip: a very long image would get a very short side. If the short side had fewer pixels than this, the longer
            one may have up to four times ``longest``.

    Returns:
        The picture.
    """
    longer, shorter = max(image.size), min(image.size)
    side = min(max(longer, smallest), longest)
    factor = max(side / longer, min(strip / shorter, 4 * longest / longer))
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def overlay(picture: Image.Image, heat: NDArray[np.floating], window: Window, *, alpha: float = 0.8) -> Image.Image:
    """Draws a map in colour over a picture. Higher values hide more of the picture.

    The part of the picture that the network did not see, because it was cropped away, becomes darker.

    Args:
        picture: the scaled image, RGB.
        heat: the map (H, W), values in [0, 1].
        window: the part of the image that the map covers.
        alpha: opacity, 0 … 1, where the map is 1.

    Returns:
        A picture of the same size.
    """
    placed, seen = _placed(heat, picture.size, window)
    pixels = np.asarray(picture, dtype=np.float32)
    opacity = alpha * placed[..., None] ** 0.75  # the exponent makes low values visible: maps are peaked
    mixed = pixels * (1 - opacity) + _colours(placed) * opacity
    return Image.fromarray(np.where(seen[..., None], mixed, 0.55 * pixels).round().astype(np.uint8))


def heat_alone(heat: NDArray[np.floating], size: tuple[int, int], window: Window) -> Image.Image:
    """A map in colour, without the picture.

    Args:
        heat: the map (H, W), values in [0, 1].
        size: (width, height) of the picture that the map belongs to.
        window: the part of the image that the map covers.

    Returns:
        A picture of this size. It is black where the map covers nothing.
    """
    placed, seen = _placed(heat, size, window)
    return Image.fromarray(np.where(seen[..., None], _colours(placed), 0).astype(np.uint8))


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
    line = max(1, round(min(max(picture.size), 1024, 17 * min(picture.size)) / 170))
    drawn = picture.copy()
    canvas = ImageDraw.Draw(drawn)
    for x1, y1, x2, y2 in boxes:
        left, top = max(0, round(x1 * across)), max(0, round(y1 * down))
        right, bottom = max(left, round(x2 * across) - 1), max(top, round(y2 * down) - 1)
        # With dark edges on both sides, the line is visible on any background.
        canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_EDGE, width=line + 2)
        canvas.rectangle((left, top, right, bottom), outline=colour, width=line)
    return drawn


def caption(picture: Image.Image, lines: Sequence[str], *, least_width: int = 420) -> Image.Image:
    """Adds lines of text below a picture.

    Args:
        picture: RGB.
        lines: the first one is larger. A line that is too long is cut.
        least_width: pixels; a narrower picture is centred on white paper of this width.

    Returns:
        A new picture.
    """
    width = max(picture.width, least_width)
    size = max(15, min(28, width // 34))
    fonts = [text_font(size if number == 0 else round(size * 0.8)) for number in range(len(lines))]
    heights = [round(font.size * 1.4) for font in fonts]
    sheet = Image.new("RGB", (width, picture.height + sum(heights) + 2 * MARGIN), BACKGROUND)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    canvas = ImageDraw.Draw(sheet)
    top = picture.height + MARGIN
    for number, (line, font, height) in enumerate(zip(lines, fonts, heights, strict=True)):
        text = fit_text(line, font, width - 2 * MARGIN)
        canvas.text((MARGIN, top), text, font=font, fill=INK if number == 0 else (96, 96, 104))
        top += height
    return sheet


def _placed(
    heat: NDArray[np.floating], size: tuple[int, int], window: Window
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scales a map (H, W) to a picture of ``size`` (width, height), and says which of its pixels the map covers."""
    width, height = size
    across, down = width / window.width, height / window.height
    rows, columns = heat.shape
    step_x, step_y = (window.right - window.left) * across / columns, (window.bottom - window.top) * down / rows
    # Pixel i has its centre at i + ½. So map pixel i lies at (i + ½) · step, and its index on the picture is ½ less.
    place = np.array(
        [[step_x, 0, step_x / 2 + window.left * across - 0.5], [0, step_y, step_y / 2 + window.top * down - 0.5]]
    )
    clipped = np.clip(heat, 0, 1).astype(np.float32)
    placed = cv2.warpAffine(clipped, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    x, y = (np.arange(width) + 0.5) / across, (np.arange(height) + 0.5) / down
    seen = ((y >= window.top) & (y < window.bottom))[:, None] & ((x >= window.left) & (x < window.right))[None]
    return np.asarray(placed), seen


def _colours(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values (H, W) in [0, 1] → RGB (H, W, 3), from blue over green to red.

    Of OpenCV's colour maps, Turbo stands out from photographs of any colour, and its hue changes smoothly. Inferno,
    plasma and viridis are hard to see on dark, warm or green pictures.
    """
    levels = (heat * 255).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1], dtype=np.uint8)


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

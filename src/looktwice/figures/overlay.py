"""Maps and boxes drawn on the image they belong to, with captions, and sheets of such pictures in rows.

A *picture* is an image scaled to a size for looking at. Maps and boxes find their place on it through the ``Window``,
which knows the size of the original.
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
"""Boxes drawn from the map: white, which neither the heat colours nor most pictures have much of."""


TRUTH: Colour = (255, 64, 255)
"""Annotated boxes: magenta, for the same reason."""


INK, BACKGROUND, _EDGE = (24, 24, 27), (255, 255, 255), (0, 0, 0)


MARGIN = 8


def scaled(image: Image.Image, longest: int = 1024, *, smallest: int = 512, strip: int = 64) -> Image.Image:
    """An RGB image at a size for looking at, in its own proportions.

    Args:
        image: of any size.
        longest: the longer side has no more pixels than this,
        smallest: and no fewer than this, up to ``longest``.
        strip: for this many pixels on the shorter side, the longer one may be four times ``longest``.
    """
    longer, shorter = max(image.size), min(image.size)
    side = min(max(longer, smallest), longest)
    factor = max(side / longer, min(strip / shorter, 4 * longest / longer))
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def overlay(picture: Image.Image, heat: NDArray[np.floating], window: Window, *, alpha: float = 0.8) -> Image.Image:
    """A map (H, W) in [0, 1] in colour over the picture: the hotter, the less of the picture shows through.

    What the network did not see, because it was cropped away, is dimmed.

    Args:
        picture: the scaled image, RGB.
        heat: the map.
        window: the part of the image that the map covers.
        alpha: opacity (0 … 1) where the map is 1.
    """
    spread, seen = _spread(heat, picture.size, window)
    pixels = np.asarray(picture, dtype=np.float32)
    opacity = alpha * spread[..., None] ** 0.75  # below 1, since a map is peaked and its lower half counts as well
    mixed = pixels * (1 - opacity) + _colours(spread) * opacity
    return Image.fromarray(np.where(seen[..., None], mixed, 0.55 * pixels).round().astype(np.uint8))


def heat_alone(heat: NDArray[np.floating], size: tuple[int, int], window: Window) -> Image.Image:
    """A map (H, W) in [0, 1] in colour, as it lies on a picture of ``size`` (width, height); black beyond it."""
    spread, seen = _spread(heat, size, window)
    return Image.fromarray(np.where(seen[..., None], _colours(spread), 0).astype(np.uint8))


def draw_boxes(
    picture: Image.Image, boxes: Iterable[Sequence[float]], window: Window, *, colour: Colour = FOUND
) -> Image.Image:
    """A copy of the picture with boxes (x1, y1, x2, y2), half-open pixels of the original image."""
    across, down = picture.width / window.width, picture.height / window.height
    line = max(1, round(min(max(picture.size), 1024, 17 * min(picture.size)) / 170))
    drawn = picture.copy()
    canvas = ImageDraw.Draw(drawn)
    for x1, y1, x2, y2 in boxes:
        left, top = max(0, round(x1 * across)), max(0, round(y1 * down))
        right, bottom = max(left, round(x2 * across) - 1), max(top, round(y2 * down) - 1)
        # Dark on both sides of the line, so that it is seen on any background.
        canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_EDGE, width=line + 2)
        canvas.rectangle((left, top, right, bottom), outline=colour, width=line)
    return drawn


def caption(picture: Image.Image, lines: Sequence[str], *, least_width: int = 420) -> Image.Image:
    """The picture above a strip of text; the first line is larger. A narrow picture is centred on ``least_width``."""
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


def _spread(
    heat: NDArray[np.floating], size: tuple[int, int], window: Window
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The map (H, W) on a picture of ``size`` (width, height), and which of its pixels the map covers."""
    width, height = size
    across, down = width / window.width, height / window.height
    rows, columns = heat.shape
    step_x, step_y = (window.right - window.left) * across / columns, (window.bottom - window.top) * down / rows
    # Pixel centres lie at halves: (i + ½) · step is where map pixel i is centred, ½ less is its index on the picture.
    place = np.array(
        [[step_x, 0, step_x / 2 + window.left * across - 0.5], [0, step_y, step_y / 2 + window.top * down - 0.5]]
    )
    clipped = np.clip(heat, 0, 1).astype(np.float32)
    spread = cv2.warpAffine(clipped, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    x, y = (np.arange(width) + 0.5) / across, (np.arange(height) + 0.5) / down
    seen = ((y >= window.top) & (y < window.bottom))[:, None] & ((x >= window.left) & (x < window.right))[None]
    return np.asarray(spread), seen


def _colours(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Heat (H, W) in [0, 1] → RGB (H, W, 3), blue through green to red.

    Turbo is smooth in hue, and of OpenCV's maps the one that stands out from photographs of any colour; the maps with
    an even run of lightness (inferno, plasma, viridis) drown in dark, in warm or in green pictures.
    """
    levels = (heat * 255).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1], dtype=np.uint8)


def text_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font at a size in pixels."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))


def fit_text(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, cut to fit a width; Pillow's own font has ASCII letters only, so accents are taken off.

    Its space is so narrow that two words look like one; each becomes two.
    """
    plain = unicodedata.normalize("NFKD", text).replace(" ", "  ")
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = "".join(letter if letter.isascii() or letter in "·…" else "?" for letter in plain)
    if font.getlength(plain) <= width:
        return plain
    while plain and font.getlength(plain + "…") > width:
        plain = plain[:-1]
    return plain + "…"

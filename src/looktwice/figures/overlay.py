"""Maps drawn on an image.

A *picture* is an image scaled to a size that people can look at. The ``Window`` says which part of the original image a
map covers and how large that image is. So maps find their place on the picture.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from looktwice.images import Window


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
    mixed = pixels * (1 - opacity) + colours(placed) * opacity
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
    return Image.fromarray(np.where(seen[..., None], colours(placed), 0).astype(np.uint8))


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


def colours(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values (H, W) in [0, 1] → RGB (H, W, 3), from blue over green to red.

    Of OpenCV's colour maps, Turbo stands out from photographs of any colour, and its hue changes smoothly. Inferno,
    plasma and viridis are hard to see on dark, warm or green pictures.
    """
    levels = (heat * 255).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1], dtype=np.uint8)

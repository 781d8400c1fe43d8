"""Image files → RGB pictures, and where in its image a network's input (and so its map) lies.

A file is checked before it is decoded, so that one broken picture costs one line and not the run.
"""

import glob
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from looktwice.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
"""Files that a folder contributes, by the suffix in lower case; a file named singly may have any."""


MAX_PIXELS = 100_000_000
"""Above this a file is refused unread: a few kilobytes can claim gigabytes of pixels."""


@dataclass(frozen=True)
class Window:
    """The rectangle of an image that a map covers, as half-open pixels (left, top, right, bottom) of that image.

    ``width`` and ``height`` are the image's own. A crop wider than the image, which padding fills, reaches beyond it.
    """

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int

    @classmethod
    def whole(cls, width: int, height: int) -> "Window":
        """All of an image: it was squashed to the network's input, not cropped."""
        return cls(0.0, 0.0, float(width), float(height), width, height)

    @classmethod
    def cropped(cls, width: int, height: int, *, resized: tuple[int, int], crop: Sequence[int]) -> "Window":
        """An image resized to ``resized`` (width, height), of which ``crop`` (left, top, right, bottom) was cut out."""
        across, down = width / resized[0], height / resized[1]
        left, top, right, bottom = crop
        return cls(left * across, top * down, right * across, bottom * down, width, height)

    def to_image(self, boxes: ArrayLike, map_width: int, map_height: int) -> NDArray[np.float64]:
        """Boxes (…, 4), half-open pixels of a map of that size → half-open pixels of the image, clipped to it.

        A box that lies in the padding altogether comes back empty (x2 = x1 or y2 = y1).
        """
        corner, span, size = self._measures(map_width, map_height)
        limits = np.array([self.width, self.height, self.width, self.height], dtype=np.float64)
        return np.clip(np.asarray(boxes, dtype=np.float64) * span / size + corner, 0.0, limits)

    def to_map(self, boxes: ArrayLike, map_width: int, map_height: int) -> NDArray[np.float64]:
        """Boxes (…, 4) in pixels of the image → pixels of a map; not clipped, so what a crop cut off still counts."""
        corner, span, size = self._measures(map_width, map_height)
        return (np.asarray(boxes, dtype=np.float64) - corner) * size / span

    def _measures(self, map_width: int, map_height: int) -> tuple[NDArray[np.float64], ...]:
        """The window's corner and extent in the image, and the map's size, each as (x, y, x, y)."""
        corner = np.array([self.left, self.top] * 2)
        span = np.array([self.right - self.left, self.bottom - self.top] * 2)
        return corner, span, np.array([map_width, map_height] * 2, dtype=np.float64)


def read_image(path: str | PathLike[str], *, upright: bool = True, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """One image file as 8-bit RGB: alpha lies on white, 16-bit gray is scaled, of an animation the first frame.

    Args:
        path: the file; its content says what it is, not its suffix.
        upright: turn it as its EXIF orientation says. Annotations count pixels as stored, so evaluation passes False.
        max_pixels: refuse larger images; read from the header, before any pixel is decoded.

    Raises:
        InputError: missing, no file, empty, no image, cut short, too large, or of a kind without a defined range.
    """
    file = _check_file(Path(path))
    try:
        with _open(file, max_pixels) as image:
            image.load()
            return to_rgb(ImageOps.exif_transpose(image) if upright else image, file)
    except InputError:
        raise
    except Exception as error:  # on broken bytes Pillow's decoders raise nearly anything: OSError, SyntaxError, zlib …
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: damaged or cut short ({reason}); fetch the file again or leave it out") from error


def find_images(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    """Files, folders (searched recursively, by ``SUFFIXES``) and globs → image files; each once, in the given order.

    What a folder or glob stands for is sorted. A missing file is kept: ``read_image`` reports it in its turn, so that
    it does not cost the others.

    Raises:
        InputError: a folder or glob without any image, or no path at all.
    """
    found = [file for path in paths for file in _expand(fspath(path))]
    if not found:
        raise InputError("no image was named; give at least one file, folder or glob")
    return list(dict.fromkeys(found))


def _expand(path: str) -> list[Path]:
    file = Path(path)
    if file.is_dir():
        found = sorted(entry for entry in file.rglob("*") if _looks_like_image(entry))
    elif not file.exists() and glob.has_magic(path):
        # As a shell would have put it: each match a file, or a folder to search.
        matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [entry for match in matches for entry in _expand(match)]
    else:
        return [file]
    if not found:
        raise InputError(f"{path}: no image there; images end in {', '.join(sorted(SUFFIXES))}")
    return found


def _looks_like_image(file: Path) -> bool:
    # Hidden files are left out: macOS writes a "._name.jpg" without a picture beside each "name.jpg".
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _check_file(file: Path) -> Path:
    if file.is_dir():
        raise InputError(f"{file}: is a folder; name an image file in it")
    if not file.exists():
        raise InputError(f"{file}: no such file; check the path")
    if not file.is_file():
        raise InputError(f"{file}: is no regular file; copy the image to one")
    try:
        empty = file.stat().st_size == 0
        file.open("rb").close()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise InputError(f"{file}: is empty (0 bytes); fetch the file again")
    return file


def _open(file: Path, max_pixels: int) -> Image.Image:
    """The image's header. Pillow keeps a limit of its own, which warns below ours and raises above it."""
    too_large = f"pixels are more than the {max_pixels:,} allowed; scale the image down first"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise InputError(f"{file}: its {too_large}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{file}: is no image that Pillow knows; convert it to JPEG or PNG") from error
    if image.width * image.height > max_pixels:
        image.close()
        raise InputError(f"{file}: {image.width:,} × {image.height:,} {too_large}")
    return image


def to_rgb(image: Image.Image, file: Path) -> Image.Image:
    """A picture of any mode as 8-bit RGB; transparent parts become white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image, file)
    if image.mode == "F":
        raise InputError(f"{file}: floating-point pixels have no defined white; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image, file: Path) -> Image.Image:
    """0 … 65535 → 0 … 255; Pillow's own conversion clips everything above 255 to white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{file}: 32-bit pixels have no defined white; save it with 8 or 16 bits a channel")
    # 65535 = 255 · 257, so this rounds to nearest and keeps both ends.
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")

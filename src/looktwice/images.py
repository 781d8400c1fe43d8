"""Image files → RGB pictures, and which part of an image the network's input and its map cover.

A file is checked before it is decoded. So a broken picture costs one line on the screen, and not the run.
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
"""The files of a folder that are taken as images: their suffix in lower case. A file that is named may have any."""


MAX_PIXELS = 100_000_000
"""An image with more pixels is refused before it is decoded: a file of a few kilobytes can hold gigabytes of pixels."""


@dataclass(frozen=True)
class Window:
    """The rectangle of an image that a map covers.

    (left, top, right, bottom) are half-open pixels of the image. If the crop is larger than the image, padding fills
    it, and the rectangle reaches out of the image.

    Attributes:
        left: first column.
        top: first row.
        right: one after the last column.
        bottom: one after the last row.
        width: of the whole image, in pixels.
        height: of the whole image, in pixels.
    """

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int

    @classmethod
    def whole(cls, width: int, height: int) -> "Window":
        """The window of an image that was squashed to the network's input: all of it.

        Args:
            width: of the image, in pixels.
            height: of the image, in pixels.
        """
        return cls(0.0, 0.0, float(width), float(height), width, height)

    @classmethod
    def cropped(cls, width: int, height: int, *, resized: tuple[int, int], crop: Sequence[int]) -> "Window":
        """The window of an image that was resized and then cropped.

        Args:
            width: of the image, in pixels.
            height: of the image, in pixels.
            resized: (width, height) after resizing.
            crop: (left, top, right, bottom) in half-open pixels of the resized image.
        """
        across, down = width / resized[0], height / resized[1]
        left, top, right, bottom = crop
        return cls(left * across, top * down, right * across, bottom * down, width, height)

    @classmethod
    def of_crop(cls, width: int, height: int, *, resize: int, crop: int, squash: bool = False) -> "Window":
        """The part of an image (``width`` × ``height``) that is left after the usual preprocessing.

        The shorter side becomes ``resize`` pixels, then the central ``crop`` × ``crop`` pixels are kept. With
        ``squash`` the whole image becomes ``crop`` × ``crop``, so all of it is left.

        >>> Window.of_crop(500, 400, resize=200, crop=200)
        Window(left=50.0, top=0.0, right=450.0, bottom=400.0, width=500, height=400)
        """
        if squash:
            return cls.whole(width, height)
        # Both roundings are torchvision's (resize and center_crop), so that published accuracies hold.
        short = min(width, height)
        resized = (resize * width // short, resize * height // short)
        left, top = (round((side - crop) / 2) for side in resized)
        return cls.cropped(width, height, resized=resized, crop=(left, top, left + crop, top + crop))

    def to_image(self, boxes: ArrayLike, map_width: int, map_height: int) -> NDArray[np.float64]:
        """Boxes in pixels of a map → in pixels of the image.

        Args:
            boxes: (…, 4), half-open pixels of the map.
            map_width: of the map, in pixels.
            map_height: of the map, in pixels.

        Returns:
            (…, 4), half-open pixels of the image, clipped to it. A box that lies wholly in the padding becomes empty:
            x2 = x1 or y2 = y1.
        """
        corner, span, size = self._measures(map_width, map_height)
        limits = np.array([self.width, self.height, self.width, self.height], dtype=np.float64)
        return np.clip(np.asarray(boxes, dtype=np.float64) * span / size + corner, 0.0, limits)

    def to_map(self, boxes: ArrayLike, map_width: int, map_height: int) -> NDArray[np.float64]:
        """Boxes in pixels of the image → in pixels of a map.

        Args:
            boxes: (…, 4), half-open pixels of the image.
            map_width: of the map, in pixels.
            map_height: of the map, in pixels.

        Returns:
            (…, 4), half-open pixels of the map. Boxes are not clipped, so a part that the crop cut off still counts.
        """
        corner, span, size = self._measures(map_width, map_height)
        return (np.asarray(boxes, dtype=np.float64) - corner) * size / span

    def _measures(self, map_width: int, map_height: int) -> tuple[NDArray[np.float64], ...]:
        """The window's corner and size in the image, and the size of the map, each as (x, y, x, y)."""
        corner = np.array([self.left, self.top] * 2)
        span = np.array([self.right - self.left, self.bottom - self.top] * 2)
        return corner, span, np.array([map_width, map_height] * 2, dtype=np.float64)


def read_image(path: str | PathLike[str], *, upright: bool = True, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads one image file as 8-bit RGB.

    Transparent parts become white, 16-bit gray is scaled to 8 bits, and an animation gives its first frame.

    Args:
        path: the file. Its content says which kind of image it is; its suffix does not matter.
        upright: turn the image as its EXIF orientation says. Annotations count pixels as they are stored, so the
            evaluation passes False.
        max_pixels: refuse an image with more pixels. Its size is read before any pixel is decoded.

    Returns:
        The picture.

    Raises:
        InputError: the file is missing, empty, damaged, not an image or too large, or its pixels have no defined white.
    """
    file = _check_file(Path(path))
    try:
        with _open(file, max_pixels) as image:
            image.load()
            return to_rgb(ImageOps.exif_transpose(image) if upright else image, file)
    except InputError:
        raise
    except Exception as error:  # broken bytes make Pillow raise nearly anything: OSError, SyntaxError …
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: damaged or cut short ({reason}); fetch the file again or leave it out") from error


def find_images(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    """Files, folders and globs → image files.

    Args:
        paths: a folder is searched with all its folders, for files with one of the ``SUFFIXES``.

    Returns:
        Each file once, in the given order. The files of a folder or glob are sorted. A missing file stays in the list:
        ``read_image`` reports it later, so that the other files are still read.

    Raises:
        InputError: a folder or glob has no image, or there is no path at all.
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
        # As in a shell, each match is a file, or a folder to search.
        matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [entry for match in matches for entry in _expand(match)]
    else:
        return [file]
    if not found:
        raise InputError(f"{path}: no image there; images end in {', '.join(sorted(SUFFIXES))}")
    return found


def _looks_like_image(file: Path) -> bool:
    # Hidden files are left out: beside each "name.jpg", macOS writes a "._name.jpg" that holds no picture.
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _check_file(file: Path) -> Path:
    if file.is_dir():
        raise InputError(f"{file}: is a folder; name an image file in it")
    if not file.exists():
        raise InputError(f"{file}: no such file; check the path")
    if not file.is_file():
        raise InputError(f"{file}: is not a regular file; copy the image to one")
    try:
        empty = file.stat().st_size == 0
        file.open("rb").close()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise InputError(f"{file}: is empty (0 bytes); fetch the file again")
    return file


def _open(file: Path, max_pixels: int) -> Image.Image:
    """Reads the image's header. Pillow has a limit of its own, which can warn below ours and raises above it."""
    too_large = f"pixels are more than the {max_pixels:,} allowed; scale the image down first"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise InputError(f"{file}: its {too_large}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{file}: is not an image that Pillow knows; convert it to JPEG or PNG") from error
    if image.width * image.height > max_pixels:
        image.close()
        raise InputError(f"{file}: {image.width:,} × {image.height:,} {too_large}")
    return image


def to_rgb(image: Image.Image, file: Path) -> Image.Image:
    """Converts a picture of any mode to 8-bit RGB. Transparent parts become white.

    Args:
        image: the picture.
        file: its name in error messages.

    Returns:
        The RGB picture.

    Raises:
        InputError: its pixels have no defined white.
    """
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
    """Scales 0 … 65535 to 0 … 255. Pillow's own conversion would turn everything above 255 into white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{file}: 32-bit pixels have no defined white; save it with 8 or 16 bits a channel")
    # 65535 = 255 · 257: this rounds to the nearest value and keeps both ends.
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")

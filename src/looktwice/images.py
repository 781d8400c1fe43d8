"""Image files → RGB pictures, and which part of an image the network's input and its map cover.

A file is checked before it is decoded. So a broken picture costs one line on the screen, and not the run.
"""

import glob
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from looktwice.decoding import MAX_PIXELS, Orientation, Picture, PictureMode, Size, decode
from looktwice.errors import InputError, LooktwiceWarning, printable

InputSize = int | tuple[int, int]
"""A size in pixels: one number, or (height, width). What one number means is said where it is used."""


_ENDINGS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "avif", "heic", "heif", "hif")
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS)
"""The files of a folder that are taken as images: their suffix in lower case. A file that is named may have any."""


def as_pair(size: InputSize) -> tuple[int, int]:
    """(height, width) of a size; one number is a square."""
    return (size, size) if isinstance(size, int) else size


def size_text(size: InputSize) -> str:
    """A size as height×width.

    >>> size_text(64), size_text((48, 96))
    ('64×64', '48×96')
    """
    height, width = as_pair(size)
    return f"{height}×{width}"


def input_text(resize: InputSize, crop: InputSize, *, squash: bool) -> str:
    """How an image is resized and cut, in words. Sizes are height×width; see ``Window.of_crop``.

    >>> input_text(256, 224, squash=False)
    'shorter side 256, centre 224×224'
    """
    if squash or resize == as_pair(crop):
        return f"squashed to {size_text(crop)}"
    before = f"shorter side {resize}" if isinstance(resize, int) else f"squashed to {size_text(resize)}"
    return f"{before}, centre {size_text(crop)}"


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
    def of_crop(cls, width: int, height: int, *, resize: InputSize, crop: InputSize, squash: bool = False) -> "Window":
        """The part of an image (``width`` × ``height``) that is left after the usual preprocessing.

        Args:
            width: of the image, in pixels.
            height: of the image, in pixels.
            resize: one number: the shorter side becomes this long. (height, width): the image gets exactly this size.
            crop: then the central part of this size is kept: one number for a square, or (height, width).
            squash: instead, the whole image is resized to ``crop``, so all of it is left.

        >>> Window.of_crop(500, 400, resize=200, crop=200)
        Window(left=50.0, top=0.0, right=450.0, bottom=400.0, width=500, height=400)
        >>> Window.of_crop(500, 400, resize=(40, 100), crop=(20, 100))
        Window(left=0.0, top=100.0, right=500.0, bottom=300.0, width=500, height=400)
        """
        if squash:
            return cls.whole(width, height)
        crop_height, crop_width = as_pair(crop)
        if isinstance(resize, int):
            # Both roundings are torchvision's (resize and center_crop), so that published accuracies hold.
            short = min(width, height)
            resized = (resize * width // short, resize * height // short)
        else:
            resized = (resize[1], resize[0])
        left, top = round((resized[0] - crop_width) / 2), round((resized[1] - crop_height) / 2)
        edges = (left, top, left + crop_width, top + crop_height)
        return cls.cropped(width, height, resized=resized, crop=edges)

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

    def to_picture(self, heat: ArrayLike) -> NDArray[np.floating]:
        """A map (H, W) of the network's input → the map (height, width) in the picture's own pixels.

        A pixel gets the value at its centre. Between the centres of map pixels, values are bilinear; from the outer
        centres to the window's edge they stay the same. A pixel whose centre lies outside the window gets 0, since the
        map says nothing of it; ``Region.mask`` has the same pixels. What a crop padded is left out.

        Args:
            heat: the map.

        Returns:
            A new array, in the map's precision, single or double.

        Raises:
            InputError: as ``check_map``.

        >>> Window.whole(width=4, height=1).to_picture([[0.0, 1.0]])
        array([[0.  , 0.25, 0.75, 1.  ]])
        """
        values = check_map(heat)
        map_height, map_width = values.shape
        columns, rows = centres_on_map(self, self.width, self.height, (map_width, map_height))
        inside_columns = np.flatnonzero((columns >= 0) & (columns < map_width))
        inside_rows = np.flatnonzero((rows >= 0) & (rows < map_height))
        picture = np.zeros((self.height, self.width), dtype=values.dtype)
        stretched = _at_places(_at_places(values, rows[inside_rows]).T, columns[inside_columns]).T
        picture[np.ix_(inside_rows, inside_columns)] = stretched
        return picture

    def _measures(self, map_width: int, map_height: int) -> tuple[NDArray[np.float64], ...]:
        """The window's corner and size in the image, and the size of the map, each as (x, y, x, y)."""
        corner = np.array([self.left, self.top] * 2)
        span = np.array([self.right - self.left, self.bottom - self.top] * 2)
        return corner, span, np.array([map_width, map_height] * 2, dtype=np.float64)


def centres_on_map(
    window: Window | None, width: int, height: int, map_size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the centres of an image's pixels lie on a map: x of each column (width,), y of each row (height,).

    Args:
        window: the part of the image that the map covers; ``None``: the pixels are those of the map itself.
        width: of the image, in pixels.
        height: of the image, in pixels.
        map_size: width and height of the map, in pixels.
    """
    centres = np.arange(max(width, height)) + 0.5
    places = np.stack([centres] * 4, axis=-1)  # as if they were boxes, which a window maps
    if window is not None:
        places = window.to_map(places, *map_size)
    return places[:width, 0], places[:height, 1]


def _at_places(values: NDArray[np.floating], places: NDArray[np.float64]) -> NDArray[np.floating]:
    """Rows (H, W) at other places (P,) → (P, W). Place 0.5 is the centre of the first row; between centres, linear."""
    last = len(values) - 1
    steps = np.clip(places - 0.5, 0, last)
    first = np.floor(steps).astype(np.int64)
    share = (steps - first).astype(values.dtype)[:, None]
    lower, upper = values[first], values[np.minimum(first + 1, last)]
    return np.asarray(lower + share * (upper - lower))


def check_map(heat: ArrayLike) -> NDArray[np.floating]:
    """A map (H, W) as floating-point numbers. Half precision becomes single, other precisions stay.

    Raises:
        InputError: no real numbers, not two-dimensional, empty, or with values that are not finite.
    """
    try:
        values = np.asarray(heat)
        if not np.issubdtype(values.dtype, np.floating):
            values = values.astype(np.float64, casting="same_kind")  # no complex numbers, no text
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor in bfloat16, on a GPU, or one with gradients
        raise InputError(f"a map cannot be read: {error}; pass map.detach().float().cpu().numpy()") from error
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"a map must be (H, W) with at least one pixel, not {values.shape}; pass one map at a time")
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(
            f"the map has {int((~np.isfinite(values)).sum())} values that are NaN or infinite; "
            "compute it in float32 or leave this image out"
        )
    return values


def read_image(
    path: str | PathLike[str], *, upright: bool = True, max_pixels: int = MAX_PIXELS, mode: PictureMode = "RGB"
) -> Image.Image:
    """Reads one image file as 8-bit RGB.

    Transparent parts become white, deeper gray is scaled to 8 bits, and an animation gives its first frame. A Python
    warning says what is doubtful, for example values that look like 12-bit data in a 16-bit file.

    Args:
        path: the file, of one of the kinds in ``decoding.FORMATS``, AVIF or HEIC. Its content says which kind it
            is; its suffix does not matter.
        upright: turn the image as its EXIF orientation says. With False its pixels stay as they are stored.
        max_pixels: refuse an image with more pixels. Its size is read before any pixel is decoded.
        mode: "RGBA" keeps the transparency as a fourth channel, and the colours below it.

    Returns:
        The picture.

    Raises:
        InputError: the file is missing, empty, damaged, not an image or too large, or its pixels have no defined white.
    """
    file = _check_file(Path(path))
    picture = decode(file, str(file), upright=lambda _: upright, max_pixels=max_pixels, mode=mode)
    for note in picture.notes:
        warnings.warn(printable(f"{file}: {note}"), LooktwiceWarning, stacklevel=2)
    return picture.image


def read_picture(path: str | PathLike[str], content: bytes | None = None, *, mode: PictureMode = "RGB") -> Picture:
    """Reads one image file upright, as ``read_image`` does; what is doubtful is returned instead of a warning.

    Args:
        path: the file, or only a name for errors if there is ``content``.
        content: the bytes of an image that lies in no file of its own.
        mode: as for ``read_image``.

    Raises:
        InputError: as ``read_image``.
    """
    source = _check_file(Path(path)) if content is None else BytesIO(content)
    return decode(source, fspath(path), mode=mode)


def read_annotated(
    path: str | PathLike[str], size: Size | None, *, content: bytes | None = None, mode: PictureMode = "RGB"
) -> Picture:
    """Reads one image file so that its pixels are those that its annotation counts.

    Annotations count pixels as they are stored, as a rule. But a tool that shows photos upright counts them upright.
    The size that the annotation states tells the two apart, if a quarter turn swaps width and height.

    Args:
        path: the file, or only a name for errors if there is ``content``.
        size: (width, height) that the annotation states, or ``None``.
        content: the bytes of an image that lies in no file of its own.
        mode: as for ``read_image``.

    Returns:
        The picture. A note says if it is stored turned and the size does not tell how its boxes were drawn.

    Raises:
        InputError: as ``read_image``.
    """
    source = _check_file(Path(path)) if content is None else BytesIO(content)
    doubts: list[str] = []

    def upright(orientation: Orientation) -> bool:
        sizes = (orientation.stored, orientation.upright)
        if sizes[0] == sizes[1] or size not in sizes:
            doubts.append(
                f"is stored turned (EXIF orientation {orientation.value}), and the annotation does not tell whether "
                "its boxes were drawn upright; read as it is stored: save the photo upright, or state its size in the "
                "annotation"
            )
            return False
        return size == orientation.upright

    picture = decode(source, fspath(path), upright=upright, mode=mode)
    return replace(picture, notes=(*doubts, *picture.notes))


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
    return unique_files(found)


def unique_files(files: Iterable[Path]) -> list[Path]:
    """Each file once, in the given order, whichever way its path is spelled: ``a.jpg`` and ``b/../a.jpg`` are one file.

    A link is another file than the one that it leads to.
    """
    kept: dict[str, Path] = {}
    for file in files:
        kept.setdefault(f"{os.path.realpath(file.parent)}/{file.name}", file)
    return list(kept.values())


def _expand(path: str) -> list[Path]:
    if not path:
        raise InputError("the name of an image is empty; name a file, folder or glob, or . for the current folder")
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
    try:
        if file.is_dir():
            raise InputError(f"{file}: is a folder; name an image file in it")
        if not file.exists():
            raise InputError(f"{file}: no such file; check the path")
        if not file.is_file():
            raise InputError(f"{file}: is not a regular file; copy the image to one")
        empty = file.stat().st_size == 0
        file.open("rb").close()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise InputError(f"{file}: is empty (0 bytes); fetch the file again")
    return file

"""The bytes of an image file → an 8-bit RGB picture, in bounded memory, and what is doubtful about it.

A file is checked before it is decoded. Its kind must be one of ``FORMATS``, AVIF or HEIC. The memory that decoding
takes is estimated from its header: a file of a few kilobytes can hold gigabytes of pixels.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from looktwice import heif, image_kinds
from looktwice.errors import InputError, one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Kinds of image that are opened, by Pillow's names, besides AVIF and HEIC. Some of its readers start programs."""


MAX_PIXELS = 100_000_000
"""An image with more pixels is refused before it is decoded."""


MAX_BYTES = 1_000_000_000
"""An image is refused before it is decoded if that would take more memory than this."""


_STRIP = 2**20
"""Pixels that are converted at a time, so that no second copy of a large image is needed."""


_ORIENTATION = 0x0112
"""The EXIF tag that says how an image must be turned."""


_PHOTOMETRIC, _STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 262, 278, 322, 323
"""TIFF tags: whether 0 is white, the rows of a strip, and the size of a tile."""


_TURNS = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
"""How an image becomes upright, by its EXIF orientation."""


_INVERSE = MappingProxyType({6: 8, 8: 6})
"""The orientation whose turn undoes another one; every other turn undoes itself."""


Size = tuple[int, int]
"""(width, height) in pixels."""


PictureMode = Literal["RGB", "RGBA"]
"""What an image is decoded to. In RGB transparent parts are white; RGBA keeps transparency as a fourth channel."""


class TooLargeError(InputError):
    """An image has too many pixels, or decoding it would take too much memory."""


@dataclass(frozen=True)
class Orientation:
    """How an image is stored.

    Attributes:
        value: the EXIF orientation; 1 is upright.
        stored: the size of the pixels as they are stored.
    """

    value: int
    stored: Size

    @property
    def upright(self) -> Size:
        """The size of the upright image."""
        return self.stored[::-1] if self.value >= 5 else self.stored

    def to_upright(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """A half-open box in stored pixels → the same box in pixels of the upright image.

        >>> Orientation(6, (40, 30)).to_upright((0.0, 0.0, 10.0, 5.0))
        (25.0, 0.0, 30.0, 10.0)
        """
        (x1, y1, x2, y2), (width, height) = box, self.stored
        if self.value in (2, 3, 7, 8):  # the stored columns run backwards
            x1, x2 = width - x2, width - x1
        if self.value in (3, 4, 6, 7):  # the stored rows run backwards
            y1, y2 = height - y2, height - y1
        return (y1, x1, y2, x2) if self.value >= 5 else (x1, y1, x2, y2)


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        image: 8-bit RGB, or RGBA if that was asked for.
        notes: what is doubtful about it, each in words that go on from the file's name.
        orientation: how its pixels are stored; ``None`` if they are stored upright.
    """

    image: Image.Image
    notes: tuple[str, ...] = ()
    orientation: Orientation | None = None


def decode(
    source: Path | BytesIO,
    name: str,
    *,
    upright: Callable[[Orientation], bool] | None = None,
    max_pixels: int = MAX_PIXELS,
    mode: PictureMode = "RGB",
) -> Picture:
    """Decodes an image as 8-bit RGB.

    Transparent parts become white, deeper gray is scaled to 8 bits, and an animation gives its first frame.

    Args:
        source: the file, or its content.
        name: what errors call it.
        upright: whether an image of this orientation is turned upright; else its pixels stay as they are stored.
            ``None``: every image is turned upright.
        max_pixels: refuse an image with more pixels.
        mode: "RGBA" keeps the transparency, and the colours below it; an image without transparency is opaque.

    Returns:
        The picture, and what is doubtful about it.

    Raises:
        TooLargeError: the image is too large.
        InputError: it is damaged, not an image, or its pixels have no defined white.
    """
    try:
        return _decode(source, name, upright or (lambda _: True), max_pixels, mode)
    except InputError:
        raise
    except MemoryError as error:
        raise TooLargeError(f"{name}: needs more memory than there is to be decoded; scale it down first") from error
    except Exception as error:  # broken bytes make Pillow raise nearly anything: OSError, SyntaxError …
        shorter = _without_texts(source) if isinstance(error, ValueError) else None
        if shorter is not None:
            return decode(shorter, name, upright=upright, max_pixels=max_pixels, mode=mode)
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{name}: cannot be read ({error.strerror}); check disk and permissions") from error
        raise _damaged(name, one_line(error)) from error


def _damaged(name: str, reason: str) -> InputError:
    return InputError(f"{name}: damaged or cut short ({reason}); fetch the file again or leave it out")


def _decode(
    source: Path | BytesIO, name: str, upright: Callable[[Orientation], bool], max_pixels: int, mode: PictureMode
) -> Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns below its own limit of pixels, and of odd metadata
        with _open(source, name, max_pixels) as file:
            depth = _Depth.of(file)
            value = _orientation_value(file) if file.format == "TIFF" else None  # Pillow removes it there
            file.load()
            orientation = _orientation(file, value)
            turn = None if orientation is None else _turn(orientation, upright, is_upright=value is not None)
            notes = depth.notes(file)
            image = file if turn is None else _replaced(file, file.transpose(turn))
            return Picture(_replaced(image, _converted(image, depth, name, mode)), notes, orientation)


def _replaced(before: Image.Image, now: Image.Image) -> Image.Image:
    """The second image; the pixels of the first one are given back."""
    if now is not before:
        before.close()
    return now


def _open(source: Path | BytesIO, name: str, max_pixels: int) -> Image.Image:
    """Reads the image's header, and refuses it if it is too large."""
    too_many = f"pixels are more than the {max_pixels:,} allowed; scale the image down first"
    try:
        held = heif.kind(source)
        image = Image.open(source, formats=FORMATS) if held is None else heif.open_image(source, name, held)
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{name}: its {too_many}") from error
    except UnidentifiedImageError as error:
        if image_kinds.kind(source):
            raise _damaged(name, "its header cannot be read") from error
        raise InputError(f"{name}: is not an image that can be read; save it as JPEG, PNG or TIFF") from error
    try:
        if image.width * image.height > max_pixels:
            raise TooLargeError(f"{name}: {image.width:,} × {image.height:,} {too_many}")
        needed = _bytes_needed(image)
        if needed > MAX_BYTES:
            raise TooLargeError(
                f"{name}: {image.width:,} × {image.height:,} pixels of this kind take {needed / 1e9:.1f} GB of memory, "
                f"and {MAX_BYTES / 1e9:g} GB is allowed; scale the image down first, or save it as PNG"
            )
    except TooLargeError:
        image.close()
        raise
    return image


def _bytes_needed(image: Image.Image) -> int:
    """The memory that decoding an image takes at its peak, estimated from its header, with its conversion to RGB."""
    pixels = image.width * image.height
    stored = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    decoder = 0
    if image.format in ("WEBP", "AVIF", "HEIF"):
        decoder = 12 * pixels  # these decoders keep three copies
    elif "progressive" in image.info:
        decoder = 2 * len(image.getbands()) * pixels  # coefficients of 2 bytes
    elif image.format == "TIFF":
        decoder = _tiff_buffer(image)
    return max(stored * pixels + decoder, 2 * stored * pixels, (stored + 4) * pixels)


def _tiff_buffer(image: Any) -> int:
    """The bytes of the part of a TIFF that is decoded at a time: a tile, or a strip of rows."""
    tags = image.tag_v2
    width, height = tags.get(_TILE_WIDTH, image.width), tags.get(_TILE_HEIGHT)
    if height is None:
        height = min(tags.get(_STRIP_ROWS, image.height), image.height)
    return 4 * int(width) * int(height)


def _orientation_value(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block raises nearly anything, and says nothing about the pixels
        return 1
    return value if value in _TURNS else 1


def _orientation(image: Image.Image, tiff_value: int | None) -> Orientation | None:
    """How a decoded image is stored in its file; ``None`` if it is stored upright."""
    value = _orientation_value(image) if tiff_value is None else tiff_value
    if value == 1:
        return None
    is_upright = tiff_value is not None  # Pillow turns a TIFF itself
    return Orientation(value, image.size[::-1] if is_upright and value >= 5 else image.size)


def _turn(
    orientation: Orientation, upright: Callable[[Orientation], bool], *, is_upright: bool
) -> Image.Transpose | None:
    """How a decoded image must still be turned; ``None`` if it need not."""
    if upright(orientation) == is_upright:
        return None
    value = orientation.value
    return _TURNS[_INVERSE.get(value, value) if is_upright else value]


@dataclass(frozen=True)
class _Depth:
    """How many bits the values of an image have.

    Attributes:
        white: the value that is white.
        inverted: whether 0 is white and ``white`` is black.
        is_deep: whether values of 16 bits may hold data of fewer bits, and the file does not tell.
    """

    white: int = 65535
    inverted: bool = False
    is_deep: bool = False

    @classmethod
    def of(cls, image: Any) -> "_Depth":
        """From the header of an image: afterwards Pillow does not tell how the file held its values."""
        arguments = image.tile[0].args if image.tile else ""
        raw = str(arguments if isinstance(arguments, str) else arguments[0])
        gray = image.mode.startswith("I")
        inverted = gray and image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0
        if raw == "I;12":
            return cls(4095, inverted)
        tells = image.format == "PPM"  # its header has the value of white, and Pillow scales by it
        return cls(65535, inverted, is_deep=(gray or ";16" in raw) and not tells)

    def notes(self, image: Image.Image) -> tuple[str, ...]:
        """A note if the decoded image is so dark that its 16-bit values may be data of 10, 12 or 14 bits."""
        if not self.is_deep or self.inverted:
            return ()
        if image.mode.startswith("I"):
            peak = max(int(values.max()) for values in _strips_of_values(image))
        else:
            colours = (image.getchannel(band) for band in image.getbands() if band != "A")
            peak = 256 * max(int(np.max(colour.getextrema())) for colour in colours) + 255  # Pillow keeps 8 bits
        bits = next((bits for bits in (10, 12, 14) if peak < 2**bits), 16)
        if bits == 16:
            return ()
        look = "dark" if bits == 14 else "nearly black"
        return (
            f"all its 16-bit values are below {2**bits:,} of 65,535, so it is {look}; "
            f"if it holds {bits}-bit data, multiply the values by {2 ** (16 - bits)} and save it again",
        )


def _converted(image: Image.Image, depth: _Depth, name: str, mode: PictureMode) -> Image.Image:
    """Converts a decoded picture of any mode to 8-bit RGB or RGBA, a strip at a time."""
    if image.mode == "F":
        raise InputError(f"{name}: floating-point pixels have no defined white; save it with 8 or 16 bits a channel")
    if image.mode == mode and (mode == "RGBA" or not image.has_transparency_data):
        return image
    result = Image.new(mode, image.size)
    top = 0
    for strip in _deep_strips(image, depth, name) if image.mode.startswith("I") else _strips(image):
        result.paste(strip.convert("RGBA") if mode == "RGBA" else to_rgb(strip), (0, top))
        top += strip.height
    return result


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def to_rgb(picture: Image.Image) -> Image.Image:
    """An 8-bit picture as RGB. Transparent parts become white."""
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return picture.convert("RGB")


def _strips_of_values(image: Image.Image) -> Iterator[NDArray[np.int64]]:
    for strip in _strips(image):
        yield np.asarray(strip).astype(np.int64)


def _deep_strips(image: Image.Image, depth: _Depth, name: str) -> Iterator[Image.Image]:
    """Scales 0 … white to 0 … 255. Pillow's own conversion would turn everything above 255 into white."""
    for values in _strips_of_values(image):
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{name}: 32-bit pixels have no defined white; save it with 8 or 16 bits a channel")
        light = depth.white - values if depth.inverted else values
        # Rounds to the nearest value: white is odd, so no value lies in the middle.
        yield Image.fromarray(((255 * light + depth.white // 2) // depth.white).astype(np.uint8))


_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
"""Parts of a PNG file that hold texts and a colour profile."""


_XMP = b"XML:com.adobe.xmp\0\0"
"""The beginning of a PNG text that is not compressed and may hold the orientation."""


def _without_texts(source: Path | BytesIO) -> BytesIO | None:
    """A PNG file without its texts and profile, which Pillow refuses when they are large; ``None`` if it has none."""
    content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) > MAX_BYTES:
        return None
    kept, at = [content[:8]], 8
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")  # length, kind, data, checksum
        kind, data = content[at + 4 : at + 8], content[at + 8 : end]
        if kind not in _TEXTS or (data.startswith(_XMP) and len(data) < 2**20):
            kept.append(content[at:end])
        at = end
    shorter = b"".join(kept)
    return BytesIO(shorter) if len(shorter) < len(content) else None

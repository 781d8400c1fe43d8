"""Files in the HEIF container (ISO/IEC 23008-12): AVIF, which Pillow reads, and HEIC, which pillow-heif reads."""

from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image, features

from looktwice.errors import InputError

Kind = Literal["AVIF", "HEIC"]
"""What a container holds. HEIC stands for all that is no AVIF."""


_AVIF = frozenset({b"avif", b"avis"})


_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"})
"""The brands of files that libheif reads."""


HEAD_BYTES = 128
"""Bytes of a file that tell its kind."""


def kind(source: Path | BytesIO) -> Kind | None:
    """What a file in the HEIF container holds; ``None`` if it is another kind of file.

    Args:
        source: the file, or its content. Its position is left as found.

    Raises:
        OSError: the file cannot be read.
    """
    return kind_of_head(head_of(source))


def head_of(source: Path | BytesIO) -> bytes:
    """The first ``HEAD_BYTES`` of a file, or of its content; arguments and errors as ``kind``."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(HEAD_BYTES)
    return bytes(source.getbuffer()[:HEAD_BYTES])


def kind_of_head(head: bytes) -> Kind | None:
    """As ``kind``, from the first bytes of a file."""
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
    return "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else None


def open_image(source: Path | BytesIO, name: str, held: Kind) -> Image.Image:
    """Reads the header of an image in the HEIF container. No pixel is decoded.

    A HEIC picture is turned as its container says (``irot``, ``imir``). Its EXIF orientation turns nothing, for the
    standard says that it is only information. So a HEIC with an EXIF orientation alone is read as it is stored.

    Args:
        source: the file, or its content.
        name: what errors call it.
        held: what the container holds.

    Raises:
        InputError: the package that reads it is missing or too old.
        SyntaxError: the file is damaged.
    """
    if held == "AVIF":
        if not features.check("avif"):
            raise InputError(
                f"{name}: is an AVIF picture, and this Pillow cannot read it; install Pillow 11.3 or later, or save "
                "the picture as JPEG or PNG"
            )
        return Image.open(source, formats=("AVIF",))
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise InputError(
            f"{name}: is a HEIC picture, which needs pillow-heif: pip install 'looktwice[heic]'; or save the picture "
            "as JPEG or PNG"
        ) from error
    return HeifImageFile(source)  # type: ignore[no-untyped-call]  # not registered with Pillow: that would be for all

"""The kind of an image, from the first bytes of its file."""

from io import BytesIO
from pathlib import Path

from looktwice import heif

HEAD_BYTES = heif.HEAD_BYTES
"""Bytes at the beginning of an image file that tell its kind."""


_HEADS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    **{f"P{number}".encode(): "PPM" for number in range(1, 7)},
}


def kind_of_head(head: bytes) -> str:
    """The kind of an image by its first ``HEAD_BYTES``; empty if no kind that is read begins so.

    >>> kind_of_head(b"GIF89a"), kind_of_head(b"%PDF-1.7")
    ('GIF', '')
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for start, kind in _HEADS.items() if head.startswith(start)), heif.kind_of_head(head) or "")


def kind(source: Path | BytesIO) -> str:
    """As ``kind_of_head``, from a file or its content. Its position is left as found.

    Raises:
        OSError: the file cannot be read.
    """
    return kind_of_head(heif.head_of(source))

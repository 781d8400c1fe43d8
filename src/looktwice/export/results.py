"""The files of results: each carries a mark, so that a user's own file is never overwritten, and no result is an input.

The mark is a text in the file's own format, which every reader skips. A record has the key ``looktwice``.
"""

import json
import zlib
from pathlib import Path

from looktwice.atomic_files import write_whole
from looktwice.errors import InputError

_TEXT = b"Made by looktwice"

_PNG_TEXT = b"tEXtSoftware\0looktwice"
_PNG_HEADER = 33
"""Bytes of a PNG file's signature and its first chunk, which says how large the picture is."""


_PICTURES = frozenset({".png", ".gif", ".svg", ".pdf", ".mp4"})
"""The kinds of picture that carry a mark. No other file is opened to look for one."""


_MOST_RECORD = 2**22
"""A larger JSON file is no record of ours."""


def write_result(path: Path, content: bytes) -> Path:
    """Writes a result into an existing folder, complete or not at all, with the mark. Older results are replaced.

    Args:
        path: where to. Its suffix tells the format: png, gif, svg, pdf, mp4 or json.
        content: the file's content.

    Returns:
        The path.

    Raises:
        InputError: something is there already that this program has not written.
        LooktwiceError: the file cannot be written.
    """
    if path.exists() and not is_result(path):
        raise InputError(f"{path} is there already and is no result of looktwice; move it, or name another --output")
    return write_whole(path, _marked(content, path.suffix))


def is_result(path: Path) -> bool:
    """Whether a file is a result of this program."""
    try:
        if not path.is_file():
            return False
        if path.suffix == ".json":
            return _record(path) is not None
        if path.suffix not in _PICTURES:
            return False
        return _has_mark(path) or _is_old_picture(path)
    except OSError:
        return False


def _has_mark(path: Path) -> bool:
    with path.open("rb") as file:
        if path.suffix == ".png":
            return _PNG_TEXT in file.read(_PNG_HEADER + 4 + len(_PNG_TEXT))
        file.seek(max(0, path.stat().st_size - 2 * len(_TEXT)))
        return _TEXT in file.read()


def _is_old_picture(path: Path) -> bool:
    """Whether a picture is of a version that did not mark them: its records do not tell of activations."""
    record = _record(path.with_suffix(".json")) if path.suffix == ".png" else None
    return record is not None and "activations" not in record


def _record(path: Path) -> dict[str, object] | None:
    """The content of a record; ``None`` if the file is none."""
    if not path.is_file() or path.stat().st_size > _MOST_RECORD:
        return None
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and "looktwice" in content and "boxes" in content else None


def _marked(content: bytes, suffix: str) -> bytes:
    """The content of a file with the mark in it."""
    if suffix == ".png":
        chunk = (len(_PNG_TEXT) - 4).to_bytes(4, "big") + _PNG_TEXT + zlib.crc32(_PNG_TEXT).to_bytes(4, "big")
        return content[:_PNG_HEADER] + chunk + content[_PNG_HEADER:]
    if suffix == ".gif":  # a comment before the last byte
        return content[:-1] + b"!\xfe" + bytes([len(_TEXT)]) + _TEXT + b"\0" + content[-1:]
    if suffix == ".mp4":  # a box that is free for any use
        return content + (8 + len(_TEXT)).to_bytes(4, "big") + b"free" + _TEXT
    comments = {".svg": b"<!-- %b -->\n", ".pdf": b"%% %b\n"}
    return content + comments[suffix] % _TEXT if suffix in comments else content

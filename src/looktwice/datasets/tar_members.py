"""Tar files of images: their members are listed once, and then read one by one, in any order."""

import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from looktwice.errors import DatasetError, InputError, one_line

MOST_LABEL_BYTES = 1_000_000
"""A member that holds a label is not read if it is larger."""

_BLOCK = 512
"""A tar file consists of blocks of this size. A member's content begins in the block after its header."""

_RECORD = 20 * _BLOCK
"""A tar file is filled up with zeros to a multiple of this."""

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""The first bytes of compressed files."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar file.

    Attributes:
        path: the tar file.
        offset: where the content of the member begins.
        size: of the content, in bytes.
        header: the CRC-32 of the member's header. It tells whether the tar file was replaced.
    """

    path: Path
    offset: int
    size: int
    header: int

    def read(self) -> bytes:
        """The content of the member.

        Raises:
            InputError: the tar file cannot be read, or it is another one than when its members were listed.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset - _BLOCK)
                content = file.read(_BLOCK + self.size)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}); check the file") from error
        if len(content) < _BLOCK + self.size or zlib.crc32(content[:_BLOCK]) != self.header:
            raise InputError(f"{self.path}: was changed after its members had been listed; start again")
        return content[_BLOCK:]


def tar_members(path: Path, trouble: Callable[[str], None]) -> Iterator[tuple[str, TarMember]]:
    """The name and the place of each file in a tar file. Only headers are read.

    Folders, links, devices and files with holes are left out.

    Args:
        path: the tar file.
        trouble: gets one line if the rest of the file cannot be read.

    Raises:
        DatasetError: the file is compressed, so that no member can be read by itself.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        trouble(f"the tar file cannot be read ({error.strerror}); left out")
        return
    with file:
        _check_plain(path, file.read(8))
        size = file.seek(0, 2)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield from _members(path, tar, file, size, trouble)
        except Exception as error:  # broken bytes make tarfile raise nearly anything
            trouble(f"the tar file is damaged or cut short ({one_line(error)}); what follows is left out")


def _check_plain(path: Path, begin: bytes) -> None:
    for mark, kind in _COMPRESSED.items():
        if begin.startswith(mark):
            raise DatasetError(
                f"{path} is compressed ({kind}), so no image in it can be read by itself; decompress it: images are "
                "compressed already"
            )


def _members(
    path: Path, tar: tarfile.TarFile, file: BinaryIO, size: int, trouble: Callable[[str], None]
) -> Iterator[tuple[str, TarMember]]:
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # else it keeps all of them
        if not member.isreg() or member.sparse is not None:
            continue
        if member.offset_data + member.size > size:
            trouble(f"the tar file is cut short in {member.name}; it and what follows are left out")
            return
        file.seek(member.offset_data - _BLOCK)
        yield member.name, TarMember(path, member.offset_data, member.size, zlib.crc32(file.read(_BLOCK)))
    file.seek(tar.offset)
    if size - tar.offset < _BLOCK:
        trouble("the tar file has no end mark; it may be cut short")
    elif any(file.read(_BLOCK)):
        trouble(f"the tar file is damaged at byte {tar.offset}; what follows is left out")
    elif any(file.read(_RECORD)):
        trouble("another tar file follows the end mark; it is left out: keep them as two files")

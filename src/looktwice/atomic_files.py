"""Files that appear complete or not at all, whatever stops the program.

A file is first written under another name in its folder, then renamed. No reader ever sees half of it.
"""

import errno
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from looktwice.errors import LooktwiceError, RunError


def write_whole(path: Path, content: bytes) -> Path:
    """Writes a file into an existing folder, complete or not at all, and returns its path.

    The file may still be lost in a power cut, because nobody waits for the disk. Results of single images are quickly
    made again.

    Raises:
        LooktwiceError: the file cannot be written.
    """
    # A short name: the names of results may already be as long as the file system allows.
    part = path.with_name(f".looktwice-{os.getpid()}.part")
    try:
        _write_and_rename(path, content, part, synced=False)
    except OSError as error:
        raise LooktwiceError(f"{path}: cannot be written ({error.strerror}); name another folder") from error
    return path


def write_atomically(path: Path, content: bytes, *, synced: bool = True, part: Path | None = None) -> None:
    """Writes a file, complete or not at all. When this returns, the file is on the disk. A missing folder is made.

    Args:
        path: where to.
        content: of the file.
        synced: wait until it is on the disk. Without it, a power cut may lose the file; a killed process may not.
        part: where it lies until it is complete; ``unfinished_path(path)`` if left out.

    Raises:
        RunError: the file cannot be written, for example because the disk is full.
    """
    with unfinished(path, part) as place:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_rename(path, content, place, synced=synced)


@contextmanager
def unfinished(path: Path, part: Path | None = None) -> Iterator[Path]:
    """Where a file lies until it is complete. Inside the ``with`` it is written, and then renamed to ``path``.

    The folder of the unfinished file is made. If the file is not renamed, it is gone after the ``with``.

    Args:
        path: of the complete file.
        part: of the unfinished one; ``unfinished_path(path)`` if left out.

    Raises:
        RunError: for an ``OSError`` inside the ``with``: the file cannot be written.
    """
    part = part or unfinished_path(path)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        yield part
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write_and_rename(path: Path, content: bytes, part: Path, *, synced: bool) -> None:
    """Writes the content as ``part``, then gives it the name ``path``; ``part`` is gone in the end."""
    try:
        if synced:
            write_synced(part, content)
        else:
            part.write_bytes(content)
        part.replace(path)
        if synced:
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def digest_of(file: IO[bytes]) -> str:
    """32 hex digits of the BLAKE2 hash of what follows in an open file. Large files take no more memory than small."""
    found = blake2b(digest_size=16)
    while block := file.read(2**20):
        found.update(block)
    return found.hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON as ``write_atomically`` does; the same content gives the same bytes."""
    write_atomically(path, as_json(content))


def as_json(content: Mapping[str, Any]) -> bytes:
    """A JSON text with an indent of 2 and a line break at its end, in UTF-8.

    A path need not be text: bytes that are not UTF-8 become escapes, which JSON reads back as they were.
    """
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def remove_unfinished(folder: Path) -> None:
    """Removes the unfinished files of dead processes of this machine; other machines may still be writing theirs."""
    for file in folder.rglob(".*.tmp"):
        *_, host, process, _ = ("", *file.name.rsplit(".", 3))[-4:]
        if host == _host() and process.isdecimal() and not _alive(int(process)):
            with suppress(OSError):
                file.unlink()


def unfinished_path(path: Path) -> Path:
    """Where a file lies until it is complete: ``.NAME.HOST.PROCESS.tmp`` in the same folder."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.tmp")


@cache
def _host() -> str:
    return socket.gethostname().replace(".", "-") or "localhost"


def _alive(process: int) -> bool:
    if os.name == "nt":
        return True  # signal 0 asks nothing there: it is Ctrl-C
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's process
    return True


def write_once(path: Path, content: bytes) -> None:
    """Writes a file as ``write_atomically`` does into an existing folder, unless another process was first.

    Raises:
        OSError: the file cannot be written.
    """
    part = unfinished_path(path)
    try:
        write_synced(part, content)
        claim(path, part)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def claim(path: Path, part: Path) -> None:
    """Gives a complete file its name, unless another process was first."""
    try:
        path.hardlink_to(part)  # a link never replaces a file, a rename does
    except FileExistsError:
        return
    except OSError:
        part.replace(path)  # this file system has no links
    _sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Puts a rename on the disk. Windows cannot open folders; there the system does it itself."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def unwritable(path: Path, error: OSError) -> RunError:
    """The error for a user whose file cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space" if full else "check the folder's permissions"
    return RunError(
        f"{path}: cannot be written ({error.strerror}); all that was written before stays: {remedy}, "
        "then run the same command again to go on"
    )

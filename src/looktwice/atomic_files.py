"""Files that appear whole or not at all."""

import errno
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from looktwice.errors import LooktwiceError, RunError


def write_whole(path: Path, data: bytes) -> Path:
    """Puts a file in its place complete or not at all.

    Raises:
        LooktwiceError: it cannot be written.
    """
    part = path.with_name(f".looktwice-{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise LooktwiceError(f"{path}: cannot be written ({error.strerror}); name another folder") from error
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """The file, complete and synced to the disk, or no file; in a folder made where it is missing.

    Raises:
        RunError: it cannot be written, for want of space for instance.
    """
    part = unfinished_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_synced(part, content)
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """As ``write_atomically``; the same content gives the same bytes."""
    write_atomically(path, as_json(content))


def remove_unfinished(folder: Path) -> None:
    """Removes what processes of this machine left unfinished when they died; other machines' files are theirs."""
    for file in folder.rglob(".*.tmp"):
        *_, host, process, _ = file.name.rsplit(".", 3)
        if host == _host() and not _alive(int(process)):
            with suppress(OSError):
                file.unlink()


def unfinished_path(path: Path) -> Path:
    """Where a file lies until it is complete; the name says whose it is."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.tmp")


@cache
def _host() -> str:
    return socket.gethostname().replace(".", "-") or "localhost"


def _alive(process: int) -> bool:
    if os.name == "nt":
        return True  # there, signal 0 is not a question
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def claim(path: Path, part: Path) -> None:
    """Gives a complete file its name unless another process was first."""
    """Gives a complete file its name unless another process was first."""
    try:
        path.hardlink_to(part)  # unlike a rename, a link never replaces
    except FileExistsError:
        return
    except OSError:
        part.replace(path)  # a file system without links
    _sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Puts a rename on the disk; where folders cannot be opened (Windows) the system sees to it."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def unwritable(path: Path, error: OSError) -> RunError:
    """What to tell a user whose file cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space" if full else "check the folder's permissions"
    return RunError(
        f"{path}: cannot be written ({error.strerror}); all that was written before stays: {remedy}, "
        "then run the same command again to go on"
    )


def as_json(content: Mapping[str, Any]) -> bytes:
    """JSON as it is written everywhere."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()

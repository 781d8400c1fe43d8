"""What belongs to a form. Nothing of the user's is replaced: no file of their own, and no file that they corrected.

The folder ``.looktwice-forms`` has a mark for each file or folder of a form. A mark lists the files that were written:
in each line the path and a digest of the bytes, as JSON. Links to pictures have no digest.

While a process writes, its lines lie in a journal beside the mark. A line is there before its file is. At the end the
journal becomes the mark. So a process that is killed leaves a journal, and the next one knows its files.

Several processes may write the same data set into one folder at the same time.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from glob import escape
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import BinaryIO

from looktwice.atomic_files import digest_of, unfinished, unfinished_path, unwritable, write_atomically
from looktwice.errors import InputError
from looktwice.export.label_set import LabelSet

_CLAIMS = ".looktwice-forms"
"""The folder with the marks."""

_LINK = ""
"""Stands for the digest of a link to a picture."""


def claim(labels: LabelSet, path: Path, folder: Path) -> Path:
    """Makes sure that a file or folder may be replaced, and returns it. Corrections in it are not noticed.

    Args:
        labels: the data set. Its pictures must not lie there.
        path: the file or folder.
        folder: the output folder, which it lies in.

    Raises:
        InputError: something of the user's is there, or the pictures are.
        RunError: the folder cannot be written.
    """
    _refuse_pictures(labels, path)
    mark = _mark(path, folder)
    if not mark.exists():
        # Another process of the same command may have marked it just now, and have written it then.
        if os.path.lexists(path) and not mark.exists():
            raise _foreign(path)
        write_atomically(mark, b"", synced=False)
    return path


def is_claimed(path: Path, folder: Path) -> bool:
    """Whether a file or folder is one that looktwice wrote into the output folder, or lies in such a folder.

    A person may have corrected it since.
    """
    place, root = path.resolve(), folder.resolve()
    if not place.is_relative_to(root):
        return False
    parts = place.relative_to(root).parts
    return any(_mark(root.joinpath(*parts[:end]), root).exists() for end in range(1, len(parts) + 1))


@contextmanager
def claimed(labels: LabelSet, path: Path, folder: Path) -> "Iterator[Claim]":
    """A file or folder of a form, to be written.

    At the end, files of an earlier writing that were not written again are removed. Other files stay.

    Args:
        labels: the data set. Its pictures must not lie there.
        path: the file or folder.
        folder: the output folder, which it lies in.

    Raises:
        InputError: something of the user's is there, a file was changed, or the pictures lie there.
        RunError: a file cannot be written.
    """
    _refuse_pictures(labels, path)
    mark = _mark(path, folder)
    there = _own_files(path, mark)
    journal = _new_journal(mark)
    mine = Claim(path, folder, there, journal)
    try:
        with journal:
            yield mine
            mine.sweep()
        _become(mark, Path(journal.name))
    finally:
        if not mine.begun:
            Path(journal.name).unlink(missing_ok=True)


@dataclass
class Claim:
    """A file or folder of a form while it is written.

    Attributes:
        root: the file or folder.
        folder: the output folder.
        begun: whether a file has been named.
    """

    root: Path
    folder: Path
    _there: dict[str, str]
    """The digest of each file of an earlier writing that is still there; those that are written now are taken out."""
    _journal: BinaryIO
    begun: bool = field(default=False, init=False)

    def write(self, path: Path, content: bytes) -> None:
        """Writes a file, complete or not at all, unless it has this content already.

        Raises:
            InputError: a file of the user's is there.
            RunError: the file cannot be written.
        """
        if self._is_new(path, digest_of(BytesIO(content))):
            write_file(path, content, self.folder)

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """A file to write piece by piece, as ``write``. If the ``with`` is left by an exception, no file appears."""
        with unfinished(path, unfinished_path(self.folder / path.name)) as part:
            with part.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = digest_of(file)
            if self._is_new(path, digest):
                path.parent.mkdir(parents=True, exist_ok=True)
                part.replace(path)

    def picture(self, path: Path) -> None:
        """Says that a link to a picture will be put there. A file that looktwice wrote there before is removed."""
        before = self._there.pop(self._name(path), None)
        self._note(path, _LINK)
        if before not in (None, _LINK):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes the files of an earlier writing that were not written again, and folders that become empty."""
        for name in self._there:
            path = self.root / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error
            with suppress(OSError):  # a folder is not empty
                for parent in path.parents[: len(Path(name).parts) - 1]:
                    parent.rmdir()

    def _is_new(self, path: Path, digest: str) -> bool:
        """Notes a file. Returns whether it must be written."""
        before = self._there.pop(self._name(path), None)
        if before is None and os.path.lexists(path):
            before = _digest_of(path)  # another process may have written it just now
            if before != digest:
                raise _foreign(path)
        self._note(path, digest)
        return before != digest

    def _note(self, path: Path, digest: str) -> None:
        self.begun = True
        try:
            self._journal.write(json.dumps([self._name(path), digest]).encode() + b"\n")
        except OSError as error:
            raise unwritable(Path(self._journal.name), error) from error

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def write_file(path: Path, content: bytes, folder: Path) -> None:
    """Writes a file below the output folder, complete or not at all. It does not wait for the disk.

    Raises:
        RunError: the file cannot be written.
    """
    # A short name until it is complete: the file's own may be as long as the file system allows.
    write_atomically(path, content, synced=False, part=unfinished_path(folder / "part"))


def absolute(path: Path) -> Path:
    """The path from the root of the file system; links stay as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", and Path.resolve follows links


def _refuse_pictures(labels: LabelSet, path: Path) -> None:
    if absolute(labels.root).is_relative_to(absolute(path)):
        raise InputError(f"{labels.root}: the pictures lie where {path} would be written; name another output folder")


def _foreign(path: Path) -> InputError:
    return InputError(f"{path} is there already and was not written by looktwice; move it, or name another folder")


def _mark(path: Path, folder: Path) -> Path:
    return folder / _CLAIMS / "-".join(path.relative_to(folder).parts)


def _own_files(path: Path, mark: Path) -> dict[str, str]:
    """The digest of each file that looktwice wrote and that is still there.

    Raises:
        InputError: a file was changed, or all that is there is the user's.
    """
    exists = os.path.lexists(path)  # asked first: another process writes its lines before its files
    known = _known(mark)
    if exists and not known:
        raise _foreign(path)
    there = {name: digest for name, digests in known.items() if (digest := _found(path / name, digests)) is not None}
    changed = _changed(there, known)
    if changed:  # or another process has written them just now
        changed = _changed(changed, _known(mark))
    if changed:
        raise _corrected(path, [*changed])
    return there


def _changed(there: Mapping[str, str], known: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {name: digest for name, digest in there.items() if digest not in known.get(name, ())}


def _corrected(path: Path, names: list[str]) -> InputError:
    """The error for a user whose corrections would be lost."""
    first, more = path / names[0], len(names) - 1
    others = f" (and {more:,} more file{'s' * (more != 1)})" if more else ""
    move = "your corrected file" if first == path else f"your corrected {path}"
    return InputError(
        f"{first}{others} was changed since looktwice wrote it; move {move}, or remove the file to have it written anew"
    )


def _known(mark: Path) -> dict[str, tuple[str, ...]]:
    """The digests that each file may have, by the mark and by the journals of other processes."""
    known: dict[str, tuple[str, ...]] = {}
    for file in (*_journals(mark), mark):  # the mark comes last, since a journal may become the mark meanwhile
        try:
            lines = file.read_bytes().splitlines()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unwritable(file, error) from error
        for line in lines:
            with suppress(ValueError):  # a full disk may have cut the last line of a journal
                name, digest = json.loads(line)
                if digest not in known.get(name, ()):
                    known[name] = (*known.get(name, ()), digest)
    return known


def _found(file: Path, digests: tuple[str, ...]) -> str | None:
    """The digest of a file; ``None`` if it is gone."""
    if not os.path.lexists(file):
        return None
    is_link = digests == (_LINK,) or (_LINK in digests and file.is_symlink())  # where links fail it is a copy
    return _LINK if is_link else _digest_of(file)


def _digest_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return digest_of(opened)
    except OSError:
        return "unreadable"


def _journals(mark: Path) -> list[Path]:
    return sorted(mark.parent.glob(f".{escape(mark.name)}.*.new"))


def _new_journal(mark: Path) -> BinaryIO:
    """A journal of this process. A killed process may have had the same number, and its journal is still needed."""
    name = unfinished_path(mark).stem
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        for number in count():
            with suppress(FileExistsError):
                return mark.with_name(f"{name}-{number}.new").open("xb", buffering=0)
    except OSError as error:
        raise unwritable(mark, error) from error
    raise AssertionError  # never reached: count() does not end


def _become(mark: Path, journal: Path) -> None:
    """Makes the journal the mark, and removes all other journals.

    Other processes that write at the same time write the same data set, so this mark knows their files.
    """
    try:
        with suppress(FileNotFoundError):  # another process was ready first, and has removed it
            journal.replace(mark)
    except OSError as error:
        raise unwritable(mark, error) from error
    for other in _journals(mark):
        with suppress(OSError):
            other.unlink()

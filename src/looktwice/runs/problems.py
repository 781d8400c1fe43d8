"""RUN/problems.txt: a line for everything that is wrong with a run's data."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from looktwice.atomic_files import write_atomically
from looktwice.errors import printable
from looktwice.runs.folder import PROBLEMS, writing_into


def write_problems(run: Path, lines: Sequence[str]) -> None:
    """Writes all problems of a finished run, each once; no file if there are none.

    Raises:
        RunError: the file cannot be written.
    """
    unique = list(dict.fromkeys(printable(line) for line in lines))
    if unique != _written(run):
        write_atomically(run / PROBLEMS, "".join(f"{line}\n" for line in unique).encode())


def add_problems(run: Path, identity: str, lines: Sequence[str]) -> None:
    """Adds the problems that are not there yet.

    Several processes may do so at the same time. What one of them then loses, the last one writes again: when the run
    is finished, ``write_problems`` has the problems of all.

    Raises:
        RunError: the folder holds this run no more; or the file cannot be written.
    """
    if lines:
        with writing_into(run, identity):
            write_problems(run, [*_written(run), *lines])


def _written(run: Path) -> list[str]:
    with suppress(OSError):
        return (run / PROBLEMS).read_text(encoding="utf-8", errors="replace").splitlines()
    return []

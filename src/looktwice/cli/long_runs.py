"""What the commands share that take long: how far they are, their trouble in few lines, and the command itself."""

import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from looktwice.cli.inputs import complain
from looktwice.errors import LooktwiceWarning

if TYPE_CHECKING:
    from looktwice.evaluation.progress import Progress

SHOWN_PROBLEMS = 5
"""Lines of trouble on standard error; more are only counted."""


LINE_SECONDS = 60.0
"""Where there is no terminal, a line tells this often how far the work is."""


def complain_of(problems: Sequence[str], where: str) -> None:
    """The first problems on standard error, and where all of them are."""
    for line in problems[:SHOWN_PROBLEMS]:
        complain(line)
    if len(problems) > SHOWN_PROBLEMS:
        complain(f"{len(problems)} problems in all; every one is in {where}")


def complain_of_missing(folder: Path, missing: int, parts: int) -> None:
    """A line on standard error that the work in a folder is not finished."""
    complain(
        f"{folder}: {missing} of {parts} parts are still missing; other processes may be working on them; if not, the "
        "same command goes on"
    )


def own_command() -> str:
    """The command that the user gave, as a shell reads it."""
    return shlex.join(["looktwice", *sys.argv[1:]])


@contextmanager
def told_warnings() -> Iterator[None]:
    """Inside the ``with``, a warning of this package is one line, as all trouble is."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", LooktwiceWarning)
        show = warnings.showwarning

        def tell_or_show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, LooktwiceWarning):
                complain(str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = tell_or_show
        yield


@contextmanager
def progress_bar(what: str, *, shown: bool) -> "Iterator[Progress]":
    """Tells how far the work is: a bar with the rate and the time left on a terminal, else a line every minute.

    Args:
        what: is counted, such as images.
        shown: whether this process tells it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    pace = Pace(what)
    if not (shown and sys.stderr.isatty()):
        yield pace.tell_each_minute if shown else pace.count
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, rate="")

        def show(done: int, total: int) -> None:
            pace.count(done, total)
            bar.update(task, completed=done, total=total, rate=pace.rate_text)

        yield show


class Pace:
    """How fast the work goes. What was done before this call does not count.

    Args:
        what: is counted.
        clock: seconds, from any beginning.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._clock = what, clock
        self._begun = self._told = clock()
        self._before: int | None = None
        self._done = self._total = 0

    def count(self, done: int, total: int) -> None:
        """Takes how much is done, of how much."""
        self._before = done if self._before is None else self._before
        self._done, self._total = done, total

    @property
    def rate(self) -> float:
        """How many a second; 0 as long as nothing is done."""
        return (self._done - (self._before or 0)) / max(self._clock() - self._begun, 1e-9)

    @property
    def rate_text(self) -> str:
        """The rate in words; empty as long as nothing is done."""
        return f"{self.rate:.3g} a second" if self.rate else ""

    def tell_each_minute(self, done: int, total: int) -> None:
        """Counts, and prints a line to standard error if the last one is a minute old."""
        self.count(done, total)
        if self._clock() - self._told >= LINE_SECONDS:
            self._told = self._clock()
            complain(self.line)

    @property
    def line(self) -> str:
        """For example: 1,200 of 50,000 images, 4.1 a second, 3:18:00 left."""
        texts = [f"{self._done:,} of {self._total:,} {self._what}"]
        if self.rate:
            left = timedelta(seconds=round((self._total - self._done) / self.rate))
            texts += [self.rate_text, f"{left} left"]
        return ", ".join(texts)

"""Gives broken files to readers. Each must return, or raise a ``LooktwiceError``, soon and in little memory.

    python tests/long/break_readers.py READER:CASES … [--seed 0] [--first 0]

A case is made by its reader, the seed and its number alone. To repeat one: ``READER:1 --seed SEED --first NUMBER``.
Then the whole traceback is shown, and the broken file stays where the last line says.

It is a process of its own: a crash or a hang must not end the tests, and memory is counted from its beginning.
"""

import argparse
import contextlib
import faulthandler
import io
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

from readers import READERS, Reader

from looktwice.errors import LooktwiceError, one_line

SECONDS = 3.0
"""Processor time that a case may take."""

MEMORY = 900 * 2**20
"""Bytes that a case may add to the process at most."""

LONGEST = 2000
"""Characters that the line about an error may have."""

HANG = 60
"""After so many seconds in one case the process ends and says where it was."""


Faults = dict[tuple[str, str], tuple[int, str, int]]
"""The kind of a fault and its place → the number of the first such case, what happened, how many there were."""


def main() -> None:
    """Reads broken files, and ends with 1 if a reader did not do what it must."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("readers", nargs="+", metavar="READER:CASES", help=f"READER is one of {', '.join(READERS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    faulthandler.enable()
    failed = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for name, _, cases in (each.partition(":") for each in asked.readers):
            failed += len(
                report_cases(name, Path(folder) / name, asked.seed, range(asked.first, asked.first + int(cases)))
            )
    sys.exit(1 if failed else 0)


def report_cases(name: str, folder: Path, seed: int, numbers: range) -> Faults:
    """Tries the cases of a reader, and says what went wrong and how to repeat it."""
    begun = time.monotonic()
    faults = try_cases(name, READERS[name], folder, seed, numbers)
    say(f"{name}: {len(numbers)} cases, {time.monotonic() - begun:.1f} s, {len(faults)} kinds of faults")
    for (kind, where), (number, text, times) in faults.items():
        say(f"  {name}:1 --seed {seed} --first {number}  ({times} such): {kind} in {where}")
        say("    " + (text if len(numbers) == 1 else text.splitlines()[-1][:300]))
    if len(numbers) == 1:
        kept = Path(tempfile.mkdtemp()) / name
        shutil.copytree(folder, kept)
        say(f"  the broken file lies in {kept}")
    return faults


def say(line: str) -> None:
    """Writes a line at once: the process may crash afterwards."""
    sys.stdout.write(line.encode("ascii", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


def try_cases(name: str, reader: Reader, folder: Path, seed: int, numbers: range) -> Faults:
    """Reads the broken files with these numbers."""
    folder.mkdir()
    files = sorted(reader.files(folder).items())
    faults: Faults = {}
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        if number % 50 == 0 or len(numbers) == 1:
            faulthandler.dump_traceback_later(HANG, exit=True)
        chance = Random(f"{seed} {name} {number}")
        path, good = files[chance.randrange(len(files))]
        path.write_bytes(reader.damage(chance, good))
        begun = time.process_time()
        fault = fault_of(reader, folder, path, chance)
        seconds = time.process_time() - begun
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if fault is None and seconds > SECONDS:
            fault = "slow", path.name, f"{seconds:.1f} s"
        if fault is None and (now - most) * 1024 > MEMORY:
            fault = "memory", path.name, f"{(now - most) / 1024:.0f} MiB"
        most = max(most, now) if fault is not None and fault[0] == "memory" else most
        if fault is not None:
            kind, where, text = fault
            first, first_text, times = faults.get((kind, where), (number, text, 0))
            faults[kind, where] = (first, first_text, times + 1)
        if len(numbers) > 1:
            path.write_bytes(good)
    faulthandler.cancel_dump_traceback_later()
    return faults


def fault_of(reader: Reader, folder: Path, path: Path, chance: Random) -> tuple[str, str, str] | None:
    """The kind of a fault, where it is, and the traceback; ``None`` if the reader did what it must."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            reader.read(folder, path, chance)
    except LooktwiceError as error:
        line = one_line(error)
        if len(line) > LONGEST:
            return "long message", type(error).__name__, line[:3000]
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        frame = [each for each in frames if "looktwice/" in each.filename or each.filename.endswith("readers.py")][-1]
        where = f"{frame.filename.rpartition('looktwice/')[2]}:{frame.lineno}"
        return type(error).__name__, where, traceback.format_exc()
    return None


if __name__ == "__main__":
    main()

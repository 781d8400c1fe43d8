"""Readers get broken files. Each returns or says in one line what is wrong, soon and in little memory.

``LOOKTWICE_CASES`` says how many files there are; ``make test-long`` reads a million.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = int(os.environ.get("LOOKTWICE_CASES", "4000"))
SEED = int(os.environ.get("LOOKTWICE_SEED", "0"))
HERE = Path(__file__).parent
GROUPS = {
    "annotations": (
        "voc",
        "ilsvrc",
        "solution",
        "coco",
        "wsol",
        "csv",
        "tar",
        "classes.json",
        "classes.csv",
        "classes.txt",
    ),
    "pictures": ("pictures",),
    "runs": ("manifest", "summary", "parts", "older parts", "maps", "older maps"),
}
SHARES = {
    **{"voc": 12, "ilsvrc": 8, "solution": 6, "coco": 12, "wsol": 8, "csv": 10, "tar": 6},
    **{"classes.json": 4, "classes.csv": 2, "classes.txt": 2, "pictures": 20},
    **{"manifest": 3, "summary": 2, "parts": 1, "older parts": 2, "maps": 1, "older maps": 1},
}
"""How many of a hundred files each reader gets."""


@pytest.mark.skipif(sys.platform == "win32", reason="memory is limited and read as on Unix")
@pytest.mark.parametrize("group", GROUPS)
def test_broken_files(group):
    asked = [f"{reader}:{CASES * SHARES[reader] // 100}" for reader in GROUPS[group]]
    command = [sys.executable, HERE / "break_readers.py", *asked, "--seed", str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    print(done.stdout)  # noqa: T201
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-5000:]}"


def test_every_file_is_of_a_share():
    assert sum(SHARES.values()) == 100
    assert sorted(SHARES) == sorted(reader for readers in GROUPS.values() for reader in readers)

"""The README in a fresh clone: its own lines install, and every block runs after them, as a reader would run it."""

import os
import subprocess
import time

import pytest

from pages import PAGES, ROOT, Block, blocks_of, page_id

PAGE = next(page for page in PAGES if page_id(page) == "README.md")
LEFT_OUT = ("make test", "make check", "git clone", "cd ", "looktwice serve")
"""The clone is there already, the tests would run themselves, and the local page waits for Ctrl-C."""

FIRST_PICTURE_SECONDS = 180
"""From the clone to the first labelled picture, with a warm package cache on two cores."""


def lines_of(block: Block) -> str:
    """What bash runs for a block."""
    if block.language == "python":
        return f"python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"
    return "".join(f"{command}\n" for command in block.commands if not command.startswith(LEFT_OUT))


@pytest.mark.long
def test_readme_in_a_fresh_clone(tmp_path):
    clone, began = tmp_path / "looktwice", time.time()
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    blocks = [block for block in blocks_of(PAGE) if block.language in ("python", "sh") and not block.needs]
    script = "set -e\n" + "".join(lines_of(block) for block in blocks)
    done = subprocess.run(["bash", "-c", script], cwd=clone, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    labelled = (clone / "labels" / "review.html").stat().st_mtime - began
    print(f"first labelled picture after {labelled:.0f} s")  # noqa: T201 - it is what this test measures
    assert labelled < FIRST_PICTURE_SECONDS

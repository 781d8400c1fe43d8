"""Evaluations killed at random moments, again and again, have the rows of one that was left alone.

``LOOKTWICE_KILLS`` says how many kills there are.
"""

import os
import random
import signal
import subprocess
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

from evaluations import assert_same, draw, run_on
from looktwice.datasets import load_dataset
from looktwice.models import load_model
from processes import NETWORK, children_of, finish, launch, wait_for

KILLS = int(os.environ.get("LOOKTWICE_KILLS", "100"))
IMAGES, SEED = 22, 0

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="the workers of a process are read from /proc"),
]


def at_once(run, process, chance):
    """Anywhere between the start of Python and the first rows."""
    time.sleep(chance.uniform(0, 4))


def among_the_rows(run, process, chance):
    with suppress(AssertionError):  # it may be finished before
        wait_for(chance.randrange(1, IMAGES), run, process)


def around_the_summary(run, process, chance):
    with suppress(AssertionError):
        wait_for(IMAGES, run, process)


def kill_everyone(process, chance):
    os.killpg(process.pid, signal.SIGKILL)


def kill_the_parent(process, chance):
    os.kill(process.pid, signal.SIGKILL)


def kill_a_worker(process, chance):
    """A process that decodes or measures; the parent has to notice."""
    children = children_of(process.pid)
    os.kill(chance.choice(children) if children else process.pid, signal.SIGKILL)


MOMENTS = (at_once, among_the_rows, among_the_rows, around_the_summary)
KINDS = (kill_everyone, kill_everyone, kill_the_parent, kill_a_worker)


def test_killed_again_and_again(tmp_path):
    folder = draw(tmp_path / "pictures", IMAGES)
    network = tmp_path / "slow.py"
    network.write_text(textwrap.dedent(NETWORK))
    command = [
        *("-m", "looktwice", "evaluate", str(folder), "--layout", "csv", "--model", f"{network}:Slow"),
        *("--methods", "gradient", "--batch-size", "1", "--workers", "2", "--squash"),
    ]
    model = load_model(f"{network}:Slow", squash=True)
    unkilled = tmp_path / "unkilled"
    run_on(load_dataset(folder, "csv"), unkilled, model=model, methods={"gradient": {}}, batch_size=1)
    done = number = 0
    while done < KILLS:
        chance = random.Random(f"{SEED} {number}")
        run = tmp_path / f"run-{number}"
        done += kills_of_a_run(command, run, chance, f"seed {SEED}, run {number}")
        assert_same(run, unkilled)
        assert not list(run.rglob("*.tmp")), f"seed {SEED}, run {number}"
        number += 1
    print(f"{done} kills of {number} runs")  # noqa: T201


def kills_of_a_run(command, run, chance, name):
    """Starts and kills a run some times, sometimes two processes at once, then lets it finish → the kills."""
    kills = 0
    for _ in range(chance.randrange(2, 7)):
        moment, kind = chance.choice(MOMENTS), chance.choice(KINDS)
        processes = [launch(command, run) for _ in range(chance.choice((1, 1, 2)))]
        moment(run, processes[0], chance)
        for process in processes:
            with suppress(ProcessLookupError, FileNotFoundError):
                kind(process, chance)
                kills += process.poll() is None or process.returncode < 0
        for process in processes:
            end(process, kind, name)
    finish(launch(command, run))
    return kills


def end(process, kind, name):
    """Waits for the end. A process that only lost a worker ends by itself, with the rows or with one line."""
    try:
        told, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{name}: {kind.__name__}, and the process did not end in two minutes")
    if kind is kill_a_worker:
        assert "Traceback" not in told, f"{name}: {kind.__name__}\n{told}"

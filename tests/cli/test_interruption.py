"""Ctrl-C: every command ends within about a second, with one line and exit code 130."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from noise import noise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has other interruptions"),
]

SECONDS = 2.0
"""A command ends within this time, on a busy machine too."""

SLOW = """
import time
from looktwice.models import Model, Preprocessing
from own_networks import small_net
from torch import nn

class Sleeping(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small_net()
    def forward(self, x):
        if x.any():
            print("asleep", flush=True)
            {pass_}
        return self.net(x)

def build():
    return Sleeping()
"""
PASSES = {
    "a pass that ends": "time.sleep(30)",
    "a pass that swallows the interruption": """
            try:
                time.sleep(30)
            except KeyboardInterrupt:
                time.sleep(30)""",
    "a pass that turns it into an error": """
            try:
                time.sleep(30)
            except KeyboardInterrupt:
                raise ValueError("broken off")""",
}


@contextmanager
def program(*arguments):
    """A process of its own in a session of its own, as a terminal's foreground job is."""
    command = [sys.executable, "-m", "looktwice", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def interrupt(process, times):
    """All processes of the terminal's job get the signal; how long the program still ran, and what it said."""
    begun = time.monotonic()
    for _ in range(times):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    told = process.communicate(timeout=60)[1]
    return time.monotonic() - begun, told


def ended_well(process, times=1):
    seconds, told = interrupt(process, times)
    assert process.returncode == 130, told
    lines = told.splitlines()
    assert [line for line in lines if line.startswith("looktwice: stopped")] == ["looktwice: stopped"]
    assert all(line.startswith("looktwice: ") for line in lines), told
    assert seconds < SECONDS
    return True


@pytest.fixture
def photos(tmp_path):
    for number in range(60):
        (tmp_path / "photos" / "0").mkdir(parents=True, exist_ok=True)
        noise(seed=number).save(tmp_path / "photos" / "0" / f"{number}.png")
    return tmp_path / "photos"


COMMANDS = {
    "attend": ("attend", "{photos}/0", "--output", "{out}"),
    "compare": ("compare", "{photos}/0/0.png", "--output", "{out}"),
    "label": ("label", "{photos}", "--output", "{out}", "--workers", "2"),
    "evaluate": ("evaluate", "{photos}", "--layout", "folders", "--output", "{out}", "--workers", "2"),
    "serve": ("serve", "--port", "0"),
}


def arguments(command, photos):
    return [part.format(photos=photos, out=photos.parent / "out") for part in COMMANDS[command]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("seconds", "times"), [(0.2, 1), (1.5, 2), (3.0, 5)])
def test_a_command_that_loads_or_works_ends(command, seconds, times, photos):
    with program(*arguments(command, photos)) as process:
        time.sleep(seconds)
        if process.poll() is None:  # the machine may be quicker
            assert ended_well(process, times)


@pytest.mark.parametrize(
    ("command", "times"), [("attend", 1), ("attend", 5), ("compare", 1), ("label", 2), ("evaluate", 1)]
)
@pytest.mark.parametrize("case", PASSES)
def test_a_network_in_the_middle_of_a_pass_is_cut_off(command, case, times, photos, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW.format(pass_=PASSES[case]))
    given = arguments(command, photos)
    with program(*given, "--model", f"{tmp_path}/slow.py:build") as process:
        assert process.stdout.readline() == "asleep\n", process.communicate()[1]
        assert ended_well(process, times)


def test_a_reader_that_does_not_read_does_not_hold_the_program(photos, tmp_path):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"." * 4096)  # until the pipe is full
    except BlockingIOError:
        os.set_blocking(writer, True)
    command = [sys.executable, "-m", "looktwice", "methods"]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(2)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
        assert (told, process.returncode) == ("looktwice: stopped\n", 130)
        assert time.monotonic() - begun < SECONDS
    os.close(reader)
    os.close(writer)


def test_a_program_that_is_to_ignore_it_goes_on():
    """As under nohup, or in the background of a script."""
    command = ["sh", "-c", "trap '' INT; exec \"$0\" -m looktwice models", sys.executable]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(10):
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out
    assert "stopped" not in told


def test_workers_end_with_an_interrupted_program(photos, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW.format(pass_=PASSES["a pass that swallows the interruption"]))
    given = [*arguments("label", photos), "--model", f"{tmp_path}/slow.py:build"]
    with program(*given) as process:
        assert process.stdout.readline() == "asleep\n"
        threading.Event().wait(0.5)
        assert ended_well(process)
        deadline = time.monotonic() + 15
        while members_of(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def members_of(session):
    """The processes of a session that still run."""
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(session)], capture_output=True, text=True, check=False)
    return found.stdout.split()

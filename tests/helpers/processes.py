"""Evaluations in processes of their own, to be waited for and killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

NETWORK = """
import time
import torch
from torch import nn

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 9, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(16, 6)

    def forward(self, images):
        time.sleep(0.02)
        return self.head(self.layers(images))
"""


def environment():
    source = str(Path(__file__).parents[2] / "src")
    return os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}


def launch(arguments, run, *, launcher=()):
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments, "--output", str(run)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process):
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return told


def wait_for(parts, run, process, folder="rows"):
    deadline = time.monotonic() + 120
    while len(list(run.glob(f"{folder}/part-*"))) < parts:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.1))


def children_of(process):
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def kill_tree(process):
    """torchrun's processes have sessions of their own."""
    children = children_of(process)
    os.kill(process, signal.SIGKILL)
    for child in children:
        kill_tree(child)

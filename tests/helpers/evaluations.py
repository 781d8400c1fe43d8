"""Evaluations that take a moment: six colours, small pictures of one square each, and what runs left on the disk."""

import json
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn

from looktwice.evaluation.evaluate import evaluate
from looktwice.evaluation.plan import EvaluationPlan
from looktwice.models import Model, Preprocessing
from looktwice.runs.columns import COLUMNS, TIMES

METHODS = {"gradient": {"blur": 0.03}, "feedback": {"steps": 1, "blur": 0.03}}  # small squares, a small blur
PLANNED = {field.name for field in fields(EvaluationPlan)}
ALL = (*METHODS, "center_box", "full_image")
PREPROCESSING = Preprocessing(44, 40, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), squash=True)


class Colours(nn.Module):
    """Six classes: red, green, blue, and three that mix them. What it attends to is where the colour is."""

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Conv2d(3, 3, 1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(3, 6)
        with torch.no_grad():
            self.only.weight.copy_((1.5 * torch.eye(3) - 0.5)[:, :, None, None])
            self.only.bias.fill_(-0.2)
            self.head.weight.copy_(torch.cat([torch.eye(3), 0.5 * (1 - torch.eye(3))]))
            self.head.bias.copy_(torch.tensor([0, 0, 0, -0.01, -0.02, -0.03]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 100 * self.head(self.relu(self.only(images)).mean((2, 3)))


def colours(**choices):
    return Model("colours", Colours().eval(), PREPROCESSING, tuple("rgbcmy"), "by hand", **choices)


def draw(folder, count, seed=0):
    """Pictures of one coloured square each, in a CSV data set; every fifth has a second label and box."""
    rng = np.random.default_rng(seed)
    lines = ["image,label,x1,y1,x2,y2"]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        width, height = rng.integers(30, 60, 2)
        x, y, side = rng.integers(0, 12), rng.integers(0, 12), rng.integers(10, 18)
        pixels = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
        pixels[y : y + side, x : x + side] = 20
        pixels[y : y + side, x : x + side, number % 3] = 250
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        label = number % 3 if number % 7 else 5  # every seventh is labelled wrong
        lines.append(f"{number:03d}.png,{label},{x},{y},{x + side},{y + side}")
        if number % 5 == 0:
            lines.append(f"{number:03d}.png,4,{x},{y},{x + 5},{y + 5}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder


class StopError(Exception):
    """Ends the work from within."""


def stop_after(images):
    """For ``progress``: ends the work after so many images or parts."""

    def progress(done, total):
        if done >= images:
            raise StopError

    return progress


def run_on(dataset, run, *, model=None, methods=METHODS, workers=0, batch_size=4, **choices):
    """An evaluation; ``choices`` are those of the plan, and those of the work."""
    planned = {name: choices.pop(name) for name in list(choices) if name in PLANNED}
    plan = EvaluationPlan(methods, batch_size=batch_size, **planned)
    return evaluate(dataset, model or colours(), run, plan, workers=workers, **choices)


def rows_of(run):
    parts = sorted((run / "rows").glob("part-*.parquet"))
    table = pa.concat_tables([pq.read_table(part, partitioning=None) for part in parts])
    keys = [(name, "ascending") for name in ("order", "method", "rank", "target")]
    return table.select([name for name in COLUMNS if name not in TIMES]).sort_by(keys)


def summary_of(run):
    summary = json.loads((run / "summary.json").read_text())
    for scores in summary["methods"].values():
        del scores["seconds_per_image"]
    return summary


def assert_same(run, other):
    assert rows_of(run).equals(rows_of(other))
    assert summary_of(run) == summary_of(other)

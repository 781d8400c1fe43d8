"""How seconds grow with the work: one size at a time, the others as they are by default.

    python benchmarks/growth.py [--model NAME[=WEIGHTS]] [--axes steps,batch,pixels,classes,channels,images] [--turns 3]

The sizes take turns, and medians count. For each axis, ``slope`` is that of log(seconds) over log(size) by least
squares: 1 is proportional, above it is more. A constant part of the work makes it smaller. So ``last_slope`` tells it
for the two largest sizes alone, where the constant part weighs the least.

- ``steps``: T of global feedback.
- ``batch``: pictures in a batch.
- ``pixels``: of a square picture. The network must take any size.
- ``classes``: of one picture.
- ``channels``: of every layer of a small network of convolutions with random weights, which is made here.
- ``images``: of an evaluation, once each, in some minutes. Only what the evaluation itself costs is counted, in
  all its processes: the network's part is computed for the first pictures, then remembered.

``plain`` is one forward pass and one pass back to the input, where the size changes what it does.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from cases import Case, Work, entries, frozen, machine, medians, plain_pass, predicted, take_turns
from overhead import draw, processor_seconds, remembering, run
from speed import add_choices, read_choices
from torch import Tensor, nn

from looktwice import attend
from looktwice.datasets import Dataset
from looktwice.evaluation.chunks import Chunk
from looktwice.models import Model

SIZES = {
    "steps": (1, 2, 5, 10, 20),
    "batch": (1, 2, 4, 8, 16),
    "pixels": (112**2, 160**2, 224**2, 320**2, 448**2),
    "classes": (1, 2, 4, 8),
    "channels": (32, 64, 128, 256),
    "images": (100, 1_000, 10_000),
}
"""Axis → the sizes that are measured."""

DRAWN = 100
"""Pictures of an evaluation; more are the same again."""

BATCH = 10
"""Of an evaluation. It divides every number of images, so that no batch is smaller than those remembered."""


class Setting(NamedTuple):
    """What ``attend`` and a plain pass get.

    Attributes:
        module: the network.
        images: a batch.
        classes: for ``attend``.
        options: of global feedback.
    """

    module: nn.Module
    images: Tensor
    classes: list[int] | None = None
    options: Mapping[str, Any] = {}


class Grown(NamedTuple):
    """Seconds at each size of an axis."""

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def slope(self) -> float:
        """Of log(seconds) over log(size), by least squares."""
        return float(np.polyfit(np.log(self.sizes), np.log(self.seconds), 1)[0])

    @property
    def facts(self) -> dict[str, Any]:
        """For the file."""
        last = Grown(self.sizes[-2:], self.seconds[-2:])
        return self._asdict() | {"slope": self.slope, "last_slope": last.slope}


def settings(axis: str, case: Case, model: Model) -> Callable[[int], Setting]:
    """Size → what is measured there."""
    images = case.pictures(model)
    if axis == "steps":
        return lambda steps: Setting(model.module, images, options={"steps": steps})
    if axis == "batch":
        return lambda batch: Setting(model.module, case._replace(batch=batch).pictures(model))
    if axis == "pixels":
        return lambda pixels: Setting(model.module, case._replace(side=math.isqrt(pixels)).pictures(model))
    if axis == "classes":
        best = model.module(images)[0].argsort(descending=True).tolist()
        return lambda count: Setting(model.module, images, best[:count])
    return lambda width: Setting(convolutions(width).to(images.device, images.dtype), images)


def convolutions(width: int) -> nn.Module:
    """Eight convolutions of ``width`` channels, each with a ReLU, in four sizes, and a classifier of ten classes."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for number in range(8):
        layers += [nn.Conv2d(width if layers else 3, width, 3, stride=2 - number % 2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)).eval()


PLAIN = ("batch", "pixels", "channels")
"""The axes along which a plain pass does more too."""


def grow(axis: str, case: Case, model: Model, choices: argparse.Namespace) -> dict[str, Grown]:
    """Global feedback, and a plain pass, at each size of an axis."""
    setting = settings(axis, case, model)
    works: dict[tuple[str, int], Work] = {}
    for size in SIZES[axis]:
        at = setting(size)
        works["GP", size] = look(at)
        if axis in PLAIN:
            works["plain", size] = plain(at)
    seconds = medians(take_turns(works, choices.turns, choices.clock, choices.device))
    names = dict.fromkeys(name for name, _ in works)
    return {name: Grown(SIZES[axis], tuple(seconds[name, size] for size in SIZES[axis])) for name in names}


def look(at: Setting) -> Work:
    """Global feedback."""
    return Work(lambda: attend(at.module, at.images, at.classes, method="global_feedback", **at.options))


def plain(at: Setting) -> Work:
    """One plain pass."""
    classes = predicted(at.module, at.images)
    return Work(lambda: plain_pass(at.module, at.images, classes), lambda: frozen(at.module))


def grow_images(model: Model, choices: argparse.Namespace, sizes: Sequence[int] = SIZES["images"]) -> Grown:
    """Processor seconds of an evaluation without its network."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = draw(folder / "images", DRAWN)
        seen: dict[int, Chunk] = {}
        with patch("looktwice.evaluation.evaluate.attend_chunk", remembering(seen)):
            run(model, drawn, folder / "seen", choices)
        with patch("looktwice.evaluation.evaluate.attend_chunk", lambda _, chunk, *__: seen[chunk.index % len(seen)]):
            seconds = tuple(evaluation_seconds(model, repeated(drawn, size), folder, choices) for size in sizes)
    return Grown(tuple(sizes), seconds)


def evaluation_seconds(model: Model, dataset: Dataset, folder: Path, choices: argparse.Namespace) -> float:
    """What a run takes of the processors, with the processes that it starts."""
    before = processor_seconds()
    run(model, dataset, folder / str(len(dataset.samples)), choices)
    return processor_seconds() - before


def repeated(dataset: Dataset, size: int) -> Dataset:
    """As many samples, the same pictures again and again under other names."""
    count = len(dataset.samples)
    again = (replace(dataset.samples[number % count], id=f"{number:06d}") for number in range(size))
    return Dataset(tuple(again))


def main() -> None:
    """Prints the slopes, then writes one JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="efficientnet_lite0=default", metavar="NAME[=WEIGHTS]")
    parser.add_argument("--axes", default=",".join(SIZES))
    parser.set_defaults(batch_size=BATCH)
    parser.add_argument("--workers", type=int, default=2, help="of the evaluation")
    parser.add_argument("--output", type=Path, default=Path("out/growth.json"))
    add_choices(parser, turns=3)
    choices = read_choices(parser)
    ((name, weights),) = entries(choices.model)
    case = Case(name, weights, 1, None, choices.device, choices.precision, choices.channels_last)
    model = case.load()
    facts = machine(choices.device) | {"clock": choices.clock, "turns": choices.turns}
    content: dict[str, Any] = {"benchmark": "growth", "machine": facts, "case": case.facts, "axes": {}}
    choices.output.parent.mkdir(parents=True, exist_ok=True)
    for axis in choices.axes.split(","):
        found = {"run": grow_images(model, choices)} if axis == "images" else grow(axis, case, model, choices)
        content["axes"][axis] = {what: grown.facts for what, grown in found.items()}
        choices.output.write_text(json.dumps(content, indent=1))
        for what, grown in found.items():
            print(row(axis, what, grown), flush=True)  # noqa: T201 - a script's output


def row(axis: str, what: str, grown: Grown) -> str:
    """An axis as a line: the seconds at each size, and the slopes."""
    pairs = ", ".join(f"{size}: {seconds:.3g} s" for size, seconds in zip(*grown, strict=True))
    return f"{axis}, {what}: {pairs}; slope {grown.slope:.2f}, of the last two {grown.facts['last_slope']:.2f}"


if __name__ == "__main__":
    main()

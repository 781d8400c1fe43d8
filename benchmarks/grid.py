"""How much of a map is the class's own: the share of it in the right cell of a grid of four pictures.

    python benchmarks/grid.py ILSVRC --model resnet50 [--weights FILE] [--grids 10]

Four images of different classes, each recognised with a probability of 0.7 or more, stand in a square twice the
network's input; for the class of each, what share of the map's sum lies in its quarter (the grid pointing game of Böhle
et al. 2021)? A map that does not depend on the class has 25 %. The images are those of ``--tune-on hash:0.4``'s report
half, in the order of seed 0. Maps are shares of their maximum, without a blur, and propagated only where it says so.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from looktwice.attention.api import attend
from looktwice.datasets import load_dataset, shuffled, split_by_hash
from looktwice.images import read_image
from looktwice.metrics import bootstrap
from looktwice.models import Model, load_model

SURE = 0.7

LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "GT": ("gradient", {}),
    "GB": ("guided_backprop", {}),
    "Grad-CAM": ("grad_cam", {}),
    "LayerCAM": ("layer_cam", {}),
    "FB": ("feedback", {}),
    "GP, no gates": ("global_feedback", {"steps": 0}),
    "GP, λ = 0": ("global_feedback", {"trace_weight": 0.0}),
    "GP": ("global_feedback", {}),
    "GP, propagate": ("global_feedback", {"propagate": True}),
    "contrast, ten steps, λ = 0": ("global_feedback", {"objective": "contrast", "trace_weight": 0.0, "steps": 10}),
    "contrast, ten steps, λ = 1": ("global_feedback", {"objective": "contrast", "trace_weight": 1.0, "steps": 10}),
    "contrast, ten steps, λ = 2": ("global_feedback", {"objective": "contrast", "trace_weight": 2.0, "steps": 10}),
}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--grids", type=int, default=10)
    choices = parser.parse_args()
    model = load_model(choices.model, weights=choices.weights, squash=True)
    pictures = recognised(model, choices.root, 4 * choices.grids)
    grids = [pictures[start : start + 4] for start in range(0, len(pictures) - 3, 4)]
    lines = [f"{model.name}, {len(grids)} grids", "", "| map | % in the right quarter |", "|---|---|"]
    for name, (method, options) in LOOKS.items():
        interval = bootstrap(np.concatenate([shares(model, grid, method, options) for grid in grids]))
        lines.append(f"| {name} | {100 * interval.value:.0f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}] |")
    print("\n".join(lines))  # noqa: T201 - a script's output


def recognised(model: Model, root: Path, count: int) -> list[tuple[Tensor, int]]:
    """Prepared images (C, H, W) and their classes, no class twice, that the network is sure of and right about."""
    _, report = split_by_hash(shuffled(load_dataset(root, "ilsvrc").samples, 0), 0.4)
    found: dict[int, Tensor] = {}
    for sample in report:
        (image,), _ = model.prepare(read_image(sample.image, upright=False))
        with torch.no_grad():
            probability = model.module(image[None]).softmax(1)[0, sample.labels[0]]
        if probability >= SURE:
            found.setdefault(sample.labels[0], image)
        if len(found) == count:
            break
    return [(image, label) for label, image in found.items()]


def shares(model: Model, grid: list[tuple[Tensor, int]], method: str, options: dict[str, Any]) -> list[float]:
    """For each of four pictures, the share of its class's map in its own quarter."""
    a, b, c, d = (image for image, _ in grid)
    square = torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1)[None]
    chosen = {"propagate": False, "values": "maximum", "blur": 0.0} | options
    found = []
    for quarter, (_, label) in enumerate(grid):
        heat = attend(model.module, square, label, method=method, **chosen).maps[0]
        height, width = (side // 2 for side in heat.shape)
        row, column = divmod(quarter, 2)
        own = heat[row * height : (row + 1) * height, column * width : (column + 1) * width]
        found.append(float(own.sum() / heat.sum()))
    return found


if __name__ == "__main__":
    main()

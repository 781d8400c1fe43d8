"""The randomization check beside Quantus' own ``MPRT`` (Hedström et al. 2023): are the numbers the same?

    pip install "looktwice[quantus]"
    python benchmarks/beside_quantus.py ILSVRC FILE.json --model NAME[=WEIGHTS] [--images 20] [--methods gradient,…]

Quantus makes random networks, calls for maps and correlates them. Our check makes the same random weights, the maps
and the correlations by itself. The images are those of ``benchmarks/randomization.py``.
"""

import argparse
import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from randomization import Image, Map, add_inputs, inputs, layers_of, likeness, maps_of, randomize, short_name
from torch import nn

from looktwice import attend
from looktwice.atomic_files import write_atomically
from looktwice.models import Model


def main() -> None:
    """Compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_inputs(parser)
    parser.add_argument("--methods", default="gradient,global_feedback,grad_cam")
    choices = parser.parse_args()
    for model, images in inputs(choices):
        hold_against_quantus(model, images, choices.methods.split(","), choices.file)


def hold_against_quantus(model: Model, images: Sequence[Image], methods: Sequence[str], file: Path) -> None:
    """Writes how our numbers compare with Quantus' for each method, over all images and layers, and prints it."""
    rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for method in methods:
        theirs = quantus_scores(model.module, images, method)
        found = asdict(compared(correlations_as_quantus(model.module, images, method), theirs))
        name = f"{short_name(model)} {method}"
        rows[name] = {"images": [image.id for image in images], **found}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(rows, indent=1).encode())
        print(name, found, flush=True)  # noqa: T201 - a script's output


def quantus_scores(trained: nn.Module, images: Sequence[Image], method: str) -> list[list[float]]:
    """Quantus' correlations for each layer of its cascade and each image."""
    import quantus

    mprt: Any = quantus.MPRT  # type: ignore[attr-defined]
    metric = mprt(layer_order="top_down", disable_warnings=True)  # Spearman's correlation and seed 42 are its defaults
    scores = metric(
        model=trained,
        x_batch=torch.cat([image.pixels for image in images]).numpy(),
        y_batch=np.array([image.target for image in images]),
        explain_func=explainer(method),
    )
    return [scores[layer] for layer in scores if layer != "original"]


def explainer(method: str) -> Callable[..., Map]:
    """What Quantus calls for maps: a network, images (N, C, H, W) and classes (N,) → maps (N, 1, H, W)."""

    def explain(model: nn.Module, inputs: Any, targets: Any, **_: object) -> Map:
        maps = [
            attend(model, torch.as_tensor(image)[None], int(target), method=method).maps
            for image, target in zip(inputs, targets, strict=True)
        ]
        return torch.stack(maps).numpy()

    return explain


def correlations_as_quantus(trained: nn.Module, images: Sequence[Image], method: str) -> list[list[float]]:
    """Our correlations with the same random weights, for each layer of the cascade and each image."""
    network = copy.deepcopy(trained)
    counted = [number for number, layer in enumerate(layers_of(trained), 1) if hasattr(layer, "reset_parameters")]
    maps = [maps_of(network, image, [method])[method] for image in images]
    found = []
    for layers in counted:
        randomize(network, trained, layers, "quantus", 0)
        alike = [
            likeness(own, maps_of(network, image, [method])[method]) for own, image in zip(maps, images, strict=True)
        ]
        found.append([math.nan if each["spearman"] is None else each["spearman"] for each in alike])
    return found


@dataclass(frozen=True)
class Compared:
    """Our correlations beside Quantus'.

    Attributes:
        layers: how many steps the cascade has.
        both: how many correlations both have.
        neither: how many neither has, because a map is the same everywhere.
        one: how many only one of them has.
        largest_difference: of the correlations that both have.
        ours: the mean of our correlations over images, for each step of the cascade; ``None`` if there is none.
        quantus: the same of Quantus.
    """

    layers: int
    both: int
    neither: int
    one: int
    largest_difference: float
    ours: list[float | None]
    quantus: list[float | None]


def compared(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Compared:
    """Compares correlations of layers and images; NaN if a map has no ranks."""
    if len(ours) != len(theirs):
        raise SystemExit(f"our cascade has {len(ours)} layers and Quantus' has {len(theirs)}; they must be the same")
    a, b = np.array(ours, dtype=np.float64), np.array(theirs, dtype=np.float64)
    missing = np.isnan(a).astype(int) + np.isnan(b)
    gaps = np.abs(a - b)[missing == 0]
    means = [
        [round(float(np.nanmean(layer)), 6) if np.isfinite(layer).any() else None for layer in each] for each in (a, b)
    ]
    both, one, neither = (int((missing == number).sum()) for number in (0, 1, 2))
    return Compared(len(a), both, neither, one, float(gaps.max(initial=0.0)), *means)


if __name__ == "__main__":
    main()

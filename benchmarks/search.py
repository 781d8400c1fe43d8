"""The search behind the defaults: every variant on the same tuning images, judged by boxes, pointing and energy.

    python benchmarks/search.py ILSVRC --model resnet50 [--weights FILE] [--images 96] [--variants "GP;FB"] …

Tuning images are those that ``looktwice evaluate --tune-on hash:0.4`` sets aside, in the order of seed 0; the others
are never opened. Each variant changes one thing of ``global_feedback``, or is another method with its map finished in
one of seven ways, so that every method has had the same choice. MaxBoxAcc and V2 are at the best threshold of each
variant, as the protocol has it; differences are paired, image by image, with bootstrap 95 % intervals. Killed, the same
command goes on.

    python benchmarks/search.py --carry-over googlenet.json resnet50.json …

chooses the variant of global feedback with the best mean V2 on all networks but one, and tells what it gives there.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ascents import ASCENTS, OPTIONS
from torch import Tensor

from looktwice.atomic_files import write_atomically
from looktwice.attention.api import attend
from looktwice.attention.finishing import finish_map
from looktwice.attention.methods import METHODS, Method
from looktwice.datasets import Sample, load_dataset, shuffled, split_by_hash
from looktwice.images import Window, read_image
from looktwice.metrics import (
    V1_LEVELS,
    V2_LEVELS,
    best_share,
    bootstrap,
    box_curve,
    box_hits,
    energy_in_box,
    paired_difference,
    pointing_hit,
)
from looktwice.models import Model, load_model

BATCH = 8

OTHERS = {
    "FB": "feedback",
    "GB": "guided_backprop",
    "GT": "gradient",
    "Grad-CAM": "grad_cam",
    "Grad-CAM++": "grad_cam_plus_plus",
    "LayerCAM": "layer_cam",
    "Guided Grad-CAM": "guided_grad_cam",
}
FINISHES: dict[str, dict[str, Any]] = {
    ", propagate": {"propagate": True, "values": "cumulative", "blur": 0.02},
    ", energy": {"values": "cumulative", "blur": 0.02},
    ", energy, no blur": {"values": "cumulative", "blur": 0.0},
    ", energy, more blur": {"values": "cumulative", "blur": 0.045},
    ", maximum": {"values": "maximum", "blur": 0.02},
    ", maximum, more blur": {"values": "maximum", "blur": 0.045},
    ", maximum, no blur": {"values": "maximum", "blur": 0.0},
}
"""How the other methods' maps may be finished; GP has its own rows."""

VARIANTS: dict[str, tuple[str | Method, dict[str, Any]]] = {
    "GP": ("global_feedback", {}),
    "λ = 0": ("global_feedback", {"trace_weight": 0.0}),
    "λ = 0.5": ("global_feedback", {"trace_weight": 0.5}),
    "λ = 2": ("global_feedback", {"trace_weight": 2.0}),
    "two steps": ("global_feedback", {"steps": 2}),
    "ten steps": ("global_feedback", {"steps": 10}),
    "ten steps of 0.1": ("global_feedback", {"steps": 10, "step_size": 0.1}),
    "gates on fine layers too": ("global_feedback", {"layers": "fine"}),
    "gates on the last stage only": ("global_feedback", {"layers": "coarsest"}),
    "contrast with the rivals": ("global_feedback", {"objective": "contrast"}),
    "log probability": ("global_feedback", {"objective": "log_probability"}),
    "gates' gradients guided": ("global_feedback", {"guided_gates": "below"}),
    "all singular values": ("global_feedback", {"minor": "keep", "rank": None}),
    "minor part dropped": ("global_feedback", {"minor": "drop"}),
    **{name: (replace(METHODS["global_feedback"], optimise=way, options=OPTIONS), {}) for name, way in ASCENTS.items()},
    "contrast, λ = 2, ten steps": ("global_feedback", {"objective": "contrast", "trace_weight": 2.0, "steps": 10}),
    "units of the first step": ("global_feedback", {"fixed_scale": True}),
    "no gates": ("global_feedback", {"steps": 0}),
    "map: not propagate": ("global_feedback", {"propagate": False}),
    "no gates, not propagate": ("global_feedback", {"steps": 0, "propagate": False}),
    "λ = 0, not propagate": ("global_feedback", {"trace_weight": 0.0, "propagate": False}),
    "map: coarsest layers only": ("global_feedback", {"scales": "coarsest"}),
    "map: shares of the maximum": ("global_feedback", {"values": "maximum"}),
    "map: both, more blur": ("global_feedback", {"scales": "coarsest", "values": "maximum", "blur": 0.045}),
    "map: gradient at the image, maximum, more blur": (
        "global_feedback",
        {"source": "gradient", "values": "maximum", "blur": 0.045},
    ),
    "the same, energy, more blur": ("global_feedback", {"source": "gradient", "blur": 0.045}),
    "no blur": ("global_feedback", {"blur": 0.0}),
    "more blur (4.5 %)": ("global_feedback", {"blur": 0.045}),
    **{f"{label}{how}": (method, options) for label, method in OTHERS.items() for how, options in FINISHES.items()},
}


def main() -> None:
    """Prints a table; the output keeps what each image gave."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--carry-over", type=Path, nargs="+", metavar="SEARCH", help="outputs of earlier searches")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--variants", help="names of VARIANTS, semicolons between; all of them by default")
    parser.add_argument("--output", type=Path, default=Path("out/search.json"))
    choices = parser.parse_args()
    if choices.carry_over:
        print(carried_over({path.stem: json.loads(path.read_text()) for path in choices.carry_over}))  # noqa: T201
        return
    variants = choices.variants.split(";") if choices.variants else list(VARIANTS)
    model = load_model(choices.model, weights=choices.weights, squash=True)
    tuning, _ = split_by_hash(shuffled(load_dataset(choices.root, "ilsvrc").samples, 0), 0.4)
    found = json.loads(choices.output.read_text()) if choices.output.exists() else {}
    choices.output.parent.mkdir(parents=True, exist_ok=True)
    for start in range(0, min(choices.images, len(tuning)), BATCH):
        samples = tuning[start : min(start + BATCH, choices.images)]
        todo = [name for name in variants if samples[0].id not in found.setdefault(name, {})]
        if todo:
            for name, sample, values in judged(model, samples, todo):
                found[name][sample.id] = values
            write_atomically(choices.output, json.dumps(found).encode())
    print(table(found, model.name))  # noqa: T201 - a script's output


def judged(model: Model, samples: tuple[Sample, ...], variants: list[str]) -> Iterator[tuple[str, Sample, Any]]:
    """What each variant's maps of the true classes are worth."""
    images = [read_image(sample.image, upright=False) for sample in samples]
    batch = torch.cat([model.prepare(image)[0] for image in images])
    unfinished: dict[str, Tensor] = {}  # one pass for all that differ in the finish alone
    for name in variants:
        method, options = VARIANTS[name]
        row = METHODS[method] if isinstance(method, str) else method
        chosen = row.options | options
        finish = {option: chosen.pop(option) for option in ("values", "blur")}
        key = f"{row} {chosen}"
        if key not in unfinished:
            targets = [sample.labels[0] for sample in samples]
            chosen |= {"values": "maximum", "blur": 0.0}
            unfinished[key] = attend(model.module, batch, targets, method=row, **chosen).extents
        maps = finish_map(unfinished[key], **finish)
        for sample, image, heat in zip(samples, images, maps.numpy(), strict=True):
            truths, window = np.array(sample.boxes_of(sample.labels[0])), Window.whole(*image.size)
            curve = box_curve(heat, truths, window)
            yield (
                name,
                sample,
                {
                    "largest": np.round(curve.largest, 4).tolist(),
                    "best": np.round(curve.best, 4).tolist(),
                    "pointing": float(pointing_hit(heat, truths, window)),
                    "energy": energy_in_box(heat, truths, window),
                },
            )


def table(found: dict[str, dict[str, Any]], network: str) -> str:
    """Markdown: each variant's measures, and its differences from GP in points."""
    names = list(found["GP"])
    reference = measures([found["GP"][name] for name in names])
    lines = [
        f"{network}, {len(names)} tuning images",
        "",
        "| variant | MaxBoxAcc | V2 | pointing | energy | V2 − GP | energy − GP |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, values in found.items():
        own = measures([values[name] for name in names])
        figures = [bootstrap(*own[key], resamples=0).value for key in own]
        gaps = [paired_difference(own[key][0], reference[key][0], own[key][1]) for key in ("v2", "energy")]
        cells = [f"{100 * figure:.1f}" for figure in figures]
        cells += [f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]" for gap in gaps]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def carried_over(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown: for each network the variant chosen on the others, and how it does there against the defaults."""
    common = [
        name
        for name, (method, _) in VARIANTS.items()
        if method not in OTHERS.values() and all(name in values for values in found.values())
    ]
    scores = {
        network: {name: bootstrap(*measures(list(variants[name].values()))["v2"], resamples=0).value for name in common}
        for network, variants in found.items()
    }
    lines = ["| network | chosen on the others | V2 with it | V2 of GP | best V2 there |", "|---|---|---|---|---|"]
    for network, own in scores.items():
        others = [scores[other] for other in scores if other != network]
        chosen = max(common, key=lambda name: sum(other[name] for other in others))
        best = max(own, key=lambda name: own[name])
        figures = f"{100 * own[chosen]:.1f} | {100 * own['GP']:.1f} | {100 * own[best]:.1f} ({best})"
        lines.append(f"| {network} | {chosen} | {figures} |")
    return "\n".join(lines)


def measures(values: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Measure → values of the images and the statistic of their means."""
    return {
        "max_box_acc": (box_hits([value["largest"] for value in values], V1_LEVELS), best_share),
        "v2": (box_hits([value["best"] for value in values], V2_LEVELS), best_share),
        "pointing": (np.array([value["pointing"] for value in values]), None),
        "energy": (np.array([value["energy"] for value in values]), None),
    }


if __name__ == "__main__":
    main()

"""Does the map depend on the network? Layers get random weights, from the classifier down (Adebayo et al. 2018).

    python benchmarks/randomization.py measure ILSVRC ROWS.jsonl --model NAME[=WEIGHTS] … [--images 20] [--draw normal]
    python benchmarks/randomization.py table ROWS.jsonl … [--output NUMBERS.json]

``measure`` compares a method's map of the trained network with its map of the network whose upper layers are random,
for the true class. The images are the first of those that ``looktwice evaluate --tune-on hash:0.4`` reports, in the
order of seed 0. Each image has a random network of its own: so an interval over images covers the draw of the weights
too. Killed, the same command goes on with the images that are missing.

``benchmarks/beside_quantus.py`` compares the numbers with those of Quantus.

All maps here are finished as the methods finish them. They are never negative, so correlations with and without signs
are the same.
"""

import argparse
import copy
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from looktwice.atomic_files import write_atomically
from looktwice.attention import METHODS, attend_look, find_method, look_at, resolve_options
from looktwice.datasets import load_dataset, shuffled, split_by_hash
from looktwice.errors import LooktwiceError, LooktwiceWarning, one_line
from looktwice.images import read_image
from looktwice.metrics.intervals import Interval, bootstrap, paired_difference
from looktwice.models import Model, load_model

Map = NDArray[np.float32]

NOT_CARRIED = "benchmarks/variants.py:gp_not_carried"
WITHOUT_LAMBDA = "benchmarks/variants.py:gp_without_lambda"
DEFAULT_METHODS = (*METHODS, NOT_CARRIED, WITHOUT_LAMBDA)

EXTENT = "extent"
"""What follows a method's name if the row is of its extents: the maps that boxes are drawn from."""

STAGES: Mapping[str, Callable[[int], int]] = {
    "classifier": lambda _: 1,
    "last quarter": lambda layers: math.ceil(layers / 4),
    "last half": lambda layers: math.ceil(layers / 2),
    "all": lambda layers: layers,
}
"""How many of the last layers are random."""

ANOTHER = "another image"
"""The baseline: the map of the trained network of the next image. It has the same network, and nothing else."""

GAP = f"all − {ANOTHER}"
"""How much more alike the map of the wholly random network is than chance."""

FEW = 10
"""With fewer images, a table has no intervals: they would say more than is known."""

MEASURES = ("spearman", "ssim", "brightest")


def main() -> None:
    """Measures, compares, or prints tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    measuring = commands.add_parser("measure")
    add_inputs(measuring)
    measuring.add_argument("--methods", default=",".join(DEFAULT_METHODS))
    measuring.add_argument("--draw", choices=DRAWS, default="normal")
    telling = commands.add_parser("table")
    telling.add_argument("files", nargs="+", type=Path)
    telling.add_argument("--output", type=Path, help="write the numbers to this JSON file too")
    choices = parser.parse_args()
    if choices.command == "measure":
        for model, images in inputs(choices):
            measure(model, images, choices.methods.split(","), choices.draw, choices.file)
        return
    found = summary(json.loads(line) for file in choices.files for line in file.read_text().splitlines())
    if choices.output:
        write_atomically(choices.output, ("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n").encode())
    print(tables(found))  # noqa: T201 - a script's output


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """What is measured, and where the numbers go."""
    parser.add_argument("root", type=Path, metavar="ILSVRC")
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", action="append", required=True, metavar="NAME[=WEIGHTS]")
    parser.add_argument("--images", type=int, default=20)


def inputs(choices: argparse.Namespace) -> Iterator[tuple[Model, list["Image"]]]:
    """Each network with its images."""
    torch.set_num_threads(1)  # sums split over threads round differently
    warnings.simplefilter("ignore", LooktwiceWarning)
    for entry in choices.model:
        name, _, weights = entry.partition("=")
        model = load_model(name, weights=weights or "default", squash=True)
        yield model, report_images(choices.root, model, choices.images)


class Image(NamedTuple):
    """An image as the network takes it (1, C, H, W), and its true class."""

    id: str
    pixels: Tensor
    target: int


def report_images(root: Path, model: Model, number: int) -> list[Image]:
    """The first images that a run reports, in the order of seed 0."""
    _, reported = split_by_hash(load_dataset(root, "ilsvrc").samples, 0.4)
    return [
        Image(sample.id, model.prepare(read_image(sample.image, upright=False))[0], sample.labels[0])
        for sample in shuffled(reported, 0)[:number]
    ]


# ---- random weights --------------------------------------------------------------------------------------------------


def layers_of(network: nn.Module) -> list[nn.Module]:
    """The parts that hold weights themselves, the classifier first: the reverse of the order of their definition."""
    return [part for part in network.modules() if list(part.parameters(recurse=False))][::-1]


def draw_reset(layer: nn.Module) -> None:
    """The layer's own initialiser. A batch norm's running mean becomes 0 and its variance 1.

    A layer without an initialiser, as a transformer's position embedding, is drawn as ``draw_normal`` does it.
    """
    for name in ("reset_parameters", "_reset_parameters"):  # the second is that of nn.MultiheadAttention
        if initialise := getattr(layer, name, None):
            initialise()
            return
    draw_normal(layer)


def draw_normal(layer: nn.Module) -> None:
    """Normal numbers with the mean and deviation of each trained tensor. A batch norm's running statistics stay."""
    with torch.no_grad():
        for weight in layer.parameters(recurse=False):
            weight.normal_(float(weight.mean()), float(weight.std(correction=0)))


def draw_as_quantus(layer: nn.Module) -> None:
    """As Quantus' ``MPRT`` of seed 42: its seed for every layer anew, and only layers with ``reset_parameters``.

    So layers of one shape have the same weights.
    """
    if initialise := getattr(layer, "reset_parameters", None):
        torch.manual_seed(43)
        initialise()


DRAWS: Mapping[str, Callable[[nn.Module], None]] = {
    "reset": draw_reset,
    "normal": draw_normal,
    "quantus": draw_as_quantus,
}
"""How a layer gets random weights."""


def randomize(network: nn.Module, trained: nn.Module, layers: int, draw: str, seed: int) -> None:
    """Gives ``network`` the weights of ``trained``, and random ones in its last layers.

    The same seed gives a layer the same weights, however many layers below it are random too: the cascade goes on.
    Weights are written through ``Tensor.data``. So what looktwice has measured of the trained network, where its
    activations lie in the image, is not measured again on random weights.
    """
    drawn = copy.deepcopy(trained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers_of(drawn)[:layers]:
            DRAWS[draw](layer)
    for own, new in zip(tensors_of(network), tensors_of(drawn), strict=True):
        own.data.copy_(new)


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Weights and running statistics."""
    return [*network.parameters(), *network.buffers()]


# ---- how alike two maps are ------------------------------------------------------------------------------------------


def likeness(first: Map, second: Map | None) -> dict[str, float | None]:
    """Rank correlation, structural similarity, and the share of the brightest fifth that both have.

    A map that is the same everywhere has no ranks, and a method may refuse a random network: then they are ``None``.
    """
    if second is None or np.ptp(first) == 0 or np.ptp(second) == 0:
        return dict.fromkeys(MEASURES)
    bright = [each >= np.quantile(each, 0.8) for each in (first, second)]
    shares = [each / each.max() for each in (first, second)]
    return {
        "spearman": float(spearmanr(first.ravel(), second.ravel()).statistic),
        "ssim": float(structural_similarity(*shares, data_range=1.0)),  # type: ignore[no-untyped-call]
        "brightest": float((bright[0] & bright[1]).sum() / bright[0].sum()),
    }


# ---- measuring -------------------------------------------------------------------------------------------------------


def measure(model: Model, images: Sequence[Image], methods: Sequence[str], draw: str, file: Path) -> None:
    """Adds a row for each image and method that has none yet; those of an image are written together."""
    trained, network = model.module, copy.deepcopy(model.module)
    own, depth = short_name(model), len(layers_of(trained))
    file.parent.mkdir(parents=True, exist_ok=True)
    written = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    have = {(row["image"], row["method"]) for row in written if (row["network"], row["draw"]) == (own, draw)}
    known: dict[tuple[int, str], Map] = {}

    def trained_maps(number: int, wanted: Sequence[str]) -> dict[str, Map]:
        if missing := [method for method in wanted if (number, method) not in known]:
            randomize(network, trained, 0, draw, 0)
            known.update({(number, name): own for name, own in maps_of(network, images[number], missing).items()})
        return {
            name: own
            for (place, name), own in known.items()
            if place == number and name.removesuffix(f" {EXTENT}") in wanted
        }

    for number, image in enumerate(images):
        missing = [method for method in methods if (image.id, method) not in have]
        maps = trained_maps(number, missing)
        if not maps:
            continue
        found = {ANOTHER: trained_maps((number + 1) % len(images), missing)}
        for stage, layers in STAGES.items():
            randomize(network, trained, layers(depth), draw, number)
            found[stage] = maps_of(network, image, [method for method in missing if method in maps])
        facts = {"network": own, "draw": draw, "layers": depth, "image": image.id}
        written += [
            {**facts, "method": method, **{stage: likeness(map_, there.get(method)) for stage, there in found.items()}}
            for method, map_ in maps.items()
        ]
        write_atomically(file, "".join(json.dumps(row) + "\n" for row in written).encode())
        print(own, draw, number + 1, "of", len(images), flush=True)  # noqa: T201 - a script's output


def short_name(model: Model) -> str:
    """The name of a network in the tables."""
    return model.name.rpartition(":")[2]


def maps_of(network: nn.Module, image: Image, methods: Iterable[str]) -> dict[str, Map]:
    """Each method's map (H, W), after one plain pass; without those that cannot be used on this network."""
    found: dict[str, Map] = {}
    targets = torch.tensor([image.target])
    with look_at(network, image.pixels, propagate=True) as look:
        for method in methods:
            options = resolve_options(method, {})
            try:
                attention = attend_look(look, targets, method, options)
            except LooktwiceError as error:
                print(f"{method}: {one_line(error)}")  # noqa: T201 - a script's output
                continue
            found[method] = attention.maps[0].numpy()
            if method in METHODS and options.get("class_power"):
                found[f"{method} {EXTENT}"] = attention.extents[0].numpy()
    return found


# ---- tables ----------------------------------------------------------------------------------------------------------


def summary(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over images for each network, draw and method; with an interval they are [mean, low, high]."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["draw"], row["method"]), []).append(row)
    found = []
    for (network, draw, method), own in groups.items():
        compared = {stage: numbers(bootstrap(values(own, stage))) for stage in (*STAGES, ANOTHER)}
        gap = numbers(paired_difference(values(own, "all"), values(own, ANOTHER)))
        means = {f"all, {measure}": round(float(values(own, "all", measure).mean()), 3) for measure in MEASURES[1:]}
        facts = {"network": network, "draw": draw, "layers": own[0]["layers"], "method": method, "images": len(own)}
        empty = sum(row[stage]["spearman"] is None for row in own for stage in (*STAGES, ANOTHER))
        found.append({**facts, **compared, GAP: gap, **means, "pairs with an empty map": empty})
    return found


def numbers(interval: Interval) -> list[float]:
    """[mean, low, high]."""
    return [round(number, 3) for number in (interval.value, interval.low, interval.high)]


def tables(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a table for each network and way of drawing, and one of all networks together."""
    lines: list[str] = []
    for draw in dict.fromkeys(row["draw"] for row in found):
        drawn = sorted((row for row in found if row["draw"] == draw), key=lambda row: place_of(row["method"]))
        networks = dict.fromkeys(row["network"] for row in found if row["draw"] == draw)
        for network in networks:
            lines += table([row for row in drawn if row["network"] == network])
        lines += [f"### All networks, {draw}: {GAP}", "", *together(drawn, list(networks)), ""]
    return "\n".join(lines)


def place_of(method: str) -> int:
    """Where a method stands in the tables."""
    return DEFAULT_METHODS.index(method.removesuffix(f" {EXTENT}"))


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row for each method."""
    heads = ["", "images", *STAGES, ANOTHER, GAP, "brightest fifth, all"]
    lines = ["### {network}, {draw}, {layers} layers".format(**rows[0]), "", f"| {' | '.join(heads)} |"]
    lines.append("|---" * len(heads) + "|")
    for row in rows:
        cells = [shown(row[stage], row["images"]) for stage in (*STAGES, ANOTHER)]
        cells += [shown_difference(row[GAP], row["images"]), f"{row['all, brightest']:.2f}"]
        lines.append(f"| {title(row['method'])} | {row['images']} | {' | '.join(cells)} |")
    empty = sum(row["pairs with an empty map"] for row in rows)
    pairs = sum(row["images"] for row in rows) * (len(STAGES) + 1)
    return [*lines, "", f"{empty} of {pairs} pairs have a map that is the same everywhere.", ""]


def together(rows: Sequence[Mapping[str, Any]], networks: Sequence[str]) -> list[str]:
    """A row for each method, a column for each network."""
    lines = [f"| | {' | '.join(networks)} |", "|---" * (len(networks) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        gaps = {row["network"]: shown_difference(row[GAP], row["images"]) for row in own}
        lines.append(f"| {title(method)} | {' | '.join(gaps.get(network, '–') for network in networks)} |")
    return lines


def values(rows: Iterable[Mapping[str, Any]], stage: str, measure: str = "spearman") -> NDArray[np.float64]:
    """A measure of each row (N,). A map that is the same everywhere has nothing in common with another: 0."""
    return np.array([row[stage][measure] or 0.0 for row in rows])


def title(method: str) -> str:
    """A method's short name."""
    label = find_method(method.removesuffix(f" {EXTENT}")).label.short_name
    label = f"{label}, {EXTENT}" if method.endswith(EXTENT) else label
    return f"**{label}**" if method == "global_feedback" else label


def shown(interval: Sequence[float], images: int) -> str:
    """Two decimals, with the interval if it is of enough images."""
    text = "{:.2f} [{:.2f}, {:.2f}]" if images >= FEW else "{:.2f}"
    return text.format(*interval).replace("-", "−")


def shown_difference(interval: Sequence[float], images: int) -> str:
    """As ``shown``, with signs; bold if the interval is above or below 0."""
    if images < FEW:
        return f"{interval[0]:+.2f}".replace("-", "−")
    text = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*interval).replace("-", "−")
    return f"**{text}**" if interval[1] > 0 or interval[2] < 0 else text


if __name__ == "__main__":
    main()

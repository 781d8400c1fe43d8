"""The score of the box rule "objects": collects numbers of regions on tuning images, and trains the weights on them.

    python benchmarks/object_scorer.py collect ILSVRC --model resnet50 [--weights FILE] --output resnet50.npz
    python benchmarks/object_scorer.py train resnet50.npz squeezenet.npz … \
        --output src/looktwice/localization/object_scorer.json

Tuning images are those that ``looktwice evaluate --tune-on hash:0.4`` sets aside, in the order of seed 0; the others
are never opened. The map is the extent that ``global_feedback`` finds for the true class: boxes are drawn from it. A
region is right if its box overlaps a ground-truth box with an IoU of 0.5 or more.

Training prints how good the score is on images that it was not trained on, in six parts; all networks' regions of an
image lie in the same part. Then the weights are trained on all images. Every image of every network counts the same.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from looktwice.atomic_files import write_atomically
from looktwice.attention.api import attend
from looktwice.datasets import load_dataset, shuffled, split_by_hash
from looktwice.defaults import DEFAULT_MIN_SCORE
from looktwice.images import Window, read_image
from looktwice.localization.boxes import check_map
from looktwice.localization.components import component_tree
from looktwice.localization.objects import FARTHEST, ObjectScorer, best_disjoint
from looktwice.localization.region_numbers import REGION_NUMBERS, measure_regions
from looktwice.metrics import iou
from looktwice.metrics.localization_error import HIT_IOU
from looktwice.models import load_model

BATCH = 8
PARTS = 6
UNITS, EPOCHS, REGIONS_AT_ONCE, WEIGHT_DECAY, LEARNING_RATE = 32, 20, 1024, 0.03, 1e-2

Floats = NDArray[np.float64]


class Regions(NamedTuple):
    """The regions of some maps, and of which map each is; a map's regions lie together.

    Attributes:
        numbers: of each region, in the order of the table (R, K).
        overlap: IoU of each with each truth of its image, -1 where the image has fewer (R, most truths).
        parent: the index of each region's parent within its map, or -1 (R,).
        map: the number of the map that each region belongs to (R,).
        image: the id of each map's image (M,).
        truths: how many ground-truth boxes each map's image has (M,).
    """

    numbers: Floats
    overlap: Floats
    parent: NDArray[np.int64]
    map: NDArray[np.int64]
    image: NDArray[np.str_]
    truths: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which regions are right (R,)."""
        return np.asarray(self.overlap.max(axis=1) >= HIT_IOU)

    @property
    def weight(self) -> Floats:
        """What each region counts: an image counts 1, whatever the number of its regions (R,)."""
        return 1 / np.bincount(self.map, minlength=len(self.image))[self.map]


def main() -> None:
    """Collects or trains, as asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(required=True, dest="verb")
    collecting = verbs.add_parser("collect")
    collecting.add_argument("root", type=Path)
    collecting.add_argument("--model", default="efficientnet_lite0")
    collecting.add_argument("--weights", default="default")
    collecting.add_argument("--images", type=int, help="the first N tuning images; all of them by default")
    collecting.add_argument("--output", type=Path, required=True)
    training = verbs.add_parser("train")
    training.add_argument("inputs", type=Path, nargs="+", metavar="NUMBERS")
    training.add_argument("--output", type=Path, required=True)
    choices = parser.parse_args()
    if choices.verb == "collect":
        found = collect(choices.root, choices.model, choices.weights, choices.images)
        choices.output.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(choices.output, names=list(REGION_NUMBERS), **found._asdict())
        return
    collected = together([read(path) for path in choices.inputs])
    print(judged(collected))  # noqa: T201 - a script's output
    content = trained(collected, np.ones(len(collected.map), dtype=np.bool_))
    content["trained_on"] = {
        "files": [path.name for path in choices.inputs],
        "images": len(set(collected.image.tolist())),
        "maps": len(collected.image),
        "regions": len(collected.map),
    }
    write_atomically(choices.output, (json.dumps(content, indent=1) + "\n").encode())


# ---- collecting ------------------------------------------------------------------------------------------------------


def collect(root: Path, model_name: str, weights: str, images: int | None) -> Regions:
    """The regions of the true classes' maps of the tuning images."""
    model = load_model(model_name, weights=weights, squash=True)
    samples, _ = split_by_hash(shuffled(load_dataset(root, "ilsvrc").samples, 0), 0.4)
    samples = [sample for sample in samples if sample.boxes_of(sample.labels[0])][:images]
    found = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        pictures = [read_image(sample.image, upright=False) for sample in batch]
        inputs = torch.cat([model.prepare(picture)[0] for picture in pictures])
        maps = attend(model.module, inputs, [sample.labels[0] for sample in batch], method="global_feedback").extents
        for sample, picture, heat in zip(batch, pictures, maps.numpy(), strict=True):
            truths = np.array(sample.boxes_of(sample.labels[0]), dtype=np.float64)
            found.append(of_map(heat, truths, Window.whole(*picture.size), sample.id))
        print(f"{start + len(batch)} of {len(samples)}", flush=True)  # noqa: T201
    return together(found)


def of_map(heat: NDArray[np.float32], truths: Floats, window: Window, image: str) -> Regions:
    """The regions of one map, judged by the truths (T, 4) of its image."""
    tree = component_tree(check_map(heat))
    height, width = tree.values.shape
    overlap = iou(window.to_image(tree.boxes, width, height), truths)
    belongs = np.zeros(len(tree), dtype=np.int64)
    return Regions(measure_regions(tree), overlap, tree.parent, belongs, np.array([image]), np.array([len(truths)]))


def read(path: Path) -> Regions:
    """What ``collect`` wrote."""
    with np.load(path) as content:
        if content["names"].tolist() != list(REGION_NUMBERS):
            raise SystemExit(f"{path}: its numbers are not those of today's table; collect them again")
        return Regions(*(content[name] for name in Regions._fields))


def together(found: list[Regions]) -> Regions:
    """Several maps' regions as one."""
    most = max(each.overlap.shape[1] for each in found)
    overlap = [np.pad(each.overlap, ((0, 0), (0, most - each.overlap.shape[1])), constant_values=-1) for each in found]
    starts = np.cumsum([0, *(len(each.image) for each in found)])
    return Regions(
        np.concatenate([each.numbers for each in found]),
        np.concatenate(overlap),
        np.concatenate([each.parent for each in found]),
        np.concatenate([each.map + start for each, start in zip(found, starts, strict=False)]),
        np.concatenate([each.image for each in found]),
        np.concatenate([each.truths for each in found]),
    )


# ---- training --------------------------------------------------------------------------------------------------------


def trained(regions: Regions, among: NDArray[np.bool_]) -> dict[str, Any]:
    """The weights trained on some of the regions, as the file has them. The same regions give the same weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    numbers, weight = regions.numbers[among], regions.weight[among]
    mean, scale = numbers.mean(axis=0), np.maximum(numbers.std(axis=0), 1e-6)
    x = torch.tensor((numbers - mean) / scale, dtype=torch.float32).clamp(-FARTHEST, FARTHEST)
    y = torch.tensor(regions.right[among], dtype=torch.float32)
    w = torch.tensor(weight / weight.mean(), dtype=torch.float32)
    network = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], UNITS), torch.nn.Tanh(), torch.nn.Linear(UNITS, 1), torch.nn.Flatten(0)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(x) // REGIONS_AT_ONCE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(x)).split(REGIONS_AT_ONCE):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x[some]), y[some], weight=w[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    hidden, hidden_bias, output, output_bias = (each.detach().double().numpy() for each in network.parameters())
    return {
        "numbers": list(REGION_NUMBERS),
        "mean": rounded(mean),
        "scale": rounded(scale),
        "hidden": [rounded(row) for row in hidden],
        "hidden_bias": rounded(hidden_bias),
        "output": rounded(output[0]),
        "output_bias": rounded(output_bias)[0],
    }


def rounded(values: Floats) -> list[float]:
    """Six digits: more would say nothing."""
    return [float(f"{value:.6g}") for value in values.tolist()]


# ---- judging ---------------------------------------------------------------------------------------------------------


def judged(regions: Regions) -> str:
    """How good the score is on the images it was not trained on: its calibration, and the boxes chosen with it."""
    images = sorted(set(regions.image.tolist()))
    random.Random(0).shuffle(images)
    part_of = {image: number % PARTS for number, image in enumerate(images)}
    part = np.array([part_of[image] for image in regions.image.tolist()])[regions.map]
    scores = np.zeros(len(regions.map))
    for number in range(PARTS):
        scorer = ObjectScorer.from_dict(trained(regions, part != number))
        scores[part == number] = scorer.score(regions.numbers[part == number])
    return "\n".join([*calibration(regions, scores), "", *boxes_chosen(regions, scores)])


def calibration(regions: Regions, scores: Floats) -> list[str]:
    """Of the regions with scores in each tenth: the mean score, and the share that is right."""
    lines = ["| score | regions | mean score | right |", "|---|---|---|---|"]
    for low in np.arange(10) / 10:
        inside = (scores >= low) & (scores < low + 0.1)
        if inside.any():
            weight = regions.weight[inside]
            mean, right = (np.average(each[inside], weights=weight) for each in (scores, regions.right))
            lines.append(f"| {low:.1f} … {low + 0.1:.1f} | {inside.sum()} | {mean:.3f} | {right:.3f} |")
    return lines


def boxes_chosen(regions: Regions, scores: Floats) -> list[str]:
    """Precision, recall and F1 of the chosen boxes, and the share of images whose best box is wrong."""
    found = {"one": np.zeros(3), "several": np.zeros(3), "all": np.zeros(3)}  # right, boxes, truths
    wrong = 0
    starts = np.searchsorted(regions.map, np.arange(len(regions.image) + 1))
    for number, truths in enumerate(regions.truths.tolist()):
        own = slice(starts[number], starts[number + 1])
        score, overlap = scores[own], regions.overlap[own]
        chosen = best_disjoint(regions.parent[own], score - DEFAULT_MIN_SCORE) or np.argsort(-score)[:1].tolist()
        chosen.sort(key=lambda each: -score[each])
        right = matched(overlap[chosen])
        wrong += not (chosen and overlap[chosen[0]].max() >= HIT_IOU)
        for objects in ("all", "one" if truths == 1 else "several"):
            found[objects] += right, len(chosen), truths
    lines = ["| objects | precision | recall | F1 |", "|---|---|---|---|"]
    for objects, (right, boxes, truths) in found.items():
        shares = right / max(boxes, 1), right / max(truths, 1), 2 * right / max(boxes + truths, 1)
        lines.append(f"| {objects} | {' | '.join(f'{share:.3f}' for share in shares)} |")
    return [*lines, "", f"The best box is wrong in {wrong / len(regions.image):.3f} of the maps."]


def matched(overlap: Floats) -> int:
    """How many boxes (B, T), the best first, find a truth that no box before them found."""
    free = overlap.copy()
    right = 0
    for box in free:
        best = int(box.argmax())
        if box[best] >= HIT_IOU:
            right += 1
            free[:, best] = -1
    return right


if __name__ == "__main__":
    main()

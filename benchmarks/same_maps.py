"""Writes methods' maps and boxes on some images and networks, or compares two such files.

    python benchmarks/same_maps.py write ILSVRC FILE.npz --model NAME[=WEIGHTS] … [--images 16] [--methods GP,…]
    python benchmarks/same_maps.py compare BEFORE.npz AFTER.npz [--tolerance 0] [--alike]

Run it before and after a change that must not change any result. For an older edition of the package, name its ``src``
folder in PYTHONPATH. ``compare`` names the arrays that are not the same to the last bit, and ends with 1 if there are
any.
With ``write --noise 1e-6`` the pictures are a little different, so that two files tell how much rounding may change.
With ``--alike`` it ends with 1 only if a method on a network has a map that correlates with the one before by less than
0.999, or less than 99 % of its boxes are the same to a thousandth of a pixel.
"""

import argparse
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from cases import Case, Precision
from numpy.typing import NDArray

from looktwice import METHODS, attend, locate, read_image
from looktwice.localization import BoxRule
from looktwice.models import Model

BATCH = 4
LEAST_CORRELATION = 0.999
LEAST_SAME_BOXES = 0.99
SAME_CORNER = 1e-3
"""Corners of a box that differ by at most so many pixels are the same."""

RULES = {"boxes": BoxRule("contour"), "object boxes": BoxRule("objects")}
"""The name of an array of boxes → how they are drawn. The first was the default of older versions."""

Array = NDArray[Any]


def main() -> None:
    """Writes or compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    writing = commands.add_parser("write")
    writing.add_argument("root", type=Path)
    writing.add_argument("file", type=Path)
    writing.add_argument("--model", action="append", required=True, metavar="NAME[=WEIGHTS]")
    writing.add_argument("--images", type=int, default=16)
    # Attention methods need a transformer.
    usual = [name for name in METHODS if not name.startswith("attention_")]
    writing.add_argument("--methods", default=",".join(usual))
    writing.add_argument("--device", default="cpu")
    writing.add_argument("--precision", choices=get_args(Precision), default="float32")
    writing.add_argument("--channels-last", action="store_true")
    writing.add_argument("--noise", type=float, default=0.0, help="standard deviation added to the normalised pictures")
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--tolerance", type=float, default=0.0, help="the largest difference that counts as equal")
    comparing.add_argument("--alike", action="store_true", help="maps and boxes may differ a little; see above")
    choices = parser.parse_args()
    torch.set_num_threads(1)  # sums split over threads round differently
    if choices.command == "write":
        write(choices)
    else:
        sys.exit(not compare(choices.before, choices.after, choices.tolerance, alike=choices.alike))


def write(choices: argparse.Namespace) -> None:
    """Arrays of maps and of boxes for each network, method and batch."""
    paths = sorted(choices.root.glob("Data/CLS-LOC/val/*.JPEG"))[: choices.images]
    with zipfile.ZipFile(choices.file, "w") as file:  # as numpy.savez writes it, but array by array
        for entry in choices.model:
            name, _, weights = entry.partition("=")
            case = Case(
                name, weights or "default", BATCH, None, choices.device, choices.precision, choices.channels_last
            )
            model = case.load()
            for method in choices.methods.split(","):
                for start in range(0, len(paths), BATCH):
                    for kind, array in looked(model, case, paths[start : start + BATCH], method, noise=choices.noise):
                        with file.open(f"{Path(name).name} {method} {start} {kind}.npy", "w") as member:
                            np.lib.format.write_array(member, array)
            print(name, flush=True)  # noqa: T201 - a script's output


def looked(
    model: Model, case: Case, paths: Sequence[Path], method: str, *, noise: float
) -> Iterator[tuple[str, Array]]:
    """The maps (N, H, W) that are shown, those that boxes are drawn from, and the boxes, of some images."""
    prepared = [model.prepare(read_image(path)) for path in paths]
    images = torch.cat([batch for batch, _ in prepared])
    images += noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    if case.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    attention = attend(model.module, images, method=method)
    extents = attention.extents.float().cpu().numpy()
    yield "maps", extents  # those of older versions, where boxes were drawn from the maps
    yield "shown maps", attention.maps.float().cpu().numpy()
    for kind, rule in RULES.items():
        boxes = [
            [number, *box.corners, box.score]
            for number, (heat, (_, window)) in enumerate(zip(extents, prepared, strict=True))
            for box in locate(heat, window, rule)
        ]
        yield kind, np.array(boxes, dtype=np.float64).reshape(-1, 6)


@dataclass(frozen=True)
class Alike:
    """How alike the results of a method on a network are.

    Attributes:
        correlation: the least of any map; 1 without maps.
        unlike: how many maps correlate by less than ``LEAST_CORRELATION``.
        maps: how many maps there are.
        same: how many boxes are the same.
        boxes: how many boxes there are, in the file with more.
    """

    correlation: float
    unlike: int
    maps: int
    same: int
    boxes: int

    @property
    def enough(self) -> bool:
        """No map and few boxes are different."""
        return self.correlation >= LEAST_CORRELATION and self.same >= LEAST_SAME_BOXES * self.boxes


def compare(before: Path, after: Path, tolerance: float, *, alike: bool) -> bool:
    """Prints what differs, and tells whether the files are the same, or alike if that is asked."""
    with np.load(before) as old, np.load(after) as new:
        both = sorted(set(old) & set(new))
        differing = sorted(set(old) ^ set(new))
        found = {group: likeness((old[key], new[key]) for key in keys) for group, keys in groupby(both, group_of)}
        for key in both:
            same = old[key].shape == new[key].shape and np.allclose(old[key], new[key], rtol=0, atol=tolerance)
            if not same:
                differing.append(key)
    for group, one in found.items():
        maps = f"least correlation {one.correlation:.6f}, {one.unlike} of {one.maps} maps below {LEAST_CORRELATION}"
        print(f"{group}: {maps}, {one.same} of {one.boxes} boxes the same")  # noqa: T201
    print(f"{len(both)} arrays in both, {len(differing)} differ", *([] if alike else differing), sep="\n")  # noqa: T201
    return bool(both) and all(one.enough for one in found.values()) if alike else not differing


def group_of(key: str) -> str:
    """Network and method of an array."""
    network, method, *_ = key.split(" ")
    return f"{network} {method}"


def likeness(pairs: Iterable[tuple[Array, Array]]) -> Alike:
    """How alike pairs of arrays are: maps (N, H, W), or boxes (B, 6) as the number of the image, corners and score."""
    correlations: list[float] = []
    same, boxes = 0, 0
    for one, other in pairs:
        if one.ndim == 3:
            correlations += [correlated(a, b) for a, b in zip(one, other, strict=True)]
        else:
            same += same_boxes(one, other)
            boxes += max(len(one), len(other))
    unlike = sum(each < LEAST_CORRELATION for each in correlations)
    return Alike(min(correlations, default=1.0), unlike, len(correlations), same, boxes)


def correlated(one: Array, other: Array) -> float:
    """Pearson's correlation of two maps. Constant maps are alike if they are equal, and else not at all."""
    a, b = (heat.astype(np.float64).ravel() - heat.mean(dtype=np.float64) for heat in (one, other))
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / length) if length else float(np.array_equal(one, other))


def same_boxes(one: Array, other: Array) -> int:
    """How many boxes of the first have one of their own in the second, in the same image at the same place."""
    left = [tuple(box[:5]) for box in other]
    count = 0
    for box in one:
        found = next((each for each in left if np.abs(box[:5] - each).max() <= SAME_CORNER), None)
        if found is not None:
            left.remove(found)
            count += 1
    return count


if __name__ == "__main__":
    main()

"""Writes every method's maps and boxes on some images and networks, or compares two such files to the last bit.

    python benchmarks/same_maps.py write ILSVRC FILE.npz --model NAME[=WEIGHTS] … [--images 16]
    python benchmarks/same_maps.py compare BEFORE.npz AFTER.npz [--tolerance 0]

Run it before and after a change that must not change any result.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from looktwice import METHODS, attend, load_model, locate, read_image
from looktwice.localization import BoxRule

BATCH = 4


def main() -> None:
    """Writes or compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    writing = commands.add_parser("write")
    writing.add_argument("root", type=Path)
    writing.add_argument("file", type=Path)
    writing.add_argument("--model", action="append", required=True, metavar="NAME[=WEIGHTS]")
    writing.add_argument("--images", type=int, default=16)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--tolerance", type=float, default=0.0, help="the largest difference that counts as equal")
    choices = parser.parse_args()
    torch.set_num_threads(1)  # sums split over threads round differently
    if choices.command == "write":
        write(choices.root, choices.file, choices.model, choices.images)
    else:
        compare(choices.before, choices.after, choices.tolerance)


def write(root: Path, file: Path, models: list[str], images: int) -> None:
    """One array for the maps and one for the boxes of each network, method and batch."""
    paths = sorted(root.glob("Data/CLS-LOC/val/*.JPEG"))[:images]
    found: dict[str, np.ndarray] = {}
    for entry in models:
        name, _, weights = entry.partition("=")
        model = load_model(name, weights=weights or "default", squash=True)
        prepared = [model.prepare(read_image(path)) for path in paths]
        for method in (name for name in METHODS if not name.startswith("attention_")):  # these need a transformer
            for start in range(0, len(paths), BATCH):
                some = prepared[start : start + BATCH]
                attention = attend(model.module, torch.cat([batch for batch, _ in some]), method=method)
                maps = attention.extents.numpy()  # those of older versions, where boxes were drawn from the maps
                key = f"{Path(name).name} {method} {start}"
                found[f"{key} maps"] = maps
                boxes = [
                    [number, *box.corners, box.score]
                    for number, (heat, (_, window)) in enumerate(zip(maps, some, strict=True))
                    for box in locate(heat, window, BoxRule("contour"))  # the default of older versions
                ]
                found[f"{key} boxes"] = np.array(boxes, dtype=np.float64).reshape(-1, 6)
        print(name, flush=True)  # noqa: T201 - a script's output
    np.savez(file, **found)  # type: ignore[arg-type]


def compare(before: Path, after: Path, tolerance: float) -> None:
    """Prints what differs, and ends with 1 where anything does."""
    with np.load(before) as old, np.load(after) as new:
        differing = sorted(set(old) ^ set(new))
        for key in sorted(set(old) & set(new)):
            same = old[key].shape == new[key].shape and np.allclose(old[key], new[key], rtol=0, atol=tolerance)
            if not same:
                differing.append(key)
        print(f"{len(set(old) & set(new))} arrays in both, {len(differing)} differ", *differing, sep="\n")  # noqa: T201
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()

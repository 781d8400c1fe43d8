"""The layout of wsolevaluation's metadata folders (Choe et al. 2020)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from looktwice.datasets.classes import Classes
from looktwice.datasets.files import half_open, read_lines
from looktwice.datasets.items import Item, Log, Request, numeric_classes
from looktwice.datasets.records import Corners


def read_wsol(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Read wsolevaluation's metadata (Choe et al. 2020) for ILSVRC, CUB or ImageNetV2; images are named from `root`.

    The folder `metadata` (`root`/metadata unless given), or its folder SPLIT, holds image_ids.txt, class_labels.txt
    ("id,label"), localization.txt ("id,x0,y0,x1,y1", a line a box) and, where known, image_sizes.txt
    ("id,width,height").
    """
    folder = request.metadata or request.root / "metadata"
    folder = folder / request.split if request.split else folder
    return _wsol_items(request.root, folder, log), numeric_classes(request)


def _wsol_items(root: Path, folder: Path, log: Log) -> Iterator[Item]:
    boxes_file, labels_file, sizes_file = (
        folder / f"{name}.txt" for name in ("localization", "class_labels", "image_sizes")
    )
    ids = read_lines(folder / "image_ids.txt")
    labels = {name: row[0] for name, row in _numbers(labels_file, 1, log)}
    boxes: dict[str, list[Corners]] = {}
    for name, row in _numbers(boxes_file, 4, log):
        boxes.setdefault(name, []).append(half_open(row, first_pixel=0))
    sizes = {name: (int(w), int(h)) for name, (w, h) in _numbers(sizes_file, 2, log)} if sizes_file.exists() else {}
    for name in ids:
        if name not in labels:
            log.problem(labels_file, f"{name} has no label; left out")
            continue
        if name not in boxes:
            log.problem(boxes_file, f"{name} has no box; kept without")
        objects = [(labels[name], box) for box in boxes.get(name, [None])]
        yield Item(name, root / name, boxes_file, objects, sizes.get(name))


def _numbers(file: Path, count: int, log: Log) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines "id,number,..." with `count` whole numbers."""
    for line in read_lines(file):
        name, *values = line.rsplit(",", count)
        if len(values) == count and all(re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value) for value in values):
            yield name, [value.strip() for value in values]
        else:
            log.problem(file, f"an id and {count} whole numbers are needed, not {line!r}; left out")

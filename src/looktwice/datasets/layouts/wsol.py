"""The layout ``wsol``: wsolevaluation's metadata folders (Choe et al. 2020)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from looktwice.datasets.classes import Classes
from looktwice.datasets.files import half_open, read_lines
from looktwice.datasets.items import Item, Log, Request, normal_id, numeric_classes
from looktwice.datasets.records import Corners


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads the metadata of ILSVRC, CUB or ImageNetV2. An image's id is its path from the root.

    The metadata folder, or its folder SPLIT, holds these files:

    - image_ids.txt: an id in each line;
    - class_labels.txt: "id,label";
    - localization.txt: "id,x0,y0,x1,y1", one line for each box;
    - image_sizes.txt: "id,width,height"; it may be missing.

    Args:
        request: the metadata folder is root/metadata by default. With its ``unlabelled``, ids without a label are kept.
        log: takes problems.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: one of the first three files is missing.
    """
    folder = request.metadata or request.root / "metadata"
    folder = folder / request.split if request.split else folder
    return _wsol_items(request, folder, log), numeric_classes(request)


def _wsol_items(request: Request, folder: Path, log: Log) -> Iterator[Item]:
    boxes_file, labels_file, sizes_file = (
        folder / f"{name}.txt" for name in ("localization", "class_labels", "image_sizes")
    )
    ids = [normal_id(line) for line in read_lines(folder / "image_ids.txt")]
    labels = {name: row[0] for name, row in _once(labels_file, 1, log)}
    boxes: dict[str, list[Corners]] = {}
    for name, row in _numbers(boxes_file, 4, log):
        boxes.setdefault(name, []).append(half_open(row, first_pixel=0))
    sizes = {name: (int(w), int(h)) for name, (w, h) in _once(sizes_file, 2, log)} if sizes_file.exists() else {}
    for name in ids:
        if name not in labels and request.unlabelled:
            yield Item(name, request.root / name, labels_file, (), sizes.get(name))
            continue
        if name not in labels:
            log.problem(labels_file, f"{name} has no label; left out")
            continue
        if name not in boxes:
            log.problem(boxes_file, f"{name} has no box; kept without a box")
        objects = [(int(labels[name]), box) for box in boxes.get(name, [None])]
        yield Item(name, request.root / name, boxes_file, objects, sizes.get(name))


def _numbers(file: Path, count: int, log: Log) -> Iterator[tuple[str, list[str]]]:
    """The id and the numbers of each line "id,number,…" that has ``count`` whole numbers."""
    for line in read_lines(file):
        name, *values = line.rsplit(",", count)
        if len(values) == count and all(re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value) for value in values):
            yield normal_id(name), [value.strip() for value in values]
        else:
            log.problem(file, f"{line!r} is not an id and {count} whole numbers; left out")


def _once(file: Path, count: int, log: Log) -> Iterator[tuple[str, list[str]]]:
    """As ``_numbers``, of a file that has one line for each id."""
    seen: dict[str, list[str]] = {}
    for name, values in _numbers(file, count, log):
        if seen.setdefault(name, values) is values:
            yield name, values
        elif seen[name] != values:
            log.problem(file, f"{name} is listed twice with different numbers; the first are kept")

"""The form ``coco``: one JSON file like those of COCO's instances (Lin et al. 2014), which many tools read."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from looktwice.export.claims import absolute, claimed
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.export.naming import class_names
from looktwice.export.placing import IMAGES, pictures_root, upright_file
from looktwice.export.shapes import DECIMALS, rounded, segment


def write(labels: LabelSet, folder: Path) -> Path:
    """Writes ``coco.json``, and the pictures that lie in archives into ``images/``.

    The name of a file starts from the folder of the pictures: ``labels.root``, or ``images/`` for those from archives.
    A category's id is the class's id + 1. Images and annotations are numbered from 1 in the data set's order.

    Returns:
        The file.

    Raises:
        InputError: a file of the user's is there, the file was changed, or an image cannot be read.
        RunError: the file cannot be written.
    """
    path = folder / "coco.json"
    with claimed(labels, path, folder) as mine, mine.writing(path) as file:
        write_json(labels, file, lambda image: _file_name(labels, image, folder))
    return path


def write_json(labels: LabelSet, file: BinaryIO, file_name: Callable[[LabelledImage], str]) -> None:
    """Writes the JSON of a data set.

    Args:
        labels: the data set.
        file: where to.
        file_name: what the JSON calls the file of an image.
    """
    names = class_names(labels.classes)
    categories = [
        {"id": one.id + 1, "name": name, "supercategory": ""} for one, name in zip(labels.classes, names, strict=True)
    ]
    info = {"description": "Objects found by looktwice, not checked by a person", **labels.about}
    file.write(f'{{"info": {json.dumps(info)},\n"licenses": [],\n"categories": '.encode())
    _write_list(file, categories)
    file.write(b',\n"images": ')
    _write_list(file, _images(labels, file_name))
    file.write(b',\n"annotations": ')
    _write_list(file, _annotations(labels))
    file.write(b"}\n")


def _write_list(file: BinaryIO, entries: Iterable[dict[str, Any]]) -> None:
    """A JSON list with an entry in each line. All of it is ASCII, so that every reader takes it for the same text."""
    file.write(b"[")
    for number, entry in enumerate(entries):
        file.write(b",\n" if number else b"\n")
        file.write(json.dumps(entry).encode())
    file.write(b"]")


def _images(labels: LabelSet, file_name: Callable[[LabelledImage], str]) -> Iterator[dict[str, Any]]:
    for number, image in enumerate(labels.images(), start=1):
        entry = {
            "id": number,
            "file_name": file_name(image),
            "width": image.width,
            "height": image.height,
            "split": "val" if image.id in labels.validation else "train",
        }
        if image.orientation is not None and image.content is None:
            entry["exif_orientation"] = image.orientation.value
        yield entry


def _file_name(labels: LabelSet, image: LabelledImage, folder: Path) -> str:
    if image.content is not None:
        return upright_file(labels, image, folder).relative_to(absolute(folder / IMAGES)).as_posix()
    root = pictures_root(labels)
    file = absolute(image.file)
    return (file.relative_to(root) if file.is_relative_to(root) else file).as_posix()


def _annotations(labels: LabelSet) -> Iterator[dict[str, Any]]:
    count = 0
    for number, image in enumerate(labels.images(), start=1):
        probabilities = {one.id: one.probability for one in image.classes}
        for found in image.objects:
            count += 1
            x1, y1, x2, y2 = rounded(found.box)
            shape = segment(found.box, image.width, image.height)
            entry = {
                "id": count,
                "image_id": number,
                "category_id": found.id + 1,
                "bbox": [x1, y1, round(x2 - x1, 2 * DECIMALS), round(y2 - y1, 2 * DECIMALS)],
                "area": shape.area,
                "segmentation": shape.segmentation,
                "iscrowd": 0,
                "score": round(found.box.score, 6),
            }
            if found.id in probabilities:
                entry["probability"] = round(probabilities[found.id], 6)
            yield entry

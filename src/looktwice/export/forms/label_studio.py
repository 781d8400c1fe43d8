"""The form ``label-studio``: tasks with predictions, which a person corrects in Label Studio."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from looktwice.export.claims import absolute, claimed
from looktwice.export.label_set import LabelledImage, LabelledObject, LabelSet
from looktwice.export.naming import plain_names
from looktwice.export.placing import IMAGES, listed_file, pictures_root

_DECIMALS = 6
"""Of a percentage: a millionth of a side."""


def write(labels: LabelSet, folder: Path) -> Path:
    """Writes ``label-studio.json``, and ``label-studio.xml`` with the labelling interface.

    Label Studio serves the pictures from the disk. Their addresses start from the parent of the folder of the
    pictures, which must be its document root. Pictures that lie in archives, or elsewhere, are put into ``images/``;
    their addresses start from the parent of ``images/``.

    Boxes are percentages of the upright picture's sides, as Label Studio shows it.

    Returns:
        The JSON file, which is written last.

    Raises:
        InputError: a file of the user's is there, a file was changed, an image cannot be read, or a class's name is no
            plain text.
        RunError: a file cannot be written.
    """
    names = plain_names(labels.classes, "label-studio")
    path, interface = (folder / f"label-studio.{kind}" for kind in ("json", "xml"))
    known = [str(labels.about[key]) for key in ("looktwice", "model") if key in labels.about]
    version = " ".join(["looktwice", *known])
    with (
        claimed(labels, interface, folder) as for_interface,
        claimed(labels, path, folder) as mine,
        mine.writing(path) as file,
    ):
        for_interface.write(interface, _interface(names).encode())
        file.write(b"[")
        for number, image in enumerate(labels.images(), start=1):
            file.write(b"\n" if number == 1 else b",\n")
            task = {
                "data": _data(labels, image, folder),
                "predictions": [_prediction(image, number, names, version)] if image.objects else [],
            }
            file.write(json.dumps(task).encode())
        file.write(b"\n]\n")
    return path


def _interface(names: tuple[str, ...]) -> str:
    """The labelling interface: rectangles with these labels on an image."""
    lines = ["<View>", '  <Image name="image" value="$image" zoom="true"/>']
    lines += ['  <RectangleLabels name="label" toName="image">']
    lines += [f"    <Label value={quoteattr(name)}/>" for name in names]
    return "".join(f"{line}\n" for line in [*lines, "  </RectangleLabels>", "</View>"])


def _data(labels: LabelSet, image: LabelledImage, folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = {
        "image": f"/data/local-files/?d={_address(labels, image, folder)}",
        "name": image.id,
        "split": "val" if image.id in labels.validation else "train",
    }
    if image.orientation is not None and image.content is None:
        data["exif_orientation"] = image.orientation.value
    return data


def _address(labels: LabelSet, image: LabelledImage, folder: Path) -> str:
    """The picture's path from the document root, as the query of an address holds it."""
    root, file = pictures_root(labels), absolute(image.file)
    if image.content is not None or not file.is_relative_to(root):
        root, file = absolute(folder / IMAGES), listed_file(labels, image, folder)
    path = file.relative_to(root.parent).as_posix()
    return quote(path.encode(errors="surrogateescape"))


def _prediction(image: LabelledImage, task: int, names: tuple[str, ...], version: str) -> dict[str, Any]:
    results = [_result(image, found, f"{task}-{place}", names) for place, found in enumerate(image.objects, start=1)]
    return {"model_version": version, "score": max(result["score"] for result in results), "result": results}


def _result(image: LabelledImage, found: LabelledObject, key: str, names: tuple[str, ...]) -> dict[str, Any]:
    x1, y1, x2, y2 = found.box.corners
    value = {
        "x": 100 * x1 / image.width,
        "y": 100 * y1 / image.height,
        "width": 100 * (x2 - x1) / image.width,
        "height": 100 * (y2 - y1) / image.height,
    }
    return {
        "id": key,
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "value": {
            **{name: round(number, _DECIMALS) for name, number in value.items()},
            "rotation": 0,
            "rectanglelabels": [names[found.id]],
        },
        "score": round(found.box.score, 6),
    }

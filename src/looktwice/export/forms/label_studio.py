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

    Label Studio serves the pictures from the disk, below its document root. This is the parent of the folder of the
    pictures, and addresses start from it. If one picture is stored turned, or lies in an archive or elsewhere, all
    pictures are put into ``images/``, as links or upright files. Then the document root is the output folder.

    Boxes are percentages of the sides of the picture that is served. It is upright: what Label Studio exports has the
    size of the stored picture, so a turned one would not fit its boxes.

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
    apart = any(_is_apart(labels, image) for image in labels.images())
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
                "data": _data(labels, image, folder, apart=apart),
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


def _is_apart(labels: LabelSet, image: LabelledImage) -> bool:
    """Whether the folder of the pictures has no upright file of this one."""
    inside = absolute(image.file).is_relative_to(pictures_root(labels))
    return image.content is not None or image.orientation is not None or not inside


def _data(labels: LabelSet, image: LabelledImage, folder: Path, *, apart: bool) -> dict[str, Any]:
    return {
        "image": f"/data/local-files/?d={_address(labels, image, folder, apart=apart)}",
        "name": image.id,
        "split": "val" if image.id in labels.validation else "train",
    }


def _address(labels: LabelSet, image: LabelledImage, folder: Path, *, apart: bool) -> str:
    """The picture's path from the document root, as the query of an address holds it."""
    root, file = pictures_root(labels), absolute(image.file)
    if apart:
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

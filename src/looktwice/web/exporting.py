"""The boxes on the page as a labelled data set of one picture, by the same writers as ``looktwice label``.

The network does not look again: the page sends back what it shows. The picture and the file stay in memory: nothing is
written to a folder, so nothing can stay there.
"""

import json
import math
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from looktwice import __version__
from looktwice.decoding import Picture
from looktwice.errors import OptionError, quoted
from looktwice.export.forms import coco, yolo
from looktwice.export.label_set import ImageClass, LabelClass, LabelledImage, LabelledObject, LabelSet
from looktwice.export.shapes import DECIMALS
from looktwice.images import SUFFIXES, Window
from looktwice.localization.boxes import Box
from looktwice.models.model import Model
from looktwice.options import check_known
from looktwice.web.forms import MOST_BOXES, Limits, Upload, decode, known_model
from looktwice.web.worker import Event, check

KINDS: Mapping[str, tuple[str, str]] = {"coco": ("application/json", "json"), "yolo": ("application/zip", "zip")}
"""The forms that can be had, each with the content type and the suffix of its file."""


MOST_CLASSES = 10
"""Classes of an export, at most."""


FIELD_BYTES = 256 * 1024
"""Length of a field, at most: room for so many boxes."""


_FIELDS = ("form", "model", "classes", "boxes")


_SIDES = ("x1", "y1", "x2", "y2")


_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
"""What a name of a file must not have on some system, and what no text file can hold."""


_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
"""Names that mean a device on Windows, whatever comes after their first dot."""


LEAST_SIDE = 10.0**-DECIMALS
"""Sides of a box, at least, in pixels. COCO rounds to this, so a smaller box would be empty in a file."""


@dataclass(frozen=True)
class ExportRequest:
    """What a request wants to have written.

    Attributes:
        form: a name of ``KINDS``.
        model: the network that found the boxes.
        classes: index and probability of each class that was looked for, each class once.
        boxes: of all classes: the class's place in ``classes``, and the box in pixels of the upright picture.
    """

    form: str
    model: Model
    classes: tuple[tuple[int, float], ...]
    boxes: tuple[tuple[int, Box], ...]


def export_asked_for(fields: Mapping[str, str], models: Mapping[str, Model]) -> ExportRequest:
    """What the form's fields ask for.

    Args:
        fields: of the form, without the picture.
        models: the networks by their names; the first is the default.

    Raises:
        OptionError: a field that is unknown or missing, or a value that is not possible.
    """
    for name in fields:
        check_known("field", name, _FIELDS)
    for name in ("form", "classes", "boxes"):
        if name not in fields:
            raise OptionError(f"the field {name} is missing; send form, classes and boxes")
    check_known("form", fields["form"], KINDS)
    model = known_model(fields.get("model", next(iter(models))), models)
    classes: dict[int, float] = {}
    for entry in _list(fields, "classes", ("index", "probability"), MOST_CLASSES):
        index = _index(entry["index"], len(model.classes))
        if index in classes:
            raise OptionError(f"the class {index} is twice in classes; leave one of them out")
        classes[index] = _number(entry["probability"], "a probability", 1)
    if not classes:
        raise OptionError("classes is empty; name at least one class")
    places = {index: place for place, index in enumerate(classes)}
    boxes = []
    for entry in _list(fields, "boxes", ("class", *_SIDES, "score"), MOST_BOXES):
        index = _index(entry["class"], len(model.classes))
        if index not in places:
            raise OptionError(f"a box is of class {index}, which is not among the classes; add it to them")
        x1, y1, x2, y2 = (_number(entry[side], side, math.inf) for side in _SIDES)
        boxes.append((places[index], Box(x1, y1, x2, y2, _number(entry["score"], "a score", 1))))
    return ExportRequest(fields["form"], model, tuple(classes.items()), tuple(boxes))


def _list(fields: Mapping[str, str], name: str, keys: tuple[str, ...], most: int) -> list[dict[str, Any]]:
    """The objects of a field with a JSON list, each with exactly these keys, each key once."""
    try:
        entries = json.loads(fields[name], object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(one, dict) and one.keys() == {*keys} for one in entries):
        raise OptionError(
            f"{name} is {quoted(fields[name])}; a JSON list of objects with {', '.join(keys)} is needed, each once"
        )
    if len(entries) > most:
        raise OptionError(f"{name} has {len(entries):,} entries; at most {most:,} are possible")
    return entries


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice: which is meant?")
    return dict(pairs)


def _number(value: Any, what: str, most: float) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most and value < 1e9:
        return float(value)
    limit = "" if most == math.inf else f" to {most:g}"
    raise OptionError(f"{what} is {quoted(json.dumps(value))}; a number from 0{limit} is needed")


def _index(value: Any, count: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count:
        return value
    raise OptionError(f"a class is {quoted(json.dumps(value))}; a whole number from 0 to {count - 1} is needed")


def exported(upload: Upload, asked: ExportRequest, limits: Limits, given_up: threading.Event) -> Iterator[Event]:
    """The file of an export, as one event with ``content``, ``media_type`` and ``name``.

    All of it is made in memory. A COCO file needs no picture, so only the form yolo puts the picture into it.

    Args:
        upload: the picture.
        asked: the boxes and the form.
        limits: of a request.
        given_up: set by another thread when nobody waits any more. The work then ends soon.

    Raises:
        LooktwiceError: the file is not a picture, or a box is not inside it or too small.
        HTTPException: the picture is too large.
        GivenUpError: ``given_up`` was set.
    """
    check(given_up)
    picture = decode(upload, most_pixels=limits.pixels)
    check(given_up)
    _check_boxes(asked, picture)
    name = file_name(upload.file_name)
    labels, stream = _label_set(Path(name), picture, asked), _Watched(given_up)
    if asked.form == "yolo":
        content = _zipped(yolo.packed(labels, upload.data, picture, stream))
    else:
        coco.write_json(labels, stream, lambda image: image.id)
        content = stream.getvalue()
    check(given_up)
    media_type, suffix = KINDS[asked.form]
    told = {"content": content, "media_type": media_type, "name": f"{Path(name).stem}.{asked.form}.{suffix}"}
    yield Event("file", told)


class _Watched(BytesIO):
    """Memory that can be written while somebody waits for it. To encode a large picture takes many seconds."""

    def __init__(self, given_up: threading.Event) -> None:
        super().__init__()
        self._given_up = given_up

    def write(self, data: Any) -> int:
        check(self._given_up)
        return super().write(data)


def _check_boxes(asked: ExportRequest, picture: Picture) -> None:
    width, height = picture.image.size
    for _, box in asked.boxes:
        x1, y1, x2, y2 = box.corners
        if not (x1 < x2 <= width and y1 < y2 <= height):
            raise OptionError(
                f"the box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is not inside the picture of {width} × {height} pixels"
            )
        least = max(LEAST_SIDE, yolo.PRECISION * max(width, height))
        if min(x2 - x1, y2 - y1) < least:
            raise OptionError(
                f"the box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is too small; at least {least:g} pixels on each "
                "side are needed"
            )


def _label_set(file: Path, picture: Picture, asked: ExportRequest) -> LabelSet:
    width, height = picture.image.size
    classes = tuple(
        LabelClass(place, asked.model.classes[index], index) for place, (index, _) in enumerate(asked.classes)
    )
    probabilities = [probability for _, probability in asked.classes]
    objects = tuple(
        LabelledObject(place, Box(*box.corners, box.score * probabilities[place])) for place, box in asked.boxes
    )
    image = LabelledImage(
        id=file.name,
        name=file.stem,
        file=file,
        width=width,
        height=height,
        window=Window.whole(width, height),
        classes=tuple(ImageClass(place, probability, given=False) for place, probability in enumerate(probabilities)),
        objects=objects,
        orientation=picture.orientation,
    )
    about = {"looktwice": __version__, "model": asked.model.name, "weights": asked.model.weights}
    return LabelSet(classes, lambda: iter([image]), 1, file.parent, frozenset(), about)


def file_name(given: str) -> str:
    r"""The name of the picture's file in a data set: the client's, if every system can hold it.

    >>> file_name("Mein Kater.JPG"), file_name("a:b\n.png"), file_name(".."), file_name("CON.jpg")
    ('Mein Kater.JPG', 'a_b_.png', 'picture', '_CON.jpg')
    """
    path = Path(_NOT_IN_NAMES.sub("_", given).strip(" ."))
    suffix = path.suffix if path.suffix.lower() in SUFFIXES else ""
    stem = path.name.removesuffix(suffix)
    while len(stem.encode()) > 180:
        stem = stem[:-1]
    stem = stem.strip(" .") or "picture"
    return f"{'_' if _RESERVED.fullmatch(stem) else ''}{stem}{suffix}"


def _zipped(files: Mapping[str, bytes]) -> bytes:
    """A ZIP file. The same files give the same bytes."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return content.getvalue()

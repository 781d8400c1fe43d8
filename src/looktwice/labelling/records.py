"""What was found in an image ↔ JSON, as the parts of a run keep it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from looktwice.decoding import Orientation
from looktwice.export.label_set import ImageClass, LabelledImage, LabelledObject
from looktwice.images import Window
from looktwice.labelling.images import RunImage
from looktwice.localization.boxes import Box
from looktwice.localization.regions import Region, run_lengths


@dataclass(frozen=True)
class FoundImage:
    """What was found in an image.

    Attributes:
        image: the image, decoded.
        classes: those that were looked for.
        objects: what was found of them.
        error: why the image cannot be used; then nothing was found.
    """

    image: RunImage
    classes: tuple[ImageClass, ...] = ()
    objects: tuple[LabelledObject, ...] = ()
    error: str | None = None

    def labelled(self) -> LabelledImage | None:
        """The image for the forms; ``None`` if it cannot be used."""
        image, window = self.image, self.image.window
        if self.error is not None or window is None:
            return None
        return LabelledImage(
            id=image.sample.id,
            name=image.name,
            file=image.sample.image.absolute(),
            width=window.width,
            height=window.height,
            window=window,
            classes=self.classes,
            objects=self.objects,
            content=image.sample.content,
            orientation=image.orientation,
            notes=() if image.note is None else (image.note,),
        )


def to_record(found: FoundImage) -> dict[str, Any]:
    """The JSON object of an image. A region is kept in pixels of its map, so it takes little space."""
    image = found.image
    if found.error is not None or image.window is None:
        return {"id": image.sample.id, "file": image.digest, "error": found.error or image.error}
    window, orientation = image.window, image.orientation
    return {
        "id": image.sample.id,
        "file": image.digest,
        "note": image.note,
        "size": [window.width, window.height],
        "window": [window.left, window.top, window.right, window.bottom],
        "orientation": None if orientation is None else [orientation.value, *orientation.stored],
        "classes": [[each.id, each.probability, each.given] for each in found.classes],
        "objects": [_object_record(each) for each in found.objects],
    }


def _object_record(found: LabelledObject) -> dict[str, Any]:
    box, region = found.box, found.box.region
    record: dict[str, Any] = {"id": found.id, "box": [*box.corners, box.score]}
    if region is not None:
        place = [region.left, region.top, *region.map_size]
        record["region"] = {"place": place, **run_lengths(region.pixels)}
    return record


def from_record(image: RunImage, record: Mapping[str, Any]) -> FoundImage:
    """What ``to_record`` kept of an image.

    Args:
        image: the image of the data set, not decoded.
        record: of the image.

    Raises:
        ValueError: it is of another image.
        KeyError, TypeError: it is no such record.
    """
    if record["id"] != image.sample.id:
        raise ValueError(f"it has {record['id']} where {image.sample.id} belongs")
    image = replace(image, digest=record["file"])
    if "error" in record:
        return FoundImage(image, error=record["error"])
    left, top, right, bottom = record["window"]
    width, height = record["size"]
    window = Window(left, top, right, bottom, width, height)
    stored = record["orientation"]
    orientation = None if stored is None else Orientation(stored[0], (stored[1], stored[2]))
    decoded = replace(image, window=window, orientation=orientation, note=record["note"])
    classes = tuple(ImageClass(*each) for each in record["classes"])
    return FoundImage(decoded, classes, tuple(_object(each, window) for each in record["objects"]))


def _object(record: Mapping[str, Any], window: Window) -> LabelledObject:
    x1, y1, x2, y2, score = record["box"]
    region = _region(record["region"], window) if "region" in record else None
    return LabelledObject(record["id"], Box(x1, y1, x2, y2, score, region))


def _region(record: Mapping[str, Any], window: Window) -> Region:
    left, top, width, height = record["place"]
    return Region(_pixels(record["size"], record["counts"]), 1, left, top, (width, height), window)


def _pixels(size: tuple[int, int], counts: list[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Run lengths → a label image (h, w) of zeros and ones."""
    values = np.arange(len(counts), dtype=np.uint8) % 2
    return np.repeat(values, counts).reshape(size, order="F")

"""A chunk's maps → boxes, in a part on disk; and the maps and pictures that are asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from looktwice.atomic_files import write_atomically
from looktwice.attention.choice import ChosenMethod
from looktwice.errors import InputError
from looktwice.export.finding import Finding
from looktwice.export.forms.wsol import map_bytes, map_file
from looktwice.export.label_set import ImageClass, LabelClass, LabelledObject
from looktwice.export.picture import picture
from looktwice.figures.encode import png_bytes
from looktwice.figures.overlay import scaled
from looktwice.images import Window, read_picture
from looktwice.labelling.folder import write_part
from looktwice.labelling.images import RunImage
from looktwice.labelling.look import Chunk
from looktwice.labelling.records import FoundImage
from looktwice.localization.boxes import Box, BoxRule, locate
from looktwice.models.model import Model


@dataclass(frozen=True)
class Workplace:
    """What the processes beside the network need to know.

    Attributes:
        folder: of the labels.
        identity: of the labels.
        rule: how boxes are drawn.
        classes: of the data set, by the network's index.
        maps: whether the map of each image's first class is kept.
        credit: the network and the method that pictures are of; ``None`` if none are drawn.
    """

    folder: Path
    identity: str
    rule: BoxRule
    classes: Mapping[int, LabelClass]
    maps: bool
    credit: "Credit | None"

    def picture(self, image: RunImage, index: int) -> Path:
        """The file of an image's picture for a class, by the network's index."""
        return self.folder / "pictures" / f"{image.name}.{index}.png"

    def beside(self, found: FoundImage) -> Iterator[Path]:
        """The files that are kept of an image beside its record."""
        if self.maps and found.classes:
            yield map_file(self.folder, found.image.sample.id)
        if self.credit is not None:
            indices = {each.id: each.index for each in self.classes.values()}
            yield from (self.picture(found.image, indices[each.id]) for each in found.classes)


@dataclass(frozen=True)
class Credit:
    """What a picture tells below its map: the network and its weights, the method and its options."""

    model: str
    weights: str
    method: str
    title: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, model: Model, method: ChosenMethod) -> "Credit":
        """Plain values: they go to other processes."""
        return cls(model.name, model.weights, method.name, method.label.title, dict(method.options))


def write_chunk(place: Workplace, chunk: Chunk) -> None:
    """Finds the boxes of a chunk and writes what is kept of it. Its part comes last, so a part says that all is there.

    Raises:
        RunError: a file cannot be written, or the folder holds these labels no more.
    """
    of_image: dict[int, list[int]] = {}
    for number, wanted in enumerate(chunk.wanted):
        of_image.setdefault(wanted.image, []).append(number)
    found = [_found(place, chunk, index, of_image.get(index, [])) for index in range(len(chunk.images))]
    write_part(place.folder, chunk.index, found, place.identity)


def _found(place: Workplace, chunk: Chunk, index: int, numbers: list[int]) -> FoundImage:
    image = chunk.images[index]
    if image.window is None or image.error is not None:
        return FoundImage(image, error=image.error)
    classes: list[ImageClass] = []
    objects: list[LabelledObject] = []
    try:
        for number in numbers:
            wanted = chunk.wanted[number]
            boxes = _boxes(chunk, number, image.window, place.rule)
            id = place.classes[wanted.index].id
            classes.append(ImageClass(id, wanted.probability, wanted.given))
            sure = 1.0 if wanted.given else wanted.probability
            objects += [LabelledObject(id, replace(box, score=sure * box.score)) for box in boxes]
            if place.credit is not None:
                _write_picture(place, place.credit, chunk, number, boxes)
        if place.maps and numbers:
            _write_map(place, chunk, numbers[0])
    except InputError as error:  # a map with NaN, for example
        return FoundImage(image, error=f"{image.sample.id}: {error}")
    return FoundImage(image, tuple(classes), tuple(objects))


def _boxes(chunk: Chunk, number: int, window: Window, rule: BoxRule) -> tuple[Box, ...]:
    return locate(chunk.extents[number], window, rule)


def _write_map(place: Workplace, chunk: Chunk, number: int) -> None:
    image = chunk.images[chunk.wanted[number].image]
    write_atomically(map_file(place.folder, image.sample.id), map_bytes(chunk.extents[number]), synced=False)


def _write_picture(place: Workplace, credit: Credit, chunk: Chunk, number: int, boxes: tuple[Box, ...]) -> None:
    """Writes OUTPUT/pictures/NAME.CLASS.png: the map and its boxes over the image."""
    wanted = chunk.wanted[number]
    image = chunk.images[wanted.image]
    assert image.window is not None
    assert chunk.maps is not None
    content = None if image.sample.content is None else image.sample.content.read()
    finding = Finding(
        path=image.sample.image,
        picture=scaled(read_picture(image.sample.image, content).image),
        window=image.window,
        model=credit.model,
        weights=credit.weights,
        class_index=wanted.index,
        class_name=place.classes[wanted.index].name,
        probability=wanted.probability,
        method=credit.method,
        method_title=credit.title,
        options=credit.options,
        scores=(),
        closed_layers=0,
        heat=chunk.maps[number],
        rule=place.rule,
        boxes=boxes,
    )
    path = place.picture(image, wanted.index)
    write_atomically(path, png_bytes(picture(finding)), synced=False)

"""From a layout's own words to samples: class names to indices, boxes checked, everything wrong on record."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from looktwice.datasets.classes import Classes, read_classes
from looktwice.datasets.files import BadAnnotationError, read_annotation
from looktwice.datasets.records import Corners, Sample, clip
from looktwice.errors import DatasetError

Object = tuple[str, Corners | None]  # class key in the layout's words, half-open box not yet checked


@dataclass(frozen=True)
class Request:
    """What `load_dataset` was asked for."""

    root: Path
    split: str | None
    classes: Path | None
    metadata: Path | None


@dataclass(frozen=True)
class Item:
    """One image in the words of its layout; `source` is the file its problems are found in."""

    id: str
    image: Path
    source: Path
    objects: Sequence[Object]
    size: tuple[int, int] | None = None
    slack: float = 1.0


class Log:
    """Problems and notes in order; under `strict` the first problem raises."""

    def __init__(self, root: Path, strict: bool) -> None:
        self.root, self.strict = root, strict
        self.problems: list[str] = []
        self.notes: list[str] = []

    def problem(self, file: Path, what: str) -> None:
        """Record what is wrong in `file`."""
        line = self._line(file, what)
        if self.strict:
            raise DatasetError(f"{line} (strict: mend it, or load without strict to go on)")
        self.problems.append(line)

    def note(self, file: Path, what: str) -> None:
        """Record what the layout's rules leave out of `file`, or keep."""
        self.notes.append(self._line(file, what))

    def _line(self, file: Path, what: str) -> str:
        name = file.relative_to(self.root) if file != self.root and file.is_relative_to(self.root) else file
        return " ".join(f"{name}: {what}".split())  # names come from files and may hold line breaks


def xml_items(paths: Iterable[tuple[str, Path]], folder: Path, first_pixel: int, log: Log) -> Iterator[Item]:
    """An item for each image with a VOC-style XML file."""
    difficult = 0
    for name, image in paths:
        file = folder / f"{name}.xml"
        try:
            annotation = read_annotation(file, first_pixel=first_pixel)
        except BadAnnotationError as error:
            log.problem(file, str(error))
            continue
        difficult += annotation.difficult
        yield Item(name, image, file, annotation.objects, annotation.size)
    if difficult:
        log.note(folder, f"{difficult} objects marked difficult, kept like any other")


def numeric_classes(request: Request) -> Classes:
    """Return the classes of a layout whose labels are class indices unless a classes file says otherwise."""
    return read_classes(request.classes, numeric=True) if request.classes else Classes({}, {}, numeric=True)


def to_samples(items: Iterable[Item], classes: Classes, log: Log) -> Iterator[Sample]:
    """Yield a sample for each item that is fit to be one; say in `log` what is wrong with the others."""
    seen: set[str] = set()
    folders: dict[Path, frozenset[str]] = {}
    unmapped = 0
    for item in items:
        # One listing of a folder tells of all its images; 50,000 calls of stat on a network disk take minutes.
        folder = item.image.parent
        if folder not in folders:
            folders[folder] = file_names(folder)
        name = PurePosixPath(item.id)
        if item.id in seen:
            log.problem(item.source, f"{item.id} is listed twice; the first is kept")
        elif name.is_absolute() or ".." in name.parts:
            log.problem(item.source, f"{item.id} leads out of the image folder, which it must not; left out")
        elif item.image.name not in folders[folder]:
            log.problem(item.image, "the image is missing; left out")
        elif not item.objects:
            log.problem(item.source, f"{item.id} has no object; left out")
        elif all(classes.index.get(key, -1) is None for key, _ in item.objects):
            unmapped += 1
        elif (sample := _to_sample(item, classes, log)) is not None:
            yield sample
        seen.add(item.id)
    if unmapped:
        log.note(log.root, f"{unmapped} images left out that show only classes without an index in the classes file")


def file_names(folder: Path) -> frozenset[str]:
    """Return the names in `folder`, none when it cannot be read."""
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - names are enough; a Path for each is not
    except OSError:
        return frozenset()


def _to_sample(item: Item, classes: Classes, log: Log) -> Sample | None:
    size = item.size
    if size is not None and min(size) <= 0:
        log.problem(item.source, f"{item.id} states a size of {size[0]}×{size[1]} pixels; its boxes are not checked")
        size = None
    boxes: dict[int, list[Corners]] = {}
    unknown: set[str] = set()
    for key, box in item.objects:
        try:
            index = classes.find(key)
        except KeyError:
            unknown.add(key)
            continue
        if index is None:
            continue
        kept = boxes.setdefault(index, [])
        inside, fault = (None, None) if box is None else clip(box, size, item.slack)
        if fault:
            log.problem(item.source, f"{item.id}: {fault}")
        if inside is not None:
            kept.append(inside)
    for key in sorted(unknown):
        log.problem(item.source, f"{item.id}: unknown class {key!r}, left out; name it in the classes file")
    if not boxes:
        return None
    width, height = size or (None, None)
    return Sample(item.id, item.image, tuple(boxes), tuple(map(tuple, boxes.values())), width, height)

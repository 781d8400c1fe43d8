"""Items, which a layout finds, → samples: class names become indices, boxes are checked, problems are written down."""

import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from looktwice.datasets.classes import Classes, read_classes
from looktwice.datasets.files import BadAnnotationError, read_annotation
from looktwice.datasets.records import Corners, ImageContent, Sample, clip
from looktwice.errors import DatasetError, printable

MOST_SIDE = 1_000_000
"""No image has a longer side, in pixels. A larger number in an annotation is a mistake."""


_LINE = 500
"""Characters of a problem or note at most: a name in a broken file can have millions."""


Object = tuple[str | int, Corners | None]
"""The class of an object in the data set's own words, and its half-open box, not yet checked, or ``None``.

The class is a text, or a whole number where the data set counts its classes.
"""


class Folders:
    """The names of the files in folders.

    Each folder is listed once: 50,000 calls of stat on a network disk take minutes.
    """

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}
        self._faults: dict[Path, str] = {}

    def fault(self, folder: Path) -> str | None:
        """Why a folder that is there cannot be read; ``None`` if it can be."""
        self.names(folder)
        return self._faults.get(folder)

    def names(self, folder: Path) -> frozenset[str]:
        """The names of the files in a folder; empty if the folder cannot be read."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))  # noqa: PTH208 - a name is faster than a Path
            except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
                if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | NotADirectoryError):
                    self._faults[folder] = error.strerror or str(error)
                self._names[folder] = frozenset()
        return self._names[folder]

    def have(self, file: Path) -> bool:
        """Whether there is such a file."""
        return file.name in self.names(file.parent)


@dataclass(frozen=True)
class Request:
    """What the caller of ``load_dataset`` asks for.

    Attributes:
        root: an existing folder or file.
        split: the part of the data set; ``None`` for the layout's default.
        classes: the classes file, if there is one.
        metadata: the folder with wsolevaluation's metadata, if one is given.
        folders: tells which image files there are.
        known: the network's own classes; they count where no classes file is given.
        unlabelled: whether images without a label are kept.
        leave_out: a folder below the root in which nothing is read, for example one for results.
        images_needed: whether an image is left out if its file is missing.
    """

    root: Path
    split: str | None
    classes: Path | None
    metadata: Path | None
    folders: Folders = field(default_factory=Folders)
    known: Classes | None = None
    unlabelled: bool = False
    leave_out: Path | None = None
    images_needed: bool = True


@dataclass(frozen=True)
class Item:
    """One image with its annotation, in the data set's own words.

    Attributes:
        id: the image's name in the data set.
        image: the image file.
        source: the file that problems of this image are reported for.
        objects: the objects in the image.
        size: (width, height) in pixels, or ``None`` if the annotation does not state it.
        slack: how far, in pixels, a box may reach out of the image before it is a problem.
        content: how the bytes of the image are read, if it lies in no file of its own; then ``image`` only names it.
        upright: whether the annotation tells that its boxes are in pixels of the upright picture.
    """

    id: str
    image: Path
    source: Path
    objects: Sequence[Object]
    size: tuple[int, int] | None = None
    slack: float = 1.0
    content: ImageContent | None = None
    upright: bool = False


class Log:
    """Collects problems and notes, in their order.

    Args:
        root: the folder that file names in the lines start from.
        strict: whether the first problem raises ``DatasetError``.
    """

    def __init__(self, root: Path, strict: bool) -> None:
        self.root, self.strict = root, strict
        self.problems: list[str] = []
        self.notes: list[str] = []

    def problem(self, file: Path, what: str) -> None:
        """Adds what is wrong in a file.

        Raises:
            DatasetError: the log is strict.
        """
        line = self._line(file, what)
        if self.strict:
            raise DatasetError(f"{line} (strict: repair it, or load without strict to go on)")
        self.problems.append(line)

    def note(self, file: Path, what: str) -> None:
        """Adds what the layout leaves out of a file, or keeps, by its own rules."""
        self.notes.append(self._line(file, what))

    def _line(self, file: Path, what: str) -> str:
        name = file.relative_to(self.root) if file != self.root and file.is_relative_to(self.root) else file
        line = printable(" ".join(f"{name}: {what}".split()))  # names come from files and can hold anything
        return line if len(line) <= _LINE else f"{line[:300]} … {line[-_LINE + 303 :]}"


def normal_id(text: str) -> str:
    """An image's name in one form: ``./a.jpg`` and ``a.jpg`` are the same image.

    >>> normal_id("./b//a.jpg")
    'b/a.jpg'
    """
    return str(PurePosixPath(text))


def inner_id(text: str) -> str:
    """An image's name without what leads out of the folder, for names that are compared and never opened.

    >>> inner_id("../../G/a.jpg"), inner_id("/home/me/a.jpg")
    ('G/a.jpg', 'home/me/a.jpg')
    """
    parts = [part for part in posixpath.normpath(text).split("/") if part not in ("", "..")]
    return "/".join(parts)


def xml_items(
    request: Request, paths: Iterable[tuple[str, Path]], folder: Path, first_pixel: int, log: Log
) -> Iterator[Item]:
    """An item for each image that has an XML file, as PASCAL VOC writes it.

    Args:
        request: with its ``unlabelled``, an image without an XML file is kept too.
        paths: (id, image file) of each image.
        folder: the folder with the XML files, ID.xml.
        first_pixel: the number that the files give to the first pixel of a row, 0 or 1.
        log: takes an XML file that cannot be used as a problem, and counts difficult objects in a note.

    Yields:
        The items, in the order of ``paths``.
    """
    difficult = 0
    for name, image in paths:
        file = folder / f"{name}.xml"
        if request.unlabelled and not request.folders.have(file) and request.folders.fault(file.parent) is None:
            yield Item(name, image, file, ())
            continue
        try:
            annotation = read_annotation(file, first_pixel=first_pixel)
        except BadAnnotationError as error:
            log.problem(file, str(error))
            continue
        difficult += annotation.difficult
        yield Item(name, image, file, annotation.objects, annotation.size)
    if difficult:
        log.note(folder, f"{difficult} objects marked difficult, kept like any other")


def chosen_classes(request: Request, own: Classes) -> Classes:
    """The classes that the labels of a layout name: those of the classes file, else the network's, else the layout's.

    Args:
        request: what the caller asks for.
        own: what the labels mean if the caller gives no classes. Its ``numeric`` counts for the others too.

    Raises:
        DatasetError: the classes file cannot be used.
    """
    if request.classes is not None:
        return read_classes(request.classes, numeric=own.numeric)
    return own if request.known is None else replace(request.known, numeric=own.numeric)


def numeric_classes(request: Request) -> Classes:
    """The classes of a layout whose labels are class indices, or names if a classes file or a network gives names.

    Raises:
        DatasetError: the classes file cannot be used.
    """
    return chosen_classes(request, Classes({}, {}, numeric=True))


def to_samples(items: Iterable[Item], classes: Classes, request: Request, log: Log) -> Iterator[Sample]:
    """A sample for each item that can be used.

    Args:
        items: what the layout found.
        classes: which class index each label means.
        request: tells which image files there are, and whether images without a label are kept.
        log: takes what is wrong with the other items.

    Yields:
        The samples, in the order of the items.

    Raises:
        DatasetError: the log is strict and an item has a problem.
    """
    seen: dict[str, str] = {}
    unmapped = 0
    for each in items:
        item = each if request.images_needed else replace(each, id=inner_id(each.id))
        name = PurePosixPath(item.id)
        own = normal_id(item.id)
        key = printable(own)
        if seen.get(key) == own:
            log.problem(item.source, f"{item.id} is listed twice; the first is kept")
        elif key in seen:
            log.problem(item.source, f"{item.id!r} and {seen[key]!r} are both printed as {key}; rename one; left out")
        elif not name.name:
            log.problem(item.source, f"{item.id!r} is no name of an image; left out")
        elif name.is_absolute() or ".." in name.parts:
            log.problem(item.source, f"{item.id} leads out of the image folder, which is not allowed; left out")
        elif item.content is None and request.images_needed and not request.folders.have(item.image):
            fault = request.folders.fault(item.image.parent)
            why = "the image is missing" if fault is None else f"the image's folder cannot be read ({fault})"
            log.problem(item.image, f"{why}; left out")
        elif not item.objects and not request.unlabelled:
            log.problem(item.source, f"{item.id} has no object; left out")
        elif item.objects and all(classes.leaves_out(key) for key, _ in item.objects):
            unmapped += 1
        elif (sample := _to_sample(item, classes, request, log)) is not None:
            yield sample
        seen.setdefault(key, own)
    if unmapped:
        log.note(log.root, f"{unmapped} images left out: the classes file gives their classes no index")


def _to_sample(item: Item, classes: Classes, request: Request, log: Log) -> Sample | None:
    size = item.size
    if size is not None and (min(size) <= 0 or max(size) > MOST_SIDE):
        log.problem(item.source, f"{item.id} states a size of {size[0]}×{size[1]} pixels; its boxes are not checked")
        size = None
    # Without the picture nothing tells whether the stated size is the upright one that the boxes lie in.
    limit = size if request.images_needed else None
    boxes: dict[int, list[Corners]] = {}
    unknown: set[str | int] = set()
    for key, box in item.objects:
        try:
            index = classes.find(key)
        except KeyError:
            unknown.add(key)
            continue
        if index is None:
            continue
        kept = boxes.setdefault(index, [])
        inside, fault = (None, None) if box is None else clip(box, limit, item.slack)
        if fault:
            log.problem(item.source, f"{item.id}: {fault}")
        if inside is not None:
            kept.append(inside)
    for key in sorted(unknown, key=str):
        log.problem(item.source, f"{item.id}: {classes.fault(key)}")
    if item.objects and not boxes:
        return None
    width, height = size or (None, None)
    name, all_boxes = printable(normal_id(item.id)), tuple(map(tuple, boxes.values()))
    return Sample(name, item.image, tuple(boxes), all_boxes, width, height, item.content, item.upright)

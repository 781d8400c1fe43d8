"""From a layout's own words to samples: class names to indices, boxes checked, everything wrong on record."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from looktwice.datasets.files import read_csv, read_json, read_lines
from looktwice.datasets.records import Box, Sample, clip
from looktwice.errors import DatasetError

Object = tuple[str, Box | None]  # class key in the layout's words, half-open box not yet checked


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


@dataclass(frozen=True)
class Classes:
    """Class key → class index, None for a class left out on purpose. With `numeric`, a key may be the index itself."""

    index: Mapping[str, int | None]
    names: Mapping[int, str]
    numeric: bool = False

    def find(self, key: str) -> int | None:
        """Return the class index of `key`; KeyError when the class is unknown."""
        if key not in self.index and self.numeric and re.fullmatch("[0-9]{1,9}", key):
            number = int(key)
            if not self.names or number in self.names:
                return number
        return self.index[key]


def read_classes(path: Path, *, numeric: bool = False) -> Classes:
    """Read a classes file in one of the forms that `load_dataset` describes."""
    try:
        if path.suffix == ".csv":
            rows = [row for _, row in read_csv(path) if row != ["name", "index"]]
            classes = mapped_classes((name, int(index) if index else None) for name, index in rows)
        elif path.suffix == ".json":
            content = read_json(path)
            if not isinstance(content, dict | list):
                raise TypeError(f"it holds {content!r}")
            classes = mapped_classes(content.items()) if isinstance(content, dict) else ordered_classes(content)
        else:
            classes = ordered_classes(read_lines(path))
        if not classes.index:
            raise ValueError("it names no class")
    except (ValueError, TypeError) as error:
        forms = '"name,index" a line (.csv), {"name": index} or ["name", ...] (.json), or a class a line (.txt)'
        raise DatasetError(f"{path} is no classes file ({error}); needed: {forms}") from error
    return replace(classes, numeric=numeric)


def mapped_classes(pairs: Iterable[tuple[str, int | None]]) -> Classes:
    """Return the classes of (name, index) pairs; several names may share an index, which bears the first's name."""
    index: dict[str, int | None] = {}
    names: dict[int, str] = {}
    for name, number in pairs:
        if number is not None and (type(number) is not int or number < 0):
            raise ValueError(f"{name!r} has the index {number!r}, not a whole number from 0")
        if name in index:
            raise ValueError(f"{name!r} is named twice")
        index[name] = number
        if number is not None:
            names.setdefault(number, name)
    return Classes(index, names)


def ordered_classes(entries: Iterable[str]) -> Classes:
    """Return classes in order of index, each found by its synset, name or a synonym where that means one class only."""
    index: dict[str, int | None] = {}
    names: dict[int, str] = {}
    ambiguous: set[str] = set()
    for number, entry in enumerate(entries):
        synset, _, name = entry.partition(" ") if re.match(r"n[0-9]{8} ", entry) else ("", "", entry)
        names[number] = name.strip()
        for key in {synset, name.strip(), *map(str.strip, name.split(","))} - {""}:
            if key in index:
                ambiguous.add(key)  # ImageNet has two cranes, a bird and a machine
            index[key] = number
    return Classes({key: number for key, number in index.items() if key not in ambiguous}, names)


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
    boxes: dict[int, list[Box]] = {}
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

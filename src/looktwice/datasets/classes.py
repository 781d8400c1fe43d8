"""Class names and identifiers → the network's class indices."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from looktwice.datasets.files import read_csv, read_json, read_lines
from looktwice.errors import DatasetError


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

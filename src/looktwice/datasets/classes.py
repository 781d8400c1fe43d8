"""Class names and identifiers → the network's class indices."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from looktwice.datasets.files import read_csv, read_json, read_lines
from looktwice.errors import DatasetError, printable


@dataclass(frozen=True)
class Classes:
    """The classes that a data set's labels can name.

    Attributes:
        index: class key (a name, synset or id) → class index in the model; ``None`` for a class left out on purpose.
        names: class index → name.
        numeric: whether a key may also be the class index itself: a whole number, or digits that are no name.
        ids: whether the keys may be ids of the data set. Then a whole number is looked for among them first.
        spellings: a key without regard to case, blanks, hyphens and underscores → all classes that it means; empty if
            only exact keys count.
    """

    index: Mapping[str, int | None]
    names: Mapping[int, str]
    numeric: bool = False
    ids: bool = False
    spellings: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def find(self, key: str | int) -> int | None:
        """The class index that a key means.

        Args:
            key: a class in the data set's own words. A text is a name first. A whole number is no name.

        Returns:
            The index, or ``None`` if the class is left out on purpose.

        Raises:
            KeyError: the class is unknown, or the key means several classes.
        """
        if str(key) in self.index and (self.ids or isinstance(key, str)):
            return self.index[str(key)]
        meanings = self._meanings(key) if isinstance(key, str) else ()
        number = None if meanings else self._number(key)
        if number is not None:
            return number
        if len(meanings) != 1:
            raise KeyError(key)
        return meanings[0]

    def finds(self, key: str | int) -> bool:
        """Whether a key means exactly one class, or one that is left out on purpose."""
        try:
            self.find(key)
        except KeyError:
            return False
        return True

    def leaves_out(self, key: str | int) -> bool:
        """Whether a key means a class that is left out on purpose."""
        return self.finds(key) and self.find(key) is None

    def rivals(self, keys: Iterable[str]) -> Iterator[tuple[str, int, int]]:
        """The keys that are the name of one class and the index of another one: (key, class with the name, index)."""
        named = [(key, index) for key, index in self.index.items() if index is not None]
        named += [(key, index) for index, key in self.names.items()]  # names of several classes too
        meanings = {key: index for key, index in named if self._number(key) not in (None, index)}
        for key in keys if meanings and not self.ids else ():
            number = self._number(key)
            if key in meanings and number is not None:
                yield key, meanings[key], number

    def knows(self, key: str) -> bool:
        """Whether a key means a class, or several, or one that is left out on purpose."""
        return key in self.index or bool(self._meanings(key))

    def fault(self, key: str | int, *, lost: str = "left out") -> str:
        """Why a key finds no class, what is lost for it, and the remedy: for a line of problems."""
        meanings = self._meanings(key) if isinstance(key, str) else ()
        if not meanings:
            return f"unknown class {str(key)!r}, {lost}; name it in the classes file"
        some = ", ".join(map(str, meanings[:_SHOWN])) + (" …" if len(meanings) > _SHOWN else "")
        return f"class {key!r} is ambiguous: it means the classes {some}; {lost}; give its index in a classes file"

    def _number(self, key: str | int) -> int | None:
        """The class index that a key is, if keys may be indices and there is such a class."""
        if not self.numeric or not re.fullmatch("[0-9]{1,9}", str(key)):
            return None
        return int(key) if not self.names or int(key) in self.names else None

    def _meanings(self, key: str) -> tuple[int, ...]:
        """The classes that a key means in any spelling; all its synonyms count if the whole key means none."""
        whole = self.spellings.get(_spelling(key), ())
        synonyms = (number for word in key.split(",") for number in self.spellings.get(_spelling(word), ()))
        return whole or tuple(dict.fromkeys(synonyms))


_SHOWN = 5
"""Classes of an ambiguous key that a message names."""


def _spelling(key: str) -> str:
    """A key in one spelling.

    >>> _spelling("Egyptian_cat") == _spelling("egyptian cat")
    True
    """
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", key.casefold())).strip()


def known_classes(names: Sequence[str]) -> Classes:
    """A network's own classes, as a table in which a data set's class names are found.

    A class is found by its whole name or, if that has commas, by one of its synonyms. Upper and lower case count only
    if two names differ in nothing else. So do blanks, underscores and hyphens. A name of a data set may have several
    synonyms too, with commas between them. A word that means several classes finds none; then "crane (134)" has the
    index too. Each name of ``distinct_names`` is found, as it is and as it is printed.

    Args:
        names: the name of each class, by index.

    Returns:
        The classes.

    >>> known_classes(["tench", "Egyptian cat", "crane", "crane"]).find("egyptian_cat")
    1
    """
    spellings: dict[str, dict[int, None]] = {}
    for number, name in enumerate(names):
        for key in _keys(name) | ({name} if name.strip() else set()):
            spellings.setdefault(_spelling(key), {})[number] = None
    exact = dict(ordered_classes(names).index)
    every = range(len(names))
    for called in (distinct_names([*map(printable, names)], every), names, distinct_names(names, every)):
        counts = Counter(called)
        exact |= {name: number for number, name in enumerate(called) if counts[name] == 1}
    for number, name in enumerate(names):  # as a labelled data set calls classes of one name
        spellings.setdefault(_spelling(f"{name} ({number})"), {number: None})
    return Classes(exact, dict(enumerate(names)), spellings={key: tuple(found) for key, found in spellings.items()})


def distinct_names(names: Sequence[str], indices: Sequence[int]) -> tuple[str, ...]:
    """A name for each class, each name once. Classes with the same name get their index after it.

    Args:
        names: of the classes. ImageNet has two that are called "crane".
        indices: the network's index of each.

    >>> distinct_names(["crane", "tench", "crane"], [134, 0, 517])
    ('crane (134)', 'tench', 'crane (517)')
    """
    found = list(names)
    while len(set(found)) < len(found):
        counts = Counter(found)
        found = [name if counts[name] == 1 else f"{name} ({index})" for name, index in zip(found, indices, strict=True)]
    return tuple(found)


def read_classes(path: Path, *, numeric: bool = False) -> Classes:
    """Reads a classes file, in one of the forms that ``load_dataset`` describes.

    Args:
        path: the file; its ending says which form it has.
        numeric: whether a label may also be the class index itself.

    Returns:
        The classes.

    Raises:
        DatasetError: the file cannot be read, or has another form.
    """
    try:
        if path.suffix == ".csv":
            rows = [[cell.strip() for cell in row] for _, row in read_csv(path)]
            named = (row for row in rows if row != ["name", "index"])
            classes = mapped_classes((name, int(index) if index else None) for name, index in named)
            ids = True
        elif path.suffix == ".json":
            content = read_json(path)
            if not isinstance(content, dict | list):
                raise TypeError(f"it holds {content!r}")
            by_name = _of_labels(content)
            ids = by_name is content and isinstance(content, dict)
            classes = mapped_classes(by_name.items()) if isinstance(by_name, dict) else ordered_classes(by_name)
        else:
            classes, ids = ordered_classes(read_lines(path)), False
        if not classes.index:
            raise ValueError("it names no class")
    except (ValueError, TypeError, KeyError) as error:
        forms = '"name,index" in each line (.csv), {"name": index} or ["name", …] (.json), or one class a line (.txt)'
        raise DatasetError(f"{path} is not a classes file ({error}); needed: {forms}") from error
    return replace(classes, numeric=numeric, ids=ids)


def _of_labels(content: Any) -> Any:
    """The classes of a labelled data set (``classes.json``) by name and by "name (index)"; other content as it is."""
    classes = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(classes, list):
        return content
    named = {each["name"]: each["index"] for each in classes}
    numbered = {f"{name} ({index})": index for name, index in named.items()}
    return named | numbered | named  # the names first, and none replaced


def read_class_names(path: Path) -> tuple[str, ...]:
    """The name of each class of a network, by index, from a classes file.

    Args:
        path: the file, in one of the forms that ``load_dataset`` describes.

    Returns:
        The names. Where several have the same index, the first one.

    Raises:
        DatasetError: the file cannot be read, has another form, or names no class for an index.
    """
    names = read_classes(path).names
    count = max(names, default=-1) + 1
    missing = next((index for index in range(count) if not names.get(index)), None)
    if missing is not None or not names:
        raise DatasetError(f"{path} has no name for class {missing or 0}; give one for each class from 0 to the last")
    return tuple(names[index] for index in range(count))


def mapped_classes(pairs: Iterable[tuple[str, int | None]]) -> Classes:
    """Classes whose indices are stated.

    Args:
        pairs: (name, index) of each class; the index is ``None`` for a class left out on purpose. Several names may
            have the same index: the first one becomes its name.

    Returns:
        The classes.

    Raises:
        ValueError: a name comes twice, or an index is not a whole number from 0.
    """
    index: dict[str, int | None] = {}
    names: dict[int, str] = {}
    for name, number in pairs:
        if number is not None and (type(number) is not int or number < 0):
            raise ValueError(f"{name!r} has the index {number!r}, not a whole number from 0")
        if name in index:
            raise ValueError(f"{name!r} is there twice")
        index[name] = number
        if number is not None:
            names.setdefault(number, name)
    return Classes(index, names)


def ordered_classes(entries: Iterable[str]) -> Classes:
    """Classes that are listed in the order of their indices.

    A class is found by its synset, its whole name or one of its synonyms. A word that means several classes finds none.

    Args:
        entries: "synset name" or "name", for class 0, 1, 2 … A name may be several synonyms with commas between them.

    Returns:
        The classes.
    """
    index: dict[str, int | None] = {}
    names: dict[int, str] = {}
    ambiguous: set[str] = set()
    for number, entry in enumerate(entries):
        names[number] = _synset_and_name(entry)[1]
        for key in _keys(entry):
            if key in index:
                ambiguous.add(key)  # ImageNet has two cranes, a bird and a machine
            index[key] = number
    return Classes({key: number for key, number in index.items() if key not in ambiguous}, names)


def _synset_and_name(entry: str) -> tuple[str, str]:
    synset, _, name = entry.partition(" ") if re.match(r"n[0-9]{8} ", entry) else ("", "", entry)
    return synset, name.strip()


def _keys(entry: str) -> set[str]:
    """The synset, the whole name and the synonyms of a class."""
    synset, name = _synset_and_name(entry)
    return {synset, name, *map(str.strip, name.split(","))} - {""}

"""Which labelled image an annotation made by hand is of: by its whole name, or else by the end of its path.

Annotation tools often name images by another folder than the labels do, or leave out the ending. So the class folder
may differ, and the ending may be missing on one side. Some write an address, a path of Windows, or the name of a copy.
Others name the files that a form has written.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from urllib.parse import unquote

from looktwice.export.label_set import LabelledImage
from looktwice.images import SUFFIXES


@dataclass(frozen=True)
class Pairing:
    """Which annotated image is which labelled one.

    Attributes:
        pairs: (annotated, labelled), the ids of each pair; sorted.
        ambiguous: a line for each annotated image that fits several labelled ones, or the other way round.
        unmatched: the ids of the annotated images that fit no labelled one.
        copies: the ids of the annotated images that were found without the eight hex digits before their name.
    """

    pairs: tuple[tuple[str, str], ...]
    ambiguous: tuple[str, ...]
    unmatched: tuple[str, ...]
    copies: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Name:
    """An image's name in parts. ``suffix`` is empty if the name does not end as images do."""

    id: str
    folders: tuple[str, ...]
    stem: str
    suffix: str

    @classmethod
    def of(cls, image: str) -> "_Name":
        path = PurePosixPath(image)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES and suffix != "":
            return cls(image, path.parts[:-1], path.name, "")
        return cls(image, path.parts[:-1], path.stem, suffix)

    def fits(self, other: "_Name") -> bool:
        """Whether both can name the same image, whatever their folders are."""
        return self.stem == other.stem and (self.suffix == other.suffix or "" in (self.suffix, other.suffix))

    def shared_folders(self, other: "_Name") -> int:
        """How many folders at the end of both paths are the same."""
        pairs = zip(reversed(self.folders), reversed(other.folders), strict=False)
        return next((count for count, (one, two) in enumerate(pairs) if one != two), self._shorter(other))

    def _shorter(self, other: "_Name") -> int:
        return min(len(self.folders), len(other.folders))


class FileNames:
    """The names of images where each is ``LabelledImage.name``, as in the folder of the labels.

    Args:
        ids: these names; each once.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = frozenset(ids)

    @staticmethod
    def written(image: LabelledImage) -> tuple[str]:
        """The name of a labelled image that is looked for here."""
        return (image.name,)

    def may_hold(self, _labelled: str, written: Iterable[str]) -> bool:
        """As ``AnnotatedNames.may_hold``."""
        return not self._ids.isdisjoint(written)

    def pair(self, labelled: Iterable[str], written: Mapping[str, Sequence[str]]) -> Pairing:
        """As ``AnnotatedNames.pair``; only the same name is the same image."""
        pairs = {name: each for each in labelled for name in written[each] if name in self._ids}
        return Pairing(tuple(sorted(pairs.items())), (), tuple(sorted(self._ids - set(pairs))))


def _readings(annotated: str) -> tuple[str, ...]:
    """What an annotated image may be called where its name is an address, or a path of Windows; the best one first.

    >>> _readings("data/local-files/?d=photos/50%25.jpg")
    ('photos/50%25.jpg', 'photos/50%.jpg')
    """
    text = re.sub(r"^https?:.*?/[^?]*\?d=|^.*/?local-files/*\?d=", "", annotated)
    if re.match("https?:", text):
        text = re.sub(r"[?#].*", "", text)
    plain, decoded = text.replace("\\", "/"), unquote(text).replace("\\", "/")
    return tuple(each for each in dict.fromkeys((plain, decoded)) if each != annotated)


def _without_prefix(annotated: str) -> str | None:
    """The name that a copy had before Label Studio put eight hex digits before it; ``None`` for other names.

    >>> _without_prefix("images/7ea30258__a.jpg"), _without_prefix("data/upload/1/7ea30258-a.jpg")
    ('a.jpg', 'a.jpg')
    """
    found = re.fullmatch(r"(?:.*/)?[0-9a-f]{8}(?:__|-)([^/]+)", (annotated, *_readings(annotated))[-1])
    return found and found[1]


class AnnotatedNames:
    """The names of the images with boxes drawn by hand.

    Args:
        ids: of these images; each once.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = tuple(ids)
        self._steps: tuple[dict[str, _Name], ...] = ({}, {}, {})
        self._copies: dict[str, _Name] = {}
        for each in self._ids:
            for step, text in zip(self._steps, (each, *_readings(each)), strict=False):
                step[each] = _Name.of(text)
            rest = _without_prefix(each)
            if rest is not None:
                self._copies[each] = _Name.of(rest)
        names = (name for step in (*self._steps, self._copies) for name in step.values())
        self._stems = frozenset(name.stem for name in names)

    @staticmethod
    def written(image: LabelledImage) -> tuple[str, ...]:
        """The names of files that the forms write for an image, as far as they are not like its id.

        Two images in a folder that share a stem have names such as ``a_jpg`` and ``a_png``. A copy that is turned
        upright may be a PNG file.
        """
        other = (image.name,) if PurePosixPath(image.name).name != _Name.of(image.id).stem else ()
        return (*other, f"{image.name}.png") if image.orientation is not None else other

    def may_hold(self, labelled: str, written: Iterable[str] = ()) -> bool:
        """Whether a labelled image can be one of them, so that it must be kept for ``pair``.

        Args:
            labelled: its id.
            written: its names as ``written`` gives them.
        """
        return any(_Name.of(each).stem in self._stems for each in (labelled, *written))

    def pair(self, labelled: Iterable[str], written: Mapping[str, Sequence[str]] = MappingProxyType({})) -> Pairing:
        """Finds the labelled image of each of them.

        The same id is the same image. Else the labelled image is taken that fits and has the most folders at the end
        of its path in common. If several have as many, nothing tells which of them it is. If none fits, the name is
        read as an address. The last try is the name of a copy: there the rest of the name must be unique.

        Args:
            labelled: the ids of the labelled images, as far as ``may_hold`` says that they matter.
            written: for each of them the names that ``written`` gives, if any.
        """
        others = {each: tuple(map(_Name.of, (each, *written.get(each, ())))) for each in labelled}
        pairs = {each: each for each in self._ids if each in others}
        ambiguous: dict[str, str] = {}
        for step in self._steps:
            taken = set(pairs.values())
            free = {key: names for key, names in others.items() if key not in taken}
            found, doubtful = _claimed(_without(step, pairs, ambiguous), free)
            pairs |= found
            ambiguous |= doubtful
        found, doubtful = _claimed(_without(self._copies, pairs, ambiguous), others)
        taken = set(pairs.values())
        copies = {key: one for key, one in found.items() if one not in taken}
        doubtful |= {key: f"{key} and others may be {one}" for key, one in found.items() if one in taken}
        pairs |= copies
        ambiguous |= doubtful
        settled = pairs | ambiguous
        return Pairing(
            tuple(sorted(pairs.items())),
            tuple(ambiguous[key] for key in sorted(ambiguous)),
            tuple(sorted(key for key in self._ids if key not in settled)),
            frozenset(copies),
        )


def _without(names: Mapping[str, _Name], *settled: Mapping[str, str]) -> dict[str, _Name]:
    """The names of the annotated images that are not settled yet."""
    return {key: name for key, name in names.items() if not any(key in each for each in settled)}


def _claimed(
    annotated: Mapping[str, _Name], labelled: Mapping[str, Sequence[_Name]]
) -> tuple[dict[str, str], dict[str, str]]:
    """The pairs by the ends of paths, and a line for each annotated image that is in doubt."""
    by_stem: dict[str, list[tuple[str, _Name]]] = {}
    for key, names in labelled.items():
        for name in names:
            by_stem.setdefault(name.stem, []).append((key, name))
    claims: dict[str, list[tuple[int, str]]] = {}
    ambiguous: dict[str, str] = {}
    for key, name in annotated.items():
        depth, nearest = _nearest(name, by_stem.get(name.stem, ()))
        if len(nearest) > 1:
            ambiguous[key] = f"{key} may be {nearest[0]} or {nearest[1]}"
        elif nearest:
            claims.setdefault(nearest[0], []).append((depth, key))
    found, contested = _settled(claims)
    return found, ambiguous | contested


def _nearest(name: _Name, others: Iterable[tuple[str, _Name]]) -> tuple[int, list[str]]:
    """The most folders that a fitting name has in common with this one, and the ids that have as many."""
    fitting = [(name.shared_folders(other), key) for key, other in others if name.fits(other)]
    most = max((depth for depth, _ in fitting), default=0)
    return most, sorted({key for depth, key in fitting if depth == most})


def _settled(claims: dict[str, list[tuple[int, str]]]) -> tuple[dict[str, str], dict[str, str]]:
    """The pairs among the claims on labelled images, and a line for each annotated image whose claim is contested."""
    pairs: dict[str, str] = {}
    contested: dict[str, str] = {}
    for labelled, claimants in claims.items():
        most = max(depth for depth, _ in claimants)
        first, *others = sorted(each for depth, each in claimants if depth == most)
        if others:
            contested |= {each: f"{each} and others may be {labelled}" for each in (first, *others)}
        else:
            pairs[first] = labelled
    return pairs, contested

"""Which labelled image an annotation made by hand is of: by its whole name, or else by the end of its path.

Annotation tools often name images by another folder than the labels do, or leave out the ending. So the class folder
may differ, and the ending may be missing on one side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from looktwice.images import SUFFIXES


@dataclass(frozen=True)
class Pairing:
    """Which annotated image is which labelled one.

    Attributes:
        pairs: (annotated, labelled), the ids of each pair; sorted.
        ambiguous: a line for each annotated image that fits several labelled ones, or the other way round.
        unmatched: the ids of the annotated images that fit no labelled one.
    """

    pairs: tuple[tuple[str, str], ...]
    ambiguous: tuple[str, ...]
    unmatched: tuple[str, ...]


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


class AnnotatedNames:
    """The names of the images with boxes drawn by hand.

    Args:
        ids: of these images; each once.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._names = [_Name.of(each) for each in ids]
        self._stems = frozenset(name.stem for name in self._names)

    def may_hold(self, labelled: str) -> bool:
        """Whether a labelled image can be one of them, so that it must be kept for ``pair``."""
        return _Name.of(labelled).stem in self._stems

    def pair(self, labelled: Iterable[str]) -> Pairing:
        """Finds the labelled image of each of them.

        The same id is the same image. Else the labelled image is taken that fits and has the most folders at the end
        of its path in common. If several have as many, nothing tells which of them it is.

        Args:
            labelled: the ids of the labelled images, as far as ``may_hold`` says that they matter.
        """
        others = {each: _Name.of(each) for each in labelled}
        same = {name.id for name in self._names if name.id in others}
        by_stem: dict[str, list[_Name]] = {}
        for key, name in others.items():
            if key not in same:
                by_stem.setdefault(name.stem, []).append(name)
        claims: dict[str, list[tuple[int, str]]] = {}
        ambiguous: dict[str, str] = {}
        for name in self._names:
            if name.id in same:
                continue
            depth, nearest = _nearest(name, by_stem.get(name.stem, ()))
            if len(nearest) > 1:
                ambiguous[name.id] = f"{name.id} may be {nearest[0]} or {nearest[1]}"
            elif nearest:
                claims.setdefault(nearest[0], []).append((depth, name.id))
        found, contested = _settled(claims)
        ambiguous |= contested
        pairs = sorted([*((each, each) for each in same), *found.items()])
        settled = same | set(found) | set(ambiguous)
        return Pairing(
            tuple(pairs),
            tuple(ambiguous[key] for key in sorted(ambiguous)),
            tuple(sorted(name.id for name in self._names if name.id not in settled)),
        )


def _nearest(name: _Name, others: Iterable[_Name]) -> tuple[int, list[str]]:
    """The most folders that a fitting name has in common with this one, and the ids that have as many."""
    fitting = [(name.shared_folders(other), other.id) for other in others if name.fits(other)]
    most = max((depth for depth, _ in fitting), default=0)
    return most, sorted(each for depth, each in fitting if depth == most)


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

"""One region for each object: regions are scored, and the best disjoint set of them is chosen.

The regions are the components of a map at all thresholds (``components``). Each has a score: the probability that its
box is right, that is, that it overlaps a ground-truth box with an IoU of 0.5 or more. A small network computes the
score from a few numbers of the region (``region_numbers``). Its weights were trained on tuning images with ground-truth
boxes, by ``benchmarks/object_scorer.py``; the file of weights says on which.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.errors import OptionError
from looktwice.localization.components import ComponentTree, Floats, Whole
from looktwice.localization.region_numbers import REGION_NUMBERS, measure_regions

WEIGHTS = "object_scorer.json"

FARTHEST = 4.0
"""Standardised numbers are clipped to this, in standard deviations: a region unlike all others keeps a sane score."""


@dataclass(frozen=True, eq=False)
class ObjectScorer:
    """A network of one hidden layer: K numbers of a region → the probability that its box is right.

    Attributes:
        numbers: the names of the numbers that it reads (K,).
        mean: of each number over the training regions (K,).
        scale: the standard deviation of each (K,).
        hidden: weights (units, K) of the hidden layer, which has tanh.
        hidden_bias: (units,).
        output: weights (units,) of the output, which has a sigmoid.
        output_bias: one number.
    """

    numbers: tuple[str, ...]
    mean: Floats
    scale: Floats
    hidden: Floats
    hidden_bias: Floats
    output: Floats
    output_bias: float

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "ObjectScorer":
        """Reads what the file of weights has.

        Raises:
            OptionError: a weight is missing or not finite, the sizes do not fit, or a number is unknown.
        """
        try:
            numbers = tuple(str(name) for name in content["numbers"])
            rows = {name: np.asarray(content[name], dtype=np.float64) for name in _shapes(0, 0)}
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError(f"the weights of the object score cannot be read: {error}; train them again") from error
        units = rows["output"].size
        for name, shape in _shapes(units, len(numbers)).items():
            if rows[name].shape != shape or not np.isfinite(rows[name]).all():
                found = f"{name} is {rows[name].shape}" if rows[name].shape != shape else f"{name} is not finite"
                raise OptionError(f"the weights of the object score: {found}; {shape} finite numbers are needed")
        unknown = [name for name in numbers if name not in REGION_NUMBERS]
        if unknown or not (rows["scale"] > 0).all():
            seen = f"unknown numbers: {', '.join(unknown)}" if unknown else "a scale that is not positive"
            raise OptionError(f"the weights of the object score have {seen}; train them again")
        arrays = {name: rows[name] for name in rows if name != "output_bias"}
        return cls(numbers=numbers, output_bias=float(rows["output_bias"]), **arrays)

    def score(self, numbers: Floats) -> Floats:
        """Numbers (N, K) of regions → their scores (N,), 0 … 1."""
        standard = np.clip((numbers - self.mean) / self.scale, -FARTHEST, FARTHEST)
        logit = np.tanh(standard @ self.hidden.T + self.hidden_bias) @ self.output + self.output_bias
        return np.asarray(1 / (1 + np.exp(-logit)))


def _shapes(units: int, numbers: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array in the file of weights."""
    return {
        "mean": (numbers,),
        "scale": (numbers,),
        "hidden": (units, numbers),
        "hidden_bias": (units,),
        "output": (units,),
        "output_bias": (),
    }


@cache
def object_scorer() -> ObjectScorer:
    """The score that comes with the package; it is read once.

    Raises:
        OptionError: as ``ObjectScorer.from_dict``.
    """
    return ObjectScorer.from_dict(json.loads(_weights_text()))


def scorer_hash() -> str:
    """16 hex digits of the weights' file: with the same ones, the same map has the same scores."""
    return hashlib.sha256(_weights_text().encode()).hexdigest()[:16]


def _weights_text() -> str:
    return (files("looktwice.localization") / WEIGHTS).read_text(encoding="utf-8")


def score_regions(tree: ComponentTree) -> Floats:
    """The score of each region of a tree (N,): the probability that its box is right."""
    scorer = object_scorer()
    return scorer.score(measure_regions(tree, scorer.numbers))


def choose_regions(tree: ComponentTree, scores: Floats, *, min_score: float) -> list[int]:
    """The indices of the chosen regions, by descending score; equal scores: the larger area, then the upper left first.

    The set is ``best_disjoint`` for scores − ``min_score``. Where no region reaches that score, the best one is chosen
    all the same: an image that is asked for an object has one box at least, if its map is positive anywhere.
    """
    x1, y1 = tree.boxes[:, 0], tree.boxes[:, 1]
    ranking = np.lexsort((x1, y1, -tree.area, -scores)).tolist()
    chosen = set(best_disjoint(tree.parent, scores - min_score) or ranking[:1])
    return [each for each in ranking if each in chosen]


def best_disjoint(parent: Whole, worth: NDArray[np.floating]) -> list[int]:
    """The disjoint regions of a tree whose worth has the largest sum; only regions of positive worth are chosen.

    From the leaves to the roots: a region is taken if it is worth at least what the best set within it is worth.

    Args:
        parent: the index of each region's parent, -1 where it has none; parents come first (N,).
        worth: what each region is worth (N,).

    Returns:
        Their indices, rising.
    """
    above, own = parent.tolist(), worth.tolist()
    within = [0.0] * len(own)  # what the best set below a region is worth
    taken = [False] * len(own)
    for each in range(len(own) - 1, -1, -1):
        taken[each] = own[each] > 0 and own[each] >= within[each]
        if above[each] >= 0:
            within[above[each]] += own[each] if taken[each] else within[each]
    covered = [False] * len(own)  # whether a region around it is taken
    for each, held_by in enumerate(above):
        covered[each] = held_by >= 0 and (covered[held_by] or taken[held_by])
    return [each for each in range(len(own)) if taken[each] and not covered[each]]

"""What is measured of a region before it is scored: a table of numbers.

A region is a component of a ``ComponentTree``. The score (``objects``) reads the numbers in the order of the table. To
add one, write a function of the tree and put a row into ``REGION_NUMBERS``; then the score must be trained again with
``benchmarks/object_scorer.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from looktwice.localization.components import ComponentTree, Floats, Whole, chains
from looktwice.options import check_known

STABLE_IOU = 0.7
"""A box counts as the same at another level if it overlaps by more than this."""

RING_SHARE = 0.15
"""The ring around a box is this share of the box's sides wide, and at least two cells."""

_TINY = 1e-9


@dataclass(frozen=True)
class RegionNumber:
    """A number of each region of a tree.

    Attributes:
        name: as the file of weights has it.
        meaning: in a sentence.
        of: a tree of N components → N numbers.
    """

    name: str
    meaning: str
    of: Callable[[ComponentTree], Floats]


def measure_regions(tree: ComponentTree, names: tuple[str, ...] | None = None) -> Floats:
    """The numbers of each region (N, K), all of the table or those named.

    Raises:
        OptionError: the table has no number of that name.
    """
    chosen = tuple(REGION_NUMBERS) if names is None else names
    for name in chosen:
        check_known("number of a region", name, REGION_NUMBERS)
    if not len(tree):
        return np.zeros((0, len(chosen)))
    return np.stack([REGION_NUMBERS[name].of(tree) for name in chosen], axis=1)


def _log_odds(shares: Floats) -> Floats:
    return np.asarray(np.log((shares + 0.01) / (1.01 - shares)))


def _box_area(tree: ComponentTree) -> Floats:
    return np.asarray(np.log(tree.box_area / tree.values.size))


def _energy(tree: ComponentTree) -> Floats:
    return _log_odds(tree.energy / tree.values.sum())


def _squares(tree: ComponentTree) -> Floats:
    return _log_odds(_share_of_squares(tree))


def _share_of_squares(tree: ComponentTree) -> Floats:
    return np.asarray(tree.squares / (tree.values**2).sum())


def _fill(tree: ComponentTree) -> Floats:
    return np.asarray(tree.area / tree.box_area)


def _border(tree: ComponentTree) -> Floats:
    height, width = tree.values.shape
    at_border = np.concatenate([tree.boxes[:, :2] == 0, tree.boxes[:, 2:] == [width, height]], axis=1)
    return np.asarray(at_border.mean(axis=1))


def _stable_below(tree: ComponentTree) -> Floats:
    return _stable_along(tree, tree.parent)


def _stable_above(tree: ComponentTree) -> Floats:
    return _stable_along(tree, _largest_child(tree))


def _stable_along(tree: ComponentTree, following: Whole) -> Floats:
    """log(1 + steps) for the steps from each region to the next in ``following`` that leave its box about the same.

    Of two such regions one lies in the other. So the IoU of their boxes is the smaller area over the larger one.
    """
    along = chains(following)[1:]
    others = tree.box_area[along]
    overlap = np.minimum(others, tree.box_area) / np.maximum(others, tree.box_area)
    same = (along >= 0) & (overlap > STABLE_IOU)
    return np.asarray(np.log1p(np.logical_and.accumulate(same).sum(axis=0)))


def _largest_child(tree: ComponentTree) -> Whole:
    """For each region its child of largest area, the first of equals; -1 where it has none (N,)."""
    largest = np.full(len(tree), -1)
    order = np.lexsort((-np.arange(len(tree)), tree.area))  # the last that is written stays
    order = order[tree.parent[order] >= 0]
    largest[tree.parent[order]] = order
    return largest


def _parts(tree: ComponentTree) -> Floats:
    leaves = tree.within[:, ~_has_children(tree)]
    return np.log(np.bincount(leaves[leaves >= 0], minlength=len(tree)))


def _has_children(tree: ComponentTree) -> NDArray[np.bool_]:
    return np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree)) > 0


def _ring(tree: ComponentTree) -> Floats:
    height, width = tree.values.shape
    x1, y1, x2, y2 = tree.boxes.T
    across = np.maximum(2, (RING_SHARE * (x2 - x1)).astype(np.int64))
    down = np.maximum(2, (RING_SHARE * (y2 - y1)).astype(np.int64))
    left, top = np.maximum(0, x1 - across), np.maximum(0, y1 - down)
    right, bottom = np.minimum(width, x2 + across), np.minimum(height, y2 + down)
    area = np.maximum((right - left) * (bottom - top) - tree.box_area, 1)
    sums = np.zeros((height + 1, width + 1))
    np.cumsum(tree.values.cumsum(axis=0), axis=1, out=sums[1:, 1:])
    inside = _sum_within(sums, x1, y1, x2, y2)
    around = _sum_within(sums, left, top, right, bottom) - inside
    return np.asarray(np.log((inside / tree.box_area + 1e-6) / (np.maximum(around, 0.0) / area + 1e-6)))


def _sum_within(sums: Floats, x1: Whole, y1: Whole, x2: Whole, y2: Whole) -> Floats:
    """The sum in each box, from an integral image (H + 1, W + 1)."""
    return np.asarray(sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1])


def _spread(tree: ComponentTree) -> Floats:
    values = tree.values
    return np.full(len(tree), np.log(values.sum() ** 2 / (values.size * (values**2).sum())))


def _level(tree: ComponentTree) -> Floats:
    return np.asarray(np.log(tree.thresholds[tree.level] / tree.peak + _TINY))


def _valley(tree: ComponentTree) -> Floats:
    deepest = np.zeros(len(tree))
    first, second = _two_largest_of_children(tree, tree.peak)
    level = np.zeros(len(tree))
    inner = tree.parent >= 0
    level[tree.parent[inner]] = tree.thresholds[tree.level[inner]]  # all children of a region begin at one level
    splits = (second > 0) & (first > 0)
    deepest[splits] = np.log(second[splits] / level[splits] + _TINY)
    found = np.zeros(len(tree))
    there = tree.within >= 0
    np.maximum.at(found, tree.within[there], np.broadcast_to(deepest, there.shape)[there])
    return found


def _largest_sibling(tree: ComponentTree) -> Floats:
    share = _share_of_squares(tree)
    first, second = _two_largest_of_children(tree, share)
    parent = tree.parent
    other = np.where(share == first[parent], second[parent], first[parent])
    return np.asarray(np.where(parent >= 0, other, 0.0))


def _two_largest_of_children(tree: ComponentTree, values: Floats) -> tuple[Floats, Floats]:
    """For each region the largest and the second largest of its children's values, which are positive; 0 where none."""
    first, second = np.zeros(len(tree)), np.zeros(len(tree))
    order = np.argsort(values, kind="stable")
    order = order[tree.parent[order] >= 0]
    first[tree.parent[order]] = values[order]  # the last that is written stays
    largest = np.zeros(len(tree), dtype=np.int64)
    largest[tree.parent[order]] = order
    order = order[largest[tree.parent[order]] != order]
    second[tree.parent[order]] = values[order]
    return first, second


def _mean(tree: ComponentTree) -> Floats:
    return np.asarray(np.log(tree.energy / tree.area + _TINY))


def _foreground(tree: ComponentTree) -> Floats:
    return np.asarray(np.log(_foreground_share(tree) + 1e-4))


def _share_of_foreground(tree: ComponentTree) -> Floats:
    return _log_odds(tree.area / tree.values.size / _foreground_share(tree))


def _foreground_share(tree: ComponentTree) -> Floats:
    """For each region the share of all cells that are above its threshold (N,)."""
    below = tree.values.size - tree.foreground
    return np.asarray(1 - below[tree.level] / tree.values.size)


REGION_NUMBERS = {
    number.name: number
    for number in (
        RegionNumber("box_area", "log of the box's share of the map's area", _box_area),
        RegionNumber("energy", "log odds of the region's share of the map's energy", _energy),
        RegionNumber("squares", "log odds of its share of the map's squared values", _squares),
        RegionNumber("fill", "share of the box that the region fills", _fill),
        RegionNumber("border", "share of the box's four sides that lie at the map's border", _border),
        RegionNumber("stable_below", "log of 1 + the lower regions around it with about the same box", _stable_below),
        RegionNumber("stable_above", "log of 1 + the higher regions in it with about the same box", _stable_above),
        RegionNumber("parts", "log of how many regions in it have none in them", _parts),
        RegionNumber("ring", "log of the mean in the box over the mean in a ring around it", _ring),
        RegionNumber("spread", "log of the area that the map's energy would fill evenly, as a share", _spread),
        RegionNumber("level", "log of the region's threshold over its peak", _level),
        RegionNumber("valley", "log of the lower peak over the threshold where it splits, at its deepest", _valley),
        RegionNumber("sibling", "share of the squared values in the largest region beside it", _largest_sibling),
        RegionNumber("mean", "log of the region's mean value", _mean),
        RegionNumber("foreground", "log of the share of the map above the region's threshold", _foreground),
        RegionNumber("of_foreground", "log odds of the region's share of that foreground", _share_of_foreground),
    )
}
"""All numbers there are, by name."""

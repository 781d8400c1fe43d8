"""The tree of a map's connected components, over all thresholds at once.

When a threshold rises, a component shrinks, splits or vanishes. So the components of all thresholds form a tree: the
parent of a component is the one that holds it at the threshold below. The box of an object is searched among them.

Thresholds are ranks: at each level the foreground has a set share of the map's area. So the tree of a map that is not
reduced does not depend on the values themselves, only on their order.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
N = TypeVar("N", np.int64, np.float64)

LONGER_SIDE = 112
"""A larger map is reduced to this many cells on its longer side. So numbers of a region mean the same at any size."""

AREA_SHARES: Floats = np.geomspace(0.95, 0.006, 40)
"""The shares of the area that are foreground, level by level; pixels of equal value enter together, at a later level
than the one whose share they exceed."""

SMALLEST = 0.004
"""Components with a smaller share of the map's area are left out of the tree."""


@dataclass(frozen=True, eq=False)
class ComponentTree:
    """The N components of a reduced map (H, W), each once; parents come before their children.

    A component that is the same set of cells at several levels is listed once, at the lowest of them.

    Attributes:
        values: the map, as shares of its maximum, 0 … 1 (H, W).
        thresholds: the values that cells of a level must exceed, rising (L,).
        labels: for each level the label of each cell; 0 is background (L, H, W).
        parent: the index of each component's parent; -1 where it has none (N,).
        level: the lowest level of each component (N,).
        label: its label at that level (N,).
        area: its number of cells (N,).
        boxes: half-open x1, y1, x2, y2 in cells (N, 4).
        energy: the sum of its values (N,).
        squares: the sum of its squared values (N,).
        peak: its highest value (N,).
        foreground: the number of cells of each level (L,).
    """

    values: Floats
    thresholds: Floats
    labels: NDArray[np.int32]
    parent: Whole
    level: Whole
    label: Whole
    area: Whole
    boxes: Whole
    energy: Floats
    squares: Floats
    peak: Floats
    foreground: Whole

    def __len__(self) -> int:
        return len(self.parent)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The cells of a component, within its box (h, w)."""
        x1, y1, x2, y2 = self.boxes[index].tolist()
        return np.asarray(self.labels[self.level[index], y1:y2, x1:x2] == self.label[index])

    @cached_property
    def box_area(self) -> Whole:
        """The cells of each box (N,)."""
        x1, y1, x2, y2 = self.boxes.T
        return np.asarray((x2 - x1) * (y2 - y1))

    @cached_property
    def within(self) -> Whole:
        """The components in which each one lies: itself, its parent, the parent's parent …, then -1 (D, N)."""
        return chains(self.parent)


def component_tree(heat: NDArray[np.floating]) -> ComponentTree:
    """The tree of a map's components.

    A map with a positive value has at least one component: where none is large enough, it is the largest of all.

    Args:
        heat: a map (H, W) of finite values, as ``check_map`` gives it. Negative values count as 0.
    """
    values = reduced(heat)
    thresholds = _thresholds(values)
    every = _every_component(values, thresholds)
    large = np.flatnonzero(every.area >= SMALLEST * values.size)
    if not len(large) and len(every.area):
        large = np.array([np.argmax(every.area)])
    chosen, parent = _each_once(every, large)
    return replace(
        every,
        parent=parent,
        level=every.level[chosen],
        label=every.label[chosen],
        area=every.area[chosen],
        boxes=every.boxes[chosen],
        energy=every.energy[chosen],
        squares=every.squares[chosen],
        peak=every.peak[chosen],
    )


def chains(following: Whole) -> Whole:
    """What comes after each of N things: itself, the next one, the one after that …, -1 after the last (D, N).

    Args:
        following: the index of the next of each; -1 where there is none (N,). No thing comes after itself.

    >>> chains(np.array([-1, 0, 1])).tolist()
    [[0, 1, 2], [-1, 0, 1], [-1, -1, 0]]
    """
    steps = np.append(following, -1)  # its last entry, -1, leads to itself
    at, found = np.arange(len(following)), []
    while at.max(initial=-1) >= 0:
        found.append(at)
        at = steps[at]
    return np.stack(found) if found else np.zeros((0, 0), dtype=np.int64)


def reduced(heat: NDArray[np.floating]) -> Floats:
    """A map (H, W) as shares of its maximum, with at most ``LONGER_SIDE`` cells on its longer side; never enlarged.

    Where a map is even, all cells are equal: OpenCV's single-precision weights are divided out, and the means rounded.
    Else a cell could be above its neighbour by an error of the last bit, and levels are ranks.
    """
    values = shares_of_maximum(heat.astype(np.float64))
    height, width = values.shape
    scale = LONGER_SIDE / max(height, width)
    if scale >= 1:
        return values
    size = max(1, round(width * scale)), max(1, round(height * scale))
    means = cv2.resize(values, size, interpolation=cv2.INTER_AREA) / _weights(values.shape, size)
    return np.round(shares_of_maximum(np.asarray(means, dtype=np.float64)), 12)


@lru_cache(maxsize=8)
def _weights(shape: tuple[int, ...], size: tuple[int, int]) -> Floats:
    """The sum of the weights that each cell's mean has; 1 but for rounding."""
    return np.asarray(cv2.resize(np.ones(shape), size, interpolation=cv2.INTER_AREA), dtype=np.float64)


def shares_of_maximum(values: Floats) -> Floats:
    """The positive values as shares of the largest, 0 … 1; zeros where none is positive."""
    positive = np.clip(values, 0.0, None)
    peak = positive.max()
    return positive / peak if peak > 0 else positive


def _thresholds(values: Floats) -> Floats:
    """The value at each share of the area, each once; 0 alone where no level would have a foreground."""
    descending = np.sort(values, axis=None)[::-1]
    found = np.unique(descending[(AREA_SHARES * values.size).astype(np.int64)])
    return found if found[0] < descending[0] else np.zeros(1)


def _every_component(values: Floats, thresholds: Floats) -> ComponentTree:
    """All components of all levels, small ones too. One that stays the same from level to level is listed at each."""
    height, width = values.shape
    foreground, labels, count = _label(values, thresholds)
    cells, holders = _hold(foreground, labels, count)
    label = np.argsort(holders.level[1:], kind="stable") + 1  # of each component: level after level
    position = np.full(count, -1)
    position[label] = np.arange(len(label))
    level, parent, area = holders.level[label], position[holders.above[label]], holders.area[label]
    (y, x), heat = np.divmod(cells, width), values.ravel()[cells]
    ends = (width - holders.highest(width - x), height - holders.highest(height - y))
    boxes = np.stack([*ends, holders.highest(x + 1), holders.highest(y + 1)], axis=1)
    energy, squares = _sums_up(np.stack([holders.sums(heat), holders.sums(heat**2)])[:, label], parent, level)
    return ComponentTree(
        values=values,
        thresholds=thresholds,
        labels=labels[:, :height],
        parent=parent,
        level=level,
        label=label,
        area=area,
        boxes=boxes[label],
        energy=energy,
        squares=squares,
        peak=holders.highest(heat)[label],
        foreground=np.bincount(level, area, len(thresholds)).astype(np.int64),
    )


def _label(values: Floats, thresholds: Floats) -> tuple[NDArray[np.uint8], NDArray[np.int32], int]:
    """The foreground of each level and its labels, both (L, H + 1, W), and the number of labels with the background's.

    All levels lie below each other in one tall picture, with an empty line between them, so that one call labels them.
    OpenCV could measure the components too. But it would look at all cells of all levels for this.
    """
    height, width = values.shape
    tall = np.zeros((len(thresholds), height + 1, width), dtype=np.uint8)
    np.greater(values, thresholds[:, None, None], out=tall[:, :height].view(np.bool_))
    count, labels = cv2.connectedComponents(tall.reshape(-1, width), connectivity=8)
    return tall, np.asarray(labels).reshape(tall.shape), count


@dataclass(frozen=True, eq=False)
class _Holders:
    """Which components hold which of C cells. A component is named by its label; 0 is background.

    A cell's *own* component is the highest one that holds it. Every component holds the cells of some own component. So
    what is known of the own components tells of all.

    Attributes:
        own: the own component of each cell (C,).
        owners: the M components that are a cell's own.
        around: the components that hold a cell of each of these, level by level; 0 where there is none (L, M).
        level: of each component (count,).
        above: the component of the level below that holds each component; 0 where there is none (count,).
    """

    own: Whole
    owners: Whole
    around: Whole
    level: Whole
    above: Whole

    def sums(self, values: Floats) -> Floats:
        """The sum of the values (C,) of each component's own cells (count,)."""
        return np.bincount(self.own, values, len(self.level)).astype(np.float64)

    def highest(self, values: NDArray[N]) -> NDArray[N]:
        """The largest of the positive values (C,) of all cells of each component (count,)."""
        found = np.zeros(len(self.level), dtype=values.dtype)
        np.maximum.at(found, self.own, values)
        np.maximum.at(found, self.around.ravel(), np.tile(found[self.owners], len(self.around)))
        return found

    @property
    def area(self) -> Whole:
        """The number of cells of each component (count,)."""
        own = np.bincount(self.own, minlength=len(self.level))[self.owners]
        return np.bincount(self.around.ravel(), np.tile(own, len(self.around)), len(self.level)).astype(np.int64)


def _hold(foreground: NDArray[np.uint8], labels: NDArray[np.int32], count: int) -> tuple[Whole, _Holders]:
    """The cells of the lowest foreground, as places in the map (C,), and the components that hold them."""
    by_level = labels.reshape(len(labels), -1)
    passed = foreground.sum(axis=0, dtype=np.uint8).ravel()  # how many thresholds lie strictly below each cell
    cells = np.flatnonzero(passed)
    own = by_level.take((passed[cells].astype(np.int64) - 1) * by_level.shape[1] + cells).astype(np.int64)
    some = np.zeros(count, dtype=np.int64)
    some[own] = cells
    owners = np.flatnonzero(np.bincount(own, minlength=count))
    around = by_level[:, some[owners]].astype(np.int64)
    level, above = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    level[around] = np.arange(len(around))[:, None]
    above[around[1:]] = around[:-1]
    return cells, _Holders(own, owners, around, level, above)


def _sums_up(own: Floats, parent: Whole, level: Whole) -> Floats:
    """Two sums over each component's own cells (2, N) → the same over all its cells.

    Complex numbers add both sums at once.
    """
    sums = own[0] + 1j * own[1]
    starts = np.searchsorted(level, np.arange(level.max(initial=0) + 2)).tolist()
    for start, end in zip(starts[-2:0:-1], starts[:1:-1], strict=True):
        np.add.at(sums, parent[start:end], sums[start:end])
    return np.stack([sums.real, sums.imag])


def _each_once(every: ComponentTree, large: Whole) -> tuple[list[int], Whole]:
    """Which of the large components differ from their parents, and the parent of each among these."""
    above, area = every.parent.tolist(), every.area.tolist()
    index: dict[int, int] = {-1: -1}
    chosen: list[int] = []
    parent: list[int] = []
    for each in large.tolist():
        held_by = above[each]
        if held_by >= 0 and area[held_by] == area[each]:
            index[each] = index[held_by]
        else:
            index[each] = len(chosen)
            chosen.append(each)
            parent.append(index[held_by])
    return chosen, np.array(parent, dtype=np.int64)

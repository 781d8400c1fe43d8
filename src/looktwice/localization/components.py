"""The tree of a map's connected components, over all thresholds at once.

When a threshold rises, a component shrinks, splits or vanishes. So the components of all thresholds form a tree: the
parent of a component is the one that holds it at the threshold below. The box of an object is searched among them.

Thresholds are ranks: at each level the foreground has a set share of the map's area. So the tree of a map that is not
reduced does not depend on the values themselves, only on their order.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

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
    def of_level(self) -> list[slice]:
        """The components of each level that has any, from the lowest level to the highest."""
        starts = np.flatnonzero(np.diff(self.level, prepend=-1))
        return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(self)], strict=True)]


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
    labels, stats, position, level = _label(values, thresholds)
    passed = np.searchsorted(thresholds, values)  # how many thresholds lie strictly below
    y, x = np.nonzero(passed)
    own = position[labels[passed[y, x] - 1, y, x]]  # the highest component that holds each cell
    cells = values[y, x]
    energy: Floats = np.bincount(own, weights=cells, minlength=len(level)).astype(np.float64)
    squares: Floats = np.bincount(own, weights=cells**2, minlength=len(level)).astype(np.float64)
    peak = np.zeros(len(level))
    np.maximum.at(peak, own, cells)
    some = np.zeros((2, len(level)), dtype=np.int64)  # the row and the column of one cell of each component
    some[:, own] = y, x
    parent = np.full(len(level), -1)
    starts = np.searchsorted(level, np.arange(len(thresholds) + 1))
    for above in range(len(thresholds) - 1, 0, -1):
        part = slice(starts[above], starts[above + 1])
        below = position[labels[above - 1, some[0, part], some[1, part]]]
        parent[part] = below
        some[:, below] = some[:, part]
        np.add.at(energy, below, energy[part])
        np.add.at(squares, below, squares[part])
        np.maximum.at(peak, below, peak[part])
    left, top, width, height, area = stats.T
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    label = np.empty_like(level)
    label[position[1:]] = np.arange(1, len(position))
    return ComponentTree(values, thresholds, labels, parent, level, label, area, boxes, energy, squares, peak)


def _label(values: Floats, thresholds: Floats) -> tuple[NDArray[np.int32], Whole, Whole, Whole]:
    """Labels (L, H, W), statistics (N, 5), the component of each label (1 + N,) and the level of each component (N,).

    All levels lie below each other in one tall picture, with an empty line between them, so that one call labels them.
    Statistics are left, top, width, height and area; components are ordered by level.
    """
    height, width = values.shape
    tall = np.zeros((len(thresholds), height + 1, width), dtype=np.uint8)
    np.greater(values, thresholds[:, None, None], out=tall[:, :height].view(np.bool_))
    _, labels, found, _ = cv2.connectedComponentsWithStats(tall.reshape(-1, width), connectivity=8)
    stats = found[1:].astype(np.int64)
    level, stats[:, 1] = np.divmod(stats[:, 1], height + 1)
    order = np.argsort(level, kind="stable")
    position = np.zeros(len(stats) + 1, dtype=np.int64)
    position[order + 1] = np.arange(len(stats))
    return np.asarray(labels).reshape(tall.shape)[:, :height], stats[order], position, level[order]


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

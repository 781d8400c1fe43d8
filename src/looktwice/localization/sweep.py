"""The boxes of a map at every threshold of a grid.

A threshold is chosen on some images and judged on others, and neither may need a second pass of the network. So each
map leaves its boxes at all thresholds. They are those of ``find_boxes`` at each threshold, to the last bit.

Two things make this fast. When a threshold rises, the foreground only shrinks: so one comparison of all pixels with the
whole grid is enough (``contours``). And pixels are counted from the polygon of a contour instead of by filling it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import OptionError
from looktwice.images import check_map
from looktwice.localization.boxes import ROUNDING_SLACK, BoxRule
from looktwice.localization.contours import CutContours, trace_cuts

Floats = NDArray[np.float64]


GRID: Floats = np.arange(100) / 100
"""The thresholds 0.00, 0.01 … 0.99: shares of a map's maximum or of its energy."""


_BINS = 4096
"""Bins of a histogram of the map's values; it finds the few values that must be sorted."""


@dataclass(frozen=True)
class TracedBoxes:
    """The boxes of a map at every threshold of ``GRID``, in pixels of the map.

    Attributes:
        boxes: threshold after threshold, the largest contour of each first (B, 4).
        counts: how many boxes each threshold has (T,).
        height: of the map.
        width: of the map.
    """

    boxes: Floats
    counts: NDArray[np.int64]
    height: int
    width: int


def grid_index(threshold: float) -> int:
    """The index of a threshold in ``GRID``.

    Raises:
        OptionError: the threshold is not in the grid.

    >>> grid_index(0.2)
    20
    """
    index = min(round(threshold * len(GRID)), len(GRID) - 1) if 0 <= threshold < 1 else 0
    if float(GRID[index]) != threshold:
        raise OptionError(f"threshold {threshold}: 0.00, 0.01 … 0.99 are evaluated; name one of these")
    return index


@dataclass(frozen=True)
class Traces:
    """The boxes of a map by each rule.

    Attributes:
        by_max: contours, with thresholds that are shares of the maximum.
        by_energy: contours, with thresholds that are shares of the energy; None if they were not asked for.
        energy_box: the energy box, with thresholds that are the share of the energy in it.
    """

    by_max: TracedBoxes
    by_energy: TracedBoxes | None
    energy_box: TracedBoxes

    def by_rule(self, rule: BoxRule) -> TracedBoxes:
        """The boxes by the rule's kind and values, at every threshold.

        Raises:
            ValueError: contours by energy, which were not asked for; or objects, which have no threshold.
        """
        if not rule.has_threshold:
            raise ValueError("objects are drawn without a threshold")
        if rule.rule == "energy":
            return self.energy_box
        found = self.by_max if rule.by == "max" else self.by_energy
        if found is None:
            raise ValueError("contours by energy were not traced")
        return found


def trace(heat: ArrayLike, *, by_energy: bool = False, smallest: float = BoxRule.smallest) -> Traces:
    """A map (H, W) → its boxes by every rule, at every threshold of ``GRID``.

    Args:
        heat: the map.
        by_energy: also trace contours with thresholds that are shares of the energy.
        smallest: contours with a smaller share of the map's area are left out.

    Raises:
        InputError: as ``check_map``.
    """
    values = check_map(heat)
    shares = _shares(values, values.max())
    levels = _energy_levels(shares)
    if levels is None:
        levels = _energy_levels_by_sorting(values)
    # A pixel is foreground at the first ``passed`` thresholds: those strictly below its share of the maximum.
    passed = _thresholds_below(shares)
    contours = _trace_contours(passed, np.arange(len(GRID), dtype=np.uint8), shares, smallest)
    further = None
    if by_energy:
        # A pixel is foreground at the last ``passed`` thresholds: a larger share of the energy takes in more pixels.
        passed = np.where(shares > 0, np.searchsorted(levels[::-1], shares, "right"), 0).astype(np.uint8)
        further = _trace_contours(passed, np.arange(len(GRID), dtype=np.uint8)[::-1], shares, smallest)
    return Traces(contours, further, _trace_energy_box(levels, shares))


def _shares(values: NDArray[np.floating], peak: np.floating) -> Floats:
    """Positive values as shares of the maximum ``peak``, computed as ``boxes`` computes them."""
    positive = np.clip(values.astype(np.float64), 0.0, None)
    return positive / float(peak) if peak > 0 else positive


def _thresholds_below(shares: Floats) -> NDArray[np.uint8]:
    """How many thresholds of ``GRID`` lie strictly below each share; three times as fast as ``searchsorted``."""
    lower = (shares * len(GRID)).astype(np.uint8)
    # The threshold at this index is below the share, unless the product was rounded up to a whole number.
    return lower + (np.append(GRID, 1.0).take(lower) < shares)


def _energy_levels(shares: Floats) -> Floats | None:
    """For each share of the energy in ``GRID`` the level (T,) down to which the highest pixels first hold it.

    Levels are shares of the maximum. Only pixels near the levels are sorted. The result is None if rounding would
    decide: a sum then depends on the order of summing, for example where equal pixels hold exactly the needed share.
    """
    bins = (shares.ravel() * (_BINS - 1)).astype(np.uint16)
    # The energy of the pixels from the brightest bin down to each bin.
    held = np.cumsum(np.bincount(bins, weights=shares.ravel(), minlength=_BINS)[::-1])
    if not held[-1]:
        return None
    needed = GRID * held[-1] * ROUNDING_SLACK
    reached = np.zeros(_BINS, dtype=np.bool_)
    reached[np.searchsorted(held, needed)] = True
    near = np.sort(shares.ravel()[reached[::-1].take(bins)])[::-1]
    bin_of = _BINS - 1 - (near * (_BINS - 1)).astype(np.uint16)  # the brightest is 0
    brighter = np.cumsum(near) - near
    brighter += np.append(0.0, held)[bin_of] - brighter[np.searchsorted(bin_of, bin_of)]
    at = np.minimum(np.searchsorted(brighter + near, needed), len(near) - 1)
    rounding = 8 * shares.size * np.finfo(np.float64).eps * held[-1]
    sure = (needed - brighter[at] > rounding) & ((brighter + near)[at] - needed > rounding)
    return near[at] if sure[1:].all() else None  # nothing is needed for the first


def _energy_levels_by_sorting(values: NDArray[np.floating]) -> Floats:
    """As ``_energy_levels``, for any map (H, W), summed in the order in which ``boxes`` sums."""
    ascending = np.sort(values, axis=None)  # single precision sorts faster, and into the same order
    descending = _shares(ascending, ascending[-1])[::-1]
    held = np.cumsum(descending)
    needed = GRID * held[-1] * ROUNDING_SLACK
    return np.asarray(descending[np.searchsorted(held, needed)])


def _trace_energy_box(levels: Floats, shares: Floats) -> TracedBoxes:
    """The tightest box around the pixels down to each level; none if the map has no energy."""
    lowest = np.maximum(levels, np.nextafter(0, 1))[:, None]  # pixels that are 0 never belong to them
    columns, rows = shares.max(axis=0) >= lowest, shares.max(axis=1) >= lowest
    height, width = shares.shape
    ends = (columns.argmax(1), rows.argmax(1), width - columns[:, ::-1].argmax(1), height - rows[:, ::-1].argmax(1))
    there = columns.any(axis=1)
    return TracedBoxes(np.stack(ends, axis=1)[there].astype(np.float64), there.astype(np.int64), height, width)


def _trace_contours(
    passed: NDArray[np.uint8], needed: NDArray[np.uint8], shares: Floats, smallest: float
) -> TracedBoxes:
    """For each number in ``needed`` (T,) the boxes of the pixels that passed more thresholds than that number."""
    height, width = passed.shape
    found = trace_cuts(passed, needed, cv2.RETR_EXTERNAL)
    areas = found.pixels_within
    large = np.flatnonzero(areas >= smallest * passed.size)
    areas, which, (x, y, w, h) = areas[large], found.cut[large], found.rectangles[large].T
    energy = _energies_of_equals(found, large, areas, shares)
    order = np.lexsort((x, y, -energy, -areas, which))  # the order of ``contour_boxes``
    boxes = np.stack([x, y, x + w, y + h], axis=1)[order].astype(np.float64)
    return TracedBoxes(boxes, np.bincount(which, minlength=len(needed)), height, width)


def _energies_of_equals(found: CutContours, large: NDArray[np.int64], areas: Floats, shares: Floats) -> Floats:
    """The energy that orders contours of equal area: each large contour's share of it, 0 where no area is equal.

    Shares are summed only in foregrounds that have two contours of equal area; elsewhere they decide nothing.
    """
    energy = np.zeros(len(large))
    which = found.cut[large]
    order = np.lexsort((areas, which))
    equal = (np.diff(which[order]) == 0) & (np.diff(areas[order]) == 0)
    for foreground in np.unique(which[order[1:][equal]]):
        members = np.flatnonzero(which == foreground)
        labels = np.zeros(shares.shape, dtype=np.int32)
        for number, member in enumerate(large[members].tolist(), start=1):
            above = (0, -int(found.below[member]))
            cv2.drawContours(labels, found.contours[member : member + 1], 0, number, cv2.FILLED, offset=above)
        # Summed in reading order, as ``contour_boxes`` does, so that equal energies are equal here too.
        sums = np.bincount(labels.ravel(), weights=shares.ravel(), minlength=len(members) + 1)
        energy[members] = np.minimum(sums[1:] / shares.sum(), 1.0)
    return energy

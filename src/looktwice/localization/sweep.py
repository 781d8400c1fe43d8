"""The boxes of a map at every threshold of a grid, and their IoU with the ground truth.

A threshold is chosen on some images and judged on others, and neither may cost a second pass of the network. So each
map leaves its IoU at all thresholds, for the rules of ``localization``: ``find_boxes`` at a threshold of the grid and
these curves agree to the last bit. Between two thresholds a map's foreground only shrinks, hence one comparison of all
pixels with the whole grid (``outlines``), and pixels are counted from a contour's polygon instead of by filling it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import OptionError
from looktwice.localization.boxes import BoxRule, check_map
from looktwice.localization.contours import Outlines, pixels_within, trace_cuts

Floats = NDArray[np.float64]


GRID: Floats = np.arange(100) / 100
"""The thresholds 0.00, 0.01 … 0.99: shares of a map's maximum or of its energy."""


_BINS = 4096
"""Into so many a map's values are parted to find the few that matter."""


_SLACK = 1 - 1e-12
"""``localization``'s, so that rounding falls the same way."""


@dataclass(frozen=True)
class TracedBoxes:
    """A map's boxes at every threshold of ``GRID``, in pixels of the map.

    ``boxes`` (B, 4) holds threshold after threshold, each with its largest contour first; ``counts`` (T,) how many.
    """

    boxes: Floats
    counts: NDArray[np.int64]
    height: int
    width: int


def grid_index(threshold: float) -> int:
    """The place of a threshold in ``GRID``.

    Raises:
        OptionError: it is not one of the grid's.
    """
    index = round(threshold * len(GRID))
    if not 0 <= index < len(GRID) or float(GRID[index]) != threshold:
        raise OptionError(f"threshold {threshold}: 0.00, 0.01 … 0.99 are evaluated; name one of these")
    return index


@dataclass(frozen=True)
class Traces:
    """A map's boxes by each rule: ``contour_boxes`` by maximum and, where asked for, by energy, and ``energy_box``."""

    by_max: TracedBoxes
    by_energy: TracedBoxes | None
    energy_box: TracedBoxes


def trace(heat: ArrayLike, *, by_energy: bool = False, smallest: float = BoxRule.smallest) -> Traces:
    """A map (H, W) → its boxes by every rule at every threshold; ``smallest`` belongs to contours.

    Raises:
        InputError: as ``check_map``.
    """
    values = check_map(heat)
    shares = _shares(values, values.max())
    levels = _energy_levels(shares)
    if levels is None:
        levels = _energy_levels_by_sorting(values)
    # How many thresholds lie strictly below a pixel's share of the maximum: it is foreground at the first so many.
    passed = _thresholds_below(shares)
    contours = _trace_contours(passed, np.arange(len(GRID), dtype=np.uint8), shares, smallest)
    further = None
    if by_energy:
        # At how many it is among the pixels that hold the energy: the last so many, as a larger share takes in more.
        passed = np.where(shares > 0, np.searchsorted(levels[::-1], shares, "right"), 0).astype(np.uint8)
        further = _trace_contours(passed, np.arange(len(GRID), dtype=np.uint8)[::-1], shares, smallest)
    return Traces(contours, further, _trace_energy_box(levels, shares))


def _shares(values: NDArray[np.floating], peak: np.floating) -> Floats:
    """Positive parts as shares of the maximum, computed as ``localization`` does."""
    positive = np.clip(values.astype(np.float64), 0.0, None)
    return positive / float(peak) if peak > 0 else positive


def _thresholds_below(shares: Floats) -> NDArray[np.uint8]:
    """How many thresholds of ``GRID`` lie strictly below each share: ``searchsorted``, in a third of its time."""
    lower = (shares * len(GRID)).astype(np.uint8)
    # Where a product was rounded up to a whole number, its threshold is not below.
    return lower + (np.append(GRID, 1.0).take(lower) < shares)


def _energy_levels(shares: Floats) -> Floats | None:
    """The share of the maximum (T,) down to which the highest pixels first hold each share of the energy.

    Only the pixels near the levels are sorted. None where a sum comes so near to what is needed that its rounding, and
    so the order of summing, decides: where equal pixels come together to just that share, for instance.
    """
    bins = (shares.ravel() * (_BINS - 1)).astype(np.uint16)
    held = np.cumsum(np.bincount(bins, weights=shares.ravel(), minlength=_BINS)[::-1])  # down to each bin
    if not held[-1]:
        return None
    needed = GRID * held[-1] * _SLACK
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
    """The same of any map (H, W), summed as ``localization`` does."""
    ascending = np.sort(values, axis=None)  # before they become doubles: faster, and in the same order
    descending = _shares(ascending, ascending[-1])[::-1]
    held = np.cumsum(descending)
    needed = GRID * held[-1] * _SLACK
    return np.asarray(descending[np.searchsorted(held, needed)])


def _trace_energy_box(levels: Floats, shares: Floats) -> TracedBoxes:
    """The tightest box around the pixels down to each level; none on a map without energy."""
    lowest = np.maximum(levels, np.nextafter(0, 1))[:, None]  # a zero never belongs to them
    columns, rows = shares.max(axis=0) >= lowest, shares.max(axis=1) >= lowest
    height, width = shares.shape
    ends = (columns.argmax(1), rows.argmax(1), width - columns[:, ::-1].argmax(1), height - rows[:, ::-1].argmax(1))
    there = columns.any(axis=1)
    return TracedBoxes(np.stack(ends, axis=1)[there].astype(np.float64), there.astype(np.int64), height, width)


def _trace_contours(
    passed: NDArray[np.uint8], needed: NDArray[np.uint8], shares: Floats, smallest: float
) -> TracedBoxes:
    """The external contours' boxes of what passed more thresholds than needed, for each number needed (T,)."""
    height, width = passed.shape
    found = trace_cuts(passed, needed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = np.array([pixels_within(contour) for contour in found.contours])
    large = np.flatnonzero(areas >= smallest * passed.size)
    areas, which, (x, y, w, h) = areas[large], found.cut[large], found.rectangles[large].T
    energy = _energies_of_equals(found, large, areas, shares)
    order = np.lexsort((x, y, -energy, -areas, which))  # as ``contour_boxes`` has them
    boxes = np.stack([x, y, x + w, y + h], axis=1)[order].astype(np.float64)
    return TracedBoxes(boxes, np.bincount(which, minlength=len(needed)), height, width)


def _energies_of_equals(found: Outlines, large: NDArray[np.int64], areas: Floats, shares: Floats) -> Floats:
    """Each large contour's share of the energy, but only in foregrounds where two are equal in area; else 0."""
    energy = np.zeros(len(large))
    which = found.cut[large]
    order = np.lexsort((areas, which))
    equal = (np.diff(which[order]) == 0) & (np.diff(areas[order]) == 0)
    for foreground in np.unique(which[order[1:][equal]]):
        members = np.flatnonzero(which == foreground)
        labels = np.zeros(shares.shape, dtype=np.int32)
        for number, member in enumerate(large[members].tolist(), start=1):
            above = (0, -int(found.below[member]))
            cv2.drawContours(labels, found.contours, member, number, cv2.FILLED, offset=above)
        # Summed in reading order, as ``contour_boxes`` does, so that equal energies come out equal here too.
        sums = np.bincount(labels.ravel(), weights=shares.ravel(), minlength=len(members) + 1)
        energy[members] = np.minimum(sums[1:] / shares.sum(), 1.0)
    return energy

"""The boxes of a map at every threshold of a grid, and their IoU with the ground truth.

A threshold is chosen on some images and judged on others, and neither may cost a second pass of the network. So each
map leaves its IoU at all thresholds, for the rules of ``localization``: ``find_boxes`` at a threshold of the grid and
these curves agree to the last bit. Between two thresholds a map's foreground only shrinks, hence one comparison of all
pixels with the whole grid, and pixels are counted from a contour's polygon instead of by filling it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import OptionError
from looktwice.images import Window
from looktwice.localization import BoxRule, check_map
from looktwice.metrics import BoxCurve, iou

Floats = NDArray[np.float64]
Contour = cv2.typing.MatLike

GRID: Floats = np.arange(100) / 100
"""The thresholds 0.00, 0.01 … 0.99: shares of a map's maximum or of its energy."""


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
    levels = _energy_levels(values)
    # How many thresholds lie strictly below a pixel's share of the maximum: it is foreground at the first so many.
    passed = np.searchsorted(GRID, shares, "left").astype(np.uint8)
    contours = _trace_contours(passed, np.arange(len(GRID), dtype=np.uint8), shares, smallest)
    further = None
    if by_energy:
        # At how many it is among the pixels that hold the energy: the last so many, as a larger share takes in more.
        passed = np.where(shares > 0, np.searchsorted(levels[::-1], shares, "right"), 0).astype(np.uint8)
        further = _trace_contours(passed, np.arange(len(GRID), dtype=np.uint8)[::-1], shares, smallest)
    return Traces(contours, further, _trace_energy_box(levels, shares))


def overlap_curve(traced: TracedBoxes, truths: ArrayLike, window: Window) -> BoxCurve:
    """IoU with the best of the ground truths (G, 4) at every threshold; 0 where there is no box.

    Boxes are mapped to the image whose ``window`` the map covers and clipped to it, as ``locate`` does; one that lies
    in a crop's padding altogether is none.
    """
    boxes = window.to_image(traced.boxes, traced.width, traced.height)
    overlap = iou(boxes, truths).max(axis=1)
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    overlap, threshold = overlap[seen], np.repeat(np.arange(len(GRID)), traced.counts)[seen]
    largest, best = np.zeros(len(GRID)), np.zeros(len(GRID))
    there, first = np.unique(threshold, return_index=True)
    if len(there):
        largest[there], best[there] = overlap[first], np.maximum.reduceat(overlap, first)
    return BoxCurve(largest, best)


def _shares(values: NDArray[np.floating], peak: np.floating) -> Floats:
    """Positive parts as shares of the maximum, computed as ``localization`` does."""
    positive = np.clip(values.astype(np.float64), 0.0, None)
    return positive / float(peak) if peak > 0 else positive


def _energy_levels(values: NDArray[np.floating]) -> Floats:
    """The share of the maximum (T,) down to which the highest pixels first hold each share of the energy."""
    ascending = np.sort(values, axis=None)  # before they become doubles: faster, and in the same order
    descending = _shares(ascending, ascending[-1])[::-1]
    held = np.cumsum(descending)
    # The slack is ``localization``'s, so that rounding falls the same way.
    needed = GRID * held[-1] * (1 - 1e-12)
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
    # All foregrounds in one tall picture, a black line below each: one call is faster than a hundred.
    tall = np.zeros((len(needed), height + 1, width), dtype=np.uint8)
    np.greater(passed, needed[:, None, None], out=tall[:, :height].view(np.bool_))
    found, _ = cv2.findContours(tall.reshape(-1, width), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = np.array([_pixels_within(contour) for contour in found])
    large = np.flatnonzero(areas >= smallest * passed.size)
    contours, areas = [found[index] for index in large.tolist()], areas[large]
    rectangles = np.array([cv2.boundingRect(contour) for contour in contours], dtype=np.int64).reshape(-1, 4)
    (x, y, w, h), which = rectangles.T, rectangles[:, 1] // (height + 1)
    y = y - which * (height + 1)
    energy = _energies_of_equals(contours, which, areas, shares)
    order = np.lexsort((x, y, -energy, -areas, which))  # as ``contour_boxes`` has them
    boxes = np.stack([x, y, x + w, y + h], axis=1)[order].astype(np.float64)
    return TracedBoxes(boxes, np.bincount(which, minlength=len(needed)), height, width)


def _pixels_within(contour: Contour) -> float:
    """How many pixels lie on or inside an external contour.

    Pick's theorem on the polygon through its pixels' centres, whose every step goes to a neighbouring pixel: area plus
    half the steps plus one. It holds for one that runs back on itself too, where a region is one pixel thin.
    """
    steps = len(contour) if len(contour) > 1 else 0
    return cv2.contourArea(contour) + steps / 2 + 1


def _energies_of_equals(contours: Sequence[Contour], which: NDArray[np.int64], areas: Floats, shares: Floats) -> Floats:
    """Each contour's share of the energy, but only in foregrounds where two are equal in area; else 0."""
    energy = np.zeros(len(contours))
    _, first, count = np.unique(np.stack([which, areas], axis=1), axis=0, return_index=True, return_counts=True)
    for foreground in np.unique(which[first[count > 1]]):
        members = np.flatnonzero(which == foreground)
        labels = np.zeros(shares.shape, dtype=np.int32)
        above = (0, -int(foreground) * (len(shares) + 1))
        for number, member in enumerate(members, start=1):
            cv2.drawContours(labels, contours, int(member), number, cv2.FILLED, offset=above)
        # Summed in reading order, as ``contour_boxes`` does, so that equal energies come out equal here too.
        sums = np.bincount(labels.ravel(), weights=shares.ravel(), minlength=len(members) + 1)
        energy[members] = np.minimum(sums[1:] / shares.sum(), 1.0)
    return energy

"""MaxBoxAcc and MaxBoxAccV2 (Choe et al. 2020, wsolevaluation)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import InputError, OptionError
from looktwice.images import Window
from looktwice.localization.boxes import check_map
from looktwice.localization.contours import trace_cuts
from looktwice.metrics.curves import BoxCurve
from looktwice.metrics.overlap import Floats, as_truths, iou_inclusive

V1_LEVELS = (0.5,)


V2_LEVELS = (0.3, 0.5, 0.7)


At = Literal["per_image"] | Sequence[int] | None
"""Which threshold counts: the best one over all images (None: an oracle, and the protocol's own), the best one of each
image (a stronger oracle), or grid indices fixed beforehand, one in all or one for each IoU level."""


def threshold_grid(step: float = 0.01) -> Floats:
    """Thresholds 0, step, 2·step … below 1, as wsolevaluation makes them (its paper: 0.001, its command line: 0.01)."""
    return np.arange(0, 1, step)


def box_curve(heat: ArrayLike, truths: ArrayLike, window: Window, *, thresholds: ArrayLike | None = None) -> BoxCurve:
    """Boxes of a map (H, W) at every threshold by wsolevaluation's rules, and their IoU with the ground truths (B, 4).

    The map is shifted and scaled to 0 … 1, truncated to 0 … 255 and cut strictly above int(τ · 255); outer contours and
    those of holes both count; a box ends at min(x + w, W − 1); without a contour it is 0, 0, 0, 0; boxes are inclusive
    pixels of the map. Ground truths are scaled to the map as inclusive ends, then truncated. Published figures are of
    images and maps squashed to 224×224; a map of another size is judged on its own pixels.

    Args:
        heat: the map; a constant one has no contour.
        truths: the boxes; what a crop cut off stays in them and counts against the map.
        window: the part of the image that the map covers.
        thresholds: the grid (T,), each 0 … 1; ``threshold_grid()`` by default.

    Raises:
        InputError: as ``check_map``; no ground truth, or an empty one.
    """
    return protocol_curve(protocol_boxes(heat, thresholds=thresholds), truths, window)


@dataclass(frozen=True)
class ProtocolBoxes:
    """A map's boxes at every threshold of the grid, by wsolevaluation's rules.

    Attributes:
        boxes: inclusive pixels of the map, those of each distinct cut behind one another, the largest first (B, 4).
        starts: where each cut's boxes begin (C,).
        cut: the cut of each threshold (T,).
        size: width and height of the map.
    """

    boxes: NDArray[np.int64]
    starts: NDArray[np.int64]
    cut: NDArray[np.int64]
    size: tuple[int, int]


def protocol_boxes(heat: ArrayLike, *, thresholds: ArrayLike | None = None) -> ProtocolBoxes:
    """The part of ``box_curve`` that depends on the map (H, W) alone."""
    gray = _gray_levels(check_map(heat))
    grid = threshold_grid() if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    levels = (grid * gray.max()).astype(np.int64)
    # Thresholds with no gray value between them cut the same pixels: contours are traced once for all of them.
    below = np.cumsum(np.bincount(gray.ravel(), minlength=256) > 0)[levels]
    _, first, cut = np.unique(below, return_index=True, return_inverse=True)
    found = trace_cuts(gray, levels[first].astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    areas = np.array([cv2.contourArea(contour) for contour in found.contours])
    bare = np.setdiff1d(np.arange(len(first)), found.cut)  # without a contour, the box is 0, 0, 0, 0
    cuts = np.append(found.cut, bare)
    corners = np.append(found.rectangles, np.zeros((len(bare), 4), dtype=np.int64), axis=0)
    order = np.lexsort((-np.append(areas, np.zeros(len(bare))), cuts))  # of equal contours, OpenCV's first
    boxes = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)[order]
    height, width = gray.shape
    return ProtocolBoxes(
        np.minimum(boxes, [width, height, width - 1, height - 1]),
        np.searchsorted(cuts[order], np.arange(len(first))),
        cut,
        (width, height),
    )


def protocol_curve(found: ProtocolBoxes, truths: ArrayLike, window: Window) -> BoxCurve:
    """The part of ``box_curve`` that compares boxes with ground truths (B, 4)."""
    inclusive = as_truths(truths) - [0, 0, 1, 1]
    inclusive[:, 2:] = np.maximum(inclusive[:, 2:], inclusive[:, :2])
    inclusive = np.floor(window.to_map(inclusive, *found.size))
    overlap = iou_inclusive(found.boxes, inclusive).max(axis=1)
    return BoxCurve(overlap[found.starts][found.cut], np.maximum.reduceat(overlap, found.starts)[found.cut])


def _gray_levels(heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Min–max normalised in the map's own precision, as the evaluation of a stored map would, then truncated."""
    low, high = heat.min(), heat.max()
    if low == high:
        return np.zeros(heat.shape, dtype=np.uint8)
    return np.asarray((heat - low) / (high - low) * 255).astype(np.uint8)


def max_box_acc(curves: ArrayLike, *, at: At = None) -> float:
    """MaxBoxAcc from the ``largest`` curves (N, T) of N images: the share with IoU ≥ .5 at one threshold."""
    return float(best_share(box_hits(curves, V1_LEVELS, at=at).mean(axis=0)))


def max_box_acc_v2(curves: ArrayLike, *, at: At = None) -> float:
    """MaxBoxAccV2 from the ``best`` curves (N, T) of N images: the mean of the shares at IoU ≥ .3, .5 and .7."""
    return float(best_share(box_hits(curves, V2_LEVELS, at=at).mean(axis=0)))


def box_hits(curves: ArrayLike, levels: Sequence[float] = V1_LEVELS, *, at: At = None) -> NDArray[np.bool_]:
    """IoU curves (N, T) → whether each reaches each level, (N, levels, T); with a chosen threshold, (N, levels, 1).

    Raises:
        InputError: no image, or not one curve an image.
        OptionError: an index outside the grid, or neither one in all nor one for each level.
    """
    values = _as_curves(curves)
    hits = np.asarray(values[:, None, :] >= np.asarray(levels)[None, :, None])
    if at is None:
        return hits
    if at == "per_image":
        return np.asarray(hits.any(axis=-1, keepdims=True))
    fits = not isinstance(at, str) and len(at) in {1, len(levels)}
    if not fits or not all(0 <= int(index) < values.shape[1] for index in at):
        last, number = values.shape[1] - 1, len(levels)
        raise OptionError(f"at={at!r}: 'per_image', or grid indices 0 … {last}, one in all or {number}, are needed")
    indices = np.broadcast_to(np.asarray(at, dtype=np.int64), len(levels))
    return np.asarray(hits[:, np.arange(len(levels)), indices][:, :, None])


def best_share(shares: Floats) -> Floats:
    """Shares of hits (…, levels, T) → the best over the thresholds, averaged over the levels (…)."""
    return np.asarray(shares.max(axis=-1).mean(axis=-1))


def best_thresholds(curves: ArrayLike, levels: Sequence[float] = V1_LEVELS) -> list[int]:
    """For each IoU level the grid index at which most of the N images reach it, of equal ones the lowest.

    Found on one set of images and passed as ``at`` with another, it makes a fixed threshold instead of an oracle.
    """
    shares = box_hits(curves, levels).mean(axis=0)
    return [int(index) for index in shares.argmax(axis=-1)]


def _as_curves(curves: ArrayLike) -> Floats:
    values = np.asarray(curves, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"curves must be (images, thresholds) with at least one of each, not {values.shape}")
    return values

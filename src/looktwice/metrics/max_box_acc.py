"""MaxBoxAcc and MaxBoxAccV2 (Choe et al. 2020), by the rules of their program wsolevaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import InputError, OptionError
from looktwice.images import Window, check_map
from looktwice.localization.contours import trace_cuts
from looktwice.localization.sweep import GRID, grid_index
from looktwice.metrics.curves import BoxCurve
from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds, Undefined
from looktwice.metrics.overlap import Floats, as_truths, iou_inclusive

V1_LEVELS = (0.5,)
"""The IoU level of MaxBoxAcc."""


V2_LEVELS = (0.3, 0.5, 0.7)
"""The IoU levels of MaxBoxAccV2."""


V2_LEVELS_IN_SINGLE = tuple(float(np.float32(level)) for level in V2_LEVELS)
"""The IoU levels as curves in single precision hold them: an IoU of exactly 0.7 must reach the level 0.7."""


At = Literal["per_image"] | Sequence[int] | None
"""The threshold that counts. None: the best one over all images, which is an oracle and the protocol's own choice.
``"per_image"``: the best one of each image, a stronger oracle. Numbers: indices of the grid that were fixed before, one
for all IoU levels or one for each."""


def threshold_grid(step: float = 0.01) -> Floats:
    """The thresholds 0, step, 2·step … below 1 of wsolevaluation; its paper has 0.001, its command line 0.01."""
    return np.arange(0, 1, step)


def box_curve(heat: ArrayLike, truths: ArrayLike, window: Window, *, thresholds: ArrayLike | None = None) -> BoxCurve:
    """A map (H, W) → the IoU of its boxes with the ground truths (B, 4) at every threshold, by wsolevaluation's rules.

    The rules: the map is shifted and scaled to 0 … 1, truncated to 0 … 255, and cut strictly above int(τ · 255). The
    outer contours and the contours of holes both count. A box ends at min(x + w, W − 1). Without a contour the box is
    0, 0, 0, 0. Boxes are inclusive pixels of the map. Ground truths are scaled to the map as inclusive ends, then
    truncated. Published figures are of images and maps squashed to 224×224; a map of another size is judged on its own
    pixels.

    Args:
        heat: the map; a constant one has no contour.
        truths: the boxes. A part that a crop cut off still belongs to them, and counts against the map.
        window: the part of the image that the map covers.
        thresholds: the grid (T,), each 0 … 1; ``threshold_grid()`` by default.

    Raises:
        InputError: as ``check_map``; there is no ground truth, or an empty one.
    """
    return protocol_curve(protocol_boxes(heat, thresholds=thresholds), truths, window)


@dataclass(frozen=True)
class ProtocolBoxes:
    """The boxes of a map at every threshold of the grid, by wsolevaluation's rules.

    Attributes:
        boxes: inclusive pixels of the map, cut after cut, the largest contour of each cut first (B, 4).
        starts: the index of the first box of each cut (C,).
        cut: the index of each threshold's cut (T,); thresholds that leave the same pixels share one.
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
    # Thresholds without a gray value between them leave the same pixels: their contours are traced once.
    below = np.cumsum(np.bincount(gray.ravel(), minlength=256) > 0)[levels]
    _, first, cut = np.unique(below, return_index=True, return_inverse=True)
    found = trace_cuts(gray, levels[first].astype(np.uint8), cv2.RETR_TREE)
    bare = np.setdiff1d(np.arange(len(first)), found.cut)  # without a contour, the box is 0, 0, 0, 0
    cuts = np.append(found.cut, bare)
    corners = np.append(found.rectangles, np.zeros((len(bare), 4), dtype=np.int64), axis=0)
    order = np.lexsort((-np.append(found.areas, np.zeros(len(bare))), cuts))  # of equal areas, OpenCV's first
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
    """A map as gray levels 0 … 255: shifted and scaled in its own precision, as wsolevaluation does, then truncated."""
    low, high = heat.min(), heat.max()
    if low == high:
        return np.zeros(heat.shape, dtype=np.uint8)
    return np.asarray((heat - low) / (high - low) * 255).astype(np.uint8)


def max_box_acc(curves: ArrayLike, *, at: At = None) -> float:
    """MaxBoxAcc from the ``largest`` curves (N, T) of N images: the share with IoU ≥ 0.5 at one threshold."""
    return float(best_share(box_hits(curves, V1_LEVELS, at=at).mean(axis=0)))


def max_box_acc_v2(curves: ArrayLike, *, at: At = None) -> float:
    """MaxBoxAccV2 from the ``best`` curves (N, T) of N images: the mean of the shares at IoU ≥ 0.3, 0.5 and 0.7."""
    return float(best_share(box_hits(curves, V2_LEVELS, at=at).mean(axis=0)))


def box_hits(curves: ArrayLike, levels: Sequence[float] = V1_LEVELS, *, at: At = None) -> NDArray[np.bool_]:
    """IoU curves (N, T) → whether each curve reaches each level, (N, levels, T); at fixed thresholds (N, levels, 1).

    Raises:
        InputError: there is no image, or not one curve for each image.
        OptionError: an index outside the grid, or neither one index nor one for each level.
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
        raise OptionError(f"at={at!r}: 'per_image' or grid indices 0 … {last} are needed, one for all or {number}")
    indices = np.broadcast_to(np.asarray(at, dtype=np.int64), len(levels))
    return np.asarray(hits[:, np.arange(len(levels)), indices][:, :, None])


def best_share(shares: Floats) -> Floats:
    """Shares of hits (…, levels, T) → the best share over the thresholds, averaged over the levels (…)."""
    return np.asarray(shares.max(axis=-1).mean(axis=-1))


def best_thresholds(curves: ArrayLike, levels: Sequence[float] = V1_LEVELS) -> list[int]:
    """For each IoU level the grid index at which most curves (N, T) reach it; of equally good ones the lowest.

    Found on some images and passed as ``at`` for others, they make a fixed threshold instead of an oracle.
    """
    shares = box_hits(curves, levels).mean(axis=0)
    return [int(index) for index in shares.argmax(axis=-1)]


def _as_curves(curves: ArrayLike) -> Floats:
    values = np.asarray(curves, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"curves must be (images, thresholds) with at least one of each, not {values.shape}")
    return values


def max_box_acc_hits(maps: JudgedMaps, at: Thresholds) -> Sample | Undefined:
    """For each map whether its box reaches IoU 0.5 at the threshold."""
    return _hits_at(maps.largest[maps.first], V1_LEVELS, [at.max_box_acc])


def max_box_acc_v2_hits(maps: JudgedMaps, at: Thresholds) -> Sample | Undefined:
    """For each map the share of the IoU levels 0.3, 0.5 and 0.7 that its best box reaches at the thresholds."""
    return _hits_at(maps.best[maps.first], V2_LEVELS_IN_SINGLE, at.max_box_acc_v2 or [None])


def oracle_max_box_acc_hits(maps: JudgedMaps, _: Thresholds) -> Sample:
    """For each map whether its box reaches IoU 0.5 at every threshold; the best threshold counts."""
    return Sample(_all_hits(maps.largest[maps.first], V1_LEVELS), statistic=best_share)


def oracle_max_box_acc_v2_hits(maps: JudgedMaps, _: Thresholds) -> Sample:
    """For each map whether its best box reaches each IoU level at every threshold; the best thresholds count."""
    return Sample(_all_hits(maps.best[maps.first], V2_LEVELS_IN_SINGLE), statistic=best_share)


def _hits_at(
    curves: NDArray[np.float32], levels: Sequence[float], thresholds: Sequence[float | None]
) -> Sample | Undefined:
    chosen = [grid_index(threshold) for threshold in thresholds if threshold is not None]
    if not chosen:
        return Undefined("its thresholds are shares of the maximum, the box rule's is not; --tune-on is needed")
    return Sample(_all_hits(curves, levels)[:, range(len(levels)), chosen].mean(axis=1))


def _all_hits(curves: NDArray[np.float32], levels: Sequence[float]) -> NDArray[np.bool_]:
    """``box_hits``, also of no map."""
    return box_hits(curves, levels) if len(curves) else np.zeros((0, len(levels), len(GRID)), dtype=np.bool_)

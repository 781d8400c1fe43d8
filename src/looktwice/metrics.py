"""How well maps and boxes find objects: IoU, localization errors, pointing game, energy in boxes, MaxBoxAcc.

Ground truths arrive as boxes (B, 4), half-open pixels of the original image: (x1, y1, x2, y2) holds the pixels
x1 … x2 − 1, so it is x2 − x1 wide. An *inclusive* box names its last pixel instead, (x1, y1, x2 − 1, y2 − 1), and is
one wider than the difference of its ends. IoU of the same pixels is the same number in either form; only
wsolevaluation's rule, which scales and clips inclusive ends, needs the second. A measure of one image comes first, what
becomes of many images (a share, an interval) last.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import InputError, OptionError
from looktwice.images import Window
from looktwice.localization import check_map
from looktwice.outlines import trace_cuts

Floats = NDArray[np.float64]

# ---- overlap -------------------------------------------------------------------------------------------------------


def iou(boxes: ArrayLike, truths: ArrayLike) -> Floats:
    """Intersection over union of half-open boxes (A, 4) and (B, 4) → (A, B), 0 … 1; 0 where both are empty."""
    return _iou(boxes, truths, 0.0)


def iou_inclusive(boxes: ArrayLike, truths: ArrayLike) -> Floats:
    """Intersection over union of boxes (A, 4) and (B, 4) that name their last pixel, as wsolevaluation has it."""
    return _iou(boxes, truths, 1.0)


def _iou(boxes: ArrayLike, truths: ArrayLike, extra: float) -> Floats:
    a, b = _as_boxes(boxes), _as_boxes(truths)
    both = _area(np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:]), extra)
    either = _area(a[:, None, :2], a[:, None, 2:], extra) + _area(b[:, :2], b[:, 2:], extra) - both
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


def _area(starts: Floats, ends: Floats, extra: float) -> Floats:
    sides = np.maximum(ends - starts + extra, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _as_boxes(boxes: ArrayLike) -> Floats:
    values = np.asarray(boxes, dtype=np.float64)
    if values.size == 0:
        return values.reshape(0, 4)
    if values.ndim != 2 or values.shape[1] != 4:
        raise InputError(f"boxes must be (number, 4), not {values.shape}; each is (x1, y1, x2, y2)")
    return values


def _as_truths(truths: ArrayLike) -> Floats:
    values = _as_boxes(truths)
    if not len(values):
        raise InputError("no ground-truth box; leave images without boxes out of this measure")
    if not ((values[:, 2:] > values[:, :2]).all() and np.isfinite(values).all()):
        raise InputError(
            "a ground-truth box is empty or not finite; boxes are half-open (x1, y1, x2, y2), x2 > x1, y2 > y1"
        )
    return values


# ---- localization of a label (ILSVRC CLS-LOC) ----------------------------------------------------------------------


@dataclass(frozen=True)
class Guess:
    """A label and where it is said to be: boxes (A, 4), half-open pixels of the original image.

    ILSVRC allows one box a guess; of several the best one counts, and a guess without a box is wrong.
    """

    label: int
    boxes: Sequence[Sequence[float]]


def top1_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], *, overlap: float = 0.5) -> bool:
    """Whether the first guess has the right label and overlaps any of that label's boxes by IoU ≥ ``overlap``.

    ``truths`` holds each label's boxes (B, 4). The top-1 localization error is the share of images without a hit.
    """
    return _top_hit(guesses[:1], truths, overlap)


def top5_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], *, overlap: float = 0.5) -> bool:
    """Whether any of the first five guesses is right, as ``top1_hit`` says; further guesses do not count."""
    return _top_hit(guesses[:5], truths, overlap)


def gt_known_hit(boxes: ArrayLike, truths: ArrayLike, *, overlap: float = 0.5) -> bool:
    """Whether a box (A, 4) found for the true label overlaps any of that label's boxes (B, 4) by IoU ≥ ``overlap``."""
    return bool((iou(boxes, truths) >= overlap).any())


def _top_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], overlap: float) -> bool:
    return any(
        gt_known_hit(guess.boxes, truths[guess.label], overlap=overlap) for guess in guesses if guess.label in truths
    )


# ---- pointing game and energy --------------------------------------------------------------------------------------


def pointing_hit(heat: ArrayLike, truths: ArrayLike, window: Window, *, tolerance: float = 15.0) -> bool:
    """Whether the maximum of a map (H, W) lies within ``tolerance`` image pixels of any of the boxes (B, 4).

    TorchRay's rule: both are pixels of the original image, and the squared distance from the maximum to the nearest
    pixel of the boxes is below ``tolerance``². The maximum is the centre of the map's highest pixel, of equal ones the
    first in reading order. Accuracy is the mean over classes: ``class_mean``.

    Raises:
        InputError: as ``check_map``; no ground truth, or an empty one.
    """
    heat, truths = check_map(heat), _as_truths(truths)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    pixel = [column, row, column + 1, row + 1]
    x1, y1, x2, y2 = window.to_image(pixel, heat.shape[1], heat.shape[0])
    # Indices of pixels, not of their corners: the box's last pixel is x2 − 1, and index i has its centre at i + ½.
    point = np.array([(x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2])
    first, last = truths[:, :2], np.maximum(truths[:, 2:] - 1, truths[:, :2])
    away = np.maximum(first - point, 0) + np.maximum(point - last, 0)
    return bool(((away**2).sum(axis=1) < tolerance**2).any())


def energy_in_box(heat: ArrayLike, truths: ArrayLike, window: Window) -> float:
    """The share (0 … 1) of the energy of a map (H, W) that lies inside the union of the boxes (B, 4).

    Wang et al. 2020, energy-based pointing game. Negative values count as 0; a map pixel that a box cuts counts by the
    part inside; energy outside the image, in a crop's padding, is outside the boxes. A map without energy scores 0.

    Raises:
        InputError: as ``check_map``; no ground truth, or an empty one.
    """
    heat = np.clip(check_map(heat).astype(np.float64), 0.0, None)
    height, width = heat.shape
    inside = np.clip(window.to_map(_as_truths(truths), width, height), 0, [width, height, width, height])
    # Between all pixel borders and box edges, each cell lies in one pixel and wholly inside or outside each box.
    xs = np.unique(np.concatenate([np.arange(width + 1), inside[:, 0], inside[:, 2]]))
    ys = np.unique(np.concatenate([np.arange(height + 1), inside[:, 1], inside[:, 3]]))
    covered = np.zeros((len(ys) - 1, len(xs) - 1), dtype=bool)
    for x1, y1, x2, y2 in inside:
        covered[
            np.searchsorted(ys, y1) : np.searchsorted(ys, y2), np.searchsorted(xs, x1) : np.searchsorted(xs, x2)
        ] = True
    pixels = heat.take(ys[:-1].astype(int), axis=0).take(xs[:-1].astype(int), axis=1)
    held = np.diff(ys) @ (pixels * covered) @ np.diff(xs)
    return min(float(held / heat.sum()), 1.0) if heat.any() else 0.0


# ---- MaxBoxAcc (Choe et al. 2020, wsolevaluation) ------------------------------------------------------------------

V1_LEVELS = (0.5,)
V2_LEVELS = (0.3, 0.5, 0.7)

At = Literal["per_image"] | Sequence[int] | None
"""Which threshold counts: the best one over all images (None: an oracle, and the protocol's own), the best one of each
image (a stronger oracle), or grid indices fixed beforehand, one in all or one for each IoU level."""


@dataclass(frozen=True)
class BoxCurve:
    """One image's best IoU with any ground truth at every threshold of the grid (T,), 0 … 1."""

    largest: Floats
    """Of the largest contour's box: MaxBoxAcc."""

    best: Floats
    """Of the best of all contours' boxes: MaxBoxAccV2."""


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
    inclusive = _as_truths(truths) - [0, 0, 1, 1]
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


# ---- many images ---------------------------------------------------------------------------------------------------

Statistic = Callable[[Floats], Floats]
"""Means over images, one set a resample (R, …) → a number each (R,). ``best_share`` is one."""


@dataclass(frozen=True)
class Interval:
    """A number over all images, and between which ends its bootstrap resamples lie."""

    value: float
    low: float
    high: float


def class_mean(values: ArrayLike, classes: ArrayLike) -> float:
    """The mean over classes of the mean (N,) within each class, as the pointing game's accuracy is defined.

    Classes without an image do not count.
    """
    return bootstrap(values, classes=classes, resamples=0).value


def bootstrap(
    values: ArrayLike,
    statistic: Statistic | None = None,
    *,
    classes: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """The mean of values (N,) over N images and its percentile bootstrap interval (Efron 1979).

    Args:
        values: a number an image, or an array of numbers (N, …) for a ``statistic`` of their means.
        statistic: what to make of the means; such as ``best_share`` of ``box_hits``.
        classes: a class an image (N,); the mean is then over classes, each the mean of its images, instead of over
            images. Images are resampled all the same; a class that a resample misses does not count in it.
        seed: the same seed, values and order give the same interval.
        resamples: how many; with 0 the ends are the value.
        level: the share of resamples between the ends.

    Raises:
        InputError: no image, values that are not finite, or a different number of classes.
    """
    sample = _as_sample(values)
    groups = None if classes is None else _Groups.of(classes, len(sample))
    value = _summarised(np.ones((1, len(sample))), sample, groups, statistic)
    if not resamples:
        return Interval(float(value[0]), float(value[0]), float(value[0]))
    drawn = [_summarised(counts, sample, groups, statistic) for counts in _resampled(len(sample), resamples, seed)]
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value[0]), float(low), float(high))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    statistic: Statistic | None = None,
    *,
    classes: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """``first`` − ``second`` over the same N images in the same order, each resample taking both values of an image.

    Far sharper than two intervals side by side, as what makes an image hard makes it hard for both.

    Raises:
        InputError: as ``bootstrap``; or the two differ in shape.
    """
    a, b = _as_sample(first), _as_sample(second)
    if a.shape != b.shape:
        raise InputError(f"paired values must be of the same images, not {a.shape} and {b.shape}; keep the common ones")
    single = _itself if statistic is None else statistic
    return bootstrap(
        np.stack([a, b], axis=1),
        lambda means: single(means[:, 0]) - single(means[:, 1]),
        classes=classes,
        seed=seed,
        resamples=resamples,
        level=level,
    )


@dataclass(frozen=True)
class _Groups:
    """Images sorted by class: their order, where each class starts, and each image's class."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    member: NDArray[np.int64]

    @classmethod
    def of(cls, classes: ArrayLike, images: int) -> "_Groups":
        labels = np.asarray(classes)
        if labels.shape != (images,):
            raise InputError(f"classes must be one an image, ({images},), not {labels.shape}")
        _, member = np.unique(labels, return_inverse=True)
        order = np.argsort(member, kind="stable")
        return cls(order, np.flatnonzero(np.diff(member[order], prepend=-1)), member)

    def weights(self, counts: Floats) -> Floats:
        """Counts (R, N) → weights (R, N) with which a plain sum is the mean over the classes that were drawn."""
        held = np.add.reduceat(counts[:, self.order], self.starts, axis=1)
        share = 1 / (np.maximum(held, 1) * (held > 0).sum(axis=1, keepdims=True))
        return np.asarray(counts * share[:, self.member])


def _itself(means: Floats) -> Floats:
    return means


def _as_sample(values: ArrayLike) -> Floats:
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or sample.ndim == 0:
        raise InputError("no values to average; at least one image is needed")
    if not np.isfinite(sample).all():
        raise InputError("values to average are NaN or infinite; leave those images out")
    return sample


def _summarised(counts: Floats, sample: Floats, groups: _Groups | None, statistic: Statistic | None) -> Floats:
    """The statistic (R,) of R resamples, given how often each holds each image (R, N)."""
    weights, total = (counts, len(sample)) if groups is None else (groups.weights(counts), 1)
    means = (weights @ sample.reshape(len(sample), -1) / total).reshape(len(counts), *sample.shape[1:])
    return means if statistic is None else statistic(means)


def _resampled(images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each image is in each resample, (R, N), a few resamples at a time to bound the memory."""
    rng = np.random.default_rng(seed)
    at_once = max(1, 4_000_000 // images)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(0, images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)

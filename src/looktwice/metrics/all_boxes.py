"""All boxes of an image: how many are right, and how many objects they find.

Localization error and MaxBoxAcc judge one box of a map. A user gets all boxes, and so all of them are judged here. A
box is right if it is matched to a ground-truth box of the label that judges the map. The class does not matter: the
boxes of a wrong class's map are judged by the label too, as MaxBoxAcc judges them.

AP50 is that of COCO: its evaluation program pycocotools gives the same number, class-agnostic, with each map as an
image and at most 100 boxes of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import InputError
from looktwice.metrics.judged_maps import JudgedBoxes, JudgedMaps, PooledSample, Sample, Thresholds, Undefined
from looktwice.metrics.localization_error import HIT_IOU
from looktwice.metrics.overlap import Floats, iou, shares_inside

NESTED_SHARE = 0.7
"""A box is nested if this share of its area or more lies inside another box of the same map."""


RECALL_LEVELS: Floats = np.linspace(0, 1, 101)
"""The recalls at which COCO reads the precision, rounded as it rounds them."""


MOST_BOXES = 100
"""Boxes of a map that count for AP50, those with the highest scores. It is the usual ``maxDets`` of COCO."""


_AT_ONCE = 2**18
"""Boxes of resamples that are counted at once. Few at a time bound the memory."""

Objects = Literal["one", "several", "all"]
"""Maps with one ground-truth box, with two or more, or all of them."""


BoxValues = Callable[[Objects, JudgedMaps, Thresholds], Sample | PooledSample | Undefined]
"""A measure of the maps with some number of objects."""


# ---- one map -------------------------------------------------------------------------------------------------------


def match_boxes(
    boxes: ArrayLike, scores: ArrayLike, truths: ArrayLike, *, overlap: float = HIT_IOU
) -> NDArray[np.int64]:
    """For each box (A, 4) of a map the index of the ground-truth box (B, 4) that it is matched to, or −1 → (A,).

    Boxes choose one after another, the highest score first; of equal scores the earlier box is first. Each takes the
    ground truth with the largest IoU among those that are still free. Of equal IoUs it is the last one, as in COCO. If
    that IoU is below ``overlap``, the box takes none: it is wrong.

    Args:
        boxes: half-open boxes in pixels.
        scores: a number for each box (A,).
        truths: the ground truths, in the same pixels; there may be none.
        overlap: the IoU that is needed.

    Raises:
        InputError: boxes of another shape, not one score for each box, or a score that is not finite.

    >>> match_boxes([[0, 0, 9, 9], [0, 0, 8, 8]], [0.4, 0.6], [[0, 0, 8, 8]]).tolist()
    [-1, 0]
    """
    overlaps, order = iou(boxes, truths), _descending(scores)
    if len(order) != len(overlaps):
        raise InputError(f"there are {len(overlaps)} boxes and {len(order)} scores; one score for each box is needed")
    found = np.full(len(overlaps), -1, dtype=np.int64)
    candidates = np.where(overlaps >= overlap, overlaps, -1.0)
    can_match = np.asarray((candidates >= 0).any(axis=1))
    for box in order[can_match[order]].tolist():
        truth = candidates.shape[1] - 1 - int(candidates[box, ::-1].argmax())
        if candidates[box, truth] >= 0:
            found[box] = truth
            candidates[:, truth] = -1.0
    return found


def nested_boxes(boxes: ArrayLike, *, share: float = NESTED_SHARE) -> NDArray[np.bool_]:
    """Which boxes (A, 4) of a map lie with this share of their own area inside another box of the map → (A,).

    Two equal boxes are both nested. A box without area is not.

    >>> nested_boxes([[0, 0, 10, 10], [3, 3, 5, 5]]).tolist()
    [False, True]
    """
    inside = shares_inside(boxes, boxes)
    np.fill_diagonal(inside, 0.0)
    return np.asarray((inside >= share).any(axis=1))


# ---- many maps -----------------------------------------------------------------------------------------------------


def average_precision(scores: ArrayLike, right: ArrayLike, truths: int) -> float:
    """AP of the boxes (B,) of all maps together, 0 … 1, from their scores and from which of them are right.

    The precision at a recall is the best one at this recall or a higher one. AP is its mean over the recalls 0, 0.01 …
    1, as in COCO. Of equal scores the earlier box is first.

    Args:
        scores: of the boxes, map after map.
        right: whether each box is matched to a ground truth.
        truths: how many ground truths there are in all maps.

    Raises:
        InputError: a score is not finite, or there is no ground truth.

    >>> round(average_precision([0.9, 0.8, 0.7], [True, False, True], 2), 4)
    0.835
    """
    if truths < 1:
        raise InputError(f"there are {truths} ground truths; one or more are needed")
    order = _descending(scores)
    hits = np.flatnonzero(np.asarray(right, dtype=np.bool_)[order])
    right, boxes = np.arange(1.0, len(hits) + 1), (hits + 1).astype(np.float64)
    return float(_average_precisions(right[None], boxes[None], np.array([float(truths)]))[0])


def _average_precisions(right: Floats, boxes: Floats, truths: Floats) -> Floats:
    """AP of R resamples (R,), from the numbers of right boxes and of all boxes up to each right box (R, K).

    ``truths`` has the ground truths of each resample (R,).
    """
    best = np.zeros((len(right), right.shape[1] + 1))  # the last entry: recalls that no box reaches
    best[:, :-1] = np.maximum.accumulate((right / np.maximum(boxes, 1.0))[:, ::-1], axis=1)[:, ::-1]
    reached = [np.searchsorted(recalls, RECALL_LEVELS) for recalls in right / truths[:, None]]
    return np.asarray(np.take_along_axis(best, np.array(reached), axis=1).mean(axis=1))


def _descending(scores: ArrayLike) -> NDArray[np.int64]:
    """The indices of scores (B,), the highest first; of equal scores the earlier one first."""
    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise InputError("a box has a score that is NaN or infinite; a number is needed to order boxes")
    return np.argsort(-values, kind="stable")


# ---- the measures of a run -----------------------------------------------------------------------------------------


def box_precisions(objects: Objects, maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """The share of all boxes that are right; 0 without boxes."""
    return _ratio_of_counts(maps, objects, lambda means: _ratio(means[:, 0], means[:, 1]))


def box_recalls(objects: Objects, maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """The share of all ground-truth boxes that a box is matched to."""
    return _ratio_of_counts(maps, objects, lambda means: _ratio(means[:, 0], means[:, 2]))


def box_f1s(objects: Objects, maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """The harmonic mean of precision and recall."""
    return _ratio_of_counts(maps, objects, lambda means: _ratio(2 * means[:, 0], means[:, 1] + means[:, 2]))


def box_ap50s(objects: Objects, maps: JudgedMaps, _: Thresholds) -> PooledSample | Undefined:
    """AP50 of the boxes of all maps together, ordered by score."""
    found = _judged(maps, objects)
    if isinstance(found, Undefined):
        return found
    return PooledSample(len(found.truths), _Ranking.of(found).average_precisions)


def boxes_of_images(maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """For each map the number of its boxes."""
    found = _judged(maps, "all")
    return found if isinstance(found, Undefined) else Sample(found.counts)


def nested_shares(maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """The share of all boxes that are nested; 0 without boxes."""
    found = _judged(maps, "all")
    if isinstance(found, Undefined):
        return found
    counts = np.stack([found.per_map(found.nested), found.counts], axis=1)
    return Sample(counts, statistic=lambda means: _ratio(means[:, 0], means[:, 1]))


def of_objects(
    values: BoxValues, objects: Objects
) -> Callable[[JudgedMaps, Thresholds], Sample | PooledSample | Undefined]:
    """A measure of this file for the maps with that number of objects."""
    return partial(values, objects)


def _judged(maps: JudgedMaps, objects: Objects) -> JudgedBoxes | Undefined:
    """The boxes of the maps that count: those of first guesses or labels, with that number of ground truths."""
    if maps.boxes is None:
        return Undefined("the run does not tell which of its boxes are right; evaluate into another folder to have it")
    truths = maps.boxes.truths
    fitting = {"one": truths == 1, "several": truths > 1, "all": truths > 0}[objects]
    chosen = maps.boxes.of_maps(maps.first & fitting)
    if not len(chosen.truths):
        return Undefined(
            "no image has boxes to be judged by"
            if objects == "all"
            else f"no image has {objects} annotated {'object' if objects == 'one' else 'objects'}"
        )
    return chosen


def _ratio_of_counts(maps: JudgedMaps, objects: Objects, ratio: Callable[[Floats], Floats]) -> Sample | Undefined:
    """A sample of each map's right boxes, boxes and ground truths (N, 3), and a ratio of their means."""
    found = _judged(maps, objects)
    if isinstance(found, Undefined):
        return found
    counts = np.stack([found.per_map(found.right), found.counts, found.truths], axis=1)
    return Sample(counts, statistic=ratio)


def _ratio(parts: Floats, wholes: Floats) -> Floats:
    """``parts`` / ``wholes``, 0 where there is no whole."""
    return np.asarray(np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0))


@dataclass(frozen=True)
class _Ranking:
    """The boxes of n maps together, the highest score first.

    Attributes:
        owner: the map of each box (B,).
        hits: the places of the right boxes (K,).
        truths: the ground truths of each map (n,).
    """

    owner: NDArray[np.int64]
    hits: NDArray[np.int64]
    truths: NDArray[np.int64]

    @classmethod
    def of(cls, found: JudgedBoxes) -> "_Ranking":
        order = _descending(found.score)
        owner = found.owner[order]
        if found.counts.max(initial=0) > MOST_BOXES:
            by_map = np.argsort(owner, kind="stable")  # map after map, and each map's boxes by score
            first = np.concatenate([[0], np.cumsum(found.counts)[:-1]])
            place = np.empty(len(owner), dtype=np.int64)
            place[by_map] = np.arange(len(owner)) - first[owner[by_map]]
            order, owner = order[place < MOST_BOXES], owner[place < MOST_BOXES]
        return cls(owner, np.flatnonzero(found.right[order]), found.truths)

    def average_precisions(self, counts: Floats) -> Floats:
        """AP of R resamples, which hold each map as often as ``counts`` (R, n) says → (R,).

        Copies of a map follow each other, as images with the same scores do.
        """
        at_once = max(1, _AT_ONCE // max(1, len(self.owner)))
        parts = [self._some(counts[start : start + at_once]) for start in range(0, len(counts), at_once)]
        return np.concatenate(parts)

    def _some(self, counts: Floats) -> Floats:
        drawn = counts[:, self.owner]
        right, boxes = drawn[:, self.hits].cumsum(axis=1), drawn.cumsum(axis=1)[:, self.hits]
        return _average_precisions(right, boxes, counts @ self.truths)

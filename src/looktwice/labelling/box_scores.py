"""What the scores of boxes are worth: which least score is best, and how often boxes of a score are right."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from looktwice.labelling.judged import JudgedImage
from looktwice.metrics.intervals import Interval, binomial_interval
from looktwice.metrics.judged_maps import Sample, Undefined
from looktwice.metrics.overlap import Floats
from looktwice.runs.resampled import Resampled, resample
from looktwice.runs.summary import Score

FOLDS = 5
"""Parts of the images. Each part is judged with the least score that is chosen on the four others."""


FEWEST_IMAGES = 20
"""With fewer images no least score is chosen: it would say more about these images than about others."""


GRID: Floats = np.arange(101) / 100
"""The least scores to choose from."""


EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Where the groups of scores begin and end."""


@dataclass(frozen=True)
class MinScore:
    """The least score with the best F1, and what it is worth on other images.

    F1 is of the boxes that remain if all boxes with a lower score are deleted.

    Attributes:
        min_score: chosen on all images; of equally good ones the lowest.
        f1_here: F1 with it on the very images that it was chosen on. This is too good a number.
        f1_all_boxes: F1 of all boxes.
        f1_elsewhere: F1 if the images are in five parts, and each part has the least score chosen on the four others.
        gain: ``f1_elsewhere`` − ``f1_all_boxes``, image by image.
        of_parts: the least scores that were chosen so, one for each part.
    """

    min_score: float
    f1_here: float
    f1_all_boxes: Score
    f1_elsewhere: Score
    gain: Score
    of_parts: tuple[float, ...]


@dataclass(frozen=True)
class ScoreGroup:
    """The boxes with a score from ``low`` to below ``high``; the last group has the score 1 too.

    Attributes:
        low: where the group begins.
        high: where it ends.
        boxes: how many there are.
        mean_score: of these boxes; None without boxes.
        right: the share of them that is right (IoU ≥ 0.5), with its 95 % score interval; None without boxes.
    """

    low: float
    high: float
    boxes: int
    mean_score: float | None = None
    right: Interval | None = None


def choose_min_score(images: Sequence[JudgedImage]) -> MinScore | Undefined:
    """The least score with the best F1 among the boxes that are there."""
    if len(images) < FEWEST_IMAGES:
        return Undefined(
            f"{len(images)} {'image is' if len(images) == 1 else 'images are'} too few to choose a least score; "
            f"draw boxes on {FEWEST_IMAGES} or more"
        )
    counts = np.stack([_kept_counts(image) for image in images])
    if not counts[:, 0, 1].any():
        return Undefined("there is no box to choose a least score for")
    part = np.array([_part(image.id) for image in images])
    best = _best(counts)
    by_part = [_best(counts[part != each]) for each in range(FOLDS)]
    elsewhere = counts[np.arange(len(images)), np.array(by_part)[part]]
    found = resample({"all": Sample(counts[:, 0], _f1), "elsewhere": Sample(elsewhere, _f1)})
    every, other = found["all"], found["elsewhere"]
    assert isinstance(every, Resampled)
    assert isinstance(other, Resampled)
    return MinScore(
        min_score=float(GRID[best]),
        f1_here=round(float(_f1(counts[:, best].sum(axis=0)[None])[0]), 9),
        f1_all_boxes=every.score,
        f1_elsewhere=other.score,
        gain=Resampled(other.draws - every.draws, other.n).score,
        of_parts=tuple(float(GRID[each]) for each in by_part),
    )


def group_by_score(scores: Floats, right: NDArray[np.bool_]) -> tuple[ScoreGroup, ...]:
    """How many boxes (B,) of each group of scores are right. A score outside 0 … 1 is in the nearest group."""
    place = np.clip(np.searchsorted(EDGES, scores, side="right") - 1, 0, len(EDGES) - 2)
    groups = []
    for index, (low, high) in enumerate(pairwise(EDGES)):
        own = place == index
        boxes = int(own.sum())
        if boxes:
            share = binomial_interval(int(right[own].sum()), boxes)
            groups.append(ScoreGroup(low, high, boxes, round(float(scores[own].mean()), 9), share))
        else:
            groups.append(ScoreGroup(low, high, 0))
    return tuple(groups)


def _kept_counts(image: JudgedImage) -> Floats:
    """Right boxes, boxes and truths of an image at each least score of the grid (101, 3).

    Boxes are matched in the order of their scores. So boxes with a low score change no match of the others.
    """
    scores = np.concatenate([label.scores for label in image.labels])
    right = np.concatenate([label.matches() >= 0 for label in image.labels])
    truths = sum(len(label.truths) for label in image.labels)
    kept = scores >= GRID[:, None]
    return np.stack([(kept & right).sum(axis=1), kept.sum(axis=1), np.full(len(GRID), truths)], axis=1).astype(float)


def _best(counts: Floats) -> int:
    """The place in the grid with the best F1 of images (N, 101, 3); of equally good ones the first."""
    return int(_f1(counts.sum(axis=0)).argmax())


def _f1(counts: Floats) -> Floats:
    """F1 from right boxes, boxes and truths (R, 3); there is always a truth."""
    return np.asarray(2 * counts[:, 0] / (counts[:, 1] + counts[:, 2]))


def _part(image: str) -> int:
    """The part of an image. Its name decides, so an image is always in the same part."""
    return int.from_bytes(hashlib.sha256(image.encode(errors="surrogatepass")).digest()[:8], "big") % FOLDS

"""What a person would have to correct in labels, until they are the boxes drawn by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from looktwice.labelling.judged import JudgedImage, JudgedLabel
from looktwice.metrics.all_boxes import match_boxes
from looktwice.metrics.judged_maps import Sample
from looktwice.metrics.overlap import Floats
from looktwice.runs.resampled import Resampled, resample
from looktwice.runs.summary import Score

LEVELS = (0.5, 0.75)
"""The IoU at which a box stands as it is. The second is strict: few people would touch such a box again."""


NEAR = 0.1
"""A box is worth moving if its IoU with an object that no other box has found is at least this."""


@dataclass(frozen=True)
class Corrections:
    """Which share of the labels a person would have to correct. A box that is moved gets new edges and keeps its class.

    Attributes:
        iou: a box stands if it is matched with an IoU of this or more.
        boxes_stand: the share of boxes that stand as they are.
        boxes_moved: the share of boxes that must be moved: their IoU is lower, but 0.1 or more, with an object that no
            other box has found.
        boxes_deleted: the share of boxes that must be deleted: all others.
        objects_drawn: the share of objects that need a new box, because no box stands or is moved for them.
        images_untouched: the share of images that need nothing: all boxes stand, and all objects have one.
    """

    iou: float
    boxes_stand: Score
    boxes_moved: Score
    boxes_deleted: Score
    objects_drawn: Score
    images_untouched: Score


def count_corrections(images: Sequence[JudgedImage], iou: float) -> Corrections:
    """The corrections of images (at least one) with their 95 % bootstrap intervals over images."""
    counts = np.array([_of_image(image, iou) for image in images])
    boxes, truths = counts[:, :3].sum(axis=1), counts[:, 4]
    untouched = (counts[:, 1:4] == 0).all(axis=1).astype(np.float64)
    samples = {
        "boxes_stand": _share(counts[:, 0], boxes),
        "boxes_moved": _share(counts[:, 1], boxes),
        "boxes_deleted": _share(counts[:, 2], boxes),
        "objects_drawn": _share(counts[:, 3], truths),
        "images_untouched": Sample(untouched),
    }
    return Corrections(iou, **_scores(samples))


def _scores(samples: Mapping[str, Sample]) -> dict[str, Score]:
    return {name: each.score for name, each in resample(samples).items() if isinstance(each, Resampled)}


def _share(parts: Floats, wholes: Floats) -> Sample:
    """The ratio of two sums over images; 0 if there is no whole."""

    def ratio(means: Floats) -> Floats:
        return np.divide(means[:, 0], means[:, 1], out=np.zeros(len(means)), where=means[:, 1] > 0)

    return Sample(np.stack([parts, wholes], axis=1), ratio)


def _of_image(image: JudgedImage, iou: float) -> Floats:
    """Boxes that stand, that are moved and that are deleted, objects to draw, and all objects (5,)."""
    labels = [_of_label(label, iou) for label in image.labels]
    return np.asarray(np.sum(labels, axis=0), dtype=np.float64)


def _of_label(label: JudgedLabel, iou: float) -> tuple[int, int, int, int, int]:
    matches = label.matches(iou)
    stand = int((matches >= 0).sum())
    wrong = np.flatnonzero(matches[: len(label.boxes)] < 0)
    free = np.setdiff1d(np.arange(len(label.truths)), matches)
    near = match_boxes(label.boxes[wrong], label.scores[wrong], label.truths[free], overlap=NEAR)
    moved = int((near >= 0).sum())
    return stand, moved, len(matches) - stand - moved, len(label.truths) - stand - moved, len(label.truths)

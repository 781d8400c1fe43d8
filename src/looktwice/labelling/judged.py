"""Labels beside boxes drawn by hand, image by image: which boxes of the labels are right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from looktwice.datasets.records import Sample
from looktwice.decoding import Orientation, Size
from looktwice.export.label_set import LabelledImage
from looktwice.localization.boxes import Box
from looktwice.metrics.all_boxes import match_boxes, nested_boxes
from looktwice.metrics.judged_maps import JudgedBoxes
from looktwice.metrics.localization_error import HIT_IOU
from looktwice.metrics.overlap import Floats


@dataclass(frozen=True)
class FoundBoxes:
    """What is kept of a labelled image: no pixels and no regions, since there may be many images.

    Attributes:
        size: (width, height) of the upright picture.
        orientation: how its pixels are stored; ``None`` if they are stored upright.
        first_class: the network's index of the class that was looked for first; ``None`` without one.
        boxes: by the network's index of their class, boxes (A, 4) in pixels of the upright picture.
        scores: the same way, their scores (A,).
    """

    size: Size
    orientation: Orientation | None
    first_class: int | None
    boxes: Mapping[int, Floats]
    scores: Mapping[int, Floats]

    @classmethod
    def of(cls, image: LabelledImage, indices: Sequence[int]) -> "FoundBoxes":
        """From a labelled image and the network's index of each class of the label set."""
        by_class: dict[int, list[Box]] = {}
        for each in image.objects:
            by_class.setdefault(indices[each.id], []).append(each.box)
        return cls(
            (image.width, image.height),
            image.orientation,
            indices[image.classes[0].id] if image.classes else None,
            {key: np.array([box.corners for box in boxes], dtype=np.float64) for key, boxes in by_class.items()},
            {key: np.array([box.score for box in boxes], dtype=np.float64) for key, boxes in by_class.items()},
        )


@dataclass(frozen=True)
class JudgedLabel:
    """An image and one of its classes that has boxes drawn by hand.

    Attributes:
        boxes: found for this class (A, 4).
        scores: of all boxes that count here: first of ``boxes``, then of the strays (A + S,).
        nested: whether each of them lies inside another one of its class (A + S,).
        truths: the boxes drawn by hand (B, 4).
    """

    boxes: Floats
    scores: Floats
    nested: NDArray[np.bool_]
    truths: Floats

    def matches(self, overlap: float = HIT_IOU) -> NDArray[np.int64]:
        """For each box the index of the truth that it is matched to, or −1; a stray is matched to none (A + S,)."""
        strays = np.full(len(self.scores) - len(self.boxes), -1, dtype=np.int64)
        own = match_boxes(self.boxes, self.scores[: len(self.boxes)], self.truths, overlap=overlap)
        return np.concatenate([own, strays])


@dataclass(frozen=True)
class JudgedImage:
    """An image with boxes drawn by hand.

    Attributes:
        id: its name in the annotation.
        labels: one entry for each class with boxes drawn by hand, in the order of the network's indices.
        right_class: whether the class that was looked for first is in the image.
    """

    id: str
    labels: tuple[JudgedLabel, ...]
    right_class: bool


def judge_image(found: FoundBoxes, sample: Sample) -> JudgedImage | None:
    """Lays the boxes of an image beside those drawn by hand; ``None`` if none was drawn.

    Boxes of a class that the image does not show are strays: they are wrong. They count with the first class that has
    boxes, as an evaluation judges the map of a wrong class. Boxes of a class that the image shows, but for which nobody
    drew a box, count nowhere: nothing tells what they are worth.
    """
    drawn = [label for label in sample.labels if sample.boxes_of(label)]
    if not drawn:
        return None
    strays = [label for label in sorted(found.boxes) if label not in sample.labels]
    labels = tuple(_label(found, sample, label, strays if label == drawn[0] else ()) for label in sorted(drawn))
    return JudgedImage(sample.id, labels, found.first_class in sample.labels)


def _label(found: FoundBoxes, sample: Sample, label: int, strays: Sequence[int]) -> JudgedLabel:
    none = np.zeros((0, 4))
    groups = [(found.boxes.get(key, none), found.scores.get(key, np.zeros(0))) for key in (label, *strays)]
    return JudgedLabel(
        boxes=groups[0][0],
        scores=np.concatenate([scores for _, scores in groups]),
        nested=np.concatenate([nested_boxes(boxes) for boxes, _ in groups]),
        truths=np.array(sample.boxes_of(label), dtype=np.float64).reshape(-1, 4),
    )


def as_judged_boxes(images: Sequence[JudgedImage]) -> JudgedBoxes:
    """All boxes as the measures of all boxes take them: a map for each image and class."""
    labels = list(_labels(images))
    return JudgedBoxes(
        counts=np.array([len(label.scores) for label in labels], dtype=np.int64),
        truths=np.array([len(label.truths) for label in labels], dtype=np.int64),
        score=np.concatenate([label.scores for label in labels]),
        right=np.concatenate([label.matches() >= 0 for label in labels]),
        nested=np.concatenate([label.nested for label in labels]),
    )


def _labels(images: Sequence[JudgedImage]) -> Iterator[JudgedLabel]:
    return (label for image in images for label in image.labels)

"""What measures are computed from: all judged maps of one method as arrays, and the values that a measure averages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.localization.boxes import BoxRule
from looktwice.localization.sweep import grid_index
from looktwice.metrics.intervals import OfCounts, Statistic, statistic_of_counts
from looktwice.metrics.overlap import Floats

Target = Literal["predicted", "true", "top5"]
"""The classes that maps show: the network's first guess, each label of the image, or the network's five guesses."""


TOP_CLASSES = 5
"""Classes of an image with target top5; ILSVRC allows as many guesses."""


@dataclass(frozen=True)
class Thresholds:
    """The thresholds at which the maps of a method are cut.

    Attributes:
        box: the threshold of the box rule; None: objects are drawn without one.
        max_box_acc: the threshold of MaxBoxAcc, a share of the maximum; None: there is none, because it was not chosen,
            and the box rule has no threshold that is a share of the maximum.
        max_box_acc_v2: the thresholds of MaxBoxAccV2, one for each IoU level; None as above.
    """

    box: float | None
    max_box_acc: float | None = None
    max_box_acc_v2: tuple[float, float, float] | None = None

    @classmethod
    def given(cls, rule: BoxRule) -> "Thresholds":
        """The threshold of a box rule, if it has one; also for MaxBoxAcc, if it is a share of the maximum."""
        if rule.rule == "contour" and rule.by == "max":
            return cls(rule.threshold, rule.threshold, (rule.threshold,) * 3)
        return cls(rule.threshold if rule.has_threshold else None)


@dataclass(frozen=True)
class JudgedBoxes:
    """All B boxes of U maps, map after map.

    Attributes:
        counts: how many boxes each map has (U,).
        truths: how many ground-truth boxes judge each map; 0 if there are none (U,).
        score: of each box (B,).
        right: whether each box is matched to a ground truth, see ``match_boxes`` (B,).
        nested: whether each box lies inside another box of its map, see ``nested_boxes`` (B,).
    """

    counts: NDArray[np.int64]
    truths: NDArray[np.int64]
    score: Floats
    right: NDArray[np.bool_]
    nested: NDArray[np.bool_]

    @property
    def owner(self) -> NDArray[np.int64]:
        """The map of each box (B,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def per_map(self, values: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many boxes of each map have a property (B,) → (U,)."""
        return np.bincount(self.owner[values], minlength=len(self.counts))

    def of_maps(self, chosen: NDArray[np.bool_]) -> "JudgedBoxes":
        """The boxes of the chosen maps (U,) alone."""
        boxes = np.repeat(chosen, self.counts)
        return JudgedBoxes(
            self.counts[chosen], self.truths[chosen], self.score[boxes], self.right[boxes], self.nested[boxes]
        )


@dataclass(frozen=True)
class JudgedMaps:
    """The U maps of one method as arrays, sorted by image, rank and target.

    Attributes:
        image: the number of each map's image, from 0 (U,).
        images: how many images there are, N.
        rank: the place of the map's class among the guesses that maps were made of; 0 if there is one guess (U,).
        target_place: the place of the map's class among all classes by score, from 0 (U,).
        label_place: the place of the image's best label among all classes by score, from 0 (U,).
        right: whether the map's class is a label of the image (U,).
        judged: the label whose boxes judge the map; -1 if there are no boxes (U,).
        measured: by column of a run's rows, a number for each map; NaN if it has none (U,).
        seconds: what the method took for the map (U,).
        curve: IoU of the boxes of the box rule at each threshold of ``GRID`` (U, T); None if it has no threshold.
        energy_box: IoU of the energy box at each threshold (U, T).
        largest: IoU of the box of MaxBoxAcc at each threshold (U, T).
        best: IoU of the best box of MaxBoxAccV2 at each threshold (U, T).
        boxes: all boxes, as they were drawn when the rows were written; None if the run does not tell which are right.
        drawn: IoU of the box that was drawn when the rows were written (U,); None if the box rule has a threshold.
    """

    image: NDArray[np.int64]
    images: int
    rank: NDArray[np.int64]
    target_place: NDArray[np.int64]
    label_place: NDArray[np.int64]
    right: NDArray[np.bool_]
    judged: NDArray[np.int64]
    measured: Mapping[str, Floats]
    seconds: Floats
    curve: NDArray[np.float32] | None
    energy_box: NDArray[np.float32]
    largest: NDArray[np.float32]
    best: NDArray[np.float32]
    boxes: JudgedBoxes | None = None
    drawn: Floats | None = None

    @classmethod
    def of_boxes(cls, boxes: JudgedBoxes) -> "JudgedMaps":
        """Maps of which nothing is known but their boxes; the measures of all boxes need no more.

        Each map is of a label of an image of its own.
        """
        count = len(boxes.counts)
        zeros, no_curve = np.zeros(count, dtype=np.int64), np.zeros((count, 0), dtype=np.float32)
        return cls(
            image=np.arange(count),
            images=count,
            rank=zeros,
            target_place=zeros,
            label_place=zeros,
            right=np.ones(count, dtype=np.bool_),
            judged=np.where(boxes.truths > 0, 0, -1),
            measured={},
            seconds=np.zeros(count),
            curve=None,
            energy_box=no_curve,
            largest=no_curve,
            best=no_curve,
            boxes=boxes,
        )

    def overlap_at(self, threshold: float | None) -> NDArray[np.floating]:
        """IoU of the box that counts, at a threshold of the box rule; None: of the box that was drawn without one (U,).

        Raises:
            ValueError: there is no such box.
        """
        if threshold is None and self.drawn is not None:
            return self.drawn
        if threshold is None or self.curve is None:
            raise ValueError(f"no box was drawn at the threshold {threshold}")
        return self.curve[:, grid_index(threshold)]

    @property
    def boxed(self) -> NDArray[np.bool_]:
        """Which maps have boxes to be judged by (U,)."""
        return np.asarray(self.judged >= 0)

    @property
    def first(self) -> NDArray[np.bool_]:
        """Which maps have boxes and show the first guess of their image, or one of its labels (U,)."""
        return np.asarray(self.boxed & (self.rank == 0))

    @property
    def first_of_image(self) -> NDArray[np.int64]:
        """The index of each image's first map (N,)."""
        return np.unique(self.image, return_index=True)[1]

    @property
    def image_boxed(self) -> NDArray[np.bool_]:
        """Which images have a map with boxes (N,)."""
        return np.asarray(self.per_image(self.boxed) > 0)

    def per_image(self, values: ArrayLike) -> Floats:
        """Values of maps (U,), summed over each image (N,)."""
        weights = np.asarray(values, dtype=np.float64)
        return np.asarray(np.bincount(self.image, weights=weights, minlength=self.images), dtype=np.float64)


@dataclass(frozen=True)
class Sample:
    """The values that a measure averages, one for each image or map.

    Attributes:
        values: a number for each, or an array of numbers for a ``statistic`` of their means (N, …).
        statistic: what to make of the means; None: the mean is the measure.
        classes: a class for each (N,): then the mean is over classes, each the mean of its own values.
        empty: why the measure has no number if there is no value.
    """

    values: ArrayLike
    statistic: Statistic | None = None
    classes: NDArray[np.int64] | None = None
    empty: str = "no image has boxes to be judged by"

    def __len__(self) -> int:
        return len(np.asarray(self.values))

    @property
    def of_counts(self) -> OfCounts:
        """The measure of resamples; see ``statistic_of_counts``."""
        return statistic_of_counts(self.values, self.statistic, classes=self.classes)


@dataclass(frozen=True)
class PooledSample:
    """What a measure is computed from that is no function of means: all images of a resample are needed together.

    Attributes:
        n: how many images or maps there are.
        of_counts: the measure of R resamples, which hold each image as often as (R, n) numbers say → (R,).
    """

    n: int
    of_counts: OfCounts

    def __len__(self) -> int:
        return self.n


@dataclass(frozen=True)
class Undefined:
    """Why a measure has no number in a run."""

    reason: str

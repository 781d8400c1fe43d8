"""The report's gallery: which images of a run to show, and a card for each, with picture, boxes and maps.

Pictures and annotated boxes come from the data set, if it is still where the run found it. Found boxes and maps come
from the run. What is missing is left out, and a note in the gallery says so.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from looktwice.datasets.records import Sample, fit_to_image
from looktwice.figures.encode import data_uri
from looktwice.localization.boxes import locate
from looktwice.metrics.localization_error import is_right
from looktwice.metrics.overlap import iou
from looktwice.report.card_pictures import Heats, find_dataset, map_picture, saved_heats, thumbnail
from looktwice.report.finished_run import Corners, FinishedRun, Subject

_GAIN = ("global_feedback", "feedback")
"""A gain is the IoU of the first method less that of the second."""


_SAME_IOU = 0.03
"""How far the IoU of a box may lie from the judged one if half precision is the only reason."""


@dataclass(frozen=True)
class View:
    """What a method found on a card's image.

    Attributes:
        iou: at the threshold that counts.
        hit: whether the box is right at that threshold.
        boxes: the boxes that were judged, to be drawn.
        has_boxes: whether the run holds these boxes. Others are never drawn, since IoU and verdict are not theirs.
        heat: the map as a data URI, if the run kept it.
    """

    iou: float
    hit: bool
    boxes: tuple[Corners, ...]
    has_boxes: bool
    heat: str | None


@dataclass(frozen=True)
class Card:
    """An image of the gallery; ``views`` by method."""

    sample: str
    width: int
    height: int
    shown_class: str
    looked_for: str
    predicted: str
    probability: float
    picture: str | None
    truths: tuple[Corners, ...]
    views: Mapping[str, View]

    @property
    def hits(self) -> int:
        """How many methods found the object."""
        return sum(view.hit for view in self.views.values())

    @property
    def gain(self) -> float | None:
        """IoU of global feedback less that of local feedback; None if one of them is not in the run."""
        if not set(_GAIN) <= set(self.views):
            return None
        first, second = (self.views[method].iou for method in _GAIN)
        return first - second

    @property
    def disagreed(self) -> bool:
        """Some methods found the object and some did not."""
        return 0 < self.hits < len(self.views)


@dataclass(frozen=True)
class Gallery:
    """The cards of a run.

    Attributes:
        cards: the chosen images.
        reported: how many images they were chosen from.
        has_maps: whether the run kept maps.
        notes: what the reader must know.
    """

    cards: tuple[Card, ...]
    reported: int
    has_maps: bool
    notes: tuple[str, ...]

    @property
    def has_gains(self) -> bool:
        """Both methods of a gain are in the run."""
        return any(card.gain is not None for card in self.cards)


def make_gallery(run: FinishedRun, limit: int, data: Path | None = None) -> Gallery:
    """A balanced choice of at most ``limit`` images of a run as cards; the same run always gives the same choice.

    Args:
        run: the run.
        limit: the largest number of cards.
        data: the folder of the images; None: the folder in which the run found them.

    Raises:
        RunError: a file of maps is damaged.
    """
    chosen = select(run, limit)
    dataset, trouble = find_dataset(run.manifest, data)
    samples = {sample.id: sample for sample in dataset.samples} if dataset else {}
    heats = saved_heats(run, [run.subjects[index] for index in chosen])
    names = dataset.class_names if dataset else {}
    cards = tuple(_card(run, index, samples.get(run.subjects[index].sample), names, heats) for index in chosen)
    missing = sum(card.picture is None for card in cards)
    if dataset and missing:
        trouble = f"{missing} of the pictures cannot be read. Their cards have only boxes."
    notes = [trouble] if trouble else []
    unknown = sum(not view.has_boxes for card in cards for view in card.views.values())
    if unknown:
        notes.append(
            f"The run did not keep {unknown} of the boxes that were judged, so they are not drawn. Their IoU, hit and "
            "miss are right. Run evaluate with --save-maps to see these boxes."
        )
    return Gallery(cards, len(run.subjects), bool(heats), tuple(notes))


def select(run: FinishedRun, limit: int) -> list[int]:
    """Indices of at most ``limit`` maps, taken in turns from gains, losses, disagreements, plain hits, plain misses.

    The largest gains and losses come first, and the most even disagreements. The others come in the order of a hash.
    """
    gain = gains(run)
    hits = np.sum([run.hits(method) for method in run.methods], axis=0)
    split = np.minimum(hits, len(run.methods) - hits)
    drawn = sorted(range(len(run.subjects)), key=lambda index: _hash(run.subjects[index]))
    groups = [
        sorted((index for index in drawn if split[index] > 0), key=lambda index: -split[index]),
        [index for index in drawn if hits[index] == len(run.methods)],
        [index for index in drawn if hits[index] == 0],
    ]
    if gain is not None:
        by_gain = sorted(drawn, key=lambda index: -gain[index])
        best = [index for index in by_gain if gain[index] > 0]
        worst = [index for index in reversed(by_gain) if gain[index] < 0]
        groups = [best, worst, *groups]
    return _in_turns(groups, min(limit, len(run.subjects)))


def gains(run: FinishedRun) -> NDArray[np.float64] | None:
    """IoU (U,) of global feedback less that of local feedback; None if one of them is not in the run."""
    if not set(_GAIN) <= set(run.methods):
        return None
    first, second = (run.iou[method].astype(np.float64) for method in _GAIN)
    return np.asarray(first - second)


def _hash(subject: Subject) -> bytes:
    return hashlib.sha256(f"{subject.sample}\n{subject.target}".encode()).digest()


def _in_turns(groups: Sequence[Sequence[int]], limit: int) -> list[int]:
    """One from each group in turns, each index once, until there are ``limit`` or no more."""
    chosen: dict[int, None] = {}
    queues = [iter(group) for group in groups]
    while queues and len(chosen) < limit:
        for queue in list(queues):
            following = next((index for index in queue if index not in chosen), None)
            if following is None:
                queues.remove(queue)
            elif len(chosen) < limit:
                chosen[following] = None
    return list(chosen)


def _card(run: FinishedRun, index: int, sample: Sample | None, names: Mapping[int, str], heats: Heats) -> Card:
    subject = run.subjects[index]
    own = heats.get((subject.sample, subject.target), {})
    fitted = fit_to_image(sample, subject.width, subject.height)[0] if sample else None
    truths = fitted.boxes_of(subject.judged) if fitted else ()
    return Card(
        sample=subject.sample,
        width=subject.width,
        height=subject.height,
        shown_class=_class_name(subject.judged, names),
        looked_for=_class_name(subject.target, names),
        predicted=_class_name(subject.predicted, names),
        probability=subject.predicted_probability,
        picture=thumbnail(sample.image, (subject.width, subject.height), sample.content) if sample else None,
        truths=truths,
        views={method: _view(run, index, method, own.get(method), truths) for method in run.methods},
    )


def _class_name(index: int, names: Mapping[int, str]) -> str:
    return names.get(index, f"class {index}").split(",")[0]


def _view(
    run: FinishedRun, index: int, method: str, heat: NDArray[np.floating] | None, truths: Sequence[Corners]
) -> View:
    subject = run.subjects[index]
    window = run.manifest.run.preprocessing.window(subject.width, subject.height)
    boxes = _kept_boxes(run, index, method)
    if boxes is None and heat is not None:
        boxes = _redrawn_boxes(run, index, method, heat, truths)
    return View(
        iou=float(run.iou[method][index]),
        hit=bool(run.hits(method)[index]),
        boxes=boxes or (),
        has_boxes=boxes is not None,
        heat=None if heat is None else data_uri("png", map_picture(heat, window)),
    )


def _kept_boxes(run: FinishedRun, index: int, method: str) -> tuple[Corners, ...] | None:
    """The boxes that were judged, from the run's rows; ``None`` if it did not keep them."""
    only_largest = run.manifest.run.box.boxes == "largest"
    if run.drawn_as_judged(method):
        boxes = run.boxes_of(method, index)
        return boxes[:1] if only_largest else boxes
    return run.largest_of(method, index) if only_largest else None


def _redrawn_boxes(
    run: FinishedRun, index: int, method: str, heat: NDArray[np.floating], truths: Sequence[Corners]
) -> tuple[Corners, ...] | None:
    """The boxes of a saved map; ``None`` if they are not those that were judged, as maps are in half precision."""
    subject = run.subjects[index]
    window = run.manifest.run.preprocessing.window(subject.width, subject.height)
    boxes = tuple(box.corners for box in locate(heat, window, run.rule_of(method)))
    if run.manifest.run.box.boxes == "largest":
        boxes = boxes[:1]
    if truths:
        judged, drawn = run.iou[method][index], iou(boxes, truths).max(initial=0.0)
        if is_right(judged) != is_right(drawn) or abs(judged - drawn) > _SAME_IOU:
            return None
    return boxes

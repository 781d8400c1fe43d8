"""The gallery's cards: an image with its boxes and maps, and what each method found on it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from looktwice.datasets.records import Sample, fit_to_image
from looktwice.errors import printable
from looktwice.figures.encode import data_uri
from looktwice.images import Window
from looktwice.localization.boxes import locate
from looktwice.metrics.localization_error import is_right
from looktwice.metrics.overlap import iou
from looktwice.report.card_pictures import map_picture, square_thumbnail, thumbnail
from looktwice.report.finished_run import Corners, FinishedRun, Subject

GAIN = ("global_feedback", "feedback")
"""A gain is the value of the first method less that of the second."""


_SAME_IOU = 0.03
"""How far the IoU of a box may lie from the judged one if half precision is the only reason."""


@dataclass(frozen=True)
class DrawnBox:
    """A box on a card.

    Attributes:
        corners: (x1, y1, x2, y2) of the image.
        is_right: whether it finds an object; None if nothing tells.
        is_judged: whether the verdict is of this box. The others are all boxes of the map that the run drew besides.
    """

    corners: Corners
    is_right: bool | None
    is_judged: bool


@dataclass(frozen=True)
class View:
    """What a method found on a card's image.

    Attributes:
        value: the IoU at the threshold that counts; or what a run without judged boxes has in its place, see
            ``FinishedRun.value_of``. NaN: it has no number.
        hit: whether the box is right at that threshold; None if no box was judged.
        boxes: the boxes that were judged, and the others of the map, to be drawn.
        has_boxes: whether the run holds the judged boxes. Others are never drawn in their place, since IoU and verdict
            are not theirs.
        heat: the map as a data URI, if the run kept it.
        numbers: further numbers of the map by their titles, in per cent.
    """

    value: float
    hit: bool | None
    boxes: tuple[DrawnBox, ...]
    has_boxes: bool
    heat: str | None
    numbers: Mapping[str, float]


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
        return sum(view.hit is True for view in self.views.values())

    @property
    def lacks_maps(self) -> bool:
        """Whether a method's map was not kept."""
        return any(view.heat is None for view in self.views.values())

    @property
    def gain(self) -> float | None:
        """The value of global feedback less that of local feedback; None if one of them is not there."""
        if not set(GAIN) <= set(self.views):
            return None
        first, second = (self.views[method].value for method in GAIN)
        return None if math.isnan(first - second) else first - second

    @property
    def disagreed(self) -> bool:
        """Some methods found the object and some did not."""
        return 0 < self.hits < len(self.views)


def number_title(column: str) -> str:
    """What the number of each map in a column of the rows is called."""
    return {"energy_in_box": "share in the own quarter"}.get(column, column)


@dataclass(frozen=True)
class Material:
    """What cards are made of: the data set's samples and class names, and a subject's maps, full and small."""

    samples: Mapping[str, Sample]
    names: Mapping[int, str]
    saved: Mapping[str, NDArray[np.floating]]
    small: Mapping[str, NDArray[np.floating]]


def make_card(run: FinishedRun, index: int, of: Material) -> Card:
    """The card of a run's map."""
    subject = run.subjects[index]
    picture, truths = _square(run, subject, of) if run.manifest.run.grid else _image(subject, of)
    judged = subject.target if subject.judged is None else subject.judged
    return Card(
        sample=printable(subject.sample),
        width=subject.width,
        height=subject.height,
        shown_class=_class_name(judged, of.names),
        looked_for=_class_name(subject.target, of.names),
        predicted=_class_name(subject.predicted, of.names),
        probability=subject.predicted_probability,
        picture=picture,
        truths=truths,
        views={method: _view(run, index, method, of, truths) for method in run.methods},
    )


def _image(subject: Subject, of: Material) -> tuple[str | None, tuple[Corners, ...]]:
    """The picture of an image, and the true boxes of the class that judges its map."""
    sample = of.samples.get(subject.sample)
    if sample is None:
        return None, ()
    fitted = fit_to_image(sample, subject.width, subject.height)[0]
    truths = () if subject.judged is None else fitted.boxes_of(subject.judged)
    return thumbnail(sample.image, (subject.width, subject.height), sample.content), truths


def _square(run: FinishedRun, subject: Subject, of: Material) -> tuple[str | None, tuple[Corners, ...]]:
    """The picture of a square, and the quarter of the class that the map shows."""
    assert run.manifest.run.grid is not None
    cells = run.manifest.run.grid.squares[subject.order]
    own = [of.samples[cell.sample] for cell in cells if cell.sample in of.samples]
    picture = square_thumbnail(own, run.manifest.run.preprocessing) if len(own) == len(cells) else None
    width, height = subject.width / 2, subject.height / 2
    places = [place for place, cell in enumerate(cells) if cell.label == subject.target]
    quarters = ((place % 2 * width, place // 2 * height) for place in places)
    return picture, tuple((x, y, x + width, y + height) for x, y in quarters)


def _class_name(index: int, names: Mapping[int, str]) -> str:
    return names.get(index, f"class {index}").split(",")[0]


def _view(run: FinishedRun, index: int, method: str, of: Material, truths: Sequence[Corners]) -> View:
    subject = run.subjects[index]
    full = of.saved.get(method)
    heat = of.small.get(method) if full is None else full
    boxes: tuple[DrawnBox, ...] | None = ()
    if run.judges_boxes:
        boxes = _kept_boxes(run, index, method, truths)
        if boxes is None and full is not None:
            boxes = _redrawn_boxes(run, index, method, full, truths)
    return View(
        value=float(run.value_of(method)[index]),
        hit=bool(run.hits(method)[index]) if run.judges_boxes else None,
        boxes=boxes or (),
        has_boxes=boxes is not None,
        heat=None if heat is None else data_uri("png", map_picture(heat, _window(run, subject))),
        numbers={
            number_title(name): float(values[method][index])
            for name, values in run.numbers.items()
            if np.isfinite(values[method][index])
        },
    )


def _window(run: FinishedRun, subject: Subject) -> Window:
    """The part of an image that its map covers; of a square it is all."""
    if run.manifest.run.grid is not None:
        return Window.whole(subject.width, subject.height)
    return run.manifest.run.preprocessing.window(subject.width, subject.height)


def _kept_boxes(run: FinishedRun, index: int, method: str, truths: Sequence[Corners]) -> tuple[DrawnBox, ...] | None:
    """The boxes that were judged, from the run's rows, and the map's other ones; ``None`` if it did not keep them."""
    only_largest = run.manifest.run.box.boxes == "largest"
    if not run.drawn_as_judged(method):
        kept = run.largest_of(method, index) if only_largest else None
        return None if kept is None else _judged(kept, bool(run.hits(method)[index]), truths)
    boxes = run.boxes_of(method, index)
    if not only_largest:
        return _judged(boxes, bool(run.hits(method)[index]), truths)
    others = zip(boxes[1:], run.rights_of(method, index)[1:], strict=False)
    first = _judged(boxes[:1], bool(run.hits(method)[index]), truths)
    return (*first, *(DrawnBox(corners, right, is_judged=False) for corners, right in others))


def _judged(boxes: Sequence[Corners], hit: bool, truths: Sequence[Corners]) -> tuple[DrawnBox, ...]:
    """Boxes that were judged. Of a single one the verdict of the run holds; of several the true boxes tell."""
    if len(boxes) < 2:
        return tuple(DrawnBox(corners, hit, is_judged=True) for corners in boxes)
    best = iou(boxes, truths).max(axis=1) if truths else None
    return tuple(
        DrawnBox(corners, None if best is None else bool(is_right(best[place])), is_judged=True)
        for place, corners in enumerate(boxes)
    )


def _redrawn_boxes(
    run: FinishedRun, index: int, method: str, heat: NDArray[np.floating], truths: Sequence[Corners]
) -> tuple[DrawnBox, ...] | None:
    """The boxes of a saved map; ``None`` if they are not those that were judged, as maps are in half precision."""
    boxes = tuple(box.corners for box in locate(heat, _window(run, run.subjects[index]), run.rule_of(method)))
    if run.manifest.run.box.boxes == "largest":
        boxes = boxes[:1]
    if truths:
        judged, drawn = run.iou[method][index], iou(boxes, truths).max(initial=0.0)
        if is_right(judged) != is_right(drawn) or abs(judged - drawn) > _SAME_IOU:
            return None
    return _judged(boxes, bool(run.hits(method)[index]), truths)

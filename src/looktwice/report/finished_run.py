"""A finished run as arrays for a page: one entry for each judged map, in the same order for every method.

What counts here also counts in the summary: no tuning image, no image that failed with any method, only the first of
the network's guesses, and only maps with boxes to be judged by. A run in which no image has boxes has all its maps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.errors import RunError
from looktwice.localization.boxes import BoxRule
from looktwice.localization.sweep import GRID, Floats, grid_index
from looktwice.metrics.localization_error import is_right
from looktwice.metrics.measures import NETWORK_NUMBERS
from looktwice.report.wording import sentence
from looktwice.runs.arrow import arrow
from looktwice.runs.counted import first_guesses, first_maps, reported, with_boxes, without_failed
from looktwice.runs.folder import PartReader, of_method, read_finished
from looktwice.runs.manifest import Manifest
from looktwice.runs.scoring import Scoring
from looktwice.runs.summary import Summary

Corners = tuple[float, float, float, float]
"""(x1, y1, x2, y2), half-open pixels of the original image."""


_GUESSED = ("sample", "labels", "label_place", "predicted", "predicted_probability", "error", "method")
"""The columns that tell how often the network's first guess is right."""


_READ = (
    *("sample", "order", "tuning", "method", "rank", "target", "probability", "predicted", "predicted_probability"),
    *("judged", "width", "height", "threshold", "boxes", "box_truths", "largest_boxes", "iou_per_truth", "iou"),
    *("energy_in_box", "labels", "label_place", "error"),
)


@dataclass(frozen=True)
class Subject:
    """What a map shows, the same for all methods: an image, and the class that the map is of.

    Attributes:
        sample: the image, or the square.
        order: its place in the run's order.
        target: the class that the map shows.
        probability: the target's.
        predicted: the network's first guess.
        predicted_probability: the first guess's.
        judged: the label whose boxes judge the map; None in a run without boxes.
        width: of the image.
        height: of the image.
    """

    sample: str
    order: int
    target: int
    probability: float
    predicted: int
    predicted_probability: float
    judged: int | None
    width: int
    height: int


_OF_SUBJECT = tuple(field.name for field in fields(Subject))


@dataclass(frozen=True)
class FinishedRun:
    """A run and its U judged maps; or all maps of first guesses, if no image has boxes to judge them by.

    Attributes:
        folder: the run's folder.
        manifest: what was evaluated.
        summary: the measures.
        rule: how boxes were drawn.
        methods: the methods.
        baselines: the baselines, which look at no picture.
        subjects: what each map shows (U).
        objects: how many boxes the judged class has (U,).
        size: the largest box's share of the image (U,).
        chosen: by method, the index in ``GRID`` of the threshold that counts; nothing if the box rule has none.
        iou: by method, the IoU at that threshold, or else of the box that was drawn (U,).
        success: by method, the share of right boxes at each threshold of ``GRID`` (T,); nothing without thresholds.
        numbers: by column of the rows, by method, the numbers (U,) of each map that a run without judged boxes has:
            the share in the own quarter of a square, or insertion and deletion. NaN where a map has none.
        boxes: by method, the boxes that the rows hold, as an array of pyarrow (U).
        box_truths: by method, for each of these boxes the place of its object, -1 if it is wrong, as an array of
            pyarrow (U); null where nothing tells.
        drawn_at: by method, the threshold of these boxes, if they have one.
        largest: by method, the largest box (U, 4) at the threshold that counts: zeros if the map has none, NaN if an
            older version wrote the run and did not keep it, or if the box rule has no threshold.
        doubts: what the reader must know before any number, a line each.
    """

    folder: Path
    manifest: Manifest
    summary: Summary
    rule: BoxRule
    methods: tuple[str, ...]
    baselines: tuple[str, ...]
    subjects: tuple[Subject, ...]
    objects: NDArray[np.int64]
    size: Floats
    chosen: Mapping[str, int]
    iou: Mapping[str, NDArray[np.float32]]
    success: Mapping[str, Floats]
    numbers: Mapping[str, Mapping[str, Floats]]
    boxes: Mapping[str, Any]
    box_truths: Mapping[str, Any]
    drawn_at: Mapping[str, float | None]
    largest: Mapping[str, NDArray[np.float32]]
    doubts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Methods and baselines."""
        return (*self.methods, *self.baselines)

    @property
    def judges_boxes(self) -> bool:
        """Whether boxes were judged. In a grid pointing game maps are, and without true boxes nothing can be."""
        return self.manifest.run.grid is None and any(subject.judged is not None for subject in self.subjects)

    @property
    def shown_numbers(self) -> tuple[str, ...]:
        """The numbers of each map that there are besides its box: columns of the rows."""
        return tuple(self.numbers)

    def value_of(self, method: str) -> Floats:
        """What a map is worth (U,): the IoU of its box, or else the first of its numbers, or NaN."""
        if self.judges_boxes:
            return self.iou[method].astype(np.float64)
        numbers = next(iter(self.numbers.values()), {})
        return numbers.get(method, np.full(len(self.subjects), np.nan))

    def boxes_of(self, method: str, index: int) -> tuple[Corners, ...]:
        """The boxes that the rows hold of a map."""
        return tuple((box["x1"], box["y1"], box["x2"], box["y2"]) for box in self.boxes[method][index].as_py() or ())

    def rights_of(self, method: str, index: int) -> tuple[bool | None, ...]:
        """Whether each of these boxes is matched to an object of its own; ``None`` where nothing tells."""
        places = self.box_truths[method][index].as_py()
        count = len(self.boxes[method][index].as_py() or ())
        return (None,) * count if places is None else tuple(place >= 0 for place in places)

    def largest_of(self, method: str, index: int) -> tuple[Corners, ...] | None:
        """The largest box of a map at the threshold that counts; empty without one, ``None`` if it was not kept."""
        x1, y1, x2, y2 = self.largest[method][index].tolist()
        if not np.isfinite(x1):
            return None
        return ((x1, y1, x2, y2),) if x2 > x1 else ()

    def hits(self, method: str) -> NDArray[np.bool_]:
        """Which boxes (U,) are right at the threshold that counts."""
        return is_right(self.iou[method])

    def rule_of(self, method: str) -> BoxRule:
        """The box rule with the threshold that counts, if it has one."""
        if method not in self.chosen:
            return self.rule
        return replace(self.rule, threshold=float(GRID[self.chosen[method]]))

    def drawn_as_judged(self, method: str) -> bool:
        """Whether the boxes that the rows hold are those that count: they were drawn at that threshold, or without."""
        return method not in self.chosen or self.drawn_at[method] == self.rule_of(method).threshold


def read_run(folder: Path) -> FinishedRun:
    """A finished run from its folder.

    Raises:
        RunError: it is not finished, damaged, or no image of it could be used.
    """
    manifest, summary = read_finished(folder)
    if not manifest.run.methods:
        raise RunError(f"{folder}: the manifest names no method, so there is nothing to show; evaluate again")
    scoring, reader = Scoring.of_manifest(manifest), PartReader(folder)
    collected = {method: _Collected(scoring, summary.thresholds[method].box) for method in scoring.methods}
    whole: list[dict[str, Any]] = []
    guessed: list[Any] = []
    numbers = _number_columns(manifest)
    columns = list(dict.fromkeys((*_READ, *numbers, *scoring.overlaps)))
    chosen = with_boxes if _has_boxes(manifest, reader) else first_maps
    for part in manifest.run.parts:
        usable = reported(without_failed(reader.read(part, columns)))
        rows = chosen(usable)
        for method, own in collected.items():
            own.add(of_method(rows, method), numbers)
        whole += of_method(rows, "full_image").select([*_OF_SUBJECT, "iou_per_truth", "iou"]).to_pylist()
        guessed.append(of_method(usable, scoring.methods[0]).select(_GUESSED))
    if not whole:
        raise RunError(f"{folder}: no reported image could be used, so there is nothing to show; see its problems.txt")
    order = sorted(range(len(whole)), key=lambda place: (whole[place]["sample"], whole[place]["target"]))
    return FinishedRun(
        folder=folder,
        manifest=manifest,
        summary=summary,
        rule=scoring.rule,
        methods=tuple(manifest.run.methods),
        baselines=tuple(manifest.run.baselines),
        subjects=tuple(Subject(**{name: whole[place][name] for name in _OF_SUBJECT}) for place in order),
        objects=np.array([len(whole[place]["iou_per_truth"] or ()) for place in order], dtype=np.int64),
        # The IoU of the whole image with a box in it is the box's share of the image.
        size=np.array([whole[place]["iou"] for place in order], dtype=np.float64),
        chosen={method: own.chosen for method, own in collected.items() if own.chosen is not None},
        iou={method: np.concatenate(own.iou)[order] for method, own in collected.items()},
        success={method: own.right / len(whole) for method, own in collected.items() if own.chosen is not None},
        numbers={
            name: {method: np.concatenate(own.numbers[name])[order] for method, own in collected.items()}
            for name in numbers
        },
        boxes={method: own.in_order("boxes", order) for method, own in collected.items()},
        box_truths={method: own.in_order("box_truths", order) for method, own in collected.items()},
        drawn_at={method: own.drawn_at for method, own in collected.items()},
        largest={method: np.concatenate(own.largest)[order] for method, own in collected.items()},
        doubts=_doubts(manifest, arrow().concat_tables(guessed)),
    )


def _has_boxes(manifest: Manifest, reader: PartReader) -> bool:
    """Whether a reported map has boxes to be judged by. Reading stops at the first part that has one."""
    columns = ("sample", "tuning", "rank", "judged", "error")
    parts = (reader.read(part, columns) for part in manifest.run.parts)
    return any(len(with_boxes(reported(without_failed(rows)))) for rows in parts)


def _number_columns(manifest: Manifest) -> tuple[str, ...]:
    if manifest.run.grid is not None:
        return ("energy_in_box",)
    return NETWORK_NUMBERS if manifest.run.faithfulness is not None else ()


def _doubts(manifest: Manifest, guessed: Any) -> tuple[str, ...]:
    """Why no number of the run may be worth anything: the weights, the output, the network's first guesses.

    A square has four classes, and its images were all recognised: so its guesses are not doubted.
    """
    found = []
    if manifest.about.weights == "random":
        found.append("The network's weights are random: it has learned nothing, so its maps mean nothing.")
    found += [sentence(doubt) for doubt in manifest.about.doubts]
    if manifest.run.grid is None:
        guesses = first_guesses(guessed, manifest.run.names[0], manifest.run.model.classes)
        found += [] if guesses is None or guesses.doubt is None else [sentence(guesses.doubt)]
    return tuple(found)


class _Collected:
    """What is kept of a method's rows, part after part: all curves of a run may need more memory than there is."""

    def __init__(self, scoring: Scoring, threshold: float | None) -> None:
        self.scoring = scoring
        self.chosen = None if threshold is None else grid_index(threshold)
        self.iou: list[NDArray[np.float32]] = []
        self.right = np.zeros(len(GRID))
        self.numbers: dict[str, list[Floats]] = {}
        self.arrays: dict[str, list[Any]] = {"boxes": [], "box_truths": []}
        self.drawn_at: float | None = None
        self.largest: list[NDArray[np.float32]] = []

    def add(self, rows: Any, numbers: Sequence[str]) -> None:
        """Adds a part's rows, with these columns of numbers."""
        if not len(rows):
            return
        for name, arrays in self.arrays.items():
            arrays.append(rows[name].combine_chunks())
        for name in numbers:
            self.numbers.setdefault(name, []).append(_floats(rows[name]))
        self.drawn_at = rows["threshold"][0].as_py()
        if self.chosen is None or rows[self.scoring.curve].null_count:
            column = self.scoring.drawn or "iou"
            self.iou.append(_floats(rows[column]).astype(np.float32))
            self.largest.append(np.full((len(rows), 4), np.nan, dtype=np.float32))
        else:
            self._add_curves(rows, self.chosen)

    def _add_curves(self, rows: Any, chosen: int) -> None:
        values = rows[self.scoring.curve].combine_chunks().flatten().to_numpy().reshape(len(rows), len(GRID))
        self.iou.append(values[:, chosen].copy())  # a view would keep the whole part in memory
        self.right += is_right(values).sum(axis=0)
        kept = rows["largest_boxes"].combine_chunks()
        largest = np.full((len(rows), 4), np.nan, dtype=np.float32)
        largest[kept.is_valid().to_numpy(False)] = kept.flatten().to_numpy().reshape(-1, len(GRID), 4)[:, chosen]
        self.largest.append(largest)

    def in_order(self, name: str, order: Sequence[int]) -> Any:
        """A column of all maps in this order, as an array of pyarrow."""
        return arrow().concat_arrays(self.arrays[name]).take(order)


def _floats(column: Any) -> Floats:
    """A column of numbers as an array; NaN where it has none."""
    return np.asarray(column.cast("double").fill_null(np.nan).to_numpy(), dtype=np.float64)

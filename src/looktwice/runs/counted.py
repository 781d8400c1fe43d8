"""Which rows count, and rows as the arrays that measures are computed from."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.localization.sweep import GRID, Floats
from looktwice.metrics.first_guesses import FirstGuesses
from looktwice.metrics.judged_maps import JudgedBoxes, JudgedMaps
from looktwice.metrics.measures import MAP_NUMBERS
from looktwice.runs.arrow import arrow
from looktwice.runs.folder import of_method
from looktwice.runs.scoring import Scoring


def reported(rows: Any) -> Any:
    """The rows (a pyarrow table) of the images that are judged: those on which no threshold is chosen."""
    return rows.filter(arrow("compute").invert(rows["tuning"]))


def without_failed(rows: Any) -> Any:
    """The rows of the images that failed with no method, so that all methods are judged on the same images."""
    compute = arrow("compute")
    failed = compute.unique(rows.filter(compute.is_valid(rows["error"]))["sample"])
    return rows.filter(compute.invert(compute.is_in(rows["sample"], value_set=failed)))


def first_maps(rows: Any) -> Any:
    """The rows of first guesses, or of labels."""
    return rows.filter(arrow("compute").equal(rows["rank"], 0))


def with_boxes(rows: Any) -> Any:
    """The rows of first guesses, or of labels, whose maps have boxes to be judged by."""
    first = first_maps(rows)
    return first.filter(first["judged"].is_valid())


def maps_by_method(rows: Any, scoring: Scoring) -> Iterator[tuple[str, JudgedMaps]]:
    """Each method's maps, all of the same images; one method at a time, since their curves need much memory."""
    whole = without_failed(rows)
    for name in scoring.methods:
        yield name, _as_judged_maps(of_method(whole, name), scoring)


def first_guesses(rows: Any, method: str, classes: int) -> FirstGuesses | None:
    """How often the network's most probable class is right; ``None`` if no image can be judged, or there is one class.

    Args:
        rows: a pyarrow table of the images that are judged.
        method: any method or baseline of the run: they all have the same guesses.
        classes: how many classes the network has.
    """
    whole = of_method(without_failed(rows), method)
    _, first = np.unique(whole["sample"].to_numpy(), return_index=True)
    if not len(first) or classes < 2:
        return None
    images = whole.take(first)
    label_counts = [len(labels or ()) for labels in images["labels"].to_pylist()]
    return FirstGuesses(
        hits=int((images["label_place"].to_numpy() == 0).sum()),
        images=len(first),
        blind=float(np.mean(label_counts)) / classes,
        confidence=float(np.mean(images["predicted_probability"].to_numpy())),
        same=int(np.unique(images["predicted"].to_numpy(), return_counts=True)[1].max()) / len(first),
    )


def _as_judged_maps(rows: Any, scoring: Scoring) -> JudgedMaps:
    rows = rows.sort_by([(name, "ascending") for name in ("sample", "rank", "target")])
    samples, image = np.unique(rows["sample"].to_numpy(), return_inverse=True)

    def column(name: str, missing: float) -> Floats:
        return np.asarray(rows[name].cast("double").fill_null(missing).to_numpy(), dtype=np.float64)

    return JudgedMaps(
        image=image,
        images=len(samples),
        rank=column("rank", 0).astype(np.int64),
        target_place=column("target_place", 0).astype(np.int64),
        label_place=column("label_place", 0).astype(np.int64),
        right=column("right", 0).astype(np.bool_),
        judged=column("judged", -1).astype(np.int64),
        measured={name: column(name, np.nan) for name in (*MAP_NUMBERS, *scoring.network_numbers)},
        seconds=column("seconds_method", 0),
        curve=None if scoring.curve is None else _curves(rows[scoring.curve]),
        energy_box=_curves(rows["iou_energy_box"]),
        largest=_curves(rows["max_box_acc_iou"]),
        best=_curves(rows["max_box_acc_v2_iou"]),
        boxes=_as_judged_boxes(rows),
        drawn=None if scoring.drawn is None else column(scoring.drawn, 0),
    )


def _as_judged_boxes(rows: Any) -> JudgedBoxes | None:
    """All boxes of the rows; None if a map that can be judged does not tell which of its boxes are right."""
    compute = arrow("compute")
    told = rows["box_truths"].is_valid()
    if compute.any(compute.and_(rows["judged"].is_valid(), compute.invert(told))).as_py():
        return None
    truths = _lengths(rows["iou_per_truth"])
    # A row without boxes to be judged by has boxes, but nothing tells what they are worth.
    boxes = compute.if_else(told, rows["boxes"], None).combine_chunks()
    return JudgedBoxes(
        counts=_lengths(boxes),
        truths=truths,
        score=compute.struct_field(boxes.flatten(), "score").to_numpy(zero_copy_only=False).astype(np.float64),
        right=rows["box_truths"].combine_chunks().flatten().to_numpy(zero_copy_only=False) >= 0,
        nested=rows["box_nested"].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.bool_),
    )


def _lengths(lists: Any) -> NDArray[np.int64]:
    """How long each list of a column is; 0 where there is none."""
    lengths = arrow("compute").list_value_length(lists)
    return np.asarray(arrow("compute").fill_null(lengths, 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _curves(column: Any) -> NDArray[np.float32]:
    """A column of lists as an array (U, T); a row without boxes to be judged by has a curve of zeros."""
    values = np.zeros((len(column), len(GRID)), dtype=np.float32)
    there = column.is_valid().to_numpy().astype(np.bool_)
    values[there] = column.combine_chunks().flatten().to_numpy().reshape(-1, len(GRID))
    return values


def count_images(rows: Any, column: str | None = None) -> int:
    """How many images there are, or how many have a value in a column."""
    chosen = rows if column is None else rows.filter(rows[column].is_valid())
    return len(chosen["sample"].unique())

"""What is measured of each image, method and class: a row.

A row judges a map by the boxes of one label. That is the map's own class if the image shows it; else it is the first
label of the image that has boxes. So the map of a wrong prediction is still judged by the objects in the image. The
column ``right`` tells the two cases apart: no localization error counts a row as a hit without it.
"""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.atomic_files import write_atomically
from looktwice.datasets.records import Sample
from looktwice.errors import InputError
from looktwice.evaluation.chunks import Chunk, EvaluationImage, Faithfulness, MeasurementPlan, TargetClass
from looktwice.export.forms.wsol import map_bytes
from looktwice.images import Window
from looktwice.localization.boxes import Box, BoxRule, find_boxes, to_image
from looktwice.localization.sweep import Floats, Traces, trace
from looktwice.metrics.all_boxes import match_boxes, nested_boxes
from looktwice.metrics.curves import BoxCurve, largest_boxes, overlap_curve
from looktwice.metrics.energy_in_box import energy_in_box
from looktwice.metrics.max_box_acc import ProtocolBoxes, protocol_boxes, protocol_curve
from looktwice.metrics.measures import MAP_NUMBERS
from looktwice.metrics.overlap import iou
from looktwice.runs.columns import BASELINES, CURVES
from looktwice.runs.folder import row_schema, write_part, writing_into
from looktwice.runs.saved_maps import write_maps
from looktwice.runs.small_maps import small_map


def write_chunk(plan: MeasurementPlan, chunk: Chunk) -> None:
    """Measures a chunk and writes what is kept of it. Its part comes last, so a part says that all is there.

    Raises:
        RunError: a file cannot be written, or the folder holds this run no more.
    """
    if plan.save_maps:
        _save_maps(plan, chunk)
    if plan.save_npy:
        with writing_into(plan.run, plan.identity):
            _save_npy(plan.run, chunk)
    write_part(plan.run, chunk.index, list(measure_chunk(plan, chunk)), row_schema(plan.columns), plan.identity)


def measure_chunk(plan: MeasurementPlan, chunk: Chunk) -> Iterator[dict[str, Any]]:
    """The rows of a chunk: image after image, for each its methods, for each method the image's classes.

    An image or a map that cannot be used leaves a row with the error and no numbers.
    """
    of_image: dict[int, list[int]] = {}
    for number, target in enumerate(chunk.targets):
        of_image.setdefault(target.image, []).append(number)
    for index, image in enumerate(chunk.images):
        numbers = of_image[index]
        decoding = image.seconds / (len(plan.rules) * len(numbers))
        for method in plan.rules:
            for number in numbers if image.error is None else numbers[:1]:
                begun = time.perf_counter()
                row = _row(plan, chunk, method, number)
                row["overhead_seconds"] = time.perf_counter() - begun + decoding
                if method in chunk.faithfulness:
                    row["overhead_seconds"] += chunk.faithfulness[method][number].seconds
                yield row


def _row(plan: MeasurementPlan, chunk: Chunk, method: str, number: int) -> dict[str, Any]:
    """The row of a method for one of the chunk's classes."""
    target = chunk.targets[number]
    image = chunk.images[target.image]
    row = {"method": method, "options": plan.options[method], **_image_columns(image), "rank": target.rank}
    if image.window is None:
        return row
    row |= _class_columns(image.sample, target)
    row |= {
        "width": image.window.width,
        "height": image.window.height,
        "seconds_method": chunk.seconds[method][number] if method in chunk.seconds else 0.0,
    }
    faithfulness = chunk.faithfulness[method][number] if method in chunk.faithfulness else Faithfulness()
    if faithfulness.error is not None:
        return row | {"error": faithfulness.error}
    judged = judged_label(image.sample, target.target)
    truths = np.array(image.sample.boxes_of(judged) if judged is not None else ()).reshape(-1, 4)
    try:
        if method == "full_image":
            return row | faithfulness.columns | {"judged": judged} | _measure_full_image(truths, image.window)
        rule = plan.rules[method]
        if method == "center_box":
            seen = _center_map(chunk.size, rule)
        else:
            seen = _Map(chunk.maps[method][number], chunk.extents[method][number], rule)
        row |= faithfulness.columns | {"judged": judged} | _measure(seen, truths, image.window)
    except InputError as error:  # a map with NaN, for example
        return row | {"error": str(error)}
    is_shown = method in chunk.maps and target.rank == 0 and not image.tuning  # a report shows no other maps
    return row | ({"small_map": small_map(seen.heat)} if is_shown else {})


def _image_columns(image: EvaluationImage) -> dict[str, Any]:
    return {
        "sample": image.sample.id,
        "order": image.order,
        "tuning": image.tuning,
        "labels": image.sample.labels,
        "note": image.note,
        "error": image.error,
    }


def _class_columns(sample: Sample, target: TargetClass) -> dict[str, Any]:
    return {
        "target": target.target,
        "target_place": target.target_place,
        "probability": target.probability,
        "predicted": target.predicted,
        "predicted_probability": target.predicted_probability,
        "label_place": target.label_place,
        "correct": target.predicted in sample.labels,
        "right": target.target in sample.labels,
    }


def judged_label(sample: Sample, target: int) -> int | None:
    """The label by whose boxes a map of the class ``target`` is judged; ``None`` if no label has boxes."""
    if target in sample.labels:
        return target if sample.boxes_of(target) else None
    return next((label for label in sample.labels if sample.boxes_of(label)), None)


class _Map:
    """A map, and the boxes and contours of its extent.

    These do not depend on the image, and are found when they are first needed.
    """

    def __init__(self, heat: NDArray[np.float32], extent: NDArray[np.float32], rule: BoxRule) -> None:
        self.heat, self.extent, self.rule = heat, extent, rule

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        return find_boxes(self.extent, self.rule)

    @cached_property
    def traces(self) -> Traces:
        return trace(self.extent, by_energy=self.rule.by == "energy", smallest=self.rule.smallest)

    @cached_property
    def protocol(self) -> ProtocolBoxes:
        return protocol_boxes(self.extent)


def _measure(seen: _Map, truths: Floats, window: Window) -> dict[str, Any]:
    heat = seen.heat
    boxes = to_image(seen.boxes, window, width=heat.shape[1], height=heat.shape[0])
    threshold = seen.rule.threshold if seen.rule.has_threshold else None
    found: dict[str, Any] = {"threshold": threshold, "boxes": [box.as_dict() for box in boxes]}
    if not len(truths):
        return found
    traces = seen.traces
    by_max = overlap_curve(traces.by_max, truths, window)
    by_energy = None if traces.by_energy is None else overlap_curve(traces.by_energy, truths, window)
    energy_box = overlap_curve(traces.energy_box, truths, window)
    return (
        found
        | _overlaps(boxes, truths)
        | {column: number.of(heat, truths, window) for column, number in MAP_NUMBERS.items()}
        | _as_columns(by_max, by_energy, energy_box, protocol_curve(seen.protocol, truths, window))
        | {"largest_boxes": _largest_boxes(seen, window)}
    )


def _largest_boxes(seen: _Map, window: Window) -> NDArray[np.float32] | None:
    """The first box at each threshold, one after the other (T · 4,); None if the rule has no threshold."""
    if not seen.rule.has_threshold:
        return None
    return largest_boxes(seen.traces.by_rule(seen.rule), window).ravel().astype(np.float32)


def _measure_full_image(truths: Floats, window: Window) -> dict[str, Any]:
    """The columns of the baseline with one box around the image.

    No threshold changes its box, its energy is spread evenly over the image, and it points nowhere.
    """
    whole = Box(0.0, 0.0, float(window.width), float(window.height), 1.0)
    found: dict[str, Any] = {"boxes": [whole.as_dict()]}
    if not len(truths):
        return found
    overlaps = _overlaps([whole], truths)
    even = np.full(100, overlaps["iou"])
    everywhere = energy_in_box(np.ones((1, 1)), truths, Window.whole(window.width, window.height))
    curve = BoxCurve(even, even)
    return found | overlaps | {"energy_in_box": everywhere} | _as_columns(curve, curve, curve, curve)


def _overlaps(boxes: Sequence[Box], truths: Floats) -> dict[str, Any]:
    """What the first box is worth, then what each of all boxes is worth."""
    corners = [box.corners for box in boxes]
    overlap = iou(corners, truths)
    all_boxes = {
        "box_truths": match_boxes(corners, [box.score for box in boxes], truths).tolist(),
        "box_nested": nested_boxes(corners).tolist(),
    }
    if not len(overlap):
        return all_boxes | {"iou_per_truth": [0.0] * len(truths), "iou": 0.0, "iou_any": 0.0}
    return all_boxes | {
        "iou_per_truth": overlap[0].tolist(),
        "iou": float(overlap[0].max()),
        "iou_any": float(overlap.max()),
    }


def _as_columns(
    by_max: BoxCurve, by_energy: BoxCurve | None, energy_box: BoxCurve, protocol: BoxCurve
) -> dict[str, Any]:
    curves = (
        *(by_max.largest, by_max.best),
        *((None, None) if by_energy is None else (by_energy.largest, by_energy.best)),
        *(energy_box.largest, protocol.largest, protocol.best),
    )
    return {
        name: None if curve is None else curve.astype(np.float32) for name, curve in zip(CURVES, curves, strict=True)
    }


@lru_cache(maxsize=4)
def _center_map(size: tuple[int, int], rule: BoxRule) -> _Map:
    bell = center_map(size)
    return _Map(bell, bell, rule)


def center_map(size: tuple[int, int]) -> NDArray[np.float32]:
    """The map (H, W) of the baseline in the middle."""
    down, across = (_bell(side) for side in size)
    return np.outer(down, across).astype(np.float32)


def _bell(side: int) -> Floats:
    """A Gaussian in the middle of a side, in pixels of the map."""
    offsets = (np.arange(side) + 0.5) / side - 0.5
    return np.asarray(np.exp(-0.5 * (offsets / BASELINES["center_box"]["sigma"]) ** 2))


def _save_maps(plan: MeasurementPlan, chunk: Chunk) -> None:
    """Writes RUN/maps/part-000000.npz: for each method (T, H, W) in half precision, and the image and class of each."""
    usable = [number for number, each in enumerate(chunk.targets) if chunk.images[each.image].error is None]
    targets = [chunk.targets[number] for number in usable]
    arrays: dict[str, Any] = {method: maps[usable].astype(np.float16) for method, maps in chunk.maps.items()}
    arrays["sample"] = np.array([chunk.images[each.image].sample.id for each in targets], dtype=np.str_)
    arrays["target"] = np.array([each.target for each in targets], dtype=np.int32)
    arrays["rank"] = np.array([each.rank for each in targets], dtype=np.int32)
    write_maps(plan.run, chunk.index, arrays, plan.identity)


def _save_npy(run: Path, chunk: Chunk) -> None:
    """Writes RUN/npy/METHOD/ID.npy as wsolevaluation reads it: 224 × 224, 0 … 1, for the first class of each image."""
    written: set[int] = set()
    for number, target in enumerate(chunk.targets):
        image = chunk.images[target.image]
        if image.error is not None or target.image in written:
            continue
        written.add(target.image)
        for method, maps in chunk.extents.items():  # what boxes are drawn from is what wsolevaluation judges
            path = run / "npy" / method / f"{image.sample.id}.npy"
            write_atomically(path, map_bytes(maps[number]))

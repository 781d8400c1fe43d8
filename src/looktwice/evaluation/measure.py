"""What is measured of each image, class and method: a row.

A row judges a map by the boxes of one label: the target itself where the image shows it, else the image's first label
that has boxes, so that a wrong prediction's map is still judged by what there is to find. ``right`` tells the two cases
apart, and no localization error counts a row without it.
"""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from looktwice.atomic_files import write_atomically
from looktwice.datasets.records import Sample
from looktwice.errors import InputError
from looktwice.evaluation.chunks import Chunk, EvaluationImage, MeasurementPlan
from looktwice.images import Window
from looktwice.localization.boxes import Box, BoxRule, find_boxes, to_image
from looktwice.localization.sweep import Floats, Traces, trace
from looktwice.metrics.curves import BoxCurve, overlap_curve
from looktwice.metrics.energy_in_box import energy_in_box
from looktwice.metrics.max_box_acc import ProtocolBoxes, protocol_boxes, protocol_curve
from looktwice.metrics.measures import MAP_NUMBERS
from looktwice.metrics.overlap import iou
from looktwice.runs.columns import BASELINES, COLUMNS, CURVES
from looktwice.runs.folder import row_schema, write_part
from looktwice.runs.saved_maps import write_maps

WSOL_SIZE = 224
"""Side, in pixels, of the maps that wsolevaluation reads."""


def write_chunk(sheet: MeasurementPlan, chunk: Chunk) -> None:
    """Measures a chunk and writes what it leaves, its part last: a part says that all else is there.

    Raises:
        RunError: a file cannot be written.
    """
    if sheet.save_maps:
        _save_maps(sheet.run, chunk)
    if sheet.save_npy:
        _save_npy(sheet.run, chunk)
    write_part(sheet.run, chunk.index, list(measure_chunk(sheet, chunk)), row_schema(COLUMNS))


def measure_chunk(sheet: MeasurementPlan, chunk: Chunk) -> Iterator[dict[str, Any]]:
    """The rows of a chunk: picture after picture, method after method, guess after guess.

    A picture or a map that cannot be used leaves a row with the error instead of values.
    """
    of_picture: dict[int, list[int]] = {}
    for number, guess in enumerate(chunk.guesses):
        of_picture.setdefault(guess.picture, []).append(number)
    for index, picture in enumerate(chunk.pictures):
        numbers = of_picture[index]
        decoding = picture.seconds / (len(sheet.rules) * len(numbers))
        for method in sheet.rules:
            for number in numbers if picture.error is None else numbers[:1]:
                begun = time.perf_counter()
                row = _row(sheet, chunk, picture, method, number)
                row["overhead_seconds"] = time.perf_counter() - begun + decoding
                yield row


def _row(sheet: MeasurementPlan, chunk: Chunk, picture: EvaluationImage, method: str, number: int) -> dict[str, Any]:
    sample, guess = picture.sample, chunk.guesses[number]
    row: dict[str, Any] = {
        "sample": sample.id,
        "order": picture.order,
        "tuning": picture.tuning,
        "method": method,
        "options": sheet.options[method],
        "rank": guess.rank,
        "labels": sample.labels,
        "note": picture.note,
        "error": picture.error,
    }
    if picture.window is None:
        return row
    row |= {
        "target": guess.target,
        "target_place": guess.target_place,
        "probability": guess.probability,
        "predicted": guess.predicted,
        "predicted_probability": guess.predicted_probability,
        "label_place": guess.label_place,
        "correct": guess.predicted in sample.labels,
        "right": guess.target in sample.labels,
        "width": picture.window.width,
        "height": picture.window.height,
        "seconds_method": chunk.seconds[method][number] if method in chunk.seconds else 0.0,
    }
    judged = judged_label(sample, guess.target)
    truths = np.array(sample.boxes_of(judged) if judged is not None else ()).reshape(-1, 4)
    try:
        if method == "full_image":
            return row | {"judged": judged} | _measure_full_image(truths, picture.window)
        rule = sheet.rules[method]
        seen = _center_map(chunk.side, rule) if method == "center_box" else _Map(chunk.maps[method][number], rule)
        return row | {"judged": judged} | _measure(seen, truths, picture.window)
    except InputError as error:  # a map with NaN, say
        return row | {"error": str(error)}


def judged_label(sample: Sample, target: int) -> int | None:
    """The label by whose boxes a map for ``target`` is judged: itself, else the first with boxes; None without any."""
    if target in sample.labels:
        return target if sample.boxes_of(target) else None
    return next((label for label in sample.labels if sample.boxes_of(label)), None)


class _Map:
    """A map and what there is in it, whatever image it is of: found when first asked for."""

    def __init__(self, heat: NDArray[np.float32], rule: BoxRule) -> None:
        self.heat, self.rule = heat, rule

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        return find_boxes(self.heat, self.rule)

    @cached_property
    def traces(self) -> Traces:
        return trace(self.heat, by_energy=self.rule.by == "energy", smallest=self.rule.smallest)

    @cached_property
    def protocol(self) -> ProtocolBoxes:
        return protocol_boxes(self.heat)


def _measure(seen: _Map, truths: Floats, window: Window) -> dict[str, Any]:
    heat = seen.heat
    boxes = to_image(seen.boxes, window, width=heat.shape[1], height=heat.shape[0])
    found: dict[str, Any] = {"threshold": seen.rule.threshold, "boxes": [box.as_dict() for box in boxes]}
    if not len(truths):
        return found
    traces = seen.traces
    by_max = overlap_curve(traces.by_max, truths, window)
    by_energy = None if traces.by_energy is None else overlap_curve(traces.by_energy, truths, window)
    energy_box = overlap_curve(traces.energy_box, truths, window)
    return (
        found
        | _overlaps([box.corners for box in boxes], truths)
        | {column: number.of(heat, truths, window) for column, number in MAP_NUMBERS.items()}
        | _as_columns(by_max, by_energy, energy_box, protocol_curve(seen.protocol, truths, window))
    )


def _measure_full_image(truths: Floats, window: Window) -> dict[str, Any]:
    """The box is known, so no threshold moves it; it points nowhere, and its energy is even all over the image."""
    whole = (0.0, 0.0, float(window.width), float(window.height))
    found: dict[str, Any] = {"boxes": [Box(*whole, 1.0).as_dict()]}
    if not len(truths):
        return found
    overlaps = _overlaps([whole], truths)
    even = np.full(100, overlaps["iou"])
    everywhere = energy_in_box(np.ones((1, 1)), truths, Window.whole(window.width, window.height))
    curve = BoxCurve(even, even)
    return found | overlaps | {"energy_in_box": everywhere} | _as_columns(curve, curve, curve, curve)


def _overlaps(boxes: Sequence[Sequence[float]], truths: Floats) -> dict[str, Any]:
    overlap = iou(boxes, truths)
    if not len(overlap):
        return {"iou_per_truth": [0.0] * len(truths), "iou": 0.0, "iou_any": 0.0}
    return {
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
def _center_map(side: int, rule: BoxRule) -> _Map:
    offsets = (np.arange(side) + 0.5) / side - 0.5
    along = np.exp(-0.5 * (offsets / BASELINES["center_box"]["sigma"]) ** 2)
    return _Map(np.outer(along, along).astype(np.float32), rule)


def _save_maps(run: Path, chunk: Chunk) -> None:
    """RUN/maps/part-000000.npz: by method (guesses, H, W) in half precision, and whose they are, row for row."""
    usable = [n for n, guess in enumerate(chunk.guesses) if chunk.pictures[guess.picture].error is None]
    guesses = [chunk.guesses[number] for number in usable]
    arrays: dict[str, Any] = {method: maps[usable].astype(np.float16) for method, maps in chunk.maps.items()}
    arrays["sample"] = np.array([chunk.pictures[guess.picture].sample.id for guess in guesses], dtype=np.str_)
    arrays["target"] = np.array([guess.target for guess in guesses], dtype=np.int32)
    arrays["rank"] = np.array([guess.rank for guess in guesses], dtype=np.int32)
    write_maps(run, chunk.index, arrays)


def _save_npy(run: Path, chunk: Chunk) -> None:
    """RUN/npy/METHOD/ID.npy as wsolevaluation reads it: 224 × 224, 0 … 1; of an image's guesses the first."""
    written: set[int] = set()
    for number, guess in enumerate(chunk.guesses):
        picture = chunk.pictures[guess.picture]
        if picture.error is not None or guess.picture in written:
            continue
        written.add(guess.picture)
        for method, maps in chunk.maps.items():
            heat = np.clip(cv2.resize(maps[number], (WSOL_SIZE, WSOL_SIZE)), 0.0, 1.0).astype(np.float32)
            path = run / "npy" / method / f"{picture.sample.id}.npy"
            buffer = BytesIO()
            np.save(buffer, heat)
            write_atomically(path, buffer.getvalue())

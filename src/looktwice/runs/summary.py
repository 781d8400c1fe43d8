"""Rows → summary: errors, accuracies and their differences between methods, each with a bootstrap interval.

Thresholds are given, or chosen on other images; what the best threshold on the same images would give stands apart,
under names that begin with ``oracle_``. A number that is not defined for a run is null and says why, never 0.

Rows are sorted by image first, so neither the order of the images nor how they were split over processes changes a
number. One draw of resamples serves all methods, hence differences are paired image by image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.atomic_files import write_json
from looktwice.errors import RunError
from looktwice.localization.sweep import GRID, Floats, grid_index
from looktwice.metrics.intervals import bootstrap
from looktwice.metrics.max_box_acc import best_share, best_thresholds, box_hits
from looktwice.runs.counted import JudgedMaps, arrow_compute, count_images, maps_by_method
from looktwice.runs.folder import SUMMARY, of_method, part_count, part_path, read_manifest, read_rows
from looktwice.runs.scoring import CAO_ENERGY, HIT_IOU, V1_IOUS, V2_IOUS, Scoring, Thresholds

UNPAIRED = ("top1_class_error", "top5_class_error", "seconds_per_image")
"""What has no difference between methods worth an interval: the first two are the network's."""


@dataclass(frozen=True)
class RunStatus:
    """What became of a run: ``summary`` where all parts are there, else how many ``missing`` of ``parts``.

    ``failures`` names each image that could not be used, with the reason.
    """

    run: Path
    parts: int
    missing: int
    summary: Path | None
    failures: tuple[str, ...] = ()


def choose_thresholds(rows: Any, scoring: Scoring) -> dict[str, Thresholds]:
    """For each method the thresholds of the grid at which most of these rows (a pyarrow table) are right.

    Of equally good ones the lowest. A map is right by its box alone, whatever the network predicted.

    Raises:
        RunError: no image with boxes to choose on.
    """
    chosen = {}
    for method, units in maps_by_method(rows, scoring):
        first = units.boxed & (units.rank == 0)
        if not first.any():
            raise RunError("no tuning image has boxes, so no threshold can be chosen; tune on more or on other images")
        (box,) = best_thresholds(units.curve[first], [HIT_IOU])
        (single,) = best_thresholds(units.largest[first], V1_IOUS)
        low, middle, high = (float(GRID[index]) for index in best_thresholds(units.best[first], V2_IOUS))
        chosen[method] = Thresholds(float(GRID[box]), float(GRID[single]), (low, middle, high))
    return chosen


def summarise(rows: Any, scoring: Scoring) -> dict[str, Any]:
    """The summary of all rows (a pyarrow table with the scoring's columns) of a finished run, ready for JSON.

    An image that failed with one method is left out for all, so that all are judged on the same images.

    Raises:
        RunError: no threshold can be chosen.
    """
    tuning = rows.filter(rows["tuning"])
    judged = rows.filter(arrow_compute().invert(rows["tuning"]))
    thresholds = scoring.thresholds
    if thresholds is None:
        thresholds = choose_thresholds(tuning, scoring)
    scores: dict[str, dict[str, _Score]] = {}
    methods: dict[str, dict[str, Any]] = {}
    without_boxes = 0
    for name, units in maps_by_method(judged, scoring):
        scores[name] = dict(_scores(units, scoring, thresholds[name]))
        failed = count_images(of_method(judged, name), "error")
        methods[name] = {"images": units.images, "images_failed": failed}
        methods[name] |= {metric: score.as_json() for metric, score in scores[name].items()}
        without_boxes = units.images - int((units.per_image(units.boxed) > 0).sum())
    return {
        "images": count_images(judged),
        "images_failed": count_images(judged, "error"),
        "images_with_notes": count_images(judged, "note"),
        "images_without_boxes": without_boxes,
        "images_tuned_on": count_images(tuning),
        "target": scoring.target,
        "box": {"rule": scoring.rule.rule, "by": scoring.rule.by, "boxes": scoring.boxes},
        "thresholds": {name: asdict(each) for name, each in thresholds.items()},
        "methods": methods,
        "paired": [
            {"first": later, "second": earlier, "differences": _differences(scores[later], scores[earlier])}
            for earlier, later in combinations(scoring.methods, 2)
        ],
    }


def write_summary(run: Path) -> RunStatus:
    """Sums up a run that has all its parts; from the same parts everyone makes the same file.

    Raises:
        RunError: there is no run, a part is damaged, no threshold can be chosen, or the file cannot be written.
    """
    manifest = read_manifest(run)
    parts = range(part_count(manifest))
    missing = sum(not part_path(run, index).exists() for index in parts)
    if missing:
        return RunStatus(run, len(parts), missing, None)
    scoring = Scoring.of_manifest(manifest)
    path = run / SUMMARY
    rows = read_rows(run, parts, scoring.columns)
    write_json(path, summarise(rows, scoring))
    return RunStatus(run, len(parts), 0, path, _failures(rows))


def _failures(rows: Any) -> tuple[str, ...]:
    """A line for each image and reason, the image named first."""
    failed = rows.filter(rows["error"].is_valid())
    pairs = sorted(set(zip(failed["sample"].to_pylist(), failed["error"].to_pylist(), strict=True)))
    return tuple(error if error.startswith(sample) else f"{sample}: {error}" for sample, error in pairs)


@dataclass(frozen=True)
class _Score:
    """A metric over all n images or maps, then over each bootstrap resample of them (1 + R,); or why there is none."""

    draws: Floats | None
    n: int = 0
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        if self.draws is None:
            return {"value": None, "reason": self.reason}
        low, high = np.quantile(self.draws[1:], [0.025, 0.975])
        # Nine digits: how a library splits a sum over processors must not show.
        value, low, high = (round(float(number), 9) + 0.0 for number in (self.draws[0], low, high))
        return {"value": value, "low": low, "high": high, "n": self.n}


def _scores(units: JudgedMaps, scoring: Scoring, thresholds: Thresholds) -> Iterator[tuple[str, _Score]]:
    yield from _of_images(units, scoring, thresholds)
    yield from _of_maps(units, scoring, thresholds)
    yield "seconds_per_image", _mean(units.per_image(units.seconds), "no image")


def _of_images(units: JudgedMaps, scoring: Scoring, thresholds: Thresholds) -> Iterator[tuple[str, _Score]]:
    """What counts images: a guess is right by its class and a box of it."""
    first = np.unique(units.image, return_index=True)[1]
    own = units.right & (units.target_place == 0)
    among_five = units.right & (units.target_place < 5)
    boxed = units.per_image(units.boxed) > 0
    at = grid_index(thresholds.box)

    def missed(guessed: NDArray[np.bool_], overlap: NDArray[np.float32]) -> Floats:
        return np.asarray(units.per_image(guessed & units.boxed & (overlap >= HIT_IOU)) == 0, dtype=np.float64)[boxed]

    yield "top1_class_error", _mean(units.label_place[first] >= 1, "no image")
    yield "top5_class_error", _mean(units.label_place[first] >= 5, "no image")
    yield "top1_loc_error", _mean(missed(own, units.curve[:, at]))
    if scoring.target == "predicted":
        yield "top5_loc_error", _nothing("only the first guess is mapped; --target top5 or true maps enough")
    else:
        yield "top5_loc_error", _mean(missed(among_five, units.curve[:, at]))
    cao = units.energy_box[:, grid_index(CAO_ENERGY)]
    yield "top1_loc_error_energy_box", _mean(missed(own, cao))
    # An image has one row at most of its predicted class.
    hits = np.zeros((units.images, 1, len(GRID)), dtype=np.bool_)
    hits[units.image[own], 0] = (units.curve[own] >= HIT_IOU) & units.boxed[own, None]
    oracle = _best(hits[boxed])
    yield "oracle_top1_loc_error", oracle if oracle.draws is None else _Score(1 - oracle.draws, oracle.n)


def _of_maps(units: JudgedMaps, scoring: Scoring, thresholds: Thresholds) -> Iterator[tuple[str, _Score]]:
    """What counts maps of an image's first guess, or one of each label with target true."""
    of = units.boxed & (units.rank == 0)
    overlap = units.curve[of, grid_index(thresholds.box)]
    if scoring.target == "true":
        yield "gt_known_loc_error", _mean(overlap < HIT_IOU)
    else:
        yield (
            "gt_known_loc_error",
            _Score(None, reason="the maps are of the network's guesses; --target true is needed"),
        )
    yield "max_box_acc", _at(units.largest[of], V1_IOUS, [thresholds.max_box_acc])
    yield "max_box_acc_v2", _at(units.best[of], V2_IOUS, thresholds.max_box_acc_v2 or [None])
    yield "oracle_max_box_acc", _best(_hits(units.largest[of], V1_IOUS))
    yield "oracle_max_box_acc_v2", _best(_hits(units.best[of], V2_IOUS))
    pointing = units.pointing[of]
    if np.isfinite(pointing).all():
        yield "pointing_game", _mean(pointing, classes=units.judged[of])
    else:
        yield "pointing_game", _nothing("an even map has no maximum to point with")
    yield "energy_in_box", _mean(units.energy[of])
    yield "mean_iou", _mean(overlap)


def _at(curves: NDArray[np.float32], levels: Sequence[float], thresholds: Sequence[float | None]) -> _Score:
    """The share of maps that reach the IoU levels at fixed thresholds, averaged over the levels."""
    chosen = [grid_index(threshold) for threshold in thresholds if threshold is not None]
    if not chosen:
        return _Score(
            None, reason="its thresholds are shares of the maximum, the box rule's is not; --tune-on is needed"
        )
    return _mean(_hits(curves, levels)[:, range(len(levels)), chosen].mean(axis=1))


def _hits(curves: NDArray[np.float32], levels: Sequence[float]) -> NDArray[np.bool_]:
    return box_hits(curves, levels) if len(curves) else np.zeros((0, len(levels), len(GRID)), dtype=np.bool_)


def _best(hits: NDArray[np.bool_]) -> _Score:
    """The best share of hits (N, levels, T) over the thresholds, in every resample its own."""
    draws = _resampled(hits)
    return _nothing() if draws is None else _Score(best_share(draws), len(hits))


def _mean(values: ArrayLike, nothing: str | None = None, *, classes: NDArray[np.int64] | None = None) -> _Score:
    numbers = np.asarray(values, dtype=np.float64)
    draws = _resampled(numbers, classes)
    return _nothing(nothing) if draws is None else _Score(draws, len(numbers))


def _nothing(reason: str | None = None) -> _Score:
    return _Score(None, reason=reason or "no image has boxes to be judged by")


def _resampled(values: NDArray[Any], classes: NDArray[np.int64] | None = None) -> Floats | None:
    """Means (1 + R, …) of values (N, …): over all, then over each resample, the same ones for every N values."""
    if not len(values):
        return None
    drawn: list[Floats] = []

    def keep(means: Floats) -> Floats:
        drawn.append(means)
        return means.reshape(len(means), -1)[:, 0]

    bootstrap(values, keep, classes=classes)
    return np.concatenate(drawn)


def _differences(first: Mapping[str, _Score], second: Mapping[str, _Score]) -> dict[str, Any]:
    """``first`` − ``second``, each resample taking the same images of both."""
    found = {}
    for name, score in first.items():
        other = second[name]
        if name not in UNPAIRED and score.draws is not None and other.draws is not None:
            found[name] = _Score(score.draws - other.draws, score.n).as_json()
    return found

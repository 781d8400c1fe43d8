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
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice import runs
from looktwice.curves import GRID, Floats, grid_index
from looktwice.errors import RunError
from looktwice.localization import BoxRule
from looktwice.metrics import V1_LEVELS, V2_LEVELS, best_share, best_thresholds, bootstrap, box_hits

Target = Literal["predicted", "true", "top5"]
"""Which classes an image is looked at for: the network's first guess, the labels, the network's first five."""

Boxes = Literal["largest", "any"]
"""Which boxes of a map count: the largest contour's, as ILSVRC has it (one box a guess), or the best one."""

_V1, _V2 = (tuple(float(np.float32(level)) for level in levels) for levels in (V1_LEVELS, V2_LEVELS))
"""The IoU levels as the curves hold them, in single precision: one of exactly 0.7 must not fail by rounding."""

_HIT = _V1[0]
"""IoU at which a box is right."""

CAO_ENERGY = 0.95
"""Share of the energy in the box of Cao et al. (2015)."""

READ = (
    *("sample", "tuning", "method", "rank", "target", "target_place", "predicted", "label_place", "right", "judged"),
    *("pointing_hit", "energy_in_box", "max_box_acc_iou", "max_box_acc_v2_iou", "iou_energy_box"),
    *("note", "error", "seconds_method"),
)
"""The columns a summary reads, besides the curve of the box rule."""

UNPAIRED = ("top1_class_error", "top5_class_error", "seconds_per_image")
"""What has no difference between methods worth an interval: the first two are the network's."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run: ``summary`` where all parts are there, else how many ``missing`` of ``parts``.

    ``failures`` names each image that could not be used, with the reason.
    """

    run: Path
    parts: int
    missing: int
    summary: Path | None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thresholds:
    """At which shares a method's maps are cut: by the box rule, for MaxBoxAcc, and for each IoU of MaxBoxAccV2.

    Without the latter two there is none to judge by: the box rule's share is one of the energy, theirs of the maximum.
    """

    box: float
    max_box_acc: float | None = None
    max_box_acc_v2: tuple[float, float, float] | None = None

    @classmethod
    def given(cls, rule: BoxRule) -> "Thresholds":
        """The box rule's own threshold, wherever it means the same."""
        if rule.rule == "contour" and rule.by == "max":
            return cls(rule.threshold, rule.threshold, (rule.threshold,) * 3)
        return cls(rule.threshold)


@dataclass(frozen=True)
class Scoring:
    """How rows are scored; ``thresholds`` by method, or None: chosen on the rows of the tuning images."""

    methods: tuple[str, ...]
    target: Target
    rule: BoxRule
    boxes: Boxes
    thresholds: Mapping[str, Thresholds] | None

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> "Scoring":
        """What a run's manifest says of it."""
        run = manifest["run"]
        box = run["box"]
        rule = BoxRule(box["rule"], box["threshold"], box["by"], box["smallest"])
        thresholds = box["thresholds"]
        if thresholds is not None:
            thresholds = {
                method: Thresholds(
                    each["box"], each["max_box_acc"], each["max_box_acc_v2"] and tuple(each["max_box_acc_v2"])
                )
                for method, each in thresholds.items()
            }
        return cls((*run["methods"], *run["baselines"]), run["target"], rule, box["boxes"], thresholds)

    @property
    def curve(self) -> str:
        """The column that holds the box rule's IoU at every threshold."""
        return "iou_energy_box" if self.rule.rule == "energy" else f"iou_by_{self.rule.by}_{self.boxes}"

    @property
    def columns(self) -> list[str]:
        """The columns that ``summarise`` and ``choose_thresholds`` read."""
        return list(dict.fromkeys((*READ, self.curve)))


def choose_thresholds(rows: Any, scoring: Scoring) -> dict[str, Thresholds]:
    """For each method the thresholds of the grid at which most of these rows (a pyarrow table) are right.

    Of equally good ones the lowest. A map is right by its box alone, whatever the network predicted.

    Raises:
        RunError: no image with boxes to choose on.
    """
    chosen = {}
    for method, units in _by_method(rows, scoring):
        first = units.boxed & (units.rank == 0)
        if not first.any():
            raise RunError("no tuning image has boxes, so no threshold can be chosen; tune on more or on other images")
        (box,) = best_thresholds(units.curve[first], [_HIT])
        (single,) = best_thresholds(units.largest[first], _V1)
        low, middle, high = (float(GRID[index]) for index in best_thresholds(units.best[first], _V2))
        chosen[method] = Thresholds(float(GRID[box]), float(GRID[single]), (low, middle, high))
    return chosen


def summarise(rows: Any, scoring: Scoring) -> dict[str, Any]:
    """The summary of all rows (a pyarrow table with the scoring's columns) of a finished run, ready for JSON.

    An image that failed with one method is left out for all, so that all are judged on the same images.

    Raises:
        RunError: no threshold can be chosen.
    """
    tuning = rows.filter(rows["tuning"])
    judged = rows.filter(_arrow().invert(rows["tuning"]))
    thresholds = scoring.thresholds
    if thresholds is None:
        thresholds = choose_thresholds(tuning, scoring)
    scores: dict[str, dict[str, _Score]] = {}
    methods: dict[str, dict[str, Any]] = {}
    without_boxes = 0
    for name, units in _by_method(judged, scoring):
        scores[name] = dict(_scores(units, scoring, thresholds[name]))
        failed = _distinct(runs.of_method(judged, name), "error")
        methods[name] = {"images": units.images, "images_failed": failed}
        methods[name] |= {metric: score.as_json() for metric, score in scores[name].items()}
        without_boxes = units.images - int((units.per_image(units.boxed) > 0).sum())
    return {
        "images": _distinct(judged),
        "images_failed": _distinct(judged, "error"),
        "images_with_notes": _distinct(judged, "note"),
        "images_without_boxes": without_boxes,
        "images_tuned_on": _distinct(tuning),
        "target": scoring.target,
        "box": {"rule": scoring.rule.rule, "by": scoring.rule.by, "boxes": scoring.boxes},
        "thresholds": {name: asdict(each) for name, each in thresholds.items()},
        "methods": methods,
        "paired": [
            {"first": later, "second": earlier, "differences": _differences(scores[later], scores[earlier])}
            for earlier, later in combinations(scoring.methods, 2)
        ],
    }


def conclude(run: Path) -> Outcome:
    """Sums up a run that has all its parts; from the same parts everyone makes the same file.

    Raises:
        RunError: there is no run, a part is damaged, no threshold can be chosen, or the file cannot be written.
    """
    manifest = runs.read_manifest(run)
    parts = range(runs.part_count(manifest))
    missing = sum(not runs.part_path(run, index).exists() for index in parts)
    if missing:
        return Outcome(run, len(parts), missing, None)
    scoring = Scoring.of_manifest(manifest)
    path = run / runs.SUMMARY
    rows = runs.read_rows(run, parts, scoring.columns)
    runs.write_json(path, summarise(rows, scoring))
    return Outcome(run, len(parts), 0, path, _failures(rows))


def _failures(rows: Any) -> tuple[str, ...]:
    """A line for each image and reason, the image named first."""
    failed = rows.filter(rows["error"].is_valid())
    pairs = sorted(set(zip(failed["sample"].to_pylist(), failed["error"].to_pylist(), strict=True)))
    return tuple(error if error.startswith(sample) else f"{sample}: {error}" for sample, error in pairs)


# Rows as arrays.


@dataclass(frozen=True)
class _Units:
    """One method's rows without error, sorted by image, rank and target: (U,) each, curves (U, T).

    ``image`` numbers the images from 0.
    """

    image: NDArray[np.int64]
    images: int
    rank: NDArray[np.int64]
    target_place: NDArray[np.int64]
    label_place: NDArray[np.int64]
    right: NDArray[np.bool_]
    judged: NDArray[np.int64]
    pointing: Floats
    energy: Floats
    seconds: Floats
    curve: NDArray[np.float32]
    energy_box: NDArray[np.float32]
    largest: NDArray[np.float32]
    best: NDArray[np.float32]

    @property
    def boxed(self) -> NDArray[np.bool_]:
        """Which rows have boxes to be judged by."""
        return np.asarray(self.judged >= 0)

    def per_image(self, values: ArrayLike) -> Floats:
        """Values (U,) summed over each image's rows (N,)."""
        weights = np.asarray(values, dtype=np.float64)
        return np.asarray(np.bincount(self.image, weights=weights, minlength=self.images), dtype=np.float64)


def _by_method(rows: Any, scoring: Scoring) -> Iterator[tuple[str, _Units]]:
    """One method after the other, to hold the curves of one only; all of the same images."""
    arrow = _arrow()
    broken = rows.filter(arrow.is_valid(rows["error"]))["sample"]
    whole = rows.filter(arrow.invert(arrow.is_in(rows["sample"], value_set=arrow.unique(broken))))
    for name in scoring.methods:
        yield name, _as_units(runs.of_method(whole, name), scoring)


def _as_units(rows: Any, scoring: Scoring) -> _Units:
    rows = rows.sort_by([(name, "ascending") for name in ("sample", "rank", "target")])
    samples, image = np.unique(rows["sample"].to_numpy(), return_inverse=True)

    def column(name: str, missing: float) -> Floats:
        return np.asarray(rows[name].cast("double").fill_null(missing).to_numpy(), dtype=np.float64)

    return _Units(
        image=image,
        images=len(samples),
        rank=column("rank", 0).astype(np.int64),
        target_place=column("target_place", 0).astype(np.int64),
        label_place=column("label_place", 0).astype(np.int64),
        right=column("right", 0).astype(np.bool_),
        judged=column("judged", -1).astype(np.int64),
        pointing=column("pointing_hit", np.nan),
        energy=column("energy_in_box", np.nan),
        seconds=column("seconds_method", 0),
        curve=_curves(rows[scoring.curve]),
        energy_box=_curves(rows["iou_energy_box"]),
        largest=_curves(rows["max_box_acc_iou"]),
        best=_curves(rows["max_box_acc_v2_iou"]),
    )


def _curves(column: Any) -> NDArray[np.float32]:
    """A column of lists as (U, T); a row without boxes to be judged by has a curve of zeros."""
    values = np.zeros((len(column), len(GRID)), dtype=np.float32)
    there = column.is_valid().to_numpy().astype(np.bool_)
    values[there] = column.combine_chunks().flatten().to_numpy().reshape(-1, len(GRID))
    return values


def _distinct(rows: Any, column: str | None = None) -> int:
    """How many images there are, or how many have something in a column."""
    chosen = rows if column is None else rows.filter(rows[column].is_valid())
    return len(chosen["sample"].unique())


def _arrow() -> Any:
    import pyarrow.compute  # type: ignore[import-untyped]

    return pyarrow.compute


# Metrics of one method.


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


def _scores(units: _Units, scoring: Scoring, thresholds: Thresholds) -> Iterator[tuple[str, _Score]]:
    yield from _of_images(units, scoring, thresholds)
    yield from _of_maps(units, scoring, thresholds)
    yield "seconds_per_image", _mean(units.per_image(units.seconds), "no image")


def _of_images(units: _Units, scoring: Scoring, thresholds: Thresholds) -> Iterator[tuple[str, _Score]]:
    """What counts images: a guess is right by its class and a box of it."""
    first = np.unique(units.image, return_index=True)[1]
    own = units.right & (units.target_place == 0)
    among_five = units.right & (units.target_place < 5)
    boxed = units.per_image(units.boxed) > 0
    at = grid_index(thresholds.box)

    def missed(guessed: NDArray[np.bool_], overlap: NDArray[np.float32]) -> Floats:
        return np.asarray(units.per_image(guessed & units.boxed & (overlap >= _HIT)) == 0, dtype=np.float64)[boxed]

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
    hits[units.image[own], 0] = (units.curve[own] >= _HIT) & units.boxed[own, None]
    oracle = _best(hits[boxed])
    yield "oracle_top1_loc_error", oracle if oracle.draws is None else _Score(1 - oracle.draws, oracle.n)


def _of_maps(units: _Units, scoring: Scoring, thresholds: Thresholds) -> Iterator[tuple[str, _Score]]:
    """What counts maps of an image's first guess, or one of each label with target true."""
    of = units.boxed & (units.rank == 0)
    overlap = units.curve[of, grid_index(thresholds.box)]
    if scoring.target == "true":
        yield "gt_known_loc_error", _mean(overlap < _HIT)
    else:
        yield (
            "gt_known_loc_error",
            _Score(None, reason="the maps are of the network's guesses; --target true is needed"),
        )
    yield "max_box_acc", _at(units.largest[of], _V1, [thresholds.max_box_acc])
    yield "max_box_acc_v2", _at(units.best[of], _V2, thresholds.max_box_acc_v2 or [None])
    yield "oracle_max_box_acc", _best(_hits(units.largest[of], _V1))
    yield "oracle_max_box_acc_v2", _best(_hits(units.best[of], _V2))
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

"""Rows → summary: each method's measures, and the differences between methods, with bootstrap intervals.

Thresholds are given, or chosen on other images. What the best threshold for the judged images would give stands apart,
under names that begin with ``oracle_``. A measure that a run does not define is null with a reason, never 0.

Rows are sorted by image first. So no number depends on the order of the images, or on how many processes made the rows.
All methods share the same resamples: so differences are paired, image by image.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from looktwice.atomic_files import write_json
from looktwice.errors import RunError
from looktwice.localization.sweep import GRID
from looktwice.metrics.judged_maps import Thresholds, Undefined
from looktwice.metrics.localization_error import HIT_IOU
from looktwice.metrics.max_box_acc import V1_LEVELS, V2_LEVELS_IN_SINGLE, best_thresholds
from looktwice.metrics.measures import MEASURES
from looktwice.runs.arrow import arrow
from looktwice.runs.columns import columns_of
from looktwice.runs.counted import count_images, first_guesses, maps_by_method, reported
from looktwice.runs.folder import SUMMARY, PartReader, of_method, part_path, read_manifest, row_schema
from looktwice.runs.manifest import Manifest
from looktwice.runs.resampled import Resampled, resample
from looktwice.runs.scoring import Scoring
from looktwice.runs.summary import BoxChoice, MethodSummary, PairedDifferences, Score, Summary


@dataclass(frozen=True)
class RunStatus:
    """Whether a run is finished.

    Attributes:
        run: its folder.
        parts: how many parts it has.
        missing: how many of them are still missing.
        summary: the file of its summary; None if parts are missing.
        failures: a line for each image that could not be used, with the reason.
        problems: a line for each image with something wrong that only decoding showed: the image itself, its
            orientation, the size that its annotation states, its boxes.
        doubt: what to check, if the network is wrong so often that its inputs or classes are probably not those of its
            training; see ``FirstGuesses``.
    """

    run: Path
    parts: int
    missing: int
    summary: Path | None
    failures: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    doubt: str | None = None


def write_summary(run: Path) -> RunStatus:
    """Writes the summary of a run that has all its parts. The same parts always give the same file.

    A part that cannot be used counts as missing: the process whose it is does it again.

    Raises:
        RunError: there is no run, no threshold can be chosen, or the file cannot be written.
    """
    manifest = read_manifest(run)
    parts = manifest.run.parts
    scoring, reader = Scoring.of_manifest(manifest), PartReader(run, schema=row_schema(columns_of(manifest.run)))
    if not all(part_path(run, index).exists() for index in parts):
        return RunStatus(run, len(parts), sum(not _can_be_used(reader, index) for index in parts), None)
    tables = []
    for index in parts:
        with suppress(RunError):
            tables.append(reader.read(index, scoring.columns))
    if len(tables) < len(parts):
        return RunStatus(run, len(parts), len(parts) - len(tables), None)
    rows = arrow().concat_tables(tables)
    path = run / SUMMARY
    write_json(path, summarise(rows, scoring).as_json())
    problems = (*(manifest.run.grid.unreadable if manifest.run.grid else ()), *_data_problems(rows))
    return RunStatus(run, len(parts), 0, path, _failures(rows), problems, _doubt(rows, manifest))


def _can_be_used(reader: PartReader, index: int) -> bool:
    try:
        reader.check(index)
    except RunError:
        return False
    return True


def _doubt(rows: Any, manifest: Manifest) -> str | None:
    """What ``RunStatus.doubt`` tells. A square has four classes, and its images were all recognised."""
    if manifest.run.grid is not None:
        return None
    guesses = first_guesses(reported(rows), manifest.run.names[0], manifest.run.model.classes)
    return None if guesses is None else guesses.doubt


def _failures(rows: Any) -> tuple[str, ...]:
    """A line for each image and reason; the line begins with the image's name."""
    failed = rows.filter(rows["error"].is_valid())
    pairs = sorted(set(zip(failed["sample"].to_pylist(), failed["error"].to_pylist(), strict=True)))
    return tuple(_line(sample, error) for sample, error in pairs)


def _data_problems(rows: Any) -> tuple[str, ...]:
    """A line for each image that could not be decoded, or whose annotation does not fit it."""
    columns = (rows[name].to_pylist() for name in ("sample", "target", "error", "note"))
    found = {
        (sample, error if error is not None and target is None else note)
        for sample, target, error, note in zip(*columns, strict=True)
    }
    return tuple(_line(sample, text) for sample, text in sorted(pair for pair in found if pair[1] is not None))


def _line(sample: str, text: str) -> str:
    return text if text.startswith(sample) else f"{sample}: {text}"


def choose_thresholds(rows: Any, scoring: Scoring) -> dict[str, Thresholds]:
    """For each method the thresholds of the grid at which most of these rows (a pyarrow table) are right.

    Of equally good thresholds the lowest is taken. A map is right by its box alone, whatever the network predicted. A
    box rule without a threshold gets none; those of MaxBoxAcc are chosen all the same.

    Raises:
        RunError: no image has boxes to choose on.
    """
    chosen = {}
    for method, maps in maps_by_method(rows, scoring):
        if not maps.first.any():
            raise RunError("no tuning image has boxes, so no threshold can be chosen; tune on more or on other images")
        box = None if maps.curve is None else float(GRID[best_thresholds(maps.curve[maps.first], [HIT_IOU])[0]])
        (single,) = best_thresholds(maps.largest[maps.first], V1_LEVELS)
        three = best_thresholds(maps.best[maps.first], V2_LEVELS_IN_SINGLE)
        low, middle, high = (float(GRID[index]) for index in three)
        chosen[method] = Thresholds(box, float(GRID[single]), (low, middle, high))
    return chosen


def summarise(rows: Any, scoring: Scoring) -> Summary:
    """The summary of all rows (a pyarrow table with the scoring's columns) of a finished run.

    An image that failed with one method is left out for all methods, so that all are judged on the same images.

    Raises:
        RunError: no threshold can be chosen.
    """
    tuning, judged = rows.filter(rows["tuning"]), reported(rows)
    thresholds = scoring.thresholds
    if thresholds is None:
        thresholds = choose_thresholds(tuning, scoring)
    samples: dict[str, dict[str, Resampled | Undefined]] = {}
    methods: dict[str, MethodSummary] = {}
    drawn_at: dict[str, float | None] = {}
    without_boxes = 0
    for name, maps in maps_by_method(judged, scoring):
        at = thresholds[name]
        samples[name] = resample(
            {key: each.values_of(maps, at, scoring.target, scoring.subject) for key, each in MEASURES.items()}
        )
        scores = {key: each if isinstance(each, Undefined) else each.score for key, each in samples[name].items()}
        methods[name] = MethodSummary(maps.images, count_images(of_method(judged, name), "error"), scores)
        drawn_at[name] = arrow("compute").max(of_method(judged, name)["threshold"]).as_py()
        without_boxes = maps.images - int(maps.image_boxed.sum())
    return Summary(
        images=count_images(judged),
        images_failed=count_images(judged, "error"),
        images_with_notes=count_images(judged, "note"),
        images_without_boxes=without_boxes,
        images_tuned_on=count_images(tuning),
        target=scoring.target,
        box=BoxChoice(scoring.rule.rule, scoring.rule.by, scoring.boxes),
        thresholds=thresholds,
        drawn_at=drawn_at,
        methods=methods,
        paired=tuple(
            PairedDifferences(later, earlier, _differences(samples[later], samples[earlier]))
            for earlier, later in combinations(scoring.methods, 2)
        ),
    )


def _differences(
    first: Mapping[str, Resampled | Undefined], second: Mapping[str, Resampled | Undefined]
) -> dict[str, Score]:
    """``first`` − ``second`` by measure; each resample takes the same images of both."""
    found = {}
    for name, measure in MEASURES.items():
        one, other = first[name], second[name]
        if measure.is_paired and isinstance(one, Resampled) and isinstance(other, Resampled):
            found[name] = Resampled(one.draws - other.draws, one.n).score
    return found

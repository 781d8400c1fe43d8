"""The plots of a run: what is drawn of it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from looktwice.localization.sweep import GRID
from looktwice.metrics.measures import MEASURES
from looktwice.report.finished_run import FinishedRun
from looktwice.report.plots import Axis, Bar, Line, Point, cost_plot, interval_in_per_cent, panels
from looktwice.runs.summary import Score, Summary

_IOU_LEVELS = np.arange(0, 101, 2, dtype=np.float32) / 100


_SIZE_GROUPS = 5


_IMAGES_IN_GROUP = 5
"""Images that a group of sizes has at least; with fewer images there are fewer groups."""


_PER_CENT = Axis("", (0, 100), {0: "0", 50: "50", 100: "100%"})
_UNIT = {0: "0", 0.5: ".5", 1: "1"}


def plotted_measures(summary: Summary) -> dict[str, str]:
    """The localization errors that a run has, or its share in the own quarter, by name, with their titles."""
    known = summary.known_measures
    plotted = (MEASURES["top1_loc_error"], MEASURES["gt_known_loc_error"], MEASURES["grid_pointing_game"])
    return {measure.name: measure.title for measure in plotted if measure in known}


def faithfulness_measures(summary: Summary) -> dict[str, str]:
    """Insertion and deletion, if a run has them, by name, with their titles."""
    return {measure.name: measure.title for measure in summary.known_measures if measure.from_network is not None}


def bar_ends(runs: Sequence[FinishedRun], measures: Iterable[str] | None = None) -> tuple[float, float]:
    """The ends in per cent of one scale for the bars of all runs, so that their plots can be compared.

    Args:
        runs: the runs.
        measures: what is drawn; None: the plotted measures of each run.
    """
    names = {name for run in runs for name in (plotted_measures(run.summary) if measures is None else measures)}
    scores = [score for run in runs for name in sorted(names) for score in _scores(run, name).values()]
    if not scores:
        return 0.0, 100.0
    low, high = (min(100 * score.low for score in scores), max(100 * score.high for score in scores))
    return max(0.0, 10 * np.floor((low - 1) / 10)), min(100.0, 10 * np.ceil((high + 1) / 10))


def measure_bars(run: FinishedRun, measure: str, paper: Mapping[str, float]) -> list[Bar]:
    """A bar for each method that has this measure; ``paper`` has the paper's errors in per cent, by method."""
    bars = []
    for method, score in _scores(run, measure).items():
        label = run.manifest.label_of(method)
        ends = 100 * score.value, 100 * score.low, 100 * score.high
        bars.append(Bar(label.short_name, label.colour, *ends, paper.get(method)))
    return bars


def _scores(run: FinishedRun, measure: str) -> dict[str, Score]:
    found = {method: summary.score(measure) for method, summary in run.summary.methods.items()}
    return {method: score for method, score in found.items() if score is not None}


def success_plots(run: FinishedRun) -> list[str]:
    """The share of boxes that reach each IoU, a panel for each method."""
    lines = []
    for method in run.names:
        overlap = np.sort(run.iou[method])
        shares = 100 - 100 * np.searchsorted(overlap, _IOU_LEVELS) / len(overlap)
        note = f"mean IoU {overlap.mean():.2f}"
        lines.append(_line(run, method, _IOU_LEVELS.tolist(), shares.tolist(), note=note))
    return panels(lines, Axis("IoU needed", (0, 1), _UNIT), _PER_CENT)


def size_plots(run: FinishedRun) -> list[str]:
    """The share of wrong boxes by the size of the object, a panel for each method."""
    count = max(1, min(_SIZE_GROUPS, len(run.subjects) // _IMAGES_IN_GROUP))
    groups = np.array_split(np.argsort(run.size, kind="stable"), count)
    places = [100 * float(run.size[each].mean()) for each in groups]
    axis = Axis("% of the image", (0, 100), {0: "0", 50: "50", 100: "100"})
    return panels(_error_lines(run, places, groups), axis, _PER_CENT)


def number_plots(run: FinishedRun) -> list[str]:
    """The share of wrong boxes by the number of objects, a panel for each method."""
    groups = {"1": run.objects == 1, "2": run.objects == 2, "3+": run.objects >= 3}
    there = {name: np.flatnonzero(members) for name, members in groups.items() if members.any()}
    places = list(range(len(there)))
    ticks = {float(place): f"{name}\nn={len(there[name])}" for place, name in zip(places, there, strict=True)}
    axis = Axis("", (-0.5, len(there) - 0.5), ticks)
    return panels(_error_lines(run, places, list(there.values())), axis, _PER_CENT)


def _error_lines(run: FinishedRun, places: Sequence[float], groups: Sequence[NDArray[np.int64]]) -> list[Line]:
    """For each method the share of wrong boxes in each group of images, with its interval."""
    lines = []
    for method in run.names:
        missed = ~run.hits(method)
        values, low, high = zip(*(interval_in_per_cent(missed[each]) for each in groups), strict=True)
        lines.append(_line(run, method, places, values, low=low, high=high))
    return lines


def threshold_plots(run: FinishedRun) -> list[str]:
    """The share of right boxes at each threshold, a panel for each method; none if the box rule has no threshold."""
    lines = []
    for method in run.names:
        if method == "full_image" or method not in run.chosen:
            continue  # no threshold moves its box
        shares, at = 100 * run.success[method], run.chosen[method]
        best = int(shares.argmax())
        marks = {"D": (float(GRID[best]), float(shares[best])), "o": (float(GRID[at]), float(shares[at]))}
        note = f"{shares[at]:.0f} % at {GRID[at]:.2f} · best {shares[best]:.0f} %"
        lines.append(_line(run, method, GRID.tolist(), shares.tolist(), marks=marks, note=note))
    return panels(lines, Axis("threshold", (0, 1), _UNIT), _PER_CENT) if lines else []


def _line(
    run: FinishedRun,
    method: str,
    x: Sequence[float],
    y: Sequence[float],
    *,
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    marks: Mapping[str, tuple[float, float]] | None = None,
    note: str = "",
) -> Line:
    label = run.manifest.label_of(method)
    return Line(label.short_name, label.colour, x, y, low, high, marks, note)


def cost_measure(summary: Summary) -> str | None:
    """The measure that is plotted against seconds; None if the run has none of those in which more is better."""
    known = summary.known_measures
    names = ("max_box_acc_v2", "mean_iou", "grid_pointing_game", "insertion_auc")
    return next((name for name in names if MEASURES[name] in known), None)


def cost_panel(run: FinishedRun, measure: str) -> str | None:
    """A measure against seconds per image; None if no method has both."""
    values, costs = _scores(run, measure), _scores(run, "seconds_per_image")
    points = []
    for method in run.methods:
        if method in values and method in costs and costs[method].value:
            label, score = run.manifest.label_of(method), values[method]
            ends = 100 * score.value, 100 * score.low, 100 * score.high
            points.append(Point(label.short_name, label.colour, costs[method].value, *ends))
    blind = "center_box" if "center_box" in values else "full_image"
    free = values.get(blind)
    level = None if free is None else (run.manifest.label_of(blind).short_name, 100 * free.value)
    return cost_plot(points, f"{MEASURES[measure].title}, %", level) if points else None

"""A run's plots."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from looktwice.localization.sweep import GRID
from looktwice.report.finished_run import FinishedRun
from looktwice.report.names import MEASURES, known_measures, short_name
from looktwice.report.plots import Axis, Bar, Line, Point, cost_plot, interval_in_per_cent, panels

_IOU_LEVELS = np.arange(0, 101, 2, dtype=np.float32) / 100


_SIZE_BINS = 5


_BIN_LEAST = 5
"""Images in a bin of sizes; with fewer there are fewer bins."""


def error_titles(summary: Mapping[str, Any]) -> dict[str, str]:
    """The localization errors that a run has, with their titles."""
    titles = {
        "top1_loc_error": "Localization error, class predicted (top-1)",
        "gt_known_loc_error": "Localization error, class known",
    }
    known = known_measures(summary)
    return {metric: title for metric, title in titles.items() if metric in known}


def error_ends(found: Sequence[FinishedRun]) -> tuple[float, float]:
    """One scale for the errors of all runs, so that their plots can be compared."""
    scores = [
        scores[metric]
        for run in found
        for metric in error_titles(run.summary)
        for scores in run.summary["methods"].values()
    ]
    low = min(100 * score["low"] for score in scores if score["value"] is not None)
    high = max(100 * score["high"] for score in scores if score["value"] is not None)
    return max(0.0, 10 * np.floor((low - 1) / 10)), min(100.0, 10 * np.ceil((high + 1) / 10))


def error_bars(run: FinishedRun, metric: str, shades: Mapping[str, str], paper: Mapping[str, float]) -> list[Bar]:
    """A bar for each method that has a value."""
    bars = []
    for method, scores in run.summary["methods"].items():
        score = scores[metric]
        if score["value"] is not None:
            value, low, high = (100 * score[name] for name in ("value", "low", "high"))
            bars.append(Bar(short_name(method), shades[method], value, low, high, paper.get(method)))
    return bars


_SHARE = Axis("", (0, 100), {0: "0", 50: "50", 100: "100%"})


def success_plots(run: FinishedRun, shades: Mapping[str, str]) -> list[str]:
    """How many boxes are right at each IoU."""
    lines = []
    for method, shade in shades.items():
        overlap = np.sort(run.iou[method])
        shares = 100 - 100 * np.searchsorted(overlap, _IOU_LEVELS) / len(overlap)
        note = f"mean IoU {overlap.mean():.2f}"
        lines.append(Line(short_name(method), shade, _IOU_LEVELS.tolist(), shares.tolist(), note=note))
    return panels(lines, Axis("IoU needed", (0, 1), {0: "0", 0.5: ".5", 1: "1"}), _SHARE)


def size_plots(run: FinishedRun, shades: Mapping[str, str]) -> list[str]:
    """The error over the size of the object."""
    count = max(1, min(_SIZE_BINS, len(run.seen) // _BIN_LEAST))
    bins = np.array_split(np.argsort(run.size, kind="stable"), count)
    places = [100 * float(run.size[each].mean()) for each in bins]
    axis = Axis("% of the image", (0, 100), {0: "0", 50: "50", 100: "100"})
    return panels(_error_lines(run, shades, places, bins), axis, _SHARE)


def number_plots(run: FinishedRun, shades: Mapping[str, str]) -> list[str]:
    """The error over the number of objects."""
    groups = {"1": run.objects == 1, "2": run.objects == 2, "3+": run.objects >= 3}
    there = {name: np.flatnonzero(members) for name, members in groups.items() if members.any()}
    places = list(range(len(there)))
    ticks = {float(place): f"{name}\nn={len(there[name])}" for place, name in zip(places, there, strict=True)}
    return panels(
        _error_lines(run, shades, places, list(there.values())), Axis("", (-0.5, len(there) - 0.5), ticks), _SHARE
    )


def _error_lines(
    run: FinishedRun, shades: Mapping[str, str], places: Sequence[float], bins: Sequence[Any]
) -> list[Line]:
    """The share of wrong boxes in each bin of images, with its interval."""
    lines = []
    for method, shade in shades.items():
        missed = ~run.hits(method)
        values, low, high = zip(*(interval_in_per_cent(missed[each]) for each in bins), strict=True)
        lines.append(Line(short_name(method), shade, places, values, low, high))
    return lines


def threshold_plots(run: FinishedRun, shades: Mapping[str, str]) -> list[str]:
    """How many boxes are right at each threshold."""
    lines = []
    for method, shade in shades.items():
        if method == "full_image":
            continue  # no threshold moves its box
        shares, at = 100 * run.success[method], run.chosen[method]
        best = int(shares.argmax())
        marks = {"D": (float(GRID[best]), float(shares[best])), "o": (float(GRID[at]), float(shares[at]))}
        note = f"{shares[at]:.0f} % at {GRID[at]:.2f} · best {shares[best]:.0f} %"
        lines.append(Line(short_name(method), shade, GRID.tolist(), shares.tolist(), marks=marks, note=note))
    return panels(lines, Axis("threshold", (0, 1), {0: "0", 0.5: ".5", 1: "1"}), _SHARE)


def cost_measure(summary: Mapping[str, Any]) -> str:
    """The measure that is plotted against seconds."""
    return next(metric for metric in ("max_box_acc_v2", "mean_iou") if metric in known_measures(summary))


def cost_panel(run: FinishedRun, metric: str, shades: Mapping[str, str]) -> str | None:
    """A measure against seconds an image; ``None`` where nothing can be shown."""
    points = []
    for method in run.methods:
        score, seconds = (run.summary["methods"][method][name] for name in (metric, "seconds_per_image"))
        if score["value"] is not None and seconds["value"]:
            value, low, high = (100 * score[name] for name in ("value", "low", "high"))
            points.append(Point(short_name(method), shades[method], seconds["value"], value, low, high))
    box = run.summary["methods"].get("center_box", {metric: {"value": None}})[metric]["value"]
    level = None if box is None else (short_name("center_box"), 100 * box)
    return cost_plot(points, f"{MEASURES[metric]}, %", level) if points else None

"""Finished runs → one HTML page that needs nothing else: tables, plots, a gallery with filters, the manifests."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from looktwice import __version__, runs
from looktwice.curves import GRID
from looktwice.errors import MissingExtraError
from looktwice.report_cards import Gallery, make_gallery
from looktwice.report_plots import (
    Axis,
    Bar,
    Line,
    Point,
    bar_plot,
    colours,
    cost_plot,
    interval_in_per_cent,
    panels,
)
from looktwice.report_rows import FinishedRun, read_run
from looktwice.tables import ENERGY_BOX, MEASURES, NAMES, paper_tables

CARDS = 120
"""Images in a run's gallery."""

ALL_CARDS = 240
"""Images in all galleries of a page: above, runs share them, so that the page stays light."""

_IOU_LEVELS = np.arange(0, 101, 2, dtype=np.float32) / 100
_SIZE_BINS = 5
_BIN_LEAST = 5
"""Images in a bin of sizes; with fewer there are fewer bins."""

_MEANT = "global_feedback"
"""The method that the others are compared with."""

_ERRORS = ("top1_loc_error", "top5_loc_error", "gt_known_loc_error", "oracle_top1_loc_error")
"""Measures of which less is better."""


_HEADLINES = {
    "gt_known_loc_error": "Localization error, class known",
    "top1_loc_error": "Localization error, class predicted",
    "max_box_acc_v2": "MaxBoxAccV2",
    "energy_in_box": "Energy in the object’s box",
}


@dataclass(frozen=True)
class Cell:
    """A number and its interval in words; ``verdict`` is "better" or "worse" where the interval excludes 0."""

    value: str
    interval: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Row:
    """A method's cells."""

    label: str
    colour: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Column names, each with an arrow to where better is, and rows."""

    head: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """A run as the page shows it; plots are SVG elements, ``data`` is what the gallery's script reads."""

    name: str
    facts: Mapping[str, str]
    headlines: tuple[str, ...]
    measures: Table
    paired: Table | None
    errors: Mapping[str, str]
    has_paper: bool
    success: tuple[str, ...]
    by_size: tuple[str, ...]
    by_number: tuple[str, ...]
    thresholds: tuple[str, ...]
    tuned: bool
    cost: str | None
    cost_measure: str
    gallery: Gallery
    methods: Mapping[str, str]
    first_method: str
    data: Mapping[str, Any]
    manifest: str


def write_report(folders: Sequence[Path], output: Path, *, data: Path | None = None) -> None:
    """Writes the page of some finished runs.

    Args:
        folders: the runs'.
        output: the page.
        data: the folder of their images, where it is not the one they found them in.

    Raises:
        RunError: a folder holds no finished run, or the page cannot be written.
        MissingExtraError: jinja2, matplotlib or pyarrow is not installed.
    """
    runs.write_atomically(output, render(folders, data=data).encode())


def render(folders: Sequence[Path], *, data: Path | None = None) -> str:
    """The page of some finished runs as text; the same runs and images give the same page.

    Raises:
        RunError: a folder holds no finished run.
        MissingExtraError: jinja2, matplotlib or pyarrow is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("the report's page needs jinja2: pip install 'looktwice[report]'") from error
    found = [read_run(folder) for folder in folders]
    names = _names(found)
    shares = [_entries(run.folder) for run in found]
    limit = min(CARDS, ALL_CARDS // len(found))
    ends = _error_ends(found)
    sections = [
        _section(run, name, entries, ends, make_gallery(run, limit, data))
        for run, name, entries in zip(found, names, shares, strict=True)
    ]
    page = Environment(
        loader=PackageLoader("looktwice"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return page.get_template("report.html.j2").render(sections=sections, version=__version__, signed=signed)


def short_name(method: str) -> str:
    """A method in a few letters: "GP", "centre box", "grad cam"."""
    return NAMES.get(method, method.replace("_", " ")).split(" (")[0]


def long_name(method: str) -> str:
    """A method in full."""
    return NAMES.get(method, method.replace("_", " "))


def signed(number: float, digits: int) -> str:
    """A difference as it is printed: with its sign, a true minus, and none at zero."""
    rounded = round(number, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def _names(found: Sequence[FinishedRun]) -> list[str]:
    """Each run's network; with the folder where two have the same."""
    networks = [_network(run) for run in found]
    return [
        network if networks.count(network) == 1 else f"{network} ({run.folder.name})"
        for network, run in zip(networks, found, strict=True)
    ]


def _network(run: FinishedRun) -> str:
    return str(run.manifest[runs.COMPARED]["model"]["name"].rpartition(":")[2])


def _entries(folder: Path) -> list[dict[str, str]]:
    """The run's lines of the paper's table: method, error, its ends, the paper's, and what differs from the paper."""
    return list(csv.DictReader(StringIO(paper_tables([folder], "csv"))))


def _section(
    run: FinishedRun, name: str, entries: Sequence[Mapping[str, str]], ends: tuple[float, float], gallery: Gallery
) -> Section:
    shades = colours((*run.methods, *run.baselines))
    paper = {entry["method"]: float(entry["paper"]) for entry in entries if entry["paper"]}
    measure = _cost_measure(run.summary)
    return Section(
        name=name,
        facts=_facts(run, entries[0]),
        headlines=tuple(_headlines(run)),
        measures=_measures(run, entries, shades),
        paired=_paired(run, shades),
        errors={
            title: bar_plot(_bars(run, metric, shades, paper if metric == "top1_loc_error" else {}), Axis("%", ends))
            for metric, title in _error_titles(run.summary).items()
        },
        has_paper=bool(paper),
        success=tuple(_success_plots(run, shades)),
        by_size=tuple(_size_plots(run, shades)),
        by_number=tuple(_number_plots(run, shades)),
        thresholds=tuple(_threshold_plots(run, shades)),
        tuned=_tuned(run),
        cost=_cost_plot(run, measure, shades),
        cost_measure=MEASURES[measure],
        gallery=gallery,
        methods={method: long_name(method) for method in run.methods},
        first_method=_MEANT if _MEANT in run.methods else run.methods[0],
        data=_script_data(gallery),
        manifest=json.dumps(run.manifest, indent=2, ensure_ascii=False),
    )


# In words.


def _facts(run: FinishedRun, entry: Mapping[str, str]) -> dict[str, str]:
    summary, about = run.summary, run.manifest["about"]
    images = f"{summary['images']:,} reported"
    if summary["images_failed"]:
        images += f", {summary['images_failed']:,} of them not usable"
    if summary["images_tuned_on"]:
        images += f"; {summary['images_tuned_on']:,} others to choose thresholds on"
    return {
        "network": run.manifest[runs.COMPARED]["model"]["name"],
        "weights": entry["weights"],
        "data": f"{about.get('root', 'not told')} ({about.get('layout', 'layout not told')})",
        "images": images,
        "class of the maps": entry["class"],
        "input": entry["preprocessing"],
        "boxes": entry["boxes"],
        "run": f"{run.folder.name}, begun {about['begun']}, on {about['device']}",
    }


def _headlines(run: FinishedRun) -> list[str]:
    """What the differences from local feedback say, in sentences."""
    found = _against(run.summary, "feedback")
    told = []
    for metric, what in _HEADLINES.items():
        difference = found.get(metric)
        if difference is None or difference["value"] is None:
            continue
        ours, theirs = (_per_cent(run.summary["methods"][name][metric]["value"]) for name in (_MEANT, "feedback"))
        value, low, high = (signed(100 * difference[name], 1) for name in ("value", "low", "high"))
        verdict = _verdict(metric, difference)
        meaning = f"GP is {verdict}" if verdict else "within the noise"
        told.append(f"{what}: GP {ours} %, FB {theirs} %, a difference of {value} points [{low}, {high}]: {meaning}.")
    return told


def _tuned(run: FinishedRun) -> bool:
    """Thresholds were chosen, on this run's tuning images or on another run."""
    return bool(run.summary["images_tuned_on"]) or len({each["box"] for each in run.summary["thresholds"].values()}) > 1


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f}"


# Tables.


def _known(summary: Mapping[str, Any]) -> list[str]:
    """The measures that some method has a value of."""
    methods = summary["methods"].values()
    return [metric for metric in MEASURES if any(scores[metric]["value"] is not None for scores in methods)]


def _arrow(metric: str) -> str:
    return "↓" if metric in _ERRORS else "↑"


def _measures(run: FinishedRun, entries: Sequence[Mapping[str, str]], shades: Mapping[str, str]) -> Table:
    """Every method's measures, the paper's error beside ours, and local feedback with the energy box."""
    known = _known(run.summary)
    paper = {entry["method"]: entry["paper"] for entry in entries}
    beside = any(paper.values())
    head = [(MEASURES[metric], _arrow(metric)) for metric in known]
    if beside:
        head.insert(1, ("paper’s top-1", _arrow("top1_loc_error")))
    rows = []
    for method, scores in run.summary["methods"].items():
        cells = [*(_cell(scores[metric]) for metric in known), _seconds(scores["seconds_per_image"])]
        rows.append(Row(long_name(method), shades[method], _beside(cells, paper.get(method), beside)))
        if method == "feedback" and ENERGY_BOX in paper:
            cells = [_cell(scores["top1_loc_error_energy_box"]), *[Cell("–")] * len(known)]
            rows.append(Row(NAMES[ENERGY_BOX], shades[method], _beside(cells, paper[ENERGY_BOX], beside)))
    return Table((*head, ("seconds per image", "↓")), tuple(rows))


def _beside(cells: Sequence[Cell], paper: str | None, wanted: bool) -> tuple[Cell, ...]:
    """The paper's number after the first cell, in a table that has its column."""
    return (cells[0], Cell(paper or "–"), *cells[1:]) if wanted else tuple(cells)


def _cell(score: Mapping[str, Any]) -> Cell:
    if score["value"] is None:
        return Cell("–")
    return Cell(_per_cent(score["value"]), f"{_per_cent(score['low'])}–{_per_cent(score['high'])}")


def _seconds(score: Mapping[str, Any]) -> Cell:
    return Cell(f"{score['value']:.2f}" if score["value"] else "–")


def _paired(run: FinishedRun, shades: Mapping[str, str]) -> Table | None:
    """GP less each other method, image by image; None in a run without GP."""
    others = [method for method in (*run.methods, *run.baselines) if method != _MEANT]
    if _MEANT not in run.methods:
        return None
    found = {method: _against(run.summary, method) for method in others}
    ours = run.summary["methods"][_MEANT]
    known = [metric for metric in MEASURES if ours[metric]["value"] is not None and not metric.startswith("oracle_")]
    rows = [
        Row(f"GP − {short_name(method)}", shades[method], tuple(_difference(m, found[method].get(m)) for m in known))
        for method in others
    ]
    return Table(tuple((MEASURES[metric], _arrow(metric)) for metric in known), tuple(rows))


def _against(summary: Mapping[str, Any], other: str) -> dict[str, Mapping[str, Any]]:
    """GP less another method, by measure."""
    for pair in summary["paired"]:
        if (pair["first"], pair["second"]) == (_MEANT, other):
            return dict(pair["differences"])
        if (pair["first"], pair["second"]) == (other, _MEANT):
            return {metric: _turned(score) for metric, score in pair["differences"].items()}
    return {}


def _turned(score: Mapping[str, Any]) -> Mapping[str, Any]:
    if score["value"] is None:
        return score
    return {"value": -score["value"], "low": -score["high"], "high": -score["low"]}


def _difference(metric: str, score: Mapping[str, Any] | None) -> Cell:
    if score is None or score["value"] is None:
        return Cell("–")
    value, low, high = (signed(100 * score[name], 1) for name in ("value", "low", "high"))
    return Cell(value, f"{low}, {high}", _verdict(metric, score))


def _verdict(metric: str, difference: Mapping[str, Any]) -> str:
    """Whether GP is better or worse beyond the interval; nothing where 0 is in it."""
    if difference["low"] <= 0 <= difference["high"]:
        return ""
    return "better" if (difference["value"] < 0) == (metric in _ERRORS) else "worse"


# Plots.


def _error_titles(summary: Mapping[str, Any]) -> dict[str, str]:
    titles = {
        "top1_loc_error": "Localization error, class predicted (top-1)",
        "gt_known_loc_error": "Localization error, class known",
    }
    known = _known(summary)
    return {metric: title for metric, title in titles.items() if metric in known}


def _error_ends(found: Sequence[FinishedRun]) -> tuple[float, float]:
    """One scale for the errors of all runs, so that their plots can be compared."""
    scores = [
        scores[metric]
        for run in found
        for metric in _error_titles(run.summary)
        for scores in run.summary["methods"].values()
    ]
    low = min(100 * score["low"] for score in scores if score["value"] is not None)
    high = max(100 * score["high"] for score in scores if score["value"] is not None)
    return max(0.0, 10 * np.floor((low - 1) / 10)), min(100.0, 10 * np.ceil((high + 1) / 10))


def _bars(run: FinishedRun, metric: str, shades: Mapping[str, str], paper: Mapping[str, float]) -> list[Bar]:
    bars = []
    for method, scores in run.summary["methods"].items():
        score = scores[metric]
        if score["value"] is not None:
            value, low, high = (100 * score[name] for name in ("value", "low", "high"))
            bars.append(Bar(short_name(method), shades[method], value, low, high, paper.get(method)))
    return bars


_SHARE = Axis("", (0, 100), {0: "0", 50: "50", 100: "100%"})


def _success_plots(run: FinishedRun, shades: Mapping[str, str]) -> list[str]:
    lines = []
    for method, shade in shades.items():
        overlap = np.sort(run.iou[method])
        shares = 100 - 100 * np.searchsorted(overlap, _IOU_LEVELS) / len(overlap)
        note = f"mean IoU {overlap.mean():.2f}"
        lines.append(Line(short_name(method), shade, _IOU_LEVELS.tolist(), shares.tolist(), note=note))
    return panels(lines, Axis("IoU needed", (0, 1), {0: "0", 0.5: ".5", 1: "1"}), _SHARE)


def _size_plots(run: FinishedRun, shades: Mapping[str, str]) -> list[str]:
    count = max(1, min(_SIZE_BINS, len(run.seen) // _BIN_LEAST))
    bins = np.array_split(np.argsort(run.size, kind="stable"), count)
    places = [100 * float(run.size[each].mean()) for each in bins]
    axis = Axis("% of the image", (0, 100), {0: "0", 50: "50", 100: "100"})
    return panels(_error_lines(run, shades, places, bins), axis, _SHARE)


def _number_plots(run: FinishedRun, shades: Mapping[str, str]) -> list[str]:
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


def _threshold_plots(run: FinishedRun, shades: Mapping[str, str]) -> list[str]:
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


def _cost_measure(summary: Mapping[str, Any]) -> str:
    return next(metric for metric in ("max_box_acc_v2", "mean_iou") if metric in _known(summary))


def _cost_plot(run: FinishedRun, metric: str, shades: Mapping[str, str]) -> str | None:
    points = []
    for method in run.methods:
        score, seconds = (run.summary["methods"][method][name] for name in (metric, "seconds_per_image"))
        if score["value"] is not None and seconds["value"]:
            value, low, high = (100 * score[name] for name in ("value", "low", "high"))
            points.append(Point(short_name(method), shades[method], seconds["value"], value, low, high))
    box = run.summary["methods"].get("center_box", {metric: {"value": None}})[metric]["value"]
    level = None if box is None else (short_name("center_box"), 100 * box)
    return cost_plot(points, f"{MEASURES[metric]}, %", level) if points else None


# For the page's script.


def _script_data(gallery: Gallery) -> dict[str, Any]:
    """What changes with the method: a list a card, in the order of the cards."""
    return {
        "cards": [
            {
                method: {"iou": round(view.iou, 3), "hit": view.hit, "boxes": view.boxes}
                | {"dashed": view.drawn_elsewhere, "map": view.heat}
                for method, view in card.views.items()
            }
            for card in gallery.cards
        ]
    }

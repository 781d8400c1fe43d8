"""Finished runs → one HTML page that needs nothing else: tables, plots, a gallery with filters, the manifests."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from looktwice import __version__
from looktwice.atomic_files import write_atomically
from looktwice.errors import MissingExtraError
from looktwice.report.finished_run import FinishedRun, read_run
from looktwice.report.gallery import Gallery, make_gallery
from looktwice.report.names import (
    ENERGY_BOX,
    LOWER_IS_BETTER,
    MEASURES,
    NAMES,
    better_arrow,
    colours,
    known_measures,
    long_name,
    per_cent,
    short_name,
    signed,
)
from looktwice.report.panels import (
    cost_measure,
    cost_panel,
    error_bars,
    error_ends,
    error_titles,
    number_plots,
    size_plots,
    success_plots,
    threshold_plots,
)
from looktwice.report.paper_tables import paper_tables
from looktwice.report.plots import Axis, bar_plot
from looktwice.runs.folder import COMPARED

CARDS = 120
"""Images in a run's gallery."""


ALL_CARDS = 240
"""Images in all galleries of a page: above, runs share them, so that the page stays light."""


_MEANT = "global_feedback"
"""The method that the others are compared with."""


_HEADLINES = {
    "gt_known_loc_error": "Localization error, class known",
    "top1_loc_error": "Localization error, class predicted",
    "max_box_acc_v2": "MaxBoxAccV2",
    "energy_in_box": "Energy in the object’s box",
}


@dataclass(frozen=True)
class TableCell:
    """A number and its interval in words; ``verdict`` is "better" or "worse" where the interval excludes 0."""

    value: str
    interval: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class TableRow:
    """A method's cells."""

    label: str
    colour: str
    cells: tuple[TableCell, ...]


@dataclass(frozen=True)
class MeasureTable:
    """Column names, each with an arrow to where better is, and rows."""

    head: tuple[tuple[str, str], ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class Section:
    """A run as the page shows it; plots are SVG elements, ``data`` is what the gallery's script reads."""

    name: str
    facts: Mapping[str, str]
    headlines: tuple[str, ...]
    measures: MeasureTable
    paired: MeasureTable | None
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
    write_atomically(output, render(folders, data=data).encode())


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
    ends = error_ends(found)
    sections = [
        _section(run, name, entries, ends, make_gallery(run, limit, data))
        for run, name, entries in zip(found, names, shares, strict=True)
    ]
    page = Environment(
        loader=PackageLoader("looktwice.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return page.get_template("report.html.j2").render(sections=sections, version=__version__, signed=signed)


def _names(found: Sequence[FinishedRun]) -> list[str]:
    """Each run's network; with the folder where two have the same."""
    networks = [_network(run) for run in found]
    return [
        network if networks.count(network) == 1 else f"{network} ({run.folder.name})"
        for network, run in zip(networks, found, strict=True)
    ]


def _network(run: FinishedRun) -> str:
    return str(run.manifest[COMPARED]["model"]["name"].rpartition(":")[2])


def _entries(folder: Path) -> list[dict[str, str]]:
    """The run's lines of the paper's table: method, error, its ends, the paper's, and what differs from the paper."""
    return list(csv.DictReader(StringIO(paper_tables([folder], "csv"))))


def _section(
    run: FinishedRun, name: str, entries: Sequence[Mapping[str, str]], ends: tuple[float, float], gallery: Gallery
) -> Section:
    shades = colours((*run.methods, *run.baselines))
    paper = {entry["method"]: float(entry["paper"]) for entry in entries if entry["paper"]}
    measure = cost_measure(run.summary)
    return Section(
        name=name,
        facts=_facts(run, entries[0]),
        headlines=tuple(_headlines(run)),
        measures=_measures(run, entries, shades),
        paired=_paired(run, shades),
        errors={
            title: bar_plot(
                error_bars(run, metric, shades, paper if metric == "top1_loc_error" else {}), Axis("%", ends)
            )
            for metric, title in error_titles(run.summary).items()
        },
        has_paper=bool(paper),
        success=tuple(success_plots(run, shades)),
        by_size=tuple(size_plots(run, shades)),
        by_number=tuple(number_plots(run, shades)),
        thresholds=tuple(threshold_plots(run, shades)),
        tuned=_tuned(run),
        cost=cost_panel(run, measure, shades),
        cost_measure=MEASURES[measure],
        gallery=gallery,
        methods={method: long_name(method) for method in run.methods},
        first_method=_MEANT if _MEANT in run.methods else run.methods[0],
        data=_script_data(gallery),
        manifest=json.dumps(run.manifest, indent=2, ensure_ascii=False),
    )


def _facts(run: FinishedRun, entry: Mapping[str, str]) -> dict[str, str]:
    summary, about = run.summary, run.manifest["about"]
    images = f"{summary['images']:,} reported"
    if summary["images_failed"]:
        images += f", {summary['images_failed']:,} of them not usable"
    if summary["images_tuned_on"]:
        images += f"; {summary['images_tuned_on']:,} others to choose thresholds on"
    return {
        "network": run.manifest[COMPARED]["model"]["name"],
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
        ours, theirs = (per_cent(run.summary["methods"][name][metric]["value"]) for name in (_MEANT, "feedback"))
        value, low, high = (signed(100 * difference[name], 1) for name in ("value", "low", "high"))
        verdict = _verdict(metric, difference)
        meaning = f"GP is {verdict}" if verdict else "within the noise"
        told.append(f"{what}: GP {ours} %, FB {theirs} %, a difference of {value} points [{low}, {high}]: {meaning}.")
    return told


def _tuned(run: FinishedRun) -> bool:
    """Thresholds were chosen, on this run's tuning images or on another run."""
    return bool(run.summary["images_tuned_on"]) or len({each["box"] for each in run.summary["thresholds"].values()}) > 1


def _measures(run: FinishedRun, entries: Sequence[Mapping[str, str]], shades: Mapping[str, str]) -> MeasureTable:
    """Every method's measures, the paper's error beside ours, and local feedback with the energy box."""
    known = known_measures(run.summary)
    paper = {entry["method"]: entry["paper"] for entry in entries}
    beside = any(paper.values())
    head = [(MEASURES[metric], better_arrow(metric)) for metric in known]
    if beside:
        head.insert(1, ("paper’s top-1", better_arrow("top1_loc_error")))
    rows = []
    for method, scores in run.summary["methods"].items():
        cells = [*(_cell(scores[metric]) for metric in known), _seconds(scores["seconds_per_image"])]
        rows.append(TableRow(long_name(method), shades[method], _beside(cells, paper.get(method), beside)))
        if method == "feedback" and ENERGY_BOX in paper:
            cells = [_cell(scores["top1_loc_error_energy_box"]), *[TableCell("–")] * len(known)]
            rows.append(TableRow(NAMES[ENERGY_BOX], shades[method], _beside(cells, paper[ENERGY_BOX], beside)))
    return MeasureTable((*head, ("seconds per image", "↓")), tuple(rows))


def _beside(cells: Sequence[TableCell], paper: str | None, wanted: bool) -> tuple[TableCell, ...]:
    """The paper's number after the first cell, in a table that has its column."""
    return (cells[0], TableCell(paper or "–"), *cells[1:]) if wanted else tuple(cells)


def _cell(score: Mapping[str, Any]) -> TableCell:
    if score["value"] is None:
        return TableCell("–")
    return TableCell(per_cent(score["value"]), f"{per_cent(score['low'])}–{per_cent(score['high'])}")


def _seconds(score: Mapping[str, Any]) -> TableCell:
    return TableCell(f"{score['value']:.2f}" if score["value"] else "–")


def _paired(run: FinishedRun, shades: Mapping[str, str]) -> MeasureTable | None:
    """GP less each other method, image by image; None in a run without GP."""
    others = [method for method in (*run.methods, *run.baselines) if method != _MEANT]
    if _MEANT not in run.methods:
        return None
    found = {method: _against(run.summary, method) for method in others}
    ours = run.summary["methods"][_MEANT]
    known = [metric for metric in MEASURES if ours[metric]["value"] is not None and not metric.startswith("oracle_")]
    rows = [
        TableRow(
            f"GP − {short_name(method)}", shades[method], tuple(_difference(m, found[method].get(m)) for m in known)
        )
        for method in others
    ]
    return MeasureTable(tuple((MEASURES[metric], better_arrow(metric)) for metric in known), tuple(rows))


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


def _difference(metric: str, score: Mapping[str, Any] | None) -> TableCell:
    if score is None or score["value"] is None:
        return TableCell("–")
    value, low, high = (signed(100 * score[name], 1) for name in ("value", "low", "high"))
    return TableCell(value, f"{low}, {high}", _verdict(metric, score))


def _verdict(metric: str, difference: Mapping[str, Any]) -> str:
    """Whether GP is better or worse beyond the interval; nothing where 0 is in it."""
    if difference["low"] <= 0 <= difference["high"]:
        return ""
    return "better" if (difference["value"] < 0) == (metric in LOWER_IS_BETTER) else "worse"


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

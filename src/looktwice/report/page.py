"""Finished runs → one HTML page that needs no other file: tables, plots, a gallery with filters, the manifests."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from looktwice import __version__
from looktwice.atomic_files import write_atomically
from looktwice.errors import MissingExtraError, printable
from looktwice.figures.look import page_look
from looktwice.labels import label_of
from looktwice.metrics.measures import MEASURES
from looktwice.report.cards import View
from looktwice.report.finished_run import FinishedRun, read_run
from looktwice.report.gallery import Gallery, make_gallery
from looktwice.report.measure_tables import (
    COMPARED,
    MeasureTable,
    all_boxes_paired_tables,
    all_boxes_tables,
    headlines,
    meanings,
    measure_tables,
    paired_tables,
    too_few,
)
from looktwice.report.panels import (
    bar_ends,
    cost_measure,
    cost_panel,
    faithfulness_measures,
    measure_bars,
    number_plots,
    plotted_measures,
    size_plots,
    success_plots,
    threshold_plots,
)
from looktwice.report.plots import Axis, bar_plot
from looktwice.report.run_entries import RunEntries, class_errors, run_entries
from looktwice.report.wording import shown_score, signed, where_boxes_were_drawn

CARDS = 120
"""Images in the gallery of a run."""


ALL_CARDS = 240
"""Images in all galleries of a page: more runs share them, so that the page stays small."""


@dataclass(frozen=True)
class Section:
    """A run as the page shows it. Plots are SVG elements; ``data`` is what the gallery's script reads.

    A grid pointing game (``squares``) and a run without true boxes have no plots of boxes. ``too_few`` says why methods
    are not compared; then there are no headlines, no differences and no marks.
    """

    name: str
    doubts: tuple[str, ...]
    facts: Mapping[str, str]
    too_few: str
    headlines: tuple[str, ...]
    measures: tuple[MeasureTable, ...]
    meanings: Mapping[str, tuple[str, str]]
    paired: tuple[MeasureTable, ...]
    all_boxes: tuple[MeasureTable, ...]
    all_boxes_paired: tuple[MeasureTable, ...]
    boxes_drawn: str
    bars: Mapping[str, str]
    faithfulness: Mapping[str, str]
    squares: str | None
    judges_boxes: bool
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
        folders: the folders of the runs.
        output: the page.
        data: the folder of their images; None: the folders in which the runs found them.

    Raises:
        RunError: a folder holds no finished run, or the page cannot be written.
        MissingExtraError: jinja2, matplotlib or pyarrow is not installed.
    """
    # A path need not be text: what no encoding has is written as an escape.
    write_atomically(output, render(folders, data=data).encode(errors="backslashreplace"))


def render(folders: Sequence[Path], *, data: Path | None = None) -> str:
    """The page of some finished runs as text; the same runs and images give the same page.

    Raises:
        RunError: a folder holds no finished run, or a file in it is damaged.
        MissingExtraError: jinja2, matplotlib or pyarrow is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("the report's page needs jinja2: pip install 'looktwice[report]'") from error
    runs = [read_run(folder) for folder in folders]
    limit = min(CARDS, ALL_CARDS // len(runs))
    sections = [
        _section(run, name, _ends(run, runs), make_gallery(run, limit, data))
        for run, name in zip(runs, _names(runs), strict=True)
    ]
    page = Environment(
        loader=PackageLoader("looktwice.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    return page.render(
        sections=sections, version=__version__, signed=signed, compared=label_of(COMPARED).title, look=page_look()
    )


def _names(runs: Sequence[FinishedRun]) -> list[str]:
    """The network of each run; with the folder if several runs have the same network."""
    networks = [run.manifest.run.model.short_name for run in runs]
    return [
        printable(network if networks.count(network) == 1 else f"{network} ({run.folder.name})")
        for network, run in zip(networks, runs, strict=True)
    ]


def _ends(run: FinishedRun, runs: Sequence[FinishedRun]) -> tuple[float, float]:
    """The ends of the scale that a run shares with the runs of the same subject."""
    return bar_ends([other for other in runs if other.manifest.run.subject == run.manifest.run.subject])


def _boxed(run: FinishedRun, plots: Callable[[FinishedRun], list[str]]) -> tuple[str, ...]:
    """Plots of judged boxes; none in a run that has no such boxes."""
    return tuple(plots(run)) if run.judges_boxes else ()


def _section(run: FinishedRun, name: str, ends: tuple[float, float], gallery: Gallery) -> Section:
    entries = run_entries(run.manifest, run.summary)
    paper = {entry.method: entry.paper for entry in entries.entries if entry.paper is not None}
    measure = cost_measure(run.summary)
    bars = {
        title: bar_plot(measure_bars(run, name, paper if name == "top1_loc_error" else {}), Axis("%", ends))
        for name, title in plotted_measures(run.summary).items()
    }
    faithful = faithfulness_measures(run.summary)
    share = Axis("%", bar_ends([run], faithful))
    return Section(
        name=name,
        doubts=run.doubts,
        facts={term: printable(fact) for term, fact in _facts(run, entries).items()},
        too_few=too_few(run),
        headlines=tuple(headlines(run)),
        measures=measure_tables(run, entries.entries),
        meanings=meanings(run),
        paired=paired_tables(run),
        all_boxes=all_boxes_tables(run),
        all_boxes_paired=all_boxes_paired_tables(run),
        boxes_drawn=where_boxes_were_drawn(run.summary),
        bars=bars,
        faithfulness={title: bar_plot(measure_bars(run, name, {}), share) for name, title in faithful.items()},
        squares=entries.conditions.squares,
        judges_boxes=run.judges_boxes,
        has_paper=bool(paper),
        success=_boxed(run, success_plots),
        by_size=_boxed(run, size_plots),
        by_number=_boxed(run, number_plots),
        thresholds=_boxed(run, threshold_plots),
        tuned=_tuned(run),
        cost=None if measure is None else cost_panel(run, measure),
        cost_measure="" if measure is None else MEASURES[measure].title,
        gallery=gallery,
        methods={method: run.manifest.label_of(method).title for method in run.methods},
        first_method=COMPARED if COMPARED in run.methods else run.methods[0],
        data=_script_data(gallery),
        manifest=json.dumps(run.manifest.as_json(), indent=2, ensure_ascii=False),
    )


def _facts(run: FinishedRun, entries: RunEntries) -> dict[str, str]:
    summary, about, conditions = run.summary, run.manifest.about, entries.conditions
    images = f"{summary.images:,} reported"
    judged = {"boxes": conditions.boxes}
    errors = [
        f"{measure.title} {shown_score(measure, summary.methods[run.methods[0]].score(measure.name))} %"
        for measure in class_errors(summary, run.manifest.run.model.classes)
    ]
    if summary.images_failed:
        images += f", {summary.images_failed:,} of them not usable"
    if summary.images_tuned_on:
        images += f"; {summary.images_tuned_on:,} others to choose thresholds on"
    if conditions.squares is not None:
        images, judged = conditions.images, {"squares": conditions.squares}
    return {
        "network": run.manifest.run.model.name,
        "weights": conditions.weights,
        **({"the network’s own errors": ", ".join(errors)} if errors else {}),
        "data": f"{about.root or 'not told'} ({about.layout or 'layout not told'})",
        "images": images,
        "class of the maps": conditions.target,
        **_feedback_options(run),
        "input": conditions.preprocessing,
        **judged,
        "run": f"{run.folder.name}, begun {about.begun}, on {about.device}",
    }


def _feedback_options(run: FinishedRun) -> dict[str, str]:
    """What readers compare first between two runs: the steps of each ascent, and λ. The manifest has all options."""
    told = [
        f"{run.manifest.label_of(method).title}: {options['steps']} steps, trace_weight {options['trace_weight']:g}"
        for method, options in run.manifest.run.methods.items()
        if {"steps", "trace_weight"} <= options.keys()
    ]
    return {"feedback": "; ".join(told)} if told else {}


def _tuned(run: FinishedRun) -> bool:
    """Whether thresholds were chosen, on this run's tuning images or on another run."""
    thresholds = {each.box for each in run.summary.thresholds.values()}
    return bool(run.summary.images_tuned_on) or len(thresholds) > 1


def _script_data(gallery: Gallery) -> dict[str, Any]:
    """What changes on each card with the method, in the order of the cards."""
    return {"cards": [{method: _view(view) for method, view in card.views.items()} for card in gallery.cards]}


def _view(view: View) -> dict[str, Any]:
    return {
        "value": None if math.isnan(view.value) else round(view.value, 3),
        "hit": view.hit,
        "boxes": [[*box.corners, box.is_right, box.is_judged] for box in view.boxes],
        "drawn": view.has_boxes,
        "map": view.heat,
        "numbers": [[title, round(100 * number, 1)] for title, number in view.numbers.items()],
    }

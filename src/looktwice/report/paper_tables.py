"""Finished runs → the tables of Fu et al. (2017), with the paper's numbers beside ours, and what differs.

Errors are shares in a summary, and per cent in a table with the bootstrap 95 % interval in brackets. Only here methods
also have the abbreviations of the paper. A run of the grid pointing game has the share in the own quarter in place of
the error.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from looktwice.errors import RunError
from looktwice.images import input_text
from looktwice.labels import label_of
from looktwice.metrics.measures import MEASURES, Measure
from looktwice.options import check_known
from looktwice.report.wording import shown_score, where_boxes_were_drawn
from looktwice.runs.folder import check_parts, read_finished
from looktwice.runs.manifest import BoxFacts, GridFacts, Manifest, PreprocessingFacts
from looktwice.runs.summary import Score, Summary

PAPER_IMAGES = 50_000
"""The images of the paper: the ILSVRC 2014 validation set."""


TOP5_CLASSES = 10
"""With fewer classes a table leaves out the classification error of five guesses: blind guesses have a low one too."""


ENERGY_BOX = "feedback, energy box"
"""Local feedback with the box of Cao et al. (2015): a row of its own in Table 1."""


_ENERGY_BOX = "box of 95 % of the energy"


ENERGY_BOX_TITLE = f"{label_of('feedback').title}, {_ENERGY_BOX}"
"""What that row is called."""


PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "googlenet": MappingProxyType(
            {"gradient": 65.9, "guided_backprop": 64.8, "feedback": 61.2, ENERGY_BOX: 62.6, "global_feedback": 59.6}
        ),
        "resnet": MappingProxyType({"global_feedback": 58.8}),
    }
)
"""Localization errors in per cent of Fu et al. (2017), Tables 1 and 2: class predicted, external contours."""


@dataclass(frozen=True)
class Entry:
    """A method's measure in per cent, its interval, and the paper's localization error, if it has one."""

    network: str
    method: str
    value: float
    low: float
    high: float
    paper: float | None

    @property
    def ours(self) -> str:
        """The measure and its interval as printed."""
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"

    @property
    def published(self) -> str:
        """The paper's error as printed."""
        return "–" if self.paper is None else f"{self.paper:.1f}"


@dataclass(frozen=True)
class Conditions:
    """What a reader must know to compare a run with the paper, in words."""

    weights: str
    images: str
    preprocessing: str
    boxes: str
    target: str
    squares: str | None = None

    @property
    def by_name(self) -> dict[str, str]:
        """Under the names that tables print. A grid pointing game has squares and no boxes."""
        judged = {"boxes": self.boxes} if self.squares is None else {"squares": self.squares}
        told = {"weights": self.weights, "images": self.images, "preprocessing": self.preprocessing}
        return {**told, **judged, "class": self.target}


@dataclass(frozen=True)
class RunEntries:
    """A measure of a run's methods, and how its numbers came about."""

    network: str
    measure: Measure
    entries: tuple[Entry, ...]
    conditions: Conditions


@dataclass(frozen=True)
class PrintedTable:
    """A table as it is printed: the first column is text, the others are numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def paper_tables(folders: Sequence[Path], form: str = "text") -> str:
    """Table 1 of each run and, for several runs, Table 2; as text, Markdown, LaTeX or CSV.

    Raises:
        OptionError: the form is unknown.
        RunError: a folder holds no finished run, or some are of images and others of squares.
    """
    check_known("form", form, FORMS)
    finished = [read_finished(folder) for folder in folders]
    for folder in folders:
        check_parts(folder)
    of_squares = [folder for folder, (manifest, _) in zip(folders, finished, strict=True) if manifest.run.grid]
    if of_squares and len(of_squares) < len(folders):
        raise RunError(
            f"{of_squares[0]} is a grid pointing game and other runs are not, so they have no number in common; print "
            "a table of each kind"
        )
    runs = [run_entries(manifest, summary) for manifest, summary in finished]
    return FORMS[form](_told_apart(runs))


def measures(summary: Summary, *, classes: int | None = None, grid: GridFacts | None = None) -> str:
    """All measures of a summary in per cent, a row for each method. Measures that no method has are left out.

    The network's own classification errors come first: no method can find an object whose class is wrong.

    Args:
        summary: of the run.
        classes: how many classes the network has, if that is known; see ``TOP5_CLASSES``.
        grid: the squares, if the run is a grid pointing game.
    """
    known = [*summary.known_class_errors, *summary.known_measures]
    if classes is not None and classes < TOP5_CLASSES:
        known = [measure for measure in known if measure.name != "top5_class_error"]
    rows = [
        (method, *(shown_score(measure, found.score(measure.name)) for measure in known))
        for method, found in summary.methods.items()
    ]
    of = f"{summary.images:,} images" if grid is None else squares_text(grid)
    title = f"{of}, {summary.images_failed:,} of them failed; per cent"
    return _as_text(PrintedTable(title, ("method", *(measure.short_title for measure in known)), tuple(rows)))


def all_boxes(summary: Summary) -> str:
    """The measures of all boxes of a summary, a row for each method; empty if the run has none of them."""
    known = summary.known_box_measures
    if not known:
        return ""
    rows = [
        (method, *(shown_score(measure, found.score(measure.name)) for measure in known))
        for method, found in summary.methods.items()
    ]
    title = "All boxes of an image, for images with one object, with several, and all; per cent, except boxes an image"
    table = _as_text(PrintedTable(title, ("method", *(measure.short_title for measure in known)), tuple(rows)))
    return "\n".join([table, *filter(None, [where_boxes_were_drawn(summary)])])


def run_entries(manifest: Manifest, summary: Summary) -> RunEntries:
    """A measure of a run's methods: the localization error, with the paper's errors of the same network.

    A grid pointing game has the share in the own quarter, and the paper has no such number.
    """
    network = manifest.run.model.short_name
    measure = MEASURES["top1_loc_error" if manifest.run.grid is None else "grid_pointing_game"]
    # The name of a user's own factory is the best hint there is: "googlenet_bn" and "resnet50" both tell.
    factory = network.rpartition(":")[2].lower()
    family = next((name for name in PUBLISHED if name in factory), "")
    published = PUBLISHED.get(family, {}) if manifest.run.grid is None else {}
    scores: dict[str, Score | None] = {}
    for method, found in summary.methods.items():
        scores[method] = found.score(measure.name)
        if method == "feedback" and manifest.run.box.rule != "energy":
            scores[ENERGY_BOX] = found.score("top1_loc_error_energy_box")
    entries = tuple(
        Entry(network, method, 100 * score.value, 100 * score.low, 100 * score.high, published.get(method))
        for method, score in scores.items()
        if score is not None
    )
    return RunEntries(network, measure, entries, _conditions(manifest, summary))


def _conditions(manifest: Manifest, summary: Summary) -> Conditions:
    run = manifest.run
    targets = {"predicted": "predicted", "top5": "predicted, five guesses", "true": "true label"}
    return Conditions(
        weights=f"{manifest.about.weights} (SHA-256 {run.model.weights_hash[:12]})",
        images=_images(summary) if run.grid is None else f"{sum(map(len, run.grid.squares)):,} in the squares",
        preprocessing=_preprocessing(run.preprocessing),
        boxes=_boxes(run.box, summary),
        target=targets[run.target],
        squares=None if run.grid is None else squares_text(run.grid),
    )


def squares_text(grid: GridFacts) -> str:
    """How many squares a grid pointing game has, and how large they are, in words."""
    size = "at half size, as the network takes its own size only" if grid.halved else "at twice the network's input"
    count = len(grid.squares)
    text = f"{count:,} square{'s' * (count != 1)} of four images {size}"
    if len(grid.squares) < grid.wanted:
        text += f" ({grid.wanted:,} were asked for, and the network recognises too few images)"
    return text


def _images(summary: Summary) -> str:
    text = f"{summary.images:,} where the paper has {PAPER_IMAGES:,}"
    if summary.images_failed:
        text += f", {summary.images_failed:,} of them not usable"
    return text


def _preprocessing(choices: PreprocessingFacts) -> str:
    return input_text(choices.resize, choices.crop, squash=choices.squash)


def _boxes(box: BoxFacts, summary: Summary) -> str:
    if box.rule == "objects":
        which = {"largest": "best object", "any": "any object"}[box.boxes]
        return f"{which}, with a score of {box.min_score:.2f} or more (the best one always counts); no threshold"
    kind = {"largest": "largest external contour", "any": "any external contour"}[box.boxes]
    if box.rule == "energy":
        kind = "tightest box"
    share = "the maximum" if box.rule == "contour" and box.by == "max" else "the energy"
    if summary.images_tuned_on:
        return f"{kind}, share of {share} chosen for each method on {summary.images_tuned_on:,} other images"
    shares = sorted({100 * each.box for each in summary.thresholds.values() if each.box is not None})
    if len(shares) > 1:
        return f"{kind}, share of {share} chosen for each method on another run"
    return f"{kind} at {shares[0]:.0f} % of {share}" if shares else kind


def _told_apart(runs: Sequence[RunEntries]) -> list[RunEntries]:
    """Runs of the same network, each with the conditions in which it differs added to the network's name."""
    told = []
    for run in runs:
        own = run.conditions.by_name
        others = [other.conditions.by_name for other in runs if other.network == run.network]
        differing = [value for name, value in own.items() if any(other[name] != value for other in others)]
        told.append(replace(run, network=" — ".join([run.network, *differing])))
    return told


def _tables(runs: Sequence[RunEntries]) -> list[PrintedTable]:
    tables = [_first_table(run) for run in runs]
    return [*tables, _second_table(runs)] if len(runs) > 1 else tables


def _first_table(run: RunEntries) -> PrintedTable:
    """Table 1: the methods on one network."""
    beside = any(entry.paper is not None for entry in run.entries)
    rows = [(_name(e.method), e.ours, *([e.published] if beside else [])) for e in run.entries]
    head = ("method", "ours [95 %]", *(["paper"] if beside else []))
    title = "Table 1. Localization error" if run.measure.name == "top1_loc_error" else run.measure.title
    return PrintedTable(f"{title} (%), {run.network}", head, tuple(rows))


def _second_table(runs: Sequence[RunEntries]) -> PrintedTable:
    """Table 2: the methods on several networks."""
    methods = dict.fromkeys(entry.method for run in runs for entry in run.entries)
    head: list[str] = ["method"]
    columns: list[list[str]] = []
    for run in runs:
        found = {entry.method: entry for entry in run.entries}
        head.append(run.network)
        columns.append([found[method].ours if method in found else "–" for method in methods])
        if any(entry.paper is not None for entry in run.entries):
            head.append("paper")
            columns.append([found[method].published if method in found else "–" for method in methods])
    rows = zip(map(_name, methods), *columns, strict=True)
    title = "Table 2. Localization error" if runs[0].measure.name == "top1_loc_error" else runs[0].measure.title
    return PrintedTable(f"{title} (%) of several networks", tuple(head), tuple(rows))


def _name(method: str) -> str:
    """A method with the paper's abbreviation."""
    if method == ENERGY_BOX:
        return f"{label_of('feedback').in_the_paper}, {_ENERGY_BOX}"
    return label_of(method).in_the_paper


def _notes(runs: Iterable[RunEntries]) -> list[str]:
    return [f"{run.network}: {'; '.join(f'{k}: {v}' for k, v in run.conditions.by_name.items())}" for run in runs]


def _notes_title(runs: Sequence[RunEntries]) -> str:
    return "What differs from the paper" if runs[0].measure.name == "top1_loc_error" else "How it was measured"


def _text(runs: Sequence[RunEntries]) -> str:
    notes = "\n".join(f"- {note}" for note in _notes(runs))
    return "\n\n".join([*map(_as_text, _tables(runs)), f"{_notes_title(runs)}\n{notes}"])


def _as_text(table: PrintedTable) -> str:
    lines = [table.head, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.head))]
    lines.insert(1, tuple("-" * width for width in widths))
    told = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, "", *told])


def _markdown(runs: Sequence[RunEntries]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    def told(table: PrintedTable) -> str:
        marks = ("---", *("---:" for _ in table.head[1:]))
        return "\n".join([f"**{table.title}**", "", *map(line, (table.head, marks, *table.rows))])

    notes = "\n".join(f"- {note}" for note in _notes(runs))
    return "\n\n".join([*map(told, _tables(runs)), f"**{_notes_title(runs)}**", notes])


def _latex(runs: Sequence[RunEntries]) -> str:
    def told(table: PrintedTable) -> str:
        lines = [" & ".join(map(_escaped, line)) + r" \\" for line in (table.head, *table.rows)]
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_escaped(table.title)}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )

    notes = "\n".join(f"% {note}" for note in _notes(runs))
    return "\n\n".join([*map(told, _tables(runs)), f"% {_notes_title(runs)}\n{notes}"])


def _escaped(text: str) -> str:
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    special |= {"^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "—": "---"}
    return "".join(special.get(character, character) for character in text)


def _csv(runs: Sequence[RunEntries]) -> str:
    """A line for each entry; what differs from the paper has columns of its own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            "network",
            "method",
            "error" if runs[0].measure.lower_is_better else "share",
            "low",
            "high",
            "paper",
            *runs[0].conditions.by_name,
        ]
    )
    for run in runs:
        for entry in run.entries:
            numbers = [f"{value:.4f}" for value in (entry.value, entry.low, entry.high)]
            paper = "" if entry.paper is None else entry.paper
            writer.writerow([entry.network, entry.method, *numbers, paper, *run.conditions.by_name.values()])
    return buffer.getvalue().rstrip("\n")


FORMS: Mapping[str, Callable[[Sequence[RunEntries]], str]] = MappingProxyType(
    {"text": _text, "markdown": _markdown, "latex": _latex, "csv": _csv}
)

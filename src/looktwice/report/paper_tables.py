"""Finished runs → the tables of Fu et al. (2017), with the paper's numbers beside ours, and what differs.

Errors are shares in a summary, and per cent in a table with the bootstrap 95 % interval in brackets. Only here methods
also have the abbreviations of the paper. A run of the grid pointing game has the share in the own quarter in place of
the error. A run without true boxes has insertion and deletion, or else the network's own errors: a table of each.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from looktwice.errors import RunError
from looktwice.labels import label_of
from looktwice.options import check_known
from looktwice.report.run_entries import (
    ENERGY_BOX,
    ENERGY_BOX_NAME,
    RunEntries,
    class_errors,
    run_entries,
    squares_text,
    told_measures,
)
from looktwice.report.wording import shown_score, where_boxes_were_drawn
from looktwice.runs.folder import check_parts, read_finished
from looktwice.runs.manifest import GridFacts
from looktwice.runs.summary import Summary


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
    told = [told_measures(manifest, summary) for manifest, summary in finished]
    for folder, measures_told in zip(folders, told, strict=True):
        if not set(measures_told) & set(told[0]):
            raise RunError(
                f"{folder} and {folders[0]} have no number in common: {measures_told[0].title.lower()}, and "
                f"{told[0][0].title.lower()}; print a table of each kind"
            )
    runs = [
        run_entries(manifest, summary, measure)
        for measure in dict.fromkeys(chain.from_iterable(told))
        for (manifest, summary), known in zip(finished, told, strict=True)
        if measure in known
    ]
    return FORMS[form](_told_apart(runs))


def measures(summary: Summary, *, classes: int | None = None, grid: GridFacts | None = None) -> str:
    """All measures of a summary in per cent, a row for each method. Measures that no method has are left out.

    The network's own classification errors come first: no method can find an object whose class is wrong.

    Args:
        summary: of the run.
        classes: how many classes the network has, if that is known; see ``TOP5_CLASSES``.
        grid: the squares, if the run is a grid pointing game.
    """
    known = [*class_errors(summary, classes), *summary.known_measures]
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
    """For each measure a table of each run and, for several runs, one of all."""
    tables = []
    for measure in dict.fromkeys(run.measure for run in runs):
        own = [run for run in runs if run.measure == measure]
        tables += [_first_table(run) for run in own] + ([_second_table(own)] if len(own) > 1 else [])
    return tables


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
        return f"{label_of('feedback').in_the_paper}, {ENERGY_BOX_NAME}"
    return label_of(method).in_the_paper


def _notes(runs: Sequence[RunEntries]) -> list[str]:
    """How the numbers of each run came about; once where several measures are of one run."""
    told = [f"{run.network}: {'; '.join(f'{k}: {v}' for k, v in run.conditions.by_name.items())}" for run in runs]
    return list(dict.fromkeys(told)) if len({run.measure for run in runs}) > 1 else told


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
    several = len({run.measure for run in runs}) > 1
    number = "value" if several else "error" if runs[0].measure.lower_is_better else "share"
    which = ["measure"] if several else []
    writer.writerow(["network", "method", *which, number, "low", "high", "paper", *runs[0].conditions.by_name])
    for run in runs:
        for entry in run.entries:
            numbers = [f"{value:.4f}" for value in (entry.value, entry.low, entry.high)]
            name = [run.measure.name] if several else []
            paper = "" if entry.paper is None else entry.paper
            conditions = run.conditions.by_name.values()
            writer.writerow([entry.network, entry.method, *name, *numbers, paper, *conditions])
    return buffer.getvalue().rstrip("\n")


FORMS: Mapping[str, Callable[[Sequence[RunEntries]], str]] = MappingProxyType(
    {"text": _text, "markdown": _markdown, "latex": _latex, "csv": _csv}
)

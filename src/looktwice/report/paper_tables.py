"""Finished runs → the tables of Fu et al. (2017), the paper's own figures beside ours, and what differs.

Errors are shares in a summary and per cent in a table, with their bootstrap 95 % interval in brackets.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from looktwice.errors import OptionError
from looktwice.report.names import ENERGY_BOX, MEASURES, NAMES
from looktwice.runs.folder import COMPARED, read_manifest, read_summary

PAPER_IMAGES = 50_000
"""The ILSVRC 2014 validation set."""


PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "googlenet": MappingProxyType(
            {"gradient": 65.9, "guided_backprop": 64.8, "feedback": 61.2, ENERGY_BOX: 62.6, "global_feedback": 59.6}
        ),
        "resnet": MappingProxyType({"global_feedback": 58.8}),
    }
)
"""Localization error in per cent that Fu et al. (2017) report: class predicted, external contours (Tables 1 and 2)."""


@dataclass(frozen=True)
class Entry:
    """A localization error in per cent, its interval, and the paper's, where it has one."""

    network: str
    method: str
    error: float
    low: float
    high: float
    paper: float | None

    @property
    def ours(self) -> str:
        """The error and its interval in words."""
        return f"{self.error:.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class RunTable:
    """A run's entries, and by name what a reader must know to compare them with the paper's."""

    network: str
    entries: tuple[Entry, ...]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class PlainTable:
    """Cells as they are printed; the first column is text, the others are numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def paper_tables(folders: Sequence[Path], form: str = "text") -> str:
    """Table 1 of each run and, of several, Table 2, as text, Markdown, LaTeX or CSV.

    Raises:
        OptionError: an unknown form.
        RunError: a folder without a finished run.
    """
    if form not in FORMS:
        raise OptionError(f"unknown form: {form!r}; there are {', '.join(FORMS)}")
    return FORMS[form](_told_apart([_report(folder) for folder in folders]))


def measures(summary: Mapping[str, Any]) -> str:
    """All measures of a summary in per cent, methods beside each other; those without a value are left out."""
    methods = summary["methods"]
    known = [name for name in MEASURES if any(scores[name]["value"] is not None for scores in methods.values())]
    rows = [(method, *(_percent(scores[name]["value"]) for name in known)) for method, scores in methods.items()]
    title = f"{summary['images']:,} images, {summary['images_failed']:,} of them failed; per cent"
    return _as_text(PlainTable(title, ("method", *(MEASURES[name] for name in known)), tuple(rows)))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _report(folder: Path) -> RunTable:
    manifest, summary = read_manifest(folder), read_summary(folder)
    run = manifest[COMPARED]
    network = run["model"]["name"].rpartition(":")[2]
    # A user's own network is known by its file's name at best; "googlenet_bn" and "resnet50" both tell.
    family = next((name for name in PUBLISHED if name in network.lower()), "")
    published = PUBLISHED.get(family, {})
    scores: dict[str, Mapping[str, Any]] = {}
    for method, found in summary["methods"].items():
        scores[method] = found["top1_loc_error"]
        if method == "feedback" and run["box"]["rule"] == "contour":
            scores[ENERGY_BOX] = found["top1_loc_error_energy_box"]
    entries = tuple(
        _entry(network, method, score, published.get(method))
        for method, score in scores.items()
        if score["value"] is not None
    )
    return RunTable(network, entries, _facts(manifest, summary))


def _entry(network: str, method: str, score: Mapping[str, float], paper: float | None) -> Entry:
    return Entry(network, method, 100 * score["value"], 100 * score["low"], 100 * score["high"], paper)


def _facts(manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, str]:
    run = manifest[COMPARED]
    return {
        "weights": f"{manifest['about']['weights']} (SHA-256 {run['model']['weights_hash'][:12]})",
        "images": _images(summary),
        "preprocessing": _preprocessing(run["preprocessing"]),
        "boxes": _boxes(run["box"], summary),
        "class": {"predicted": "predicted", "top5": "predicted, five guesses", "true": "true label"}[run["target"]],
    }


def _images(summary: Mapping[str, Any]) -> str:
    text = f"{summary['images']:,} where the paper has {PAPER_IMAGES:,}"
    if summary["images_failed"]:
        text += f", {summary['images_failed']:,} of them not usable"
    return text


def _preprocessing(choices: Mapping[str, Any]) -> str:
    side = f"{choices['crop']}×{choices['crop']}"
    if choices["squash"]:
        return f"squashed to {side}"
    return f"shorter side {choices['resize']}, centre {side}"


def _boxes(box: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    kind = {"largest": "largest external contour", "any": "any external contour"}[box["boxes"]]
    if box["rule"] == "energy":
        kind = "tightest box"
    share = "the maximum" if box["rule"] == "contour" and box["by"] == "max" else "the energy"
    if summary["images_tuned_on"]:
        return f"{kind}, share of {share} chosen for each method on {summary['images_tuned_on']:,} other images"
    shares = sorted({100 * each["box"] for each in summary["thresholds"].values()})
    if len(shares) > 1:
        return f"{kind}, share of {share} chosen for each method on another run"
    return f"{kind} at {shares[0]:.0f} % of {share}"


def _told_apart(reports: Sequence[RunTable]) -> list[RunTable]:
    """Runs of one network get the names of what they differ in."""
    told = []
    for report in reports:
        others = [other.facts for other in reports if other.network == report.network]
        differing = [value for name, value in report.facts.items() if any(other[name] != value for other in others)]
        told.append(RunTable(" — ".join([report.network, *differing]), report.entries, report.facts))
    return told


def _tables(reports: Sequence[RunTable]) -> list[PlainTable]:
    tables = []
    for report in reports:
        beside = any(entry.paper is not None for entry in report.entries)
        rows = [(_name(e.method), e.ours, *([_paper(e)] if beside else [])) for e in report.entries]
        head = ("method", "ours [95 %]", *(["paper"] if beside else []))
        tables.append(PlainTable(f"Table 1. Localization error (%), {report.network}", head, tuple(rows)))
    if len(reports) > 1:
        tables.append(_second_table(reports))
    return tables


def _second_table(reports: Sequence[RunTable]) -> PlainTable:
    methods = dict.fromkeys(entry.method for report in reports for entry in report.entries)
    head: list[str] = ["method"]
    columns: list[list[str]] = []
    for report in reports:
        found = {entry.method: entry for entry in report.entries}
        head.append(report.network)
        columns.append([found[method].ours if method in found else "–" for method in methods])
        if any(entry.paper is not None for entry in report.entries):
            head.append("paper")
            columns.append([_paper(found[method]) if method in found else "–" for method in methods])
    rows = zip(map(_name, methods), *columns, strict=True)
    return PlainTable("Table 2. Localization error (%) of several networks", tuple(head), tuple(rows))


def _name(method: str) -> str:
    return NAMES.get(method, method)


def _paper(entry: Entry) -> str:
    return "–" if entry.paper is None else f"{entry.paper:.1f}"


def _notes(reports: Iterable[RunTable]) -> list[str]:
    return [f"{report.network}: {'; '.join(f'{k}: {v}' for k, v in report.facts.items())}" for report in reports]


def _text(reports: Sequence[RunTable]) -> str:
    notes = "\n".join(f"- {note}" for note in _notes(reports))
    return "\n\n".join([*map(_as_text, _tables(reports)), f"What differs from the paper\n{notes}"])


def _as_text(table: PlainTable) -> str:
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


def _markdown(reports: Sequence[RunTable]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    def told(table: PlainTable) -> str:
        marks = ("---", *("---:" for _ in table.head[1:]))
        return "\n".join([f"**{table.title}**", "", *map(line, (table.head, marks, *table.rows))])

    notes = "\n".join(f"- {note}" for note in _notes(reports))
    return "\n\n".join([*map(told, _tables(reports)), "**What differs from the paper**", notes])


def _latex(reports: Sequence[RunTable]) -> str:
    def told(table: PlainTable) -> str:
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

    notes = "\n".join(f"% {note}" for note in _notes(reports))
    return "\n\n".join([*map(told, _tables(reports)), f"% What differs from the paper\n{notes}"])


def _escaped(text: str) -> str:
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    special |= {"^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "—": "---"}
    return "".join(special.get(character, character) for character in text)


def _csv(reports: Sequence[RunTable]) -> str:
    """A line an entry; what differs from the paper stands in columns of its own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["network", "method", "error", "low", "high", "paper", *reports[0].facts])
    for report in reports:
        for entry in report.entries:
            numbers = [f"{value:.4f}" for value in (entry.error, entry.low, entry.high)]
            paper = "" if entry.paper is None else entry.paper
            writer.writerow([entry.network, entry.method, *numbers, paper, *report.facts.values()])
    return buffer.getvalue().rstrip("\n")


FORMS: Mapping[str, Callable[[Sequence[RunTable]], str]] = MappingProxyType(
    {"text": _text, "markdown": _markdown, "latex": _latex, "csv": _csv}
)

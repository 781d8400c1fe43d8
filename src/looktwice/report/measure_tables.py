"""The tables of a page: each method's measures, and how global feedback differs from the other methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from looktwice.labels import label_of
from looktwice.metrics.measures import ALL_BOXES, MEASURES, Measure
from looktwice.report.finished_run import FinishedRun
from looktwice.report.paper_tables import ENERGY_BOX, ENERGY_BOX_TITLE, Entry
from looktwice.report.wording import better_arrow, per_cent, shown, signed
from looktwice.runs.summary import Score

COMPARED = "global_feedback"
"""The method that the others are compared with."""


_HEADLINES = ("gt_known_loc_error", "top1_loc_error", "max_box_acc_v2", "energy_in_box", "grid_pointing_game")
"""The measures whose differences are told in sentences."""


_BOX_DIFFERENCES = ("box_f1", "box_ap50")
"""How the names of the measures of all boxes begin whose differences are shown: both weigh what is found and strays."""


@dataclass(frozen=True)
class TableCell:
    """A number and its interval as printed; ``verdict`` is "better" or "worse" if the interval excludes 0."""

    value: str
    interval: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class TableRow:
    """The cells of a method."""

    label: str
    colour: str
    cells: tuple[TableCell, ...]


@dataclass(frozen=True)
class MeasureTable:
    """Column names, each with an arrow that points to better numbers (empty if none are better), and rows."""

    head: tuple[tuple[str, str], ...]
    rows: tuple[TableRow, ...]


_EMPTY = TableCell("–")


def measures_table(run: FinishedRun, entries: Sequence[Entry]) -> MeasureTable:
    """Every method's measures, the paper's error beside ours, and a row for the energy box of local feedback."""
    known = run.summary.known_measures
    seconds = MEASURES["seconds_per_image"]
    paper = {entry.method: entry.paper for entry in entries}
    beside = any(paper.values())
    head = [_heading(measure) for measure in known]
    if beside:
        head.insert(1, ("paper’s top-1", better_arrow(MEASURES["top1_loc_error"].lower_is_better)))
    rows = []
    for method, summary in run.summary.methods.items():
        label = run.manifest.label_of(method)
        cells = [_cell(measure, summary.score(measure.name)) for measure in known]
        cells.append(_seconds(summary.score(seconds.name)))
        rows.append(TableRow(label.title, label.colour, _beside(cells, paper.get(method), beside)))
        if method == "feedback" and ENERGY_BOX in paper:
            energy_box = MEASURES["top1_loc_error_energy_box"]
            cells = [_cell(energy_box, summary.score(energy_box.name)), *[_EMPTY] * len(known)]
            rows.append(TableRow(ENERGY_BOX_TITLE, label.colour, _beside(cells, paper[ENERGY_BOX], beside)))
    return MeasureTable((*head, _heading(seconds)), tuple(rows))


def all_boxes_table(run: FinishedRun) -> MeasureTable | None:
    """Every method's measures of all boxes; None if the run has none of them."""
    known = run.summary.known_box_measures
    rows = []
    for method, summary in run.summary.methods.items():
        label = run.manifest.label_of(method)
        cells = tuple(_cell(measure, summary.score(measure.name)) for measure in known)
        rows.append(TableRow(label.title, label.colour, cells))
    return MeasureTable(tuple(map(_heading, known)), tuple(rows)) if known else None


def paired_table(run: FinishedRun) -> MeasureTable | None:
    """Global feedback less each other method, image by image; None in a run without global feedback."""
    return _differences_table(run, [measure for measure in MEASURES.values() if measure.kind == "result"])


def all_boxes_paired_table(run: FinishedRun) -> MeasureTable | None:
    """As ``paired_table``, F1 and AP50 of all boxes; None also if the run has none of them."""
    return _differences_table(run, [measure for measure in ALL_BOXES if measure.name.startswith(_BOX_DIFFERENCES)])


def _differences_table(run: FinishedRun, measures: Sequence[Measure]) -> MeasureTable | None:
    if COMPARED not in run.methods:
        return None
    ours = run.summary.methods[COMPARED]
    known = [measure for measure in measures if ours.score(measure.name) is not None]
    if not known:
        return None
    rows = []
    for method in run.names:
        if method != COMPARED:
            found = run.summary.difference(COMPARED, method)
            cells = tuple(_difference(measure, found.get(measure.name)) for measure in known)
            label = run.manifest.label_of(method)
            rows.append(TableRow(f"{label_of(COMPARED).short_name} − {label.short_name}", label.colour, cells))
    return MeasureTable(tuple(_heading(measure) for measure in known), tuple(rows))


def headlines(run: FinishedRun) -> list[str]:
    """Sentences that say how global feedback differs from local feedback."""
    ours, theirs = (run.summary.methods.get(method) for method in (COMPARED, "feedback"))
    found = run.summary.difference(COMPARED, "feedback")
    if ours is None or theirs is None:
        return []
    return [
        _headline(MEASURES[name], ours.score(name), theirs.score(name), found[name])
        for name in _HEADLINES
        if name in found
    ]


def _headline(measure: Measure, ours: Score | None, theirs: Score | None, difference: Score) -> str:
    first, second = label_of(COMPARED).title, label_of("feedback").title
    numbers = [per_cent(score.value) if score else "–" for score in (ours, theirs)]
    value, low, high = (signed(100 * each, 1) for each in (difference.value, difference.low, difference.high))
    verdict = verdict_of(measure, difference)
    meaning = f"{first} is {verdict}" if verdict else "within the noise"
    return (
        f"{measure.title}: {first} {numbers[0]} %, {second} {numbers[1]} %. "
        f"The difference is {value} points [{low}, {high}]: {meaning}."
    )


def verdict_of(measure: Measure, difference: Score) -> str:
    """Whether the first method of a difference is "better" or "worse"; empty if 0 lies in the interval."""
    if not difference.excludes_zero:
        return ""
    return "better" if (difference.value < 0) == measure.lower_is_better else "worse"


def _heading(measure: Measure) -> tuple[str, str]:
    return measure.short_title, "" if measure.kind == "box_count" else better_arrow(measure.lower_is_better)


def _beside(cells: Sequence[TableCell], paper: float | None, wanted: bool) -> tuple[TableCell, ...]:
    """The cells with the paper's number after the first one, if the table has a column for it."""
    number = _EMPTY if paper is None else TableCell(f"{paper:.1f}")
    return (cells[0], number, *cells[1:]) if wanted else tuple(cells)


def _cell(measure: Measure, score: Score | None) -> TableCell:
    if score is None:
        return _EMPTY
    value, low, high = (shown(measure, number) for number in (score.value, score.low, score.high))
    return TableCell(value, f"{low}–{high}")


def _seconds(score: Score | None) -> TableCell:
    return TableCell(f"{score.value:.2f}") if score is not None and score.value else _EMPTY


def _difference(measure: Measure, score: Score | None) -> TableCell:
    if score is None:
        return _EMPTY
    value, low, high = (signed(100 * each, 1) for each in (score.value, score.low, score.high))
    return TableCell(value, f"{low}, {high}", verdict_of(measure, score))


def meanings(run: FinishedRun) -> Mapping[str, str]:
    """What each measure of the tables means, by its short title."""
    known = [*run.summary.known_measures, *run.summary.known_box_measures, MEASURES["seconds_per_image"]]
    return {measure.short_title: measure.meaning for measure in known}

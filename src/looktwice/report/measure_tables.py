"""The tables of a page: each method's measures, and how global feedback differs from the other methods.

A table has few columns, so that it fits a page: measures of one kind stand together. With fewer than 50 images no
method is called better than another, in words or by a mark.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from looktwice.labels import label_of
from looktwice.metrics.measures import ALL_BOXES, MEASURES, Measure
from looktwice.report.finished_run import FinishedRun
from looktwice.report.run_entries import ENERGY_BOX, ENERGY_BOX_TITLE, Entry
from looktwice.report.wording import better_arrow, per_cent, sentence, shown, signed
from looktwice.runs.summary import Score

COMPARED = "global_feedback"
"""The method that the others are compared with."""


FEWEST_IMAGES = 50
"""With fewer images no method is called better than another: a half has a 95 % interval of 28 points."""


_HEADLINES = ("gt_known_loc_error", "top1_loc_error", "max_box_acc_v2", "energy_in_box", "grid_pointing_game")
"""The measures whose differences are told in sentences."""


_BOX_DIFFERENCES = ("box_f1", "box_ap50")
"""How the names of the measures of all boxes begin whose differences are shown: both weigh what is found and strays."""


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        title: what it says.
        arrow: where better numbers are; empty if none are better.
        measure: the name of the measure that it is of.
    """

    title: str
    arrow: str
    measure: str


@dataclass(frozen=True)
class TableCell:
    """A number and its interval as printed.

    Attributes:
        value: the number.
        interval: its interval.
        verdict: of a difference, "better" or "worse" if the interval excludes 0.
        is_best: whether it is the best of its column, or cannot be told from the best.
    """

    value: str
    interval: str = ""
    verdict: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class TableRow:
    """The cells of a method."""

    label: str
    colour: str
    cells: tuple[TableCell, ...]


@dataclass(frozen=True)
class MeasureTable:
    """A table with a row for each method, or for each difference from one."""

    title: str
    head: tuple[Column, ...]
    rows: tuple[TableRow, ...]

    @property
    def has_best(self) -> bool:
        """Whether a cell is marked as the best."""
        return any(cell.is_best for row in self.rows for cell in row.cells)


_EMPTY = TableCell("–")


_KINDS: Mapping[str, Callable[[Measure], bool]] = {
    "Box and object": lambda _: True,
    "Time": lambda measure: measure.kind == "cost",
    "Map and object": lambda measure: measure.from_map is not None or measure.subjects == ("squares",),
    "Faithfulness: is the map what the network looks at?": lambda measure: measure.from_network is not None,
    "Best threshold for these very images: a bound, not a result": lambda measure: measure.kind == "oracle",
}
"""The tables of measures by their titles, and which measures each has. The last one that fits takes a measure."""


def compared_images(run: FinishedRun) -> int:
    """How many images the methods are compared on: in a grid pointing game those of the squares."""
    if run.manifest.run.grid is not None:
        return sum(map(len, run.manifest.run.grid.squares))
    return run.summary.images - run.summary.images_failed


def too_few(run: FinishedRun) -> str:
    """Why methods are not compared, in a sentence; empty if there are enough images."""
    count = compared_images(run)
    if count >= FEWEST_IMAGES:
        return ""
    images = "1 image is" if count == 1 else f"{count} images are"
    return f"{images} too few to compare methods; {FEWEST_IMAGES} or more are needed."


def measure_tables(run: FinishedRun, entries: Sequence[Entry]) -> tuple[MeasureTable, ...]:
    """Every method's measures in tables of one kind each, with the paper's error beside ours."""
    seconds = MEASURES["seconds_per_image"]
    timed = any(_has_number(run, method, seconds) for method in run.names)
    found = _by_kind((*run.summary.known_measures, *([seconds] if timed else [])))
    tables = [_measures_table(run, title, measures) for title, measures in found.items()]
    return tuple(_beside_paper(run, table, entries) for table in tables)


def _by_kind(measures: Iterable[Measure]) -> dict[str, list[Measure]]:
    """The measures of each table, by its title."""
    found: dict[str, list[Measure]] = {title: [] for title in _KINDS}
    for measure in measures:
        found[[title for title, fits in _KINDS.items() if fits(measure)][-1]].append(measure)
    return {title: own for title, own in found.items() if own}


def all_boxes_tables(run: FinishedRun) -> tuple[MeasureTable, ...]:
    """Every method's measures of all boxes: of images with one object, with several, of all; what describes the boxes
    comes last. Nothing if the run has none of them.
    """
    found: dict[str, list[Measure]] = {}
    for measure in run.summary.known_box_measures:
        found.setdefault(sentence(measure.images).rstrip(".") or "Number of boxes", []).append(measure)
    return tuple(_measures_table(run, title, measures) for title, measures in found.items())


def _measures_table(run: FinishedRun, title: str, measures: Sequence[Measure]) -> MeasureTable:
    best = {measure.name: best_methods(run, measure) for measure in measures}
    rows = []
    for method, summary in run.summary.methods.items():
        label = run.manifest.label_of(method)
        cells = [_cell(each, summary.score(each.name), is_best=method in best[each.name]) for each in measures]
        rows.append(TableRow(label.title, label.colour, tuple(cells)))
    return MeasureTable(title, tuple(map(_heading, measures)), tuple(rows))


def best_methods(run: FinishedRun, measure: Measure) -> frozenset[str]:
    """The methods with the best value of a measure, and those whose difference from it may be 0.

    Nothing if there are too few images, if no value is better than another, or if all methods would be named: then
    none has been shown to be better. Nothing too if the best value was not compared with each other one: times have no
    paired differences.
    """
    scores = {method: run.summary.methods[method].score(measure.name) for method in run.names}
    known = {method: score for method, score in scores.items() if score is not None}
    if too_few(run) or measure.kind in ("oracle", "box_count") or any(s.n < FEWEST_IMAGES for s in known.values()):
        return frozenset()
    sign = 1 if measure.lower_is_better else -1
    first = min(known, key=lambda method: sign * known[method].value, default=None)
    if first is None:
        return frozenset()
    others = [method for method, score in known.items() if score.value != known[first].value]
    differences = {method: run.summary.difference(first, method).get(measure.name) for method in others}
    apart = {method for method, each in differences.items() if each is not None and each.excludes_zero}
    if not apart or None in differences.values():
        return frozenset()
    return frozenset(known) - apart


def _has_number(run: FinishedRun, method: str, measure: Measure) -> bool:
    score = run.summary.methods[method].score(measure.name)
    return score is not None and score.value > 0


def _beside_paper(run: FinishedRun, table: MeasureTable, entries: Sequence[Entry]) -> MeasureTable:
    """The table of localization errors with the paper's beside ours, and a row for local feedback's energy box."""
    places = [place for place, column in enumerate(table.head, 1) if column.measure == "top1_loc_error"]
    if not places:
        return table
    paper = {entry.method: entry.paper for entry in entries}
    rows = []
    for method, row in zip(run.summary.methods, table.rows, strict=True):
        rows.append((method, row))
        if method == "feedback" and ENERGY_BOX in paper:
            measure = MEASURES["top1_loc_error_energy_box"]
            cells = [_EMPTY] * len(table.head)
            cells[places[0] - 1] = _cell(measure, run.summary.methods[method].score(measure.name))
            rows.append((ENERGY_BOX, TableRow(ENERGY_BOX_TITLE, row.colour, tuple(cells))))
    if not any(paper.values()):
        return MeasureTable(table.title, table.head, tuple(row for _, row in rows))
    column = Column("The paper’s error, class predicted", "↓", "top1_loc_error")
    head = (*table.head[: places[0]], column, *table.head[places[0] :])
    return MeasureTable(
        table.title, head, tuple(_with_paper(row, places[0], paper.get(method)) for method, row in rows)
    )


def _with_paper(row: TableRow, place: int, paper: float | None) -> TableRow:
    number = _EMPTY if paper is None else TableCell(f"{paper:.1f}")
    return TableRow(row.label, row.colour, (*row.cells[:place], number, *row.cells[place:]))


def paired_tables(run: FinishedRun) -> tuple[MeasureTable, ...]:
    """Global feedback less each other method, image by image; none without global feedback or with too few images."""
    known = _compared_measures(run, [measure for measure in MEASURES.values() if measure.kind == "result"])
    return tuple(_differences_table(run, title, measures) for title, measures in _by_kind(known).items())


def all_boxes_paired_tables(run: FinishedRun) -> tuple[MeasureTable, ...]:
    """As ``paired_tables``, F1 and average precision of all boxes; none also if the run has none of them."""
    known = _compared_measures(run, [each for each in ALL_BOXES if each.name.startswith(_BOX_DIFFERENCES)])
    return (_differences_table(run, "All boxes", known),) if known else ()


def _compared_measures(run: FinishedRun, measures: Sequence[Measure]) -> list[Measure]:
    if COMPARED not in run.methods or too_few(run):
        return []
    return [measure for measure in measures if run.summary.methods[COMPARED].score(measure.name) is not None]


def _differences_table(run: FinishedRun, title: str, known: Sequence[Measure]) -> MeasureTable:
    rows = []
    for method in run.names:
        if method != COMPARED:
            found = run.summary.difference(COMPARED, method)
            cells = tuple(_difference(measure, found.get(measure.name)) for measure in known)
            label = run.manifest.label_of(method)
            rows.append(TableRow(f"{label_of(COMPARED).short_name} − {label.short_name}", label.colour, cells))
    return MeasureTable(title, tuple(_heading(measure, whole=True) for measure in known), tuple(rows))


def headlines(run: FinishedRun) -> list[str]:
    """Sentences that say how global feedback differs from local feedback; none with too few images."""
    ours, theirs = (run.summary.methods.get(method) for method in (COMPARED, "feedback"))
    found = run.summary.difference(COMPARED, "feedback")
    if ours is None or theirs is None or too_few(run):
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
    meaning = f"{first} is {verdict}" if verdict else "no difference is shown"
    return (
        f"{measure.title}: {first} {numbers[0]} %, {second} {numbers[1]} %. "
        f"The difference is {value} points [{low}, {high}]: {meaning}."
    )


def verdict_of(measure: Measure, difference: Score) -> str:
    """Whether the first method of a difference is "better" or "worse"; empty if 0 lies in the interval."""
    if not difference.excludes_zero:
        return ""
    return "better" if (difference.value < 0) == measure.lower_is_better else "worse"


def _heading(measure: Measure, *, whole: bool = False) -> Column:
    """The head of a measure's column; ``whole`` also says of which boxes and images it is."""
    title = measure.title if whole else measure.title.partition(" of all boxes, ")[0]
    return Column(title, "" if measure.kind == "box_count" else better_arrow(measure.lower_is_better), measure.name)


def _cell(measure: Measure, score: Score | None, *, is_best: bool = False) -> TableCell:
    if score is None or (measure.kind == "cost" and not score.value):
        return _EMPTY
    value, low, high = (shown(measure, number) for number in (score.value, score.low, score.high))
    return TableCell(value, "" if measure.kind == "cost" else f"{low}–{high}", is_best=is_best)


def _difference(measure: Measure, score: Score | None) -> TableCell:
    if score is None:
        return _EMPTY
    value, low, high = (signed(100 * each, 1) for each in (score.value, score.low, score.high))
    verdict = verdict_of(measure, score) if score.n >= FEWEST_IMAGES else ""
    return TableCell(value, f"{low}, {high}", verdict)


def meanings(run: FinishedRun) -> dict[str, tuple[str, str]]:
    """What each measure of the tables means: by its name the title and one or two sentences."""
    known = [*run.summary.known_measures, *run.summary.known_box_measures, MEASURES["seconds_per_image"]]
    return {measure.name: (measure.title, _explained(measure)) for measure in known}


def _explained(measure: Measure) -> str:
    if measure.kind == "box_count":
        return f"{sentence(measure.meaning)} Neither less nor more is better."
    return f"{sentence(measure.meaning)} {'Less' if measure.lower_is_better else 'More'} is better."

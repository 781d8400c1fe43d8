"""The tables of docs/results.md from finished runs: measures and paired differences of each network, other runs beside.

    python benchmarks/results.py RUN[:OTHER…] …

An OTHER is a run on the same images or some of them: of ``global_feedback`` or another method with other options, for
example, or of a method that takes too long for all images. Global feedback is compared with each of its methods, on the
images that both runs have.

Runs with boxes of objects (``--box objects``) are told by all boxes of an image. Where runs have
``benchmarks/variants.py:gp_without_lambda`` and ``gp_open``, tables tell what the trace norm and the gates bring.

Runs with insertion and deletion (``looktwice evaluate --faithfulness``) make one table together, and are told by these
alone.

Runs of the grid pointing game (``looktwice evaluate --measure grid``) make one table together: a row for each method, a
column for each network. An OTHER has the same squares or some of them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from looktwice.labels import LABELS, label_of
from looktwice.localization import BoxRule
from looktwice.metrics.judged_maps import Thresholds
from looktwice.metrics.measures import MEASURES
from looktwice.report.wording import shown_score, where_boxes_were_drawn
from looktwice.runs.folder import read_manifest, read_rows, read_summary
from looktwice.runs.scoring import Scoring
from looktwice.runs.summarise import summarise
from looktwice.runs.summary import Score, Summary

SHOWN = ("top1_loc_error", "gt_known_loc_error", "max_box_acc", "max_box_acc_v2", "pointing_game", "energy_in_box")
COMPARED = [name for name in SHOWN if name != "max_box_acc"]
"""The measures whose differences are given."""

BOXES = (
    *("box_precision_one", "box_recall_one", "box_f1_one", "box_precision_several", "box_recall_several"),
    *("box_f1_several", "box_f1", "box_ap50", "boxes_per_image", "nested_boxes"),
)
"""The measures of all boxes of an image."""

BOXES_COMPARED = ("box_f1_one", "box_f1_several", "box_f1", "box_ap50_one", "box_ap50_several", "box_ap50")
"""Those whose differences are given."""

PAIRS = [("global_feedback", "feedback"), ("feedback", "guided_backprop"), ("guided_backprop", "gradient")]
PEERS = (
    "grad_cam",
    "grad_cam_plus_plus",
    "layer_cam",
    "guided_grad_cam",
    "integrated_gradients",
    "attention_rollout",
    "attention_relevance",
    "center_box",
)


VARIANTS = {"gp_without_lambda": "Global, λ = 0", "gp_open": "Global, open gates"}
"""The rows of ``variants.py`` that tables compare with."""


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN[:OTHER…]")
    runs = [[Path(part) for part in text.split(":")] for text in parser.parse_args().runs]
    games = [folders for folders in runs if read_manifest(folders[0]).run.grid]
    faithful = [folders[0] for folders in runs if read_manifest(folders[0]).run.faithfulness]
    if faithful:
        print(faithfulness_section(faithful))  # noqa: T201 - a script's output
    runs = [folders for folders in runs if folders[0] not in faithful]
    objects = [folders[0] for folders in runs if read_manifest(folders[0]).run.box.rule == "objects"]
    for run, *others in (folders for folders in runs if folders not in games and folders[0] not in objects):
        print(section(run, others))  # noqa: T201 - a script's output
    for run in objects:
        print(objects_section(run))  # noqa: T201
    for variant in VARIANTS if runs else ():
        print(alone_section([folders[0] for folders in runs], variant))  # noqa: T201
    if games:
        print(grid_section(games))  # noqa: T201 - a script's output


def section(run: Path, others: list[Path]) -> str:
    """A network's part of the page."""
    manifest, summary, untuned = read_manifest(run), read_summary(run), at_default(run)
    known = summary.methods["global_feedback"]
    errors = " / ".join(per_cent(known.score(name)) for name in ("top1_class_error", "top5_class_error"))
    lines = [
        f"## {manifest.run.model.short_name}",
        "",
        f"{summary.images} images reported, thresholds chosen on {summary.images_tuned_on} others; "
        f"{summary.images_failed} failed. Top-1 / top-5 classification error on them {errors} %.",
        "",
        f"| % | {' | '.join(MEASURES[name].short_title for name in SHOWN)} | class known, at 0.2 | s / image |",
        "|---" * (len(SHOWN) + 3) + "|",
    ]
    for method in (name for name in LABELS if name in summary.methods):
        own = summary.methods[method]
        seconds = own.score("seconds_per_image")
        cells = [interval(own.score(name)) for name in SHOWN]
        cells.append(per_cent(untuned.methods[method].score("gt_known_loc_error")))
        lines.append(
            f"| {marked(method)} | {' | '.join(cells)} | {'' if seconds is None else f'{seconds.value:.2f}'} |"
        )
    lines += ["", "At the best threshold on the reported images themselves (localization error top-1, MaxBoxAccV2): "]
    oracles = ("oracle_top1_loc_error", "oracle_max_box_acc_v2")
    lines[-1] += "; ".join(
        f"{label_of(method).short_name} {', '.join(per_cent(own.score(name)) for name in oracles)}"
        for method, own in summary.methods.items()
        if method != "full_image"
    )
    lines += ["", "Paired differences in points; bold if the interval excludes 0:", ""]
    pairs = PAIRS + [("global_feedback", peer) for peer in PEERS if peer in summary.methods]
    lines += difference_table(summary, pairs)
    lines += all_boxes(summary, pairs)
    for other in others:
        for method in read_manifest(other).run.methods:
            lines += beside(run, other, method)
    return "\n".join([*lines, ""])


def objects_section(run: Path) -> str:
    """All boxes of a network's images, with the share of wrong best boxes."""
    manifest, summary = read_manifest(run), read_summary(run)
    title = f"{manifest.run.model.short_name}, {summary.images} images, a box for each object"
    best = "; ".join(
        f"{shown(method)} {interval(own.score('gt_known_loc_error'))}" for method, own in summary.methods.items()
    )
    pairs = [*PAIRS[:1], *(("global_feedback", name) for name in ("grad_cam", "layer_cam", "center_box"))]
    return "\n".join([f"### {title}", *all_boxes(summary, pairs), "", f"Best box wrong, class known: {best}.", ""])


def alone_section(runs: list[Path], variant: str) -> str:
    """What global feedback has more than a variant of it, on each network: points, paired."""
    lines = [f"### {shown('global_feedback')} − {shown(variant)}", ""]
    for rule, measures in (
        ("contour", COMPARED[1:]),
        ("objects", ["gt_known_loc_error", *BOXES_COMPARED[:4], "box_ap50"]),
    ):
        lines += [f"| {rule} | {' | '.join(MEASURES[name].short_title for name in measures)} |"]
        lines += ["|---" * (len(measures) + 1) + "|"]
        for run in runs:
            manifest, summary = read_manifest(run), read_summary(run)
            if manifest.run.box.rule != rule or manifest.run.grid or variant not in summary.methods:
                continue
            found = summary.difference("global_feedback", variant)
            cells = " | ".join(difference(found.get(name)) for name in measures)
            lines.append(f"| {manifest.run.model.short_name} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def all_boxes(summary: Summary, pairs: list[tuple[str, str]]) -> list[str]:
    """The measures of all boxes and their differences; nothing if the run has none of them."""
    if not summary.known_box_measures:
        return []
    title = "All boxes of an image, for images with one object, with several, and all; per cent, except boxes an image."
    lines = ["", " ".join(filter(None, [title, where_boxes_were_drawn(summary)])), ""]
    lines += [f"| | {' | '.join(MEASURES[name].short_title for name in BOXES)} |", "|---" * (len(BOXES) + 1) + "|"]
    for method in (name for name in (*LABELS, *VARIANTS) if name in summary.methods):
        cells = [box_cell(name, summary.methods[method].score(name)) for name in BOXES]
        lines.append(f"| {marked(method)} | {' | '.join(cells)} |")
    return [*lines, "", *difference_table(summary, pairs, BOXES_COMPARED)]


def box_cell(name: str, score: Score | None) -> str:
    """The value; for F1 and AP50 with the interval."""
    return interval(score) if name in BOXES_COMPARED else shown_score(MEASURES[name], score)


def at_default(run: Path) -> Summary:
    """The summary with nothing tuned: boxes at the default threshold."""
    manifest = read_manifest(run)
    scoring = Scoring.of_manifest(manifest)
    rows = read_rows(run, manifest.run.parts, scoring.columns)
    return summarise(
        rows, replace(scoring, thresholds=dict.fromkeys(scoring.methods, Thresholds.given(BoxRule("contour"))))
    )


def beside(run: Path, other: Path, method: str) -> list[str]:
    """Global feedback of the one run against a method of the other, on the images that both have."""
    label, summary = joined(run, other, method)
    title = (
        f"{shown('global_feedback')} and {label} on {summary.images} images, thresholds chosen on "
        f"{summary.images_tuned_on} others:"
    )
    *head, gap = difference_table(summary, [("global_feedback", label)])
    for name in (label, "global_feedback"):
        cells = [interval(summary.methods[name].score(measure)) for measure in COMPARED]
        head.append(f"| {shown(name)} | {' | '.join(cells)} |")
    return ["", title, "", *head, gap]


def joined(run: Path, other: Path, method: str) -> tuple[str, Summary]:
    """A method of the other run under its label, and its summary beside the one run's global feedback.

    It is counted on the images, or squares, that both runs have.
    """
    label = ", ".join([label_of(method).short_name, *other_options(run, other, method)])
    tables = []
    for folder, wanted, name in ((run, "global_feedback", "global_feedback"), (other, method, label)):
        manifest = read_manifest(folder)
        rows = read_rows(folder, manifest.run.parts, Scoring.of_manifest(manifest).columns)
        rows = rows.filter(pc.equal(rows["method"], wanted))
        tables.append(rows.set_column(rows.column_names.index("method"), "method", pa.array([name] * len(rows))))
    shared = set(tables[0]["sample"].to_pylist()) & set(tables[1]["sample"].to_pylist())
    table = pa.concat_tables([rows.filter(pc.is_in(rows["sample"], pa.array(sorted(shared)))) for rows in tables])
    manifest = read_manifest(run)
    thresholds = (
        dict.fromkeys((label, "global_feedback"), Thresholds.given(BoxRule("contour"))) if manifest.run.grid else None
    )
    scoring = replace(Scoring.of_manifest(manifest), methods=(label, "global_feedback"), thresholds=thresholds)
    return label, summarise(table, scoring)


FAITHFUL = ("insertion_auc", "deletion_auc")
"""The measures of faithfulness."""


def faithfulness_section(runs: list[Path]) -> str:
    """Insertion and deletion of several networks: areas in per cent, and differences from global feedback."""
    columns: list[str] = []
    areas: dict[str, dict[str, str]] = {}
    gaps: dict[str, dict[str, str]] = {}
    for run in runs:
        manifest, summary = read_manifest(run), read_summary(run)
        for measure in FAITHFUL:
            columns.append(f"{manifest.run.model.short_name}, {MEASURES[measure].short_title}")
            for name, own in summary.methods.items():
                areas.setdefault(name, {})[columns[-1]] = interval(own.score(measure))
                gap = summary.difference("global_feedback", name).get(measure)
                gaps.setdefault(name, {})[columns[-1]] = difference(gap)
    order = [*(name for name in LABELS if name in areas), *(name for name in areas if name not in LABELS)]
    images = ", ".join(f"{read_manifest(run).run.model.short_name} {read_summary(run).images}" for run in runs)
    head = [f"| {{}} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines = ["## Insertion and deletion", "", f"Images: {images}.", "", head[0].format("%"), head[1]]
    lines += [row(shown(name), areas[name], columns) for name in order]
    lines += ["", "Paired differences in points; bold if the interval excludes 0:", "", head[0].format(""), head[1]]
    ours = shown("global_feedback")
    lines += [row(f"{ours} − {shown(name)}", gaps[name], columns) for name in order if name != "global_feedback"]
    return "\n".join([*lines, ""])


GAME = "grid_pointing_game"


def grid_section(games: list[list[Path]]) -> str:
    """The grid pointing game of several networks: shares in the own quarter, and differences from global feedback."""
    networks: list[str] = []
    shares: dict[str, dict[str, str]] = {}
    gaps: dict[str, dict[str, str]] = {}
    for run, *others in games:
        manifest, summary = read_manifest(run), read_summary(run)
        size = "half size" if manifest.run.grid and manifest.run.grid.halved else "twice the input"
        networks.append(f"{manifest.run.model.short_name} ({summary.images} squares, {size})")
        found = {name: own.score(GAME) for name, own in summary.methods.items()}
        differences = {name: summary.difference("global_feedback", name).get(GAME) for name in found}
        for other in others:
            for method in read_manifest(other).run.methods:
                label, both = joined(run, other, method)
                found[label] = both.methods[label].score(GAME)
                differences[label] = both.difference("global_feedback", label).get(GAME)
        for name, score in found.items():
            shares.setdefault(name, {})[networks[-1]] = interval(score)
            gaps.setdefault(name, {})[networks[-1]] = difference(differences[name])
    known = [name for name in LABELS if name in shares and name != "full_image"]
    order = [*known, *(name for name in shares if name not in LABELS), "full_image"]
    head = [f"| {{}} | {' | '.join(networks)} |", "|---" * (len(networks) + 1) + "|"]
    lines = ["## Grid pointing game", "", head[0].format("% in the own quarter"), head[1]]
    lines += [row(shown(name), shares[name], networks) for name in order]
    lines += ["", "Paired differences in points; bold if the interval excludes 0:", "", head[0].format(""), head[1]]
    ours = shown("global_feedback")
    lines += [row(f"{ours} − {shown(name)}", gaps[name], networks) for name in order if name != "global_feedback"]
    return "\n".join([*lines, ""])


def row(title: str, cells: dict[str, str], columns: list[str]) -> str:
    """A line of a table."""
    return f"| {title} | {' | '.join(cells.get(column, '–') for column in columns)} |"


def other_options(run: Path, other: Path, method: str) -> list[str]:
    """The options that the method has in the other run only, as name = value; none if the run is without the method."""
    usual, own = (read_manifest(folder).run.methods.get(method, {}) for folder in (run, other))
    changed = {name: value for name, value in own.items() if usual and value != usual[name]}
    return [
        f"{'λ' if name == 'trace_weight' else name} = {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in changed.items()
    ]


def difference_table(
    summary: Summary, pairs: list[tuple[str, str]], measures: Sequence[str] = tuple(COMPARED)
) -> list[str]:
    """A row for each pair: first less second."""
    titles = " | ".join(MEASURES[name].short_title for name in measures)
    lines = [f"| | {titles} |", "|---" * (len(measures) + 1) + "|"]
    for first, second in pairs:
        found = summary.difference(first, second)
        cells = " | ".join(difference(found.get(name)) for name in measures)
        lines.append(f"| {shown(first)} − {shown(second)} | {cells} |")
    return lines


def marked(method: str) -> str:
    """A method's short name, in bold if it is global feedback."""
    name = VARIANTS.get(method) or label_of(method).short_name
    return f"**{name}**" if method == "global_feedback" else name


def shown(method: str) -> str:
    """A method's short name; a label with options stays as it is."""
    return LABELS[method].short_name if method in LABELS else VARIANTS.get(method, method)


def per_cent(score: Score | None) -> str:
    """One decimal."""
    return "–" if score is None else f"{100 * score.value:.1f}"


def interval(score: Score | None) -> str:
    """Per cent with the interval."""
    return "–" if score is None else f"{per_cent(score)} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def difference(score: Score | None) -> str:
    """Points with their interval."""
    if score is None:
        return "–"
    text = f"{100 * score.value:+.1f} [{100 * score.low:+.1f}, {100 * score.high:+.1f}]".replace("-", "−")
    return f"**{text}**" if score.excludes_zero else text


if __name__ == "__main__":
    main()

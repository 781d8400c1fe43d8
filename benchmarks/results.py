"""The tables of docs/results.md from finished runs: each network's measures, paired differences, other runs beside.

    python benchmarks/results.py RUN[:OTHER…] …

An OTHER is a run on the same images or some of them: of ``global_feedback`` or others with other options, say, or of a
method that takes too long for all images. Global feedback is held against each of its methods on the images of both.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from looktwice.localization import BoxRule
from looktwice.runs.folder import part_count, read_manifest, read_rows, read_summary
from looktwice.runs.scoring import Scoring, Thresholds
from looktwice.runs.summary import summarise

MEASURES = {
    "top1_loc_error": "loc. error, top-1",
    "gt_known_loc_error": "loc. error, class known",
    "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2",
    "pointing_game": "pointing",
    "energy_in_box": "energy in box",
}
COMPARED = [key for key in MEASURES if key != "max_box_acc"]
"""What differences are given of."""

NAMES = {
    "gradient": "GT",
    "guided_backprop": "GB",
    "feedback": "FB",
    "global_feedback": "**GP**",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "LayerCAM",
    "guided_grad_cam": "Guided Grad-CAM",
    "integrated_gradients": "Integrated Gradients",
    "center_box": "centre box",
    "full_image": "whole image",
}
PAIRS = [("global_feedback", "feedback"), ("feedback", "guided_backprop"), ("guided_backprop", "gradient")]
PEERS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "guided_grad_cam", "integrated_gradients", "center_box")


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN[:OTHER…]")
    for text in parser.parse_args().runs:
        run, *others = map(Path, text.split(":"))
        print(section(run, others))  # noqa: T201 - a script's output


def section(run: Path, others: list[Path]) -> str:
    """A network's part of the page."""
    summary, untuned = read_summary(run), at_default(run)
    known = summary["methods"]["global_feedback"]
    lines = [
        f"## {read_manifest(run)['run']['model']['name'].rpartition(':')[2]}",
        "",
        f"{summary['images']} images reported, thresholds chosen on {summary['images_tuned_on']} others; "
        f"{summary['images_failed']} failed. Top-1 / top-5 classification error on them "
        f"{per_cent(known['top1_class_error'])} / {per_cent(known['top5_class_error'])} %.",
        "",
        f"| % | {' | '.join(MEASURES.values())} | class known, at 0.2 | s / image |",
        "|---" * (len(MEASURES) + 3) + "|",
    ]
    for method in (name for name in NAMES if name in summary["methods"]):
        values = summary["methods"][method]
        seconds = values["seconds_per_image"]["value"] if "seconds_per_image" in values else None
        cells = [interval(values.get(key)) for key in MEASURES]
        cells.append(per_cent(untuned["methods"][method]["gt_known_loc_error"]))
        lines.append(f"| {NAMES[method]} | {' | '.join(cells)} | {'' if seconds is None else f'{seconds:.2f}'} |")
    lines += ["", "At the best threshold on the reported images themselves (localization error top-1, MaxBoxAccV2): "]
    oracle = ("oracle_top1_loc_error", "oracle_max_box_acc_v2")
    lines[-1] += "; ".join(
        f"{NAMES[name].strip('*')} {', '.join(per_cent(values[key]) for key in oracle)}"
        for name, values in summary["methods"].items()
        if name in NAMES and name != "full_image"
    )
    lines += ["", "Paired differences in points; bold where the interval excludes 0:", ""]
    pairs = PAIRS + [("global_feedback", peer) for peer in PEERS if peer in summary["methods"]]
    lines += difference_table(summary, pairs)
    for other in others:
        for method in read_manifest(other)["run"]["methods"]:
            lines += beside(run, other, method)
    return "\n".join([*lines, ""])


def at_default(run: Path) -> dict[str, Any]:
    """The summary with nothing tuned: boxes at the default threshold."""
    manifest = read_manifest(run)
    scoring = Scoring.of_manifest(manifest)
    rows = read_rows(run, range(part_count(manifest)), scoring.columns)
    return summarise(rows, replace(scoring, thresholds=dict.fromkeys(scoring.methods, Thresholds.given(BoxRule()))))


def beside(run: Path, other: Path, method: str) -> list[str]:
    """GP of the one run against a method of the other, on the images of both."""
    label = ", ".join([NAMES[method].strip("*"), *other_options(run, other, method)])
    tables = []
    for folder, wanted, name in ((run, "global_feedback", "global_feedback"), (other, method, label)):
        manifest = read_manifest(folder)
        rows = read_rows(folder, range(part_count(manifest)), Scoring.of_manifest(manifest).columns)
        rows = rows.filter(pc.equal(rows["method"], wanted))
        tables.append(rows.set_column(rows.column_names.index("method"), "method", pa.array([name] * len(rows))))
    shared = set(tables[0]["sample"].to_pylist()) & set(tables[1]["sample"].to_pylist())
    table = pa.concat_tables([rows.filter(pc.is_in(rows["sample"], pa.array(sorted(shared)))) for rows in tables])
    scoring = Scoring.of_manifest(read_manifest(run))
    summary = summarise(table, replace(scoring, methods=(label, "global_feedback"), thresholds=None))
    title = f"GP and {label} on {summary['images']} images, thresholds chosen on {summary['images_tuned_on']} others:"
    *head, gap = difference_table(summary, [("global_feedback", label)])
    for name in (label, "global_feedback"):
        cells = [interval(summary["methods"][name].get(key)) for key in COMPARED]
        head.append(f"| {NAMES.get(name, name)} | {' | '.join(cells)} |")
    return ["", title, "", *head, gap]


def other_options(run: Path, other: Path, method: str) -> list[str]:
    """What the method was given otherwise than in the run, as name = value; nothing where the run is without it."""
    usual, own = (read_manifest(folder)["run"]["methods"].get(method, {}) for folder in (run, other))
    changed = {name: value for name, value in own.items() if usual and value != usual[name]}
    return [
        f"{'λ' if name == 'trace_weight' else name} = {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in changed.items()
    ]


def difference_table(summary: Mapping[str, Any], pairs: list[tuple[str, str]]) -> list[str]:
    """A row for each pair, first less second."""
    lines = [f"| | {' | '.join(MEASURES[key] for key in COMPARED)} |", "|---" * (len(COMPARED) + 1) + "|"]
    known = {(pair["first"], pair["second"]): pair["differences"] for pair in summary["paired"]}
    for first, second in pairs:
        sign = 1 if (first, second) in known else -1
        found = known[(first, second)] if sign == 1 else known[(second, first)]
        names = " − ".join(NAMES.get(name, name).strip("*") for name in (first, second))
        lines.append(f"| {names} | {' | '.join(difference(found.get(key), sign) for key in COMPARED)} |")
    return lines


def per_cent(value: Mapping[str, Any]) -> str:
    """One decimal."""
    return f"{100 * value['value']:.1f}"


def interval(value: Mapping[str, Any] | None) -> str:
    """Per cent with its interval."""
    if value is None or value["value"] is None:
        return "–"
    return f"{per_cent(value)} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def difference(value: Mapping[str, Any] | None, sign: int) -> str:
    """Points with their interval."""
    if value is None or value["value"] is None:
        return "–"
    low, high = sorted((100 * sign * value["low"], 100 * sign * value["high"]))
    text = f"{100 * sign * value['value']:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    return f"**{text}**" if low > 0 or high < 0 else text


if __name__ == "__main__":
    main()

"""Tables from runs written by hand: what stands where, in every form."""

import copy
import csv
import io
import json
import subprocess
import sys

import pytest

from looktwice.errors import OptionError, RunError
from looktwice.report.paper_tables import all_boxes, measures, paper_tables
from looktwice.report.run_entries import PUBLISHED
from looktwice.runs.folder import read_summary
from looktwice.runs.summary import Summary
from report_runs import make_run

METHODS = {"gradient": 0.70, "feedback": 0.65, "global_feedback": 0.6234, "center_box": 0.8}


def score(value):
    return {"value": value, "low": value - 0.02, "high": value + 0.03, "n": 1000}


MANIFEST = {
    "about": {"weights": "weights_50%.safetensors", "command": "looktwice evaluate"},
    "run": {
        "model": {"name": "nets/googlenet_bn.py:googlenet_bn", "weights_hash": "0123456789abcdef" * 4},
        "preprocessing": {"resize": 256, "crop": 224, "squash": True},
        "box": {"rule": "contour", "by": "max", "boxes": "largest"},
        "target": "predicted",
    },
}
SUMMARY = {
    "images": 1000,
    "images_failed": 3,
    "images_tuned_on": 0,
    "thresholds": {method: {"box": 0.2} for method in METHODS},
    "methods": {
        method: {
            "top1_loc_error": score(error),
            "top1_loc_error_energy_box": score(error + 0.01),
            "top5_loc_error": {"value": None, "reason": "not asked for"},
            "gt_known_loc_error": score(0.5),
            "max_box_acc": score(0.5),
            "max_box_acc_v2": score(0.5),
            "pointing_game": score(0.5) if method != "center_box" else {"value": None, "reason": "none"},
            "energy_in_box": score(0.5),
            "mean_iou": score(0.5),
            "oracle_top1_loc_error": score(0.55),
            "oracle_max_box_acc": score(0.5),
            "oracle_max_box_acc_v2": score(0.5),
        }
        for method, error in METHODS.items()
    },
}


@pytest.fixture
def make(tmp_path):
    def make(name, *, model="nets/googlenet_bn.py:googlenet_bn", images=1000, **choices):
        manifest, summary = copy.deepcopy(MANIFEST), copy.deepcopy(SUMMARY)
        manifest["run"]["model"]["name"] = model
        for section, values in choices.items():
            target = summary if section in summary else manifest["run"]
            target[section] = values if not isinstance(values, dict) else target[section] | values
        summary["images"] = images
        folder = tmp_path / name
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return make


def test_table_1_as_text(make):
    text = paper_tables([make("run")])
    assert text.splitlines()[:9] == [
        "Table 1. Localization error (%), googlenet_bn",
        "",
        "method                                                ours [95 %]  paper",
        "----------------------------------------------  -----------------  -----",
        "Gradient (GT)                                   70.0 [68.0, 73.0]   65.9",
        "Local feedback (FB)                             65.0 [63.0, 68.0]   61.2",
        "Local feedback (FB), box of 95 % of the energy  66.0 [64.0, 69.0]   62.6",
        "Global feedback (GP)                            62.3 [60.3, 65.3]   59.6",
        "Centre box                                      80.0 [78.0, 83.0]      –",
    ]
    notes = text.split("What differs from the paper\n")[1]
    for said in (
        "weights: weights_50%.safetensors (SHA-256 0123456789ab)",
        "images: 1,000 where the paper has 50,000, 3 of them not usable",
        "preprocessing: squashed to 224×224",
        "boxes: largest external contour at 20 % of the maximum",
        "class: predicted",
    ):
        assert said in notes
    assert "Table 2" not in text


def test_table_2_has_a_network_a_column_and_the_paper_beside_it(make):
    runs = [make("a"), make("b", model="resnet50"), make("c", model="squeezenet1_1")]
    lines = paper_tables(runs, "markdown").splitlines()
    start = lines.index("**Table 2. Localization error (%) of several networks**")
    assert lines[start + 2] == "| method | googlenet_bn | paper | resnet50 | paper | squeezenet1_1 |"
    assert lines[start + 3] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    by_method = {line.split(" | ")[0][2:]: line.rstrip(" |").split(" | ")[1:] for line in lines[start + 4 : start + 9]}
    ours = "62.3 [60.3, 65.3]"
    assert by_method["Global feedback (GP)"] == [ours, "59.6", ours, "58.8", ours]
    assert by_method["Gradient (GT)"][1::2] == ["65.9", "–"]
    assert sum(line.startswith("**Table 1.") for line in lines) == 3


def test_latex_escapes_and_csv_parses(make):
    runs = [make("a"), make("b", model="my_resnet")]
    latex = paper_tables(runs, "latex")
    assert r"Local feedback (FB), box of 95 \% of the energy & 66.0 [64.0, 69.0] & 62.6 \\" in latex
    assert r"\caption{Table 1. Localization error (\%), my\_resnet}" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3
    assert all(line.startswith("%") for line in latex.split("% What differs")[1].splitlines()[1:])

    rows = list(csv.DictReader(io.StringIO(paper_tables(runs, "csv"))))
    assert len(rows) == 2 * 5
    found = {(row["network"], row["method"]): row for row in rows}
    entry = found["my_resnet", "global_feedback"]
    assert (entry["error"], entry["low"], entry["high"], entry["paper"]) == ("62.3400", "60.3400", "65.3400", "58.8")
    assert found["my_resnet", "gradient"]["paper"] == ""
    assert entry["preprocessing"] == "squashed to 224×224"


def test_runs_of_one_network_are_told_apart_by_what_differs(make):
    runs = [make("a"), make("b", box={"rule": "energy"}, thresholds={m: {"box": 0.95} for m in METHODS})]
    text = paper_tables(runs)
    assert "googlenet_bn — largest external contour at 20 % of the maximum" in text
    assert "Table 1. Localization error (%), googlenet_bn — tightest box at 95 % of the energy" in text
    second = text.split("tightest box")[1].split("Table 2")[0]
    assert "box of 95" not in second  # there, the row of local feedback itself is of that box


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"images_tuned_on": 400}, "share of the maximum chosen for each method on 400 other images"),
        ({"thresholds": {"gradient": {"box": 0.3}}}, "chosen for each method on another run"),
        ({"box": {"by": "energy", "boxes": "any"}}, "any external contour at 20 % of the energy"),
        ({"preprocessing": {"squash": False}}, "shorter side 256, centre 224×224"),
        ({"target": "true"}, "class: true label"),
    ],
)
def test_notes_say_how_it_was_done(make, choices, said):
    assert said in paper_tables([make("run", **choices)])


def test_measures_leave_out_what_nothing_has():
    lines = measures(Summary.from_json(SUMMARY)).splitlines()
    assert lines[0] == "1,000 images, 3 of them failed; per cent"
    assert "top-5" not in lines[2]
    assert [line.split()[0] for line in lines[4:]] == list(METHODS)
    assert lines[4].split()[1] == "70.0"
    assert "–" in lines[7]


def test_all_boxes_are_a_table_of_their_own():
    assert all_boxes(Summary.from_json(SUMMARY)) == ""  # an older run has none of them
    content = copy.deepcopy(SUMMARY)
    nothing = {"value": None, "reason": "no image has several annotated objects"}
    for number, found in enumerate(content["methods"].values()):
        found |= {"box_f1": score(0.25), "box_f1_several": nothing, "box_ap50": score(0.125) if number else nothing}
        found |= {"boxes_per_image": score(1.7)}
    content |= {"drawn_at": dict.fromkeys(METHODS, 0.2)}
    lines = all_boxes(Summary.from_json(content)).splitlines()
    assert lines[0].startswith("All boxes of an image")
    assert lines[2].split("  ")[-1] == "boxes an image"
    assert "several" not in lines[2]
    assert lines[4].split() == ["gradient", "25.0", "–", "1.70"]
    assert lines[5].split() == ["feedback", "25.0", "12.5", "1.70"]
    assert len(lines) == 8
    content["thresholds"] = {method: {"box": 0.35} for method in METHODS}
    *_, note = all_boxes(Summary.from_json(content)).splitlines()
    assert note.startswith("All boxes were drawn at the box rule’s own threshold, 0.20, before thresholds were chosen.")
    assert "box_f1" not in measures(Summary.from_json(content))


def test_the_papers_figures():
    assert PUBLISHED["googlenet"] == {
        "gradient": 65.9,
        "guided_backprop": 64.8,
        "feedback": 61.2,
        "feedback, energy box": 62.6,
        "global_feedback": 59.6,
    }
    assert PUBLISHED["resnet"] == {"global_feedback": 58.8}


def test_rows_are_read_and_tabulated_without_torch():
    rooms = ("runs.folder", "runs.summarise", "runs.merge", "report.page", "report.paper_tables", "datasets", "metrics")
    code = f"import sys; import {', '.join(f'looktwice.{room}' for room in rooms)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_cannot_be_tabulated(make, tmp_path):
    run = make("run")
    with pytest.raises(OptionError, match="text, markdown, latex, csv"):
        paper_tables([run], "html")
    with pytest.raises(RunError, match="holds no run"):
        paper_tables([tmp_path])
    (run / "summary.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        paper_tables([run])
    (run / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        paper_tables([run])


def test_a_run_without_boxes_tells_faithfulness(boxless):
    """Not an empty table."""
    text = paper_tables([boxless])
    titles = (f"{name}, area under the curve (%), squeezenet1_1" for name in ("Insertion", "Deletion"))
    insertion, deletion = map(text.index, titles)
    score = read_summary(boxless).methods["global_feedback"].score("insertion_auc")
    row = f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
    assert row in text[insertion:deletion]
    assert "Table 1" not in text
    assert "where the paper has" not in text
    assert text.count("no image has true boxes, so none was judged") == 1  # one note for both tables
    rows = list(csv.DictReader(io.StringIO(paper_tables([boxless], "csv"))))
    assert [(row["measure"], row["method"]) for row in rows[:1]] == [("insertion_auc", "gradient")]
    assert {row["measure"] for row in rows} == {"insertion_auc", "deletion_auc"}
    assert float(rows[2]["value"]) == pytest.approx(100 * score.value, abs=1e-4)


def test_two_runs_without_boxes_share_a_table_for_each_measure(boxless, tmp_path):
    other = make_run(tmp_path / "run", boxless.parent / "data", maps=False, faithful=True, network="resnet18")
    text = paper_tables([boxless, other])
    assert text.count("Insertion, area under the curve (%)") == text.count("Deletion, area under the curve (%)") == 3
    assert text.count("of several networks") == 2


def test_a_run_with_neither_boxes_nor_faithfulness_tells_the_networks_own_errors(boxless, tmp_path):
    run = make_run(tmp_path / "run", boxless.parent / "data", maps=False)
    text = paper_tables([run])
    assert "Classification error (top-1) (%), squeezenet1_1" in text
    assert "20.0 [" in text
    assert "top-5" not in text  # three classes


def test_runs_without_a_number_in_common_are_refused(boxless, run):
    with pytest.raises(RunError, match=r"have no number in common: .*; print a table of each kind"):
        paper_tables([run, boxless])

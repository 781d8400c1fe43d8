"""Evaluations that draw a box for each object: no threshold is needed, and the boxes that were drawn are judged."""

import json

import pytest

from evaluations import METHODS, draw, rows_of, run_on, summary_of
from looktwice.datasets import Dataset, load_dataset
from looktwice.errors import OptionError, RunError
from looktwice.localization import BoxRule
from looktwice.localization.objects import scorer_hash
from looktwice.report.finished_run import read_run
from looktwice.report.page import render
from looktwice.report.paper_tables import measures, paper_tables
from looktwice.runs.folder import read_manifest, read_summary
from looktwice.runs.merge import merge

OBJECTS = BoxRule("objects")
BOX = {"rule": "objects", "min_score": 0.2, "scorer": scorer_hash(), "boxes": "largest"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(draw(tmp_path_factory.mktemp("pictures"), 16), "csv")


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects") / "run"
    run_on(dataset, folder, rule=OBJECTS, target="true")
    return folder


def test_rows_have_no_threshold_and_judge_what_was_drawn(run):
    rows = rows_of(run).to_pylist()
    assert sum(len(row["boxes"]) for row in rows if row["method"] == "gradient") >= 12
    for row in rows:
        if row["method"] in METHODS:
            assert row["threshold"] is None
            assert row["largest_boxes"] is None
            assert all(0 < box["score"] < 1 for box in row["boxes"])
            assert row["boxes"] == sorted(row["boxes"], key=lambda box: -box["score"])


def test_the_baseline_in_the_middle_keeps_its_usual_box(run, dataset, tmp_path):
    choices = {"target": "true", "methods": {"gradient": METHODS["gradient"]}}
    run_on(dataset, tmp_path / "contours", rule=BoxRule("contour"), **choices)
    by_objects, by_contours = (
        {(row["sample"], row["target"]): row["boxes"] for row in rows_of(each).to_pylist() if row["method"] == name}
        for each, name in [(run, "center_box"), (tmp_path / "contours", "center_box")]
    )
    assert by_objects == by_contours


def test_summary_is_of_the_boxes_that_were_drawn(run):
    rows, summary = rows_of(run).to_pylist(), summary_of(run)
    for method in (*METHODS, "center_box", "full_image"):
        own = [row for row in rows if row["method"] == method and row["judged"] is not None]
        found = summary["methods"][method]
        assert found["mean_iou"]["value"] == pytest.approx(sum(row["iou"] for row in own) / len(own))
        error = sum(row["iou"] < 0.5 for row in own) / len(own)
        assert found["gt_known_loc_error"]["value"] == pytest.approx(error)
        assert found["oracle_top1_loc_error"]["value"] is None
        assert "without a threshold" in found["oracle_top1_loc_error"]["reason"]
        assert "--tune-on" in found["max_box_acc"]["reason"]
        assert found["oracle_max_box_acc"]["value"] is not None
        assert found["box_ap50"]["value"] is not None
        assert summary["thresholds"][method]["box"] is None
    assert summary["box"]["rule"] == "objects"


def test_any_box_may_count(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", rule=BoxRule("objects", min_score=0.01), boxes="any", target="true")
    rows = [row for row in rows_of(tmp_path / "run").to_pylist() if row["method"] == "gradient"]
    own = [row["iou_any"] for row in rows if row["judged"] is not None]
    found = summary_of(tmp_path / "run")["methods"]["gradient"]["mean_iou"]["value"]
    assert found == pytest.approx(sum(own) / len(own))


def test_number_of_boxes_is_limited(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", rule=BoxRule("objects", min_score=0.01, max_boxes=1), limit=6)
    rows = rows_of(tmp_path / "run").to_pylist()
    assert {len(row["boxes"]) for row in rows} == {1}
    assert read_manifest(tmp_path / "run").run.box.max_boxes == 1


def test_only_the_thresholds_of_max_box_acc_are_chosen(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", rule=OBJECTS, tune_on="hash:0.4")
    summary = summary_of(tmp_path / "run")
    assert summary["images_tuned_on"] > 0
    for method in METHODS:
        assert summary["thresholds"][method]["box"] is None
        assert summary["methods"][method]["max_box_acc"]["value"] is not None
    assert read_summary(tmp_path / "run").drawn_elsewhere == []


@pytest.mark.parametrize(("there", "here"), [(OBJECTS, BoxRule("contour")), (BoxRule("contour"), OBJECTS)])
def test_thresholds_carry_over_between_rules(dataset, tmp_path, there, here):
    some, others = Dataset(dataset.samples[:8]), Dataset(dataset.samples[8:])
    run_on(some, tmp_path / "tuned", rule=there)
    run_on(others, tmp_path / "run", rule=here, tune_on=str(tmp_path / "tuned"))
    found = summary_of(tmp_path / "run")
    assert (found["thresholds"]["gradient"]["box"] is None) == (here == OBJECTS)
    assert found["methods"]["gradient"]["max_box_acc"]["value"] is not None


def test_manifest_holds_what_matters(run):
    content = json.loads((run / "manifest.json").read_text())["run"]["box"]
    thresholds = content.pop("thresholds")
    assert content == BOX
    assert thresholds["gradient"] == {"box": None, "max_box_acc": None, "max_box_acc_v2": None}
    assert read_manifest(run).run.box.box_rule == OBJECTS


def test_the_same_command_goes_on(dataset, tmp_path):
    run = tmp_path / "run"
    run_on(dataset, run, rule=OBJECTS)
    before = rows_of(run)
    (run / "rows" / "part-000001.parquet").unlink()
    (run / "summary.json").unlink()
    run_on(dataset, run, rule=OBJECTS)
    assert rows_of(run) == before


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (BoxRule("objects", min_score=0.4), "box.min_score was 0.2, is 0.4"),
        (BoxRule("objects", max_boxes=4), "box.max_boxes was null, is 4"),
        (BoxRule("contour"), "box.rule was objects, is contour"),
    ],
)
def test_another_rule_is_another_evaluation(run, dataset, rule, said):
    with pytest.raises(RunError) as caught:
        run_on(dataset, run, rule=rule, target="true")
    assert said in str(caught.value)


def test_other_weights_of_the_score_are_another_evaluation(run, dataset, monkeypatch):
    monkeypatch.setattr("looktwice.evaluation.facts.scorer_hash", lambda: "0123456789abcdef")
    with pytest.raises(RunError, match=r"box\.scorer was .*, is 0123456789abcdef"):
        run_on(dataset, run, rule=OBJECTS, target="true")


def test_any_contour_cannot_be_limited(dataset, tmp_path):
    with pytest.raises(OptionError, match="max_boxes has no use"):
        run_on(dataset, tmp_path / "run", rule=BoxRule("contour", max_boxes=2), boxes="any")


def test_runs_are_merged(run, dataset, tmp_path):
    run_on(dataset, tmp_path / "other", rule=OBJECTS, target="true", methods={"guided_backprop": {}})
    merge([run, tmp_path / "other"], tmp_path / "both")
    found = summary_of(tmp_path / "both")
    assert {*METHODS, "guided_backprop"} <= {*found["methods"]}
    assert found["methods"]["gradient"] == summary_of(run)["methods"]["gradient"]


def test_tables_and_report_say_how_boxes_were_drawn(run):
    text = paper_tables([run])
    assert "best object, with a score of 0.20 or more" in text
    assert "mean IoU" in measures(read_summary(run))
    page = render([run])
    assert "best object, with a score of 0.20 or more" in page
    assert "What the threshold does" not in page
    assert "of the boxes that were drawn" in page


def test_report_shows_the_boxes_that_were_judged(run):
    found = read_run(run)
    assert found.chosen == found.success == {}
    assert found.drawn_as_judged("gradient")
    assert found.rule_of("gradient") == OBJECTS
    first = {
        (row["sample"], row["target"]): row["iou"] for row in rows_of(run).to_pylist() if row["method"] == "gradient"
    }
    for subject, iou in zip(found.subjects, found.iou["gradient"].tolist(), strict=True):
        assert iou == pytest.approx(first[subject.sample, subject.target], abs=1e-6)

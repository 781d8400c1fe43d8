"""Metrics of rows worked out by hand, and the intervals against the rooms below."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from looktwice.errors import RunError
from looktwice.localization import BoxRule
from looktwice.metrics import bootstrap, class_mean, paired_difference
from looktwice.metrics.judged_maps import Sample, Thresholds
from looktwice.metrics.measures import ALL_BOXES, MEASURES, TABLED, Measure
from looktwice.report.paper_tables import measures
from looktwice.runs import summarise as summarising
from looktwice.runs import summary as summaries
from looktwice.runs.columns import COLUMNS
from looktwice.runs.folder import row_schema
from looktwice.runs.scoring import Scoring
from looktwice.runs.summarise import choose_thresholds
from looktwice.runs.summarise import summarise as summarise_rows

METHODS = ("feedback", "gradient")


def scoring(target="predicted", rule=None, boxes="largest", thresholds="given", methods=METHODS):
    rule = rule or BoxRule("contour")
    if thresholds == "given":
        thresholds = dict.fromkeys(methods, Thresholds.given(rule))
    return Scoring(methods, target, rule, boxes, thresholds)


def summarise(rows, how):
    """The summary as its file has it."""
    return summarise_rows(rows, how).as_json()


def flat(value):
    """An IoU at every threshold."""
    return np.full(100, value, dtype=np.float32)


def steps(**at):
    """0 but for the thresholds t20=…, in hundredths."""
    values = np.zeros(100, dtype=np.float32)
    for name, value in at.items():
        values[int(name[1:])] = value
    return values


def row(sample, iou=0.0, method="gradient", **values):
    """A row whose every curve is ``iou``, of an image whose prediction and label are class 1."""
    curve = iou if isinstance(iou, np.ndarray) else flat(iou)
    names = [name for name, kind in COLUMNS.items() if kind == "list<float>"]
    base = {"sample": sample, "method": method, "tuning": False, "rank": 0, "target": 1, "target_place": 0}
    base |= {"predicted": 1, "label_place": 0, "right": True, "judged": 1, "pointing_hit": True, "energy_in_box": 0.5}
    return base | {"seconds_method": 1.0} | dict.fromkeys(names, curve) | values


def wrong(sample, iou=0.0, **values):
    """The same of an image whose label comes third, judged by its boxes none the less."""
    return row(sample, iou, **({"predicted": 9, "target": 9, "label_place": 2, "right": False} | values))


def table(rows, how):
    return pa.Table.from_pylist(rows, schema=row_schema(COLUMNS)).select(how.columns)


def scores(rows, how=None, method="gradient"):
    how = how or scoring(methods=("gradient",))
    return summarise(table(rows, how), how)["methods"][method]


def value(found, name):
    return found[name]["value"]


def test_errors_by_hand():
    # a: box and class right; b: exactly half, which is enough; c: box short of it; d: a perfect box, a wrong class.
    rows = [row("a", 0.6), row("b", 0.5), row("c", 0.49), wrong("d", 1.0)]
    found = scores(rows)
    assert value(found, "top1_class_error") == 0.25
    assert value(found, "top5_class_error") == 0.0
    assert value(found, "top1_loc_error") == 0.5
    assert value(found, "mean_iou") == pytest.approx((0.6 + 0.5 + 0.49 + 1) / 4, abs=1e-7)
    assert value(found, "max_box_acc") == 0.75
    assert value(found, "max_box_acc_v2") == pytest.approx((4 + 3 + 1) / 12)
    assert value(found, "seconds_per_image") == 1.0
    assert found["top1_loc_error"]["n"] == found["images"] == 4
    assert found["images_failed"] == 0


def test_an_overlap_of_exactly_a_level_reaches_it():
    # In single precision 0.7 is a little less than the number 0.7.
    assert value(scores([row("a", 0.7)]), "max_box_acc_v2") == 1.0
    assert value(scores([row("a", 0.3)]), "max_box_acc_v2") == pytest.approx(1 / 3)
    assert value(scores([row("a", np.nextafter(np.float32(0.3), np.float32(0)))]), "max_box_acc_v2") == 0.0


def test_the_threshold_counts_and_the_oracle_stands_apart():
    # At the given 0.20 only a is right; at 0.40 b and c are; b's best is elsewhere once more.
    rows = [row("a", steps(t20=0.9)), row("b", steps(t40=0.8, t60=0.9)), row("c", steps(t40=0.6))]
    found = scores(rows)
    assert value(found, "top1_loc_error") == pytest.approx(2 / 3)
    assert value(found, "oracle_top1_loc_error") == pytest.approx(1 / 3)
    assert value(found, "max_box_acc") == pytest.approx(1 / 3)
    assert value(found, "oracle_max_box_acc") == pytest.approx(2 / 3)
    # The best thresholds for .3 and .5 are both 0.40 (2 of 3), for .7 any of three (1 of 3).
    assert value(found, "oracle_max_box_acc_v2") == pytest.approx((2 + 2 + 1) / 9)
    assert value(found, "mean_iou") == pytest.approx(0.3, abs=1e-7)
    at_40 = scores(rows, scoring(rule=BoxRule("contour", threshold=0.4), methods=("gradient",)))
    assert value(at_40, "top1_loc_error") == pytest.approx(1 / 3)


def test_the_oracle_of_a_localization_error_needs_the_class_too():
    found = scores([wrong("a", steps(t40=0.9)), wrong("b", steps(t40=0.9)), row("c", steps(t10=0.9))])
    assert value(found, "oracle_top1_loc_error") == pytest.approx(2 / 3)


def test_each_rule_reads_its_own_curve():
    curves = {
        "iou_by_max_largest": steps(t20=0.51),
        "iou_by_max_any": steps(t20=0.52),
        "iou_by_energy_largest": steps(t30=0.53),
        "iou_by_energy_any": steps(t30=0.54),
        "iou_energy_box": steps(t95=0.55, t80=0.56),
    }
    rows = [row("a", 0.0, **curves)]

    def mean_iou(rule, boxes="largest"):
        return value(scores(rows, scoring(rule=rule, boxes=boxes, methods=("gradient",))), "mean_iou")

    by_energy = BoxRule("contour", threshold=0.3, by="energy")
    assert mean_iou(BoxRule("contour")) == pytest.approx(0.51)
    assert mean_iou(BoxRule("contour"), "any") == pytest.approx(0.52)
    assert mean_iou(by_energy) == pytest.approx(0.53)
    assert mean_iou(by_energy, "any") == pytest.approx(0.54)
    assert mean_iou(BoxRule("energy", 0.95)) == pytest.approx(0.55)
    assert mean_iou(BoxRule("energy", 0.8)) == pytest.approx(0.56)
    assert value(scores(rows), "top1_loc_error_energy_box") == 0.0
    unlike = scores(rows, scoring(rule=by_energy, methods=("gradient",)))
    assert unlike["max_box_acc"]["value"] is None
    assert "--tune-on" in unlike["max_box_acc_v2"]["reason"]


def test_what_is_not_defined_is_null_and_says_why():
    found = scores([row("a", 0.9, pointing_hit=None)])
    for name, reason in {
        "gt_known_loc_error": "--target true",
        "top5_loc_error": "--target top5",
        "pointing_game": "no maximum",
    }.items():
        assert found[name]["value"] is None
        assert reason in found[name]["reason"]
    assert "some maps have no number" in scores([row("a", 0.9, energy_in_box=None)])["energy_in_box"]["reason"]
    bare = scores([row("a", judged=None, pointing_hit=None, energy_in_box=None)])
    assert value(bare, "top1_class_error") == 0.0
    for name in ("top1_loc_error", "max_box_acc", "oracle_max_box_acc", "oracle_top1_loc_error", "mean_iou"):
        assert bare[name] == {"value": None, "reason": "no image has boxes to be judged by"}


def test_images_without_boxes_count_for_classes_only():
    rows = [row("a", 0.9), row("b", judged=None, pointing_hit=None, energy_in_box=None, label_place=6, right=False)]
    how = scoring(methods=("gradient",))
    summary = summarise(table(rows, how), how)
    found = summary["methods"]["gradient"]
    assert summary["images_without_boxes"] == 1
    assert (value(found, "top1_loc_error"), found["top1_loc_error"]["n"]) == (0.0, 1)
    assert (value(found, "top5_class_error"), found["top5_class_error"]["n"]) == (0.5, 2)


def test_five_guesses():
    def guesses(sample, place, iou):
        """The label comes at that place of the guesses, the map of which overlaps so much; other maps are perfect."""
        for rank in range(5):
            right = rank == place
            yield row(sample, iou if right else 1.0, rank=rank, target_place=rank, target=rank, right=right,
                      label_place=place, seconds_method=0.5)  # fmt: skip

    rows = [*guesses("a", 0, 0.9), *guesses("b", 3, 0.9), *guesses("c", 3, 0.2), *guesses("d", 7, 0.9)]
    found = scores(rows, scoring("top5", methods=("gradient",)))
    assert value(found, "top1_class_error") == 0.75
    assert value(found, "top5_class_error") == 0.25
    assert value(found, "top1_loc_error") == 0.75
    assert value(found, "top5_loc_error") == 0.5
    assert found["max_box_acc"]["n"] == 4  # the first guesses
    assert value(found, "mean_iou") == pytest.approx((0.9 + 1 + 1 + 1) / 4)
    assert value(found, "seconds_per_image") == 2.5


def test_the_true_class():
    rows = [
        row("a", 0.9),
        row("b", 0.9, target_place=3, label_place=3),
        row("c", 0.9, target_place=7, label_place=7),
        row("d", 0.1),
    ]
    found = scores(rows, scoring("true", methods=("gradient",)))
    assert value(found, "gt_known_loc_error") == 0.25
    assert value(found, "top1_loc_error") == 0.75
    assert value(found, "top5_loc_error") == 0.5


def test_several_labels_are_judged_each():
    # a shows classes 1 (predicted, found) and 2 (missed); b shows 2 (predicted, missed) and 3 (found, but unseen).
    rows = [
        row("a", 0.9, target=1, judged=1),
        row("a", 0.1, target=2, judged=2, target_place=4),
        row("b", 0.1, target=2, judged=2),
        row("b", 0.9, target=3, judged=3, target_place=8),
    ]
    found = scores(rows, scoring("true", methods=("gradient",)))
    assert (value(found, "gt_known_loc_error"), found["gt_known_loc_error"]["n"]) == (0.5, 4)
    assert (value(found, "top1_loc_error"), found["top1_loc_error"]["n"]) == (0.5, 2)
    assert value(found, "top5_loc_error") == 0.5
    assert value(found, "seconds_per_image") == 2.0


def test_pointing_is_a_mean_over_classes():
    hits = {"a": (1, True), "b": (1, False), "c": (1, False), "d": (2, True)}
    rows = [row(name, judged=judged, pointing_hit=hit) for name, (judged, hit) in hits.items()]
    assert value(scores(rows), "pointing_game") == pytest.approx((1 / 3 + 1) / 2)
    assert class_mean([1, 0, 0, 1], [1, 1, 1, 2]) == pytest.approx((1 / 3 + 1) / 2)


def test_a_failed_image_is_counted_and_left_out_for_all_methods():
    rows = [row(name, 0.9, method) for name in "abc" for method in METHODS]
    rows += [row("d", 0.0, "gradient"), row("d", 0.0, "feedback", error="NaN", judged=None, iou_by_max_largest=None)]
    how = scoring()
    summary = summarise(table(rows, how), how)
    assert (summary["images"], summary["images_failed"]) == (4, 1)
    for method, failed in (("gradient", 0), ("feedback", 1)):
        found = summary["methods"][method]
        assert (found["images"], found["images_failed"], value(found, "top1_loc_error")) == (3, failed, 0.0)


def test_thresholds_are_chosen_on_the_tuning_images_only():
    by_protocol = {"max_box_acc_iou": steps(t10=0.6), "max_box_acc_v2_iou": steps(t5=0.4)}
    tuning = [
        row("t1", steps(t30=0.9, t60=0.9), tuning=True, **by_protocol),
        row("t2", steps(t30=0.9), tuning=True, **by_protocol | {"max_box_acc_v2_iou": steps(t5=0.4, t7=0.8)}),
    ]
    judged = [row("a", steps(t30=0.9), max_box_acc_iou=steps(t10=0.6)), row("b", steps(t60=0.9))]
    how = scoring(thresholds=None, methods=("gradient",))
    assert choose_thresholds(table(tuning, how), how) == {"gradient": Thresholds(0.3, 0.1, (0.05, 0.07, 0.07))}
    summary = summarise(table(tuning + judged, how), how)
    assert summary["thresholds"]["gradient"]["box"] == 0.3
    assert (summary["images"], summary["images_tuned_on"]) == (2, 2)
    found = summary["methods"]["gradient"]
    assert (value(found, "top1_loc_error"), value(found, "max_box_acc")) == (0.5, 0.5)
    with pytest.raises(RunError, match="no tuning image has boxes"):
        summarise(table(judged, how), how)


def boxes(*scores):
    """Boxes of these scores; where they lie does not matter to a summary."""
    return [{"x1": 0.0, "y1": 0.0, "x2": 1.0, "y2": 1.0, "score": score} for score in scores]


def test_all_boxes_by_hand():
    rows = [
        # One object, found by the second box, and a stray inside it. Three objects, one found. No box.
        row("a", boxes=boxes(0.9, 0.8), box_truths=[-1, 0], box_nested=[True, False], iou_per_truth=[0.9]),
        row("b", boxes=boxes(0.7), box_truths=[2], box_nested=[False], iou_per_truth=[0.0, 0.0, 0.6], threshold=0.3),
        row("c", boxes=[], box_truths=[], box_nested=[], iou_per_truth=[0.0], threshold=0.3),
        # Without boxes to be judged by, and a tuning image: they do not count.
        row("d", boxes=boxes(1.0), judged=None),
        row("t", boxes=boxes(1.0), box_truths=[-1], box_nested=[True], iou_per_truth=[0.0], tuning=True),
    ]
    how = scoring(methods=("gradient",))
    summary = summarise(table(rows, how), how)
    found = summary["methods"]["gradient"]
    expected = {"box_precision": 2 / 3, "box_recall": 2 / 5, "box_f1": 4 / 8, "box_ap50": 41 * (2 / 3) / 101}
    expected |= {"box_precision_one": 1 / 2, "box_recall_one": 1 / 2, "box_f1_one": 1 / 2, "box_ap50_one": 51 / 202}
    expected |= {"box_precision_several": 1.0, "box_recall_several": 1 / 3, "box_f1_several": 1 / 2}
    expected |= {"box_ap50_several": 34 / 101, "boxes_per_image": 1.0, "nested_boxes": 1 / 3}
    assert {name: value(found, name) for name in expected} == pytest.approx(expected, abs=1e-9)
    assert [found[name]["n"] for name in ("box_f1", "box_f1_one", "box_f1_several")] == [3, 2, 1]
    assert summary["drawn_at"] == {"gradient": 0.3}


def test_all_boxes_of_the_wrong_class_are_judged_by_the_label():
    judged = {"boxes": boxes(0.5), "box_truths": [0], "box_nested": [False], "iou_per_truth": [0.8]}
    found = scores([wrong("a", **judged)])
    assert value(found, "box_f1") == 1.0
    assert value(found, "top1_loc_error") == 1.0


def test_only_the_boxes_of_first_guesses_count():
    right = {"boxes": boxes(0.5), "box_truths": [0], "box_nested": [False], "iou_per_truth": [0.8]}
    missed = {"boxes": boxes(0.9, 0.8), "box_truths": [-1, -1], "box_nested": [True, True], "iou_per_truth": [0.0]}
    rows = [row("a", rank=rank, target_place=rank, target=rank, **(missed if rank else right)) for rank in range(5)]
    found = scores(rows, scoring("top5", methods=("gradient",)))
    assert (value(found, "box_precision"), value(found, "boxes_per_image"), value(found, "nested_boxes")) == (1, 1, 0)


def test_one_row_that_does_not_tell_its_boxes_leaves_them_undefined():
    told = {"boxes": boxes(0.5), "box_truths": [0], "box_nested": [False], "iou_per_truth": [0.8]}
    found = scores([row("a", **told), row("b", boxes=boxes(0.5), iou_per_truth=[0.8])])
    for measure in ALL_BOXES:
        assert "does not tell which of its boxes are right" in found[measure.name]["reason"]


def test_all_boxes_where_every_image_failed():
    found = scores([row("a", error="a.png: damaged", boxes=None)])
    assert {found[measure.name]["reason"] for measure in ALL_BOXES} == {
        "no image has boxes to be judged by", "no image has one annotated object",
        "no image has several annotated objects",
    }  # fmt: skip


def test_all_boxes_are_paired_image_by_image():
    def of(sample, method, hit):
        told = {"boxes": boxes(0.5), "box_truths": [hit - 1], "box_nested": [False], "iou_per_truth": [0.8]}
        return row(sample, method=method, **told)

    hits = np.random.default_rng(0).random((2, 40)) < [[0.4], [0.6]]
    rows = [of(f"{n:02d}", method, int(hits[m, n])) for m, method in enumerate(METHODS) for n in range(40)]
    how = scoring()
    summary = summarise(table(rows, how), how)
    (pair,) = summary["paired"]
    assert (pair["first"], pair["second"]) == ("gradient", "feedback")
    expected = paired_difference(hits[1], hits[0])  # with one box and one object each, F1 is the share of hits
    for name in ("box_precision", "box_recall", "box_f1"):
        found = pair["differences"][name]
        assert [found[end] for end in ("value", "low", "high")] == pytest.approx(
            [expected.value, expected.low, expected.high], abs=1e-8
        )
    assert pair["differences"]["box_ap50"]["value"] > 0


def test_a_new_measure_is_one_row_of_the_table(monkeypatch):
    def at_zero(maps, _):
        return Sample(maps.curve[maps.first, 0])

    measure = Measure("iou_at_0", "IoU at threshold 0", "IoU at 0", "mean IoU of boxes at threshold 0", at_zero)
    monkeypatch.setattr(summarising, "MEASURES", {**MEASURES, "iou_at_0": measure})
    monkeypatch.setattr(summaries, "TABLED", (*TABLED, measure))
    how = scoring()
    rows = [row("a", steps(t0=0.5), method) for method in METHODS] + [row("b", 0.0, method) for method in METHODS]
    summary = summarise_rows(table(rows, how), how)
    assert summary.methods["gradient"].score("iou_at_0").value == 0.25
    assert summary.difference("gradient", "feedback")["iou_at_0"].value == 0.0
    printed = measures(summary).splitlines()
    assert printed[2].endswith("IoU at 0")
    assert printed[4].endswith("25.0")


def random_rows(seed, count=12):
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        right = rng.random() < 0.7
        base = row if right else wrong
        for method in METHODS:
            curve = rng.random(100).astype(np.float32)
            rows.append(base(f"{number:03d}", curve, method=method, energy_in_box=rng.random(), judged=number % 3))
            rows[-1]["pointing_hit"] = bool(rng.random() < 0.5)
    return rows


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(seed):
    how = scoring()
    rows = random_rows(seed)
    first = summarise(table(rows, how), how)
    random.Random(seed).shuffle(rows)
    assert summarise(table(rows, how), how) == first


def test_intervals_and_differences_are_those_of_the_metrics():
    how = scoring()
    rows = random_rows(5, count=40)
    summary = summarise(table(rows, how), how)
    overlap = {m: np.array([float(r["iou_by_max_largest"][20]) for r in rows if r["method"] == m]) for m in METHODS}
    energy = {m: np.array([r["energy_in_box"] for r in rows if r["method"] == m]) for m in METHODS}
    pointing = {m: np.array([r["pointing_hit"] for r in rows if r["method"] == m]) for m in METHODS}
    right = np.array([r["right"] for r in rows if r["method"] == "gradient"])
    classes = np.arange(40) % 3
    values = {
        "mean_iou": (overlap, None),
        "energy_in_box": (energy, None),
        "pointing_game": (pointing, classes),
        "top1_loc_error": ({m: ~(right & (overlap[m] >= 0.5)) for m in METHODS}, None),
    }
    (pair,) = summary["paired"]
    assert (pair["first"], pair["second"]) == ("gradient", "feedback")
    for name, (of, groups) in values.items():
        for method in METHODS:
            interval = bootstrap(of[method], classes=groups)
            found = summary["methods"][method][name]
            assert [found[end] for end in ("value", "low", "high")] == pytest.approx(
                [interval.value, interval.low, interval.high], abs=1e-8
            )
        between = paired_difference(of["gradient"], of["feedback"], classes=groups)
        found = pair["differences"][name]
        assert [found[end] for end in ("value", "low", "high")] == pytest.approx(
            [between.value, between.low, between.high], abs=1e-8
        )
    assert "top1_class_error" not in pair["differences"]

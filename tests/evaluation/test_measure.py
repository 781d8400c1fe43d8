"""What is measured of one map, by hand and against the rooms below; what a chunk leaves on the disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from looktwice.datasets import Sample
from looktwice.evaluation.chunks import Chunk, EvaluationImage, MeasurementPlan, TargetClass
from looktwice.evaluation.measure import judged_label, measure_chunk, write_chunk
from looktwice.images import Window
from looktwice.localization import Box, BoxRule
from looktwice.metrics import box_curve, energy_in_box, pointing_hit
from looktwice.runs.columns import ALL_BOXES, COLUMNS, CURVES, options_hash
from looktwice.runs.folder import open_run, part_fault, row_schema
from looktwice.runs.manifest import About, Manifest

SIDE = 20
WINDOW = Window.whole(40, 40)


def sample(name="a.png", labels=(1,), boxes=(((4.0, 4.0, 16.0, 16.0),),)):
    return Sample(name, Path(name), labels, boxes)


def target_class(image=0, target=1, rank=0, predicted=1):
    return TargetClass(image, rank, target, 0 if target == predicted else 1, 0.75, predicted, 0.75, 0)


def chunk(images, targets, heat, extent=None):
    maps = {"gradient": np.asarray(heat, dtype=np.float32)}
    extents = maps if extent is None else {"gradient": np.asarray(extent, dtype=np.float32)}
    return Chunk(3, tuple(images), tuple(targets), maps, extents, {"gradient": [0.5] * len(targets)}, (SIDE, SIDE))


def plan(run=Path(), **choices):
    names = ("gradient", "center_box", "full_image")
    rules, options = dict.fromkeys(names, BoxRule("contour", smallest=0.0)), dict.fromkeys(names, "hash")
    return MeasurementPlan(run, rules, options, **{"identity": "a run"} | choices)


def square(x1, y1, x2, y2, value=1.0):
    heat = np.zeros((SIDE, SIDE), dtype=np.float32)
    heat[y1:y2, x1:x2] = value
    return heat


def rows_of(*arguments):
    return {row["method"]: row for row in measure_chunk(plan(), chunk(*arguments))}


def test_a_row_by_hand():
    # A map pixel is 2×2 image pixels: the square (4, 2, 8, 8) is (8, 4, 16, 16) of the image, inside the truth.
    heat = square(4, 2, 8, 8) + square(15, 15, 17, 17, 0.5)
    row = rows_of([EvaluationImage(sample(), 7, False, WINDOW, seconds=0.3)], [target_class()], [heat])["gradient"]
    assert row["boxes"] == [
        {"x1": 8, "y1": 4, "x2": 16, "y2": 16, "score": pytest.approx(24 / 26)},
        {"x1": 30, "y1": 30, "x2": 34, "y2": 34, "score": pytest.approx(2 / 26)},
    ]
    assert row["iou_per_truth"] == [96 / 144]
    assert (row["iou"], row["iou_any"], row["energy_in_box"]) == (96 / 144, 96 / 144, pytest.approx(24 / 26))
    assert row["pointing_hit"] is True
    assert (row["sample"], row["order"], row["labels"], row["judged"]) == ("a.png", 7, (1,), 1)
    assert (row["correct"], row["right"], row["width"], row["height"]) == (True, True, 40, 40)
    assert row["seconds_method"] == 0.5
    assert 0.1 < row["overhead_seconds"] < 0.4  # a third of the image's decoding, and its own measuring
    assert row["iou_by_max_largest"].tolist() == pytest.approx([96 / 144] * 100)
    assert set(row) == set(COLUMNS)
    assert row["iou_by_energy_any"] is None  # kept only where the rule is by energy


def test_several_truths_and_boxes():
    truths = ((0.0, 0.0, 20.0, 20.0), (30.0, 30.0, 34.0, 34.0))
    heat = square(0, 0, 6, 6) + square(15, 15, 17, 17)
    row = rows_of([EvaluationImage(sample(boxes=(truths,)), 0, False, WINDOW)], [target_class()], [heat])["gradient"]
    assert row["iou_per_truth"] == [144 / 400, 0.0]
    assert (row["iou"], row["iou_any"]) == (144 / 400, 1.0)
    assert row["iou_by_max_any"].tolist() == [1.0] * 100


def test_all_boxes_of_a_row_by_hand():
    # In the image: two boxes of 12 and 8 pixels a side, and a box of 4 pixels inside the second one's hole.
    ring = square(10, 10, 18, 18) - square(11, 11, 17, 17) + square(13, 13, 15, 15)
    truths = ((20.0, 20.0, 36.0, 36.0), (1.0, 0.0, 12.0, 12.0), (0.0, 28.0, 10.0, 38.0))
    heat = square(0, 0, 6, 6) + ring
    row = rows_of([EvaluationImage(sample(boxes=(truths,)), 0, False, WINDOW)], [target_class()], [heat])["gradient"]
    assert [box["x1"] for box in row["boxes"]] == [20, 0]  # the hole and what lies in it belong to the contour
    assert row["box_truths"] == [0, 1]
    assert row["box_nested"] == [False, False]


def test_boxes_and_scores_of_any_rule_are_judged(monkeypatch):
    own = (Box(0.0, 0.0, 4.0, 4.0, 0.2), Box(0.0, 0.0, 4.0, 4.0, 0.9), Box(1.0, 1.0, 3.0, 3.0, 0.5))
    monkeypatch.setattr("looktwice.evaluation.measure.find_boxes", lambda heat, rule: own)
    truths = ((0.0, 0.0, 8.0, 8.0), (2.0, 2.0, 6.0, 6.0))
    row = rows_of([EvaluationImage(sample(boxes=(truths,)), 0, False, WINDOW)], [target_class()], [square(0, 0, 1, 1)])
    assert row["gradient"]["box_truths"] == [-1, 0, 1]  # the higher score chooses first, wherever it stands
    assert row["gradient"]["box_nested"] == [True, True, True]


def test_all_boxes_of_the_baselines():
    truths = ((0.0, 0.0, 40.0, 30.0), (6.0, 6.0, 34.0, 34.0))
    rows = rows_of([EvaluationImage(sample(boxes=(truths,)), 0, False, WINDOW)], [target_class()], [square(0, 0, 1, 1)])
    assert (rows["full_image"]["box_truths"], rows["full_image"]["box_nested"]) == ([0], [False])
    assert (rows["center_box"]["box_truths"], rows["center_box"]["box_nested"]) == ([1], [False])


def test_values_are_those_of_the_rooms_below():
    rng = np.random.default_rng(0)
    heat = rng.random((SIDE, SIDE)).astype(np.float32)
    window = Window.cropped(50, 40, resized=(30, 24), crop=(5, 2, 25, 22))
    truths = ((3.0, 4.0, 20.0, 30.0), (25.0, 10.0, 49.0, 39.0))
    row = rows_of([EvaluationImage(sample(boxes=(truths,)), 0, False, window)], [target_class()], [heat])["gradient"]
    protocol = box_curve(heat, truths, window)
    assert row["max_box_acc_iou"].tolist() == protocol.largest.astype(np.float32).tolist()
    assert row["max_box_acc_v2_iou"].tolist() == protocol.best.astype(np.float32).tolist()
    assert row["pointing_hit"] == pointing_hit(heat, truths, window)
    assert row["energy_in_box"] == energy_in_box(heat, truths, window)
    assert row["iou"] == pytest.approx(row["iou_by_max_largest"][20], rel=1e-6)


def test_curves_by_energy_are_kept_where_the_rule_is():
    rules = {"gradient": BoxRule("contour", 0.9, "energy", 0.0)}
    by_energy = MeasurementPlan(Path(), rules, {"gradient": "hash"}, identity="a run")
    heat = square(4, 2, 8, 8) + square(15, 15, 17, 17, 0.5)  # 24 and 2 of the energy: 0.92 lie in the first alone
    work = chunk(
        [EvaluationImage(sample(boxes=(((30.0, 30.0, 34.0, 34.0),),)), 0, False, WINDOW)], [target_class()], [heat]
    )
    (row,) = measure_chunk(by_energy, work)
    assert row["iou_by_energy_any"].tolist() == [0.0] * 93 + [1.0] * 7
    assert row["iou_any"] == 0.0


def test_baselines_by_hand():
    rows = rows_of([EvaluationImage(sample(), 0, False, WINDOW)], [target_class()], [square(0, 0, 1, 1)])
    whole, center = rows["full_image"], rows["center_box"]
    assert whole["boxes"] == [{"x1": 0, "y1": 0, "x2": 40, "y2": 40, "score": 1.0}]
    assert (whole["iou"], whole["energy_in_box"]) == (144 / 1600, pytest.approx(144 / 1600))
    assert whole.get("pointing_hit") is None
    assert all(set(whole[name].tolist()) == {np.float32(0.09)} for name in CURVES)
    # exp(−r²/2σ²) > 0.2 for r < 1.794σ, in the map 7.2 pixels: 7 on either side of the middle have their centre within.
    (box,) = center["boxes"]
    assert [box[side] for side in ("x1", "y1", "x2", "y2")] == [6.0, 6.0, 34.0, 34.0]
    assert center["pointing_hit"] is True  # the middle is 5.7 px from the truth's corner
    assert center["seconds_method"] == 0.0


def test_a_wrong_prediction_is_judged_by_the_first_label_with_boxes():
    two = sample(labels=(5, 1, 2), boxes=((), ((0.0, 0.0, 8.0, 8.0),), ((20.0, 20.0, 40.0, 40.0),)))
    assert [judged_label(two, target) for target in (1, 2, 9, 5)] == [1, 2, 1, None]
    row = rows_of(
        [EvaluationImage(two, 0, False, WINDOW)], [target_class(target=9, predicted=9)], [square(0, 0, 4, 4)]
    )["gradient"]
    assert (row["right"], row["correct"], row["judged"], row["iou"]) == (False, False, 1, 1.0)


def test_without_boxes_there_is_nothing_to_judge_by():
    bare = sample(boxes=((),))
    for row in rows_of([EvaluationImage(bare, 0, False, WINDOW)], [target_class()], [square(0, 0, 4, 4)]).values():
        assert row["boxes"]
        assert row["judged"] is None
        assert not {"iou", "pointing_hit", "energy_in_box", *CURVES, *ALL_BOXES} & {
            k for k, v in row.items() if v is not None
        }


def test_an_empty_map_is_no_error_and_hits_nothing():
    row = rows_of(
        [EvaluationImage(sample(boxes=(((0.0, 0.0, 9.0, 9.0),),)), 0, False, WINDOW)],
        [target_class()],
        [square(0, 0, 0, 0)],
    )
    assert row["gradient"]["error"] is None
    assert (row["gradient"]["boxes"], row["gradient"]["iou"], row["gradient"]["pointing_hit"]) == ([], 0.0, False)
    assert row["gradient"]["iou_per_truth"] == [0.0]
    assert row["gradient"]["box_truths"] == row["gradient"]["box_nested"] == []


def test_what_cannot_be_used_leaves_its_error_and_no_values():
    images = [
        EvaluationImage(sample(), 0, False, error="a.png: damaged"),
        EvaluationImage(sample("b.png"), 1, False, WINDOW),
    ]
    targets = [target_class(), target_class(target=2, rank=1), target_class(1), target_class(1, target=2, rank=1)]
    broken = square(0, 0, 4, 4)
    broken[0, 0] = np.nan
    rows = list(measure_chunk(plan(), chunk(images, targets, [square(0, 0, 4, 4)] * 3 + [broken])))
    assert [row["method"] for row in rows[:3]] == ["gradient", "center_box", "full_image"]
    values = set(COLUMNS) - {"sample", "order", "tuning", "method", "options", "rank", "labels", "error"}
    for row in rows[:3]:
        assert row["error"] == "a.png: damaged"
        assert not {name for name in values if row.get(name) is not None} - {"overhead_seconds"}
    of_b = [row for row in rows if row["sample"] == "b.png"]
    assert [(row["method"], row["rank"], bool(row["error"])) for row in of_b] == [
        ("gradient", 0, False),
        ("gradient", 1, True),
        *[(method, rank, False) for method in ("center_box", "full_image") for rank in (0, 1)],
    ]
    assert "NaN" in of_b[1]["error"]
    assert of_b[1].get("iou") is None


def test_a_written_chunk_can_be_read_and_is_complete(tmp_path):
    images = [
        EvaluationImage(sample(), 0, False, WINDOW),
        EvaluationImage(sample("c/b.png"), 1, True, error="c/b.png: empty"),
    ]
    targets = [target_class(), target_class(1)]
    heat = np.random.default_rng(0).random((2, SIDE, SIDE))
    facts = {"model": {"name": "own"}, "preprocessing": {"resize": 40, "crop": 40}, "methods": {"gradient": {}}}
    facts |= {"baselines": {"center_box": {}, "full_image": {}}, "batch_size": 2, "images": {"count": 8}}
    begun = open_run(tmp_path, Manifest(About({}), Manifest.from_json({"run": facts}).run))
    images = [replace(image, order=6 + number) for number, image in enumerate(images)]
    where = plan(tmp_path, save_maps=True, save_npy=True, identity=begun.identity)
    write_chunk(where, chunk(images, targets, heat))
    schema = row_schema(COLUMNS)
    keys = {(name, method) for name in ("a.png", "c/b.png") for method in where.rules}
    assert part_fault(tmp_path, 3, keys, schema) is None
    assert part_fault(tmp_path, 3, keys - {("a.png", "gradient")}, schema) is not None
    assert part_fault(tmp_path, 4, keys, schema) is not None
    table = pq.read_table(tmp_path / "rows" / "part-000003.parquet")
    assert table.schema.equals(schema)
    expected = list(measure_chunk(where, chunk(images, targets, heat)))
    for written, row in zip(table.to_pylist(), expected, strict=True):
        for name in set(COLUMNS) - {"overhead_seconds"}:
            value = row.get(name)
            told = list(value) if isinstance(value, tuple | np.ndarray) else value
            assert written[name] == told, name

    maps = np.load(tmp_path / "maps" / "part-000003.npz")
    assert maps["gradient"].dtype == np.float16
    assert np.array_equal(maps["gradient"], heat[:1].astype(np.float32).astype(np.float16))
    assert (maps["sample"].tolist(), maps["target"].tolist(), maps["rank"].tolist()) == (["a.png"], [1], [0])
    (file,) = (tmp_path / "npy").rglob("*.npy")
    assert file == tmp_path / "npy" / "gradient" / "a.png.npy"
    scores = np.load(file)
    assert (scores.shape, scores.dtype) == ((224, 224), np.float32)
    assert 0 <= scores.min() < scores.max() <= 1


def test_options_hash_is_of_the_options_alone():
    one = options_hash("feedback", {"steps": 10, "blur": 0.03})
    assert one == options_hash("feedback", {"blur": 0.03, "steps": 10})
    assert len({one, options_hash("feedback", {"steps": 11, "blur": 0.03}), options_hash("gradient", {})}) == 3


def test_boxes_are_those_of_the_extent_and_the_maximum_that_of_the_map():
    part = square(2, 2, 4, 4)  # of the object, which covers 2 … 8 of the map in x and y
    whole = square(2, 2, 8, 8)
    one = chunk([EvaluationImage(sample(), 0, False, WINDOW)], [target_class()], [part], [whole])
    row = next(row for row in measure_chunk(plan(), one) if row["method"] == "gradient")
    assert [tuple(box[side] for side in ("x1", "y1", "x2", "y2")) for box in row["boxes"]] == [(4, 4, 16, 16)]
    assert row["iou"] == row["iou_by_max_largest"][0] == 1
    away = chunk([EvaluationImage(sample(), 0, False, WINDOW)], [target_class()], [square(16, 16, 20, 20)], [whole])
    row = next(row for row in measure_chunk(plan(), away) if row["method"] == "gradient")
    assert (row["iou"], row["energy_in_box"]) == (1, 0)


def test_the_centre_of_a_map_that_is_not_square_is_its_own():
    flat = {"gradient": np.ones((1, 20, 40), np.float32)}
    images = (EvaluationImage(sample(), 0, False, Window.whole(80, 40)),)
    wide = Chunk(3, images, (target_class(),), flat, flat, {"gradient": [0.5]}, (20, 40))
    square_one = rows_of([EvaluationImage(sample(), 0, False, WINDOW)], [target_class()], [square(0, 0, 20, 20)])
    (box,) = {row["method"]: row for row in measure_chunk(plan(), wide)}["center_box"]["boxes"]
    (same,) = square_one["center_box"]["boxes"]
    assert (box["y1"], box["y2"]) == (same["y1"], same["y2"])
    assert box["x1"] + box["x2"] == 80  # in the middle
    assert box["x2"] - box["x1"] == pytest.approx(2 * (same["x2"] - same["x1"]), abs=4)

"""A data set through a network into a run: values, workers, broken pictures, thresholds and maps."""

import json
import os
import signal
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from evaluations import ALL, METHODS, PREPROCESSING, Colours, assert_same, colours, rows_of, run_on, summary_of
from looktwice.attention.api import attend
from looktwice.datasets import Dataset, Sample, load_dataset, shuffled
from looktwice.errors import DatasetError, OptionError, RunError
from looktwice.evaluation import measure
from looktwice.evaluation.chunks import Chunks, EvaluationImage, decode_image
from looktwice.evaluation.plan import EvaluationPlan
from looktwice.images import read_image
from looktwice.localization import BoxRule, locate
from looktwice.metrics import iou
from looktwice.models import Model, Preprocessing
from looktwice.runs import folder as runs
from looktwice.runs.columns import CURVES


def test_rows_are_what_the_rooms_below_say(dataset, contours):
    """A batch worked through by hand: decoded, predicted, attended to, located, overlapped."""
    model = colours()
    first = shuffled(dataset.samples, 0)[:4]
    images = [read_image(sample.image, upright=False) for sample in first]
    batch = torch.cat([model.prepare(image)[0] for image in images])
    with torch.no_grad():
        probabilities = model.module(batch).double().softmax(1)
    predicted = probabilities.argmax(1)
    table = {(row["sample"], row["method"]): row for row in rows_of(contours).to_pylist()}
    assert len(table) == rows_of(contours).num_rows == 22 * len(ALL)
    for method, options in METHODS.items():
        maps = attend(model.module, batch, predicted, method=method, **options).maps.numpy()
        for n, sample in enumerate(first):
            row = table[sample.id, method]
            window = model.prepare(images[n])[1]
            boxes = locate(maps[n], window, BoxRule("contour"))
            assert [tuple(box.values()) for box in row["boxes"]] == [(*box.corners, box.score) for box in boxes]
            judged = int(predicted[n]) if int(predicted[n]) in sample.labels else sample.labels[0]
            assert row["iou_per_truth"] == iou([box.corners for box in boxes], sample.boxes_of(judged))[0].tolist()
            assert (row["target"], row["predicted"], row["judged"]) == (int(predicted[n]), int(predicted[n]), judged)
            assert row["probability"] == row["predicted_probability"] == pytest.approx(float(probabilities[n].max()))
            assert row["correct"] == row["right"] == (int(predicted[n]) in sample.labels)
            assert (row["width"], row["height"]) == images[n].size
            assert all(len(row[name]) == 100 for name in CURVES if "by_energy" not in name)


@pytest.mark.parametrize(("target", "maps"), [("predicted", 1), ("top5", 5)])
def test_a_chunk_costs_one_plain_pass_for_all_methods_and_classes(dataset, tmp_path, monkeypatch, target, maps):
    passes = []
    real = Colours.forward
    monkeypatch.setattr(Colours, "forward", lambda self, images: passes.append(len(images)) or real(self, images))

    def own_passes(method, options):
        attend(colours().module, torch.rand(4, 3, 40, 40), 0, method=method, **options)
        made = len(passes) - 4  # the plain one, and three that measure how a new network works
        passes.clear()
        return made

    own = sum(own_passes(method, options) for method, options in METHODS.items())
    run_on(dataset, tmp_path / "run", target=target, limit=8)
    rehearsal, measuring = [3] + [1] * (1 + own), [2, 2]
    assert passes == rehearsal + measuring + [4] * (2 * (1 + maps * own))


def test_the_summary_makes_sense(contours):
    methods = summary_of(contours)["methods"]
    assert list(methods) == list(ALL)
    wrong = 4 / 22  # images 0, 7, 14 and 21 are labelled wrong
    assert methods["gradient"]["top1_class_error"]["value"] == pytest.approx(wrong)
    # The squares are found wherever the class is right, and the baselines know nothing of them.
    assert methods["gradient"]["top1_loc_error"]["value"] == pytest.approx(wrong)
    assert methods["full_image"]["top1_loc_error"]["value"] == 1
    assert methods["center_box"]["top1_loc_error"]["value"] > 0.8
    assert methods["gradient"]["pointing_game"]["value"] == 1


def test_the_manifest_tells_all(undisturbed, dataset):
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    run = manifest["run"]
    assert set(run["versions"]) == {"looktwice", "torch", "torchvision", "numpy", "opencv", "pillow"}
    assert run["data"] == {"fingerprint": dataset.fingerprint(), "samples": 22, "problems": 0}
    assert run["methods"]["feedback"]["steps"] == 1
    assert run["methods"]["feedback"]["step_size"] > 0  # defaults are written out
    assert (run["target"], run["batch_size"], run["device"]) == ("predicted", 4, "cpu")
    assert manifest["about"]["weights"] == "by hand"


def test_the_true_class_has_a_row_for_each_label(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", target="true")
    rows = [row for row in rows_of(tmp_path / "run").to_pylist() if row["method"] == "gradient"]
    assert sorted((row["sample"], row["target"]) for row in rows) == sorted(
        (sample.id, label) for sample in dataset.samples for label in sample.labels
    )
    assert all(row["judged"] == row["target"] and row["right"] for row in rows)
    scores = summary_of(tmp_path / "run")["methods"]["gradient"]
    assert scores["gt_known_loc_error"]["n"] == len(rows) == 22 + 5
    assert scores["top1_loc_error"]["n"] == 22


def test_five_guesses_are_the_five_best_classes(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", target="top5", limit=6)
    model = colours()
    rows = rows_of(tmp_path / "run").to_pylist()
    assert len(rows) == 6 * 5 * len(ALL)
    for sample in shuffled(dataset.samples, 0)[:6]:
        batch, _ = model.prepare(read_image(sample.image))
        with torch.no_grad():
            best = model.module(batch)[0].sort(descending=True, stable=True).indices.tolist()
        mine = [row for row in rows if (row["sample"], row["method"]) == (sample.id, "feedback")]
        assert [row["target"] for row in mine] == best[:5]
        assert [row["rank"] for row in mine] == [row["target_place"] for row in mine] == [0, 1, 2, 3, 4]
        assert {row["label_place"] for row in mine} == {min(best.index(label) for label in sample.labels)}
    assert summary_of(tmp_path / "run")["methods"]["gradient"]["top5_loc_error"]["value"] is not None


def test_seed_and_limit_choose_the_images(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", limit=5, seed=3)
    rows = rows_of(tmp_path / "run").to_pylist()
    expected = [sample.id for sample in shuffled(dataset.samples, 3)[:5]]
    assert [row["sample"] for row in rows if row["method"] == "gradient"] == expected


def test_images_are_read_as_annotated_not_as_turned(tmp_path):
    """EXIF orientation 6 turns an image by 90 degrees; annotations count pixels as they are stored."""
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[2:12, 24:36, 0] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    sample = Sample("a.png", tmp_path / "a.png", (0,), (((24.0, 2.0, 36.0, 12.0),),))
    run_on(Dataset((sample,)), tmp_path / "run")
    row = rows_of(tmp_path / "run").to_pylist()[-1]
    assert (row["method"], row["width"], row["height"]) == ("gradient", 40, 20)
    assert row["iou"] > 0.6


def test_annotations_are_fitted_to_the_image(tmp_path, folder):
    sample = Sample("a", folder / "001.png", (1,), (((-5.0, 0.0, 500.0, 20.0),),), width=10, height=10)
    run_on(Dataset((sample,)), tmp_path / "run")
    row = rows_of(tmp_path / "run").to_pylist()[0]
    assert "the annotation states 10×10 pixels" in row["note"]
    assert "reaches" in row["note"]
    assert str(folder) not in row["note"]
    assert summary_of(tmp_path / "run")["images_with_notes"] == 1


def test_worker_processes_change_nothing(dataset, undisturbed, tmp_path):
    seen = []
    run_on(dataset, tmp_path / "run", workers=2, progress=lambda *counts: seen.append(counts))
    assert_same(tmp_path / "run", undisturbed)
    assert seen == [(0, 22), (4, 22), (8, 22), (12, 22), (16, 22), (20, 22), (22, 22)]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_killed_worker_is_one_line_and_the_rest_stays(dataset, undisturbed, tmp_path, monkeypatch):
    real = measure.write_part

    def dies_with_the_third(run, index, *rows):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        real(run, index, *rows)

    monkeypatch.setattr(measure, "write_part", dies_with_the_third)
    with pytest.raises(RunError, match=r"was killed.*--workers"):
        run_on(dataset, tmp_path / "run", workers=1)
    assert runs.part_path(tmp_path / "run", 1).exists()
    monkeypatch.undo()
    run_on(dataset, tmp_path / "run")
    assert_same(tmp_path / "run", undisturbed)


@pytest.fixture
def broken(folder, tmp_path):
    """The same data set with one file cut short."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    cut = copy / "008.png"
    cut.write_bytes(cut.read_bytes()[:100])
    return load_dataset(copy, "csv")


def test_a_corrupt_image_costs_its_own_rows_only(broken, undisturbed, tmp_path):
    outcome = run_on(broken, tmp_path / "run")
    (told,) = outcome.failures
    assert told.startswith("008.png: damaged or cut short")
    lost = [row for row in rows_of(tmp_path / "run").to_pylist() if row["error"]]
    assert [row["method"] for row in lost] == sorted(ALL)
    assert {row["sample"] for row in lost} == {"008.png"}
    assert lost[0]["error"].startswith("008.png: damaged or cut short")
    assert lost[0]["iou"] is None

    def others(run):
        table = rows_of(run)
        return table.filter(pa.compute.not_equal(table["sample"], "008.png"))

    assert others(tmp_path / "run").equals(others(undisturbed))
    summary = summary_of(tmp_path / "run")
    assert (summary["images"], summary["images_failed"]) == (22, 1)
    assert summary["methods"]["gradient"]["top1_loc_error"]["n"] == 21


def test_a_corrupt_image_keeps_its_place_in_the_batch(broken):
    """Without it the others' batch would be another, and so would their last bits."""
    images = [EvaluationImage(sample, order, False) for order, sample in enumerate(broken.samples)]
    chunks = Chunks(images, 4, PREPROCESSING, decode_image)
    decoded = chunks[2]
    assert [image.sample.id for image in decoded.images] == ["008.png", "009.png", "010.png", "011.png"]
    assert [bool(image.error) for image in decoded.images] == [True, False, False, False]
    assert decoded.pixels.shape == (4, 3, 40, 40)
    assert [bool(pixels.any()) for pixels in decoded.pixels] == [False, True, True, True]
    assert chunks[5].pixels.shape == (2, 3, 40, 40)


def test_nothing_but_corrupt_images_is_a_summary_without_numbers(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    sample = Sample("a.png", tmp_path / "a.png", (0,), (((0.0, 0.0, 5.0, 5.0),),))
    run_on(Dataset((sample,)), tmp_path / "run")
    scores = json.loads((tmp_path / "run" / "summary.json").read_text())["methods"]["gradient"]
    assert (scores.pop("images"), scores.pop("images_failed")) == (0, 1)
    assert {score["value"] for score in scores.values()} == {None}
    assert all(score["reason"] for score in scores.values())


def test_strict_stops_at_a_corrupt_image(broken, tmp_path):
    with pytest.raises(DatasetError, match=r"008\.png: damaged.*strict"):
        run_on(broken, tmp_path / "run", strict=True)


def test_problems_of_the_data_set_are_kept(dataset, tmp_path):
    some = Dataset(dataset.samples, ("x.xml: broken XML", "y.xml: no object"))
    run_on(some, tmp_path / "run", limit=2)
    assert (tmp_path / "run" / "problems.txt").read_text() == "x.xml: broken XML\ny.xml: no object\n"
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["run"]["data"]["problems"] == 2


def test_thresholds_are_chosen_on_a_share_set_aside(dataset, tmp_path):
    run = tmp_path / "run"
    run_on(dataset, run, rule=BoxRule("contour"), tune_on="hash:0.4")
    rows = rows_of(run).to_pylist()
    tuning = {row["sample"] for row in rows if row["tuning"]}
    judged = {row["sample"] for row in rows} - tuning
    summary = summary_of(run)
    assert (summary["images_tuned_on"], summary["images"]) == (len(tuning), len(judged))
    assert len(tuning) > 3
    assert len(judged) > 3
    # By hand: the lowest threshold at which most tuning images' largest box overlaps by half, then applied to the rest.
    for method in METHODS:
        curves = {row["sample"]: row["iou_by_max_largest"] for row in rows if row["method"] == method}
        right = {row["sample"]: row["right"] for row in rows if row["method"] == method}
        counts = [sum(curves[name][k] >= 0.5 for name in tuning) for k in range(100)]
        best = counts.index(max(counts))
        assert summary["thresholds"][method]["box"] == best / 100
        error = 1 - sum(right[name] and curves[name][best] >= 0.5 for name in judged) / len(judged)
        assert summary["methods"][method]["top1_loc_error"]["value"] == pytest.approx(error)


def test_thresholds_are_chosen_on_another_run(dataset, tmp_path):
    some, others = Dataset(dataset.samples[:10]), Dataset(dataset.samples[10:])
    tuned = tmp_path / "tuned"
    by_max, by_energy = BoxRule("contour"), BoxRule("contour", threshold=0.5, by="energy")
    run_on(some, tuned, rule=by_max)
    run_on(others, tmp_path / "run", tune_on=str(tuned), rule=by_max)
    thresholds = json.loads((tmp_path / "run" / "manifest.json").read_text())["run"]["box"]["thresholds"]
    assert summary_of(tmp_path / "run")["thresholds"] == thresholds
    drawn = {row["method"]: row["threshold"] for row in rows_of(tmp_path / "run").to_pylist()}
    assert {method: drawn[method] for method in METHODS} == {method: thresholds[method]["box"] for method in METHODS}
    assert drawn["gradient"] != 0.2
    with pytest.raises(RunError, match=r"10 images of this run are in .* must be chosen on others"):
        run_on(dataset, tmp_path / "other", tune_on=str(tuned), rule=by_max)
    other = METHODS | {"feedback": {"steps": 2}}
    with pytest.raises(RunError, match=r"do not carry over: methods\.feedback\.steps was 1, is 2"):
        run_on(others, tmp_path / "other", tune_on=str(tuned), rule=by_max, methods=other)
    with pytest.raises(RunError, match="no curves by energy"):
        run_on(others, tmp_path / "other", tune_on=str(tuned), rule=by_energy)
    (tuned / "summary.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        run_on(others, tmp_path / "other", tune_on=str(tuned), rule=by_max)


def test_saved_maps_are_those_that_were_measured(dataset, tmp_path):
    run = tmp_path / "run"
    run_on(dataset, run, save_maps=True, save_npy=True, limit=6)
    model = colours()
    samples = shuffled(dataset.samples, 0)[:4]
    batch = torch.cat([model.prepare(read_image(sample.image))[0] for sample in samples])
    expected = attend(model.module, batch, method="gradient", **METHODS["gradient"]).maps.numpy()
    saved = np.load(run / "maps" / "part-000000.npz")
    assert np.array_equal(saved["gradient"], expected.astype(np.float16))
    assert saved["sample"].tolist() == [sample.id for sample in samples]
    assert len(list((run / "npy" / "feedback").iterdir())) == 6
    cropped = Model("c", Colours(), Preprocessing(24, 20, (0.5,) * 3, (0.5,) * 3), tuple("rgbcmy"), "")
    with pytest.raises(OptionError, match="squash"):
        run_on(dataset, tmp_path / "other", model=cropped, save_npy=True)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"batch_size": "8"}, "batch_size is '8'; a whole number is needed"),
        ({"limit": 2.5}, r"limit is 2\.5; a whole number is needed"),
        ({"seed": None}, "seed is None; a whole number is needed"),
        ({"save_maps": "no"}, "save_maps is 'no'; true or false is needed"),
        ({"tune_on": 0.4}, r"tune_on is 0\.4; a text is needed"),
        ({"target": None}, "unknown target"),
        ({"rule": None}, "rule is None; a BoxRule is needed"),
        ({"grid": True}, "grid is True; a GridPlan is needed"),
        ({"faithfulness": 3}, "faithfulness is 3; a FaithfulnessPlan is needed"),
    ],
)
def test_a_choice_of_another_type_is_one_line(choices, said):
    with pytest.raises(OptionError, match=said):
        EvaluationPlan({"gradient": {}}, **choices)


def test_a_run_with_numbers_of_numpy_is_the_same_run(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", limit=np.int64(2), seed=np.int32(0), batch_size=np.int64(2))
    (part,) = (tmp_path / "run" / "rows").iterdir()
    written = part.stat().st_mtime_ns
    run_on(dataset, tmp_path / "run", limit=2, seed=0, batch_size=2)
    assert part.stat().st_mtime_ns == written

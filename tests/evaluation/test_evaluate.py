"""Whole runs on small pictures: their values, and that nothing which stops them changes one."""

import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from evaluations import ALL, METHODS, PREPROCESSING, Colours, assert_same, colours, draw, rows_of, run_on, summary_of
from looktwice.attention.api import attend
from looktwice.datasets import Dataset, Sample, load_dataset, shuffled
from looktwice.errors import DatasetError, ModelError, OptionError, RunError
from looktwice.evaluation import measure, pipeline
from looktwice.evaluation.chunks import Chunks, EvaluationImage
from looktwice.evaluation.processes import Shard, default_device
from looktwice.images import read_image
from looktwice.localization import BoxRule, locate
from looktwice.metrics import iou
from looktwice.models import Model, Preprocessing, load_model
from looktwice.runs import folder as runs
from looktwice.runs.columns import CURVES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("data") / "pictures", 22)


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(folder, "csv")


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    outcome = run_on(dataset, run)
    assert (outcome.parts, outcome.missing, outcome.summary) == (6, 0, run / "summary.json")
    return run


# Values.


def test_rows_are_what_the_rooms_below_say(dataset, undisturbed):
    """A batch worked through by hand: decoded, predicted, attended to, located, overlapped."""
    model = colours()
    first = shuffled(dataset.samples, 0)[:4]
    images = [read_image(sample.image, upright=False) for sample in first]
    batch = torch.cat([model.prepare(image)[0] for image in images])
    with torch.no_grad():
        probabilities = model.module(batch).double().softmax(1)
    predicted = probabilities.argmax(1)
    table = {(row["sample"], row["method"]): row for row in rows_of(undisturbed).to_pylist()}
    assert len(table) == rows_of(undisturbed).num_rows == 22 * len(ALL)
    for method, options in METHODS.items():
        maps = attend(model.module, batch, predicted, method=method, **options).maps.numpy()
        for n, sample in enumerate(first):
            row = table[sample.id, method]
            window = model.prepare(images[n])[1]
            boxes = locate(maps[n], window, BoxRule())
            assert [tuple(box.values()) for box in row["boxes"]] == [(*box.corners, box.score) for box in boxes]
            judged = int(predicted[n]) if int(predicted[n]) in sample.labels else sample.labels[0]
            assert row["iou_per_truth"] == iou([box.corners for box in boxes], sample.boxes_of(judged))[0].tolist()
            assert (row["target"], row["predicted"], row["judged"]) == (int(predicted[n]), int(predicted[n]), judged)
            assert row["probability"] == row["predicted_probability"] == pytest.approx(float(probabilities[n].max()))
            assert row["correct"] == row["right"] == (int(predicted[n]) in sample.labels)
            assert (row["width"], row["height"]) == images[n].size
            assert all(len(row[name]) == 100 for name in CURVES if "by_energy" not in name)


def test_the_summary_makes_sense(undisturbed):
    methods = summary_of(undisturbed)["methods"]
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


# Workers.


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


# Broken pictures.


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
    pictures = [EvaluationImage(sample, order, False) for order, sample in enumerate(broken.samples)]
    chunks = Chunks(pictures, 4, PREPROCESSING)
    decoded = chunks[2]
    assert [picture.sample.id for picture in decoded.pictures] == ["008.png", "009.png", "010.png", "011.png"]
    assert [bool(picture.error) for picture in decoded.pictures] == [True, False, False, False]
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


# Stopped and gone on with.


class StopError(Exception):
    """Ends a run from within."""


def stop_after(images):
    def progress(done, total):
        if done >= images:
            raise StopError

    return progress


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stopped_run_goes_on_and_redoes_nothing(dataset, undisturbed, tmp_path, workers):
    run = tmp_path / "run"
    for images in (4, 12):
        with pytest.raises(StopError):
            run_on(dataset, run, workers=workers, progress=stop_after(images))
        assert not (run / "summary.json").exists()
    made = {part: part.stat().st_mtime_ns for part in (run / "rows").iterdir()}
    assert len(made) >= 3
    run_on(dataset, run)
    assert_same(run, undisturbed)
    assert {part: part.stat().st_mtime_ns for part in made} == made


def test_any_number_of_processes_goes_on(dataset, undisturbed, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(StopError):
        run_on(dataset, run, progress=stop_after(4))
    outcome = run_on(dataset, run, share=Shard(1, 3))
    assert (outcome.missing, outcome.summary) == (3, None)
    assert run_on(dataset, run, share=Shard(0, 2)).missing == 2
    assert run_on(dataset, run, share=Shard(1, 2)).summary == run / "summary.json"
    assert_same(run, undisturbed)
    text = (run / "summary.json").read_text()
    run_on(dataset, run)
    assert (run / "summary.json").read_text() == text


def test_unusable_parts_are_redone_and_leftovers_swept(dataset, undisturbed, tmp_path):
    run = tmp_path / "run"
    run_on(dataset, run)
    parts = sorted((run / "rows").iterdir())
    parts[0].write_bytes(parts[0].read_bytes()[:-50])  # its end is missing
    spoilt = bytearray(parts[1].read_bytes())
    spoilt[len(spoilt) // 4 : len(spoilt) // 3] = bytes(len(spoilt) // 3 - len(spoilt) // 4)  # a hole in its pages
    parts[1].write_bytes(spoilt)
    parts[2].write_bytes(parts[3].read_bytes())  # another chunk's rows
    pq.write_table(pq.read_table(parts[4], partitioning=None).drop(["iou"]), parts[4])  # another schema
    host = socket.gethostname().replace(".", "-")
    ours, theirs = (run / "rows" / f".part-000000.parquet.{name}.4194305.tmp" for name in (host, "elsewhere"))
    ours.write_bytes(b"half")
    theirs.write_bytes(b"half")
    run_on(dataset, run)
    assert_same(run, undisturbed)
    assert (ours.exists(), theirs.exists()) == (False, True)


def test_the_first_process_decides_on_threads(dataset, undisturbed, tmp_path, monkeypatch):
    """Convolutions split over threads differ in their last bits."""
    used = []
    real = pipeline.look
    monkeypatch.setattr(
        "looktwice.evaluation.evaluate.look", lambda *given: used.append(torch.get_num_threads()) or real(*given)
    )
    torch.set_num_threads(2)
    try:
        with pytest.raises(StopError):
            run_on(dataset, tmp_path / "run", progress=stop_after(4))
    finally:
        torch.set_num_threads(1)
    run_on(dataset, tmp_path / "run")
    assert set(used) == {2}
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_is_one_line_and_loses_nothing(dataset, undisturbed, tmp_path, monkeypatch, number):
    run = tmp_path / "run"
    calls = []
    real = os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) == 9:  # the manifest and some parts are synced before
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as caught:
        run_on(dataset, run)
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert "all that was written before stays" in str(caught.value)
    assert ("free some space" in str(caught.value)) == (number == errno.ENOSPC)
    assert 0 < len(list((run / "rows").iterdir())) < 6
    assert not list(run.rglob("*.tmp"))
    run_on(dataset, run)
    assert_same(run, undisturbed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "true"}, "target was predicted, is true"),
        ({"batch_size": 8}, "batch_size was 4, is 8"),
        ({"seed": 1}, "images.seed was 0, is 1"),
        ({"limit": 20}, "images.count was 22, is 20; images.limit was null, is 20"),
        ({"rule": BoxRule(threshold=0.3)}, "box.threshold was 0.2, is 0.3"),
        ({"boxes": "any"}, "box.boxes was largest, is any"),
        ({"methods": METHODS | {"feedback": {"steps": 2}}}, "methods.feedback.steps was 1, is 2"),
        ({"methods": {"gradient": {}}}, "methods.feedback was"),
        ({"save_maps": True}, "save.maps was false, is true"),
        ({"tune_on": "hash:0.5"}, "images.tuning_share was null, is 0.5"),
    ],
)
def test_another_evaluation_in_the_same_folder_is_refused(dataset, undisturbed, change, said):
    before = sorted((path, path.stat().st_mtime_ns) for path in undisturbed.rglob("*"))
    with pytest.raises(RunError) as caught:
        run_on(dataset, undisturbed, **change)
    assert said in str(caught.value)
    assert "name another --output" in str(caught.value)
    assert sorted((path, path.stat().st_mtime_ns) for path in undisturbed.rglob("*")) == before


def test_another_model_or_data_set_is_refused(dataset, undisturbed, tmp_path):
    model = colours()
    with torch.no_grad():
        model.module.head.bias[0] += 0.001
    with pytest.raises(RunError, match=r"model\.weights_hash was \w{64}, is \w{64}"):
        run_on(dataset, undisturbed, model=model)
    with pytest.raises(RunError, match=r"data\.fingerprint was .*data\.samples was 22, is 21"):
        run_on(Dataset(dataset.samples[1:]), undisturbed)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match="is no manifest"):
        run_on(dataset, tmp_path)


def test_a_mistake_leaves_no_manifest_to_hold_it_fast(dataset, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(OptionError, match="steps"):
        run_on(dataset, run, methods={"feedback": {"steps": -1}})
    gelu = nn.Sequential(nn.Conv2d(3, 6, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError, match="ReLU"):
        run_on(dataset, run, model=Model("gelu", gelu, PREPROCESSING, tuple("rgbcmy"), ""))
    assert not run.exists()
    run_on(dataset, run, limit=2)


@pytest.mark.parametrize(
    ("choices", "error", "said"),
    [
        ({"methods": {}}, OptionError, "no method"),
        ({"methods": {"gradeint": {}}}, OptionError, "did you mean gradient"),
        ({"methods": {"feedback": {"step": 3}}}, OptionError, "unknown option for feedback: 'step'; did you mean"),
        ({"target": "best"}, OptionError, "unknown target: 'best'; there are predicted, true, top5"),
        ({"boxes": "all"}, OptionError, "largest, any"),
        ({"rule": BoxRule(threshold=0.123)}, OptionError, "0.00, 0.01"),
        ({"rule": BoxRule("energy", 0.95), "boxes": "any"}, OptionError, "only one"),
        ({"batch_size": 0}, OptionError, "1 or more"),
        ({"limit": 0}, OptionError, "1 image or more"),
        ({"tune_on": "hash:2"}, OptionError, "between 0 and 1"),
        ({"tune_on": "hash:0.5", "limit": 1}, RunError, "take more images"),
        ({"tune_on": "nowhere"}, RunError, "holds no run"),
    ],
)
def test_what_cannot_be_evaluated(dataset, tmp_path, choices, error, said):
    with pytest.raises(error, match=said):
        run_on(dataset, tmp_path / "run", **choices)
    assert not (tmp_path / "run").exists()


def test_a_class_that_the_network_does_not_have(dataset, tmp_path):
    odd = Dataset((*dataset.samples, Sample("odd", Path("odd"), (6,), ((),))))
    with pytest.raises(DatasetError, match=r"odd is of class 6, and the network has 0 … 5; give a classes file"):
        run_on(odd, tmp_path / "run")


# Thresholds chosen on other images.


def test_thresholds_are_chosen_on_a_share_set_aside(dataset, tmp_path):
    run = tmp_path / "run"
    run_on(dataset, run, tune_on="hash:0.4")
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
    run_on(some, tuned)
    run_on(others, tmp_path / "run", tune_on=str(tuned))
    thresholds = json.loads((tmp_path / "run" / "manifest.json").read_text())["run"]["box"]["thresholds"]
    assert summary_of(tmp_path / "run")["thresholds"] == thresholds
    drawn = {row["method"]: row["threshold"] for row in rows_of(tmp_path / "run").to_pylist()}
    assert {method: drawn[method] for method in METHODS} == {method: thresholds[method]["box"] for method in METHODS}
    assert drawn["gradient"] != 0.2
    with pytest.raises(RunError, match=r"10 images of this run are in .* must be chosen on others"):
        run_on(dataset, tmp_path / "other", tune_on=str(tuned))
    with pytest.raises(RunError, match=r"do not carry over: methods\.feedback\.steps was 1, is 2"):
        run_on(others, tmp_path / "other", tune_on=str(tuned), methods=METHODS | {"feedback": {"steps": 2}})
    by_energy = BoxRule(threshold=0.5, by="energy")
    with pytest.raises(RunError, match="no curves by energy"):
        run_on(others, tmp_path / "other", tune_on=str(tuned), rule=by_energy)
    (tuned / "summary.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        run_on(others, tmp_path / "other", tune_on=str(tuned))


# Maps.


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


# Processes and devices.


def test_shares_come_from_the_environment():
    assert Shard.from_environment({}) == Shard(0, 1)
    assert Shard.from_environment({"RANK": "2", "WORLD_SIZE": "3", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) == Shard(
        2, 3
    )
    assert Shard.from_environment({"SLURM_PROCID": "7", "SLURM_NTASKS": "8"}) == Shard(7, 8)
    for rank, world in (("3", "3"), ("-1", "2"), ("a", "2")):
        with pytest.raises(RunError, match=f"RANK={rank} and WORLD_SIZE={world}"):
            Shard.from_environment({"RANK": rank, "WORLD_SIZE": world})


def test_each_process_has_its_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert default_device(None, {"LOCAL_RANK": "6"}) == "cuda:2"
    assert default_device("cuda", {"SLURM_LOCALID": "3"}) == "cuda:3"
    assert default_device(None, {}) == "cuda:0"
    assert [default_device(name, {"LOCAL_RANK": "2"}) for name in ("cpu", "cuda:1")] == ["cpu", "cuda:1"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_device(None, {"LOCAL_RANK": "2"}) == "cpu"


NETWORK = """
import time
import torch
from torch import nn

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 9, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(16, 6)

    def forward(self, images):
        time.sleep(0.02)
        return self.head(self.layers(images))
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    file = tmp_path_factory.mktemp("network") / "slow.py"
    file.write_text(textwrap.dedent(NETWORK))
    return f"{file}:Slow"


@pytest.fixture(scope="module")
def command(folder, network):
    return [
        *("-m", "looktwice", "evaluate", str(folder), "--layout", "csv", "--model", network),
        *("--methods", "gradient", "--batch-size", "1", "--workers", "1", "--squash"),
    ]


def environment():
    source = str(Path(__file__).parents[2] / "src")
    return os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}


def launch(arguments, run, *, launcher=()):
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments, "--output", str(run)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process):
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return told


def wait_for(parts, run, process):
    deadline = time.monotonic() + 120
    while len(list(run.glob("rows/part-*"))) < parts:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.1))


@pytest.fixture(scope="module")
def unkilled(dataset, network, tmp_path_factory):
    run = tmp_path_factory.mktemp("unkilled") / "run"
    run_on(dataset, run, model=load_model(network, squash=True), methods={"gradient": {}}, batch_size=1)
    return run


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_killed_at_random_moments_and_started_again(command, unkilled, tmp_path):
    run = tmp_path / "run"
    for parts, whole_group in ((1, True), (6, False), (13, True)):
        process = launch(command, run)
        wait_for(parts, run, process)
        # Without its parent a worker writes what it has or nothing, and leaves.
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
        assert not (run / "summary.json").exists()
        process.communicate(timeout=20)  # ends when the last worker has let go of the pipe
    told = finish(launch(command, run))
    assert told.rstrip().endswith(str(run / "summary.json"))
    assert_same(run, unkilled)
    assert not list(run.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_one_then_three_then_two_processes(command, unkilled, tmp_path):
    run = tmp_path / "run"

    def torchrun(processes):
        launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
        return launch(command, run, launcher=launcher)

    one = launch(command, run)
    wait_for(2, run, one)
    os.killpg(one.pid, signal.SIGKILL)
    one.communicate()
    three = torchrun(3)
    wait_for(9, run, three)
    kill_tree(three.pid)
    three.communicate()
    finish(torchrun(2))
    assert_same(run, unkilled)


def kill_tree(process):
    """torchrun's processes have sessions of their own."""
    children = [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    os.kill(process, signal.SIGKILL)
    for child in children:
        kill_tree(child)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is read from /proc")
def test_memory_stays_flat_over_thousands_of_images(folder, tmp_path):
    """Of this process and its workers, after the first fifth."""
    kept = load_dataset(folder, "csv").samples
    samples = tuple(
        Sample(f"{n:05d}", kept[n % 22].image, kept[n % 22].labels, kept[n % 22].boxes) for n in range(4000)
    )
    sizes = []

    def resident(process):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def progress(done, total):
        processes = [os.getpid()]
        processes += map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())
        sizes.append((done, sum(map(resident, processes))))

    run_on(Dataset(samples), tmp_path / "run", methods={"gradient": {}}, workers=2, batch_size=16, progress=progress)
    late = [size for done, size in sizes if done > 800]
    tenth = len(late) // 10
    growth = np.median(late[-tenth:]) - np.median(late[:tenth])
    assert growth < 15, f"{growth:.0f} MiB more after 4,000 images than after 800"


def test_the_folder_may_be_begun_by_several_at_once(tmp_path):
    """Whoever comes second finds the first one's manifest, and agrees or is refused."""
    one = {"about": {"command": "first"}, "run": {"seed": 0}}
    runs.open_run(tmp_path / "run", one)
    runs.open_run(tmp_path / "run", one | {"about": {"command": "second"}})
    assert runs.read_manifest(tmp_path / "run")["about"] == {"command": "first"}
    with pytest.raises(RunError, match=r"seed was 0, is 1; name another --output, or repeat .* first"):
        runs.open_run(tmp_path / "run", one | {"run": {"seed": 1}})
    assert not list((tmp_path / "run").glob(".*"))

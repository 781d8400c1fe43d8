"""An evaluation stopped at any moment goes on, or is refused."""

import errno
import os
import socket
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from evaluations import METHODS, PREPROCESSING, StopError, assert_same, colours, run_on, stop_after
from looktwice.datasets import Dataset, Sample
from looktwice.errors import DatasetError, LooktwiceWarning, ModelError, OptionError, RunError
from looktwice.evaluation import pipeline
from looktwice.evaluation.processes import Shard
from looktwice.localization import BoxRule
from looktwice.models import Model


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
    outcome = run_on(dataset, run, shard=Shard(1, 3))
    assert (outcome.missing, outcome.summary) == (3, None)
    assert run_on(dataset, run, shard=Shard(0, 2)).missing == 2
    assert run_on(dataset, run, shard=Shard(1, 2)).summary == run / "summary.json"
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
    with pytest.warns(
        LooktwiceWarning, match=r"4 parts cannot be used and are computed again \(part-000000\.parquet: "
    ):
        run_on(dataset, run)
    assert_same(run, undisturbed)
    assert (ours.exists(), theirs.exists()) == (False, True)


def test_the_first_process_decides_on_threads(dataset, undisturbed, tmp_path, monkeypatch):
    """Convolutions split over threads differ in their last bits."""
    used = []
    real = pipeline.attend_chunk
    monkeypatch.setattr(
        "looktwice.evaluation.evaluate.attend_chunk",
        lambda *given: used.append(torch.get_num_threads()) or real(*given),
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
        (
            {"rule": BoxRule("contour", threshold=0.3)},
            "box.rule was objects, is contour; box.threshold was 0.2, is 0.3",
        ),
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
    tanh = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError, match="no activation that can be gated"):
        run_on(dataset, run, model=Model("tanh", tanh, PREPROCESSING, tuple("rgbcmy"), ""))
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
        ({"rule": BoxRule("contour", threshold=0.123)}, OptionError, "0.00, 0.01"),
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

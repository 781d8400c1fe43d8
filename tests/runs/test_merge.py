"""Runs of some methods each, merged, against one run of all methods at once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluations import METHODS, StopError, colours, draw, rows_of, run_on, stop_after, summary_of
from looktwice.datasets import Dataset, load_dataset
from looktwice.errors import MissingExtraError, RunError
from looktwice.localization import BoxRule
from looktwice.report.page import write_report
from looktwice.report.paper_tables import paper_tables
from looktwice.runs import folder as runs
from looktwice.runs import merge as merging
from looktwice.runs.merge import COMPARABLE, merge

GUIDED = {"guided_backprop": {"blur": 0.03}}
GRADIENT, FEEDBACK = ({name: METHODS[name]} for name in METHODS)
CHOICES = {"rule": BoxRule("contour"), "target": "true", "tune_on": "hash:0.4"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Twenty-two pictures, one of which cannot be decoded, and one annotation that does not fit."""
    folder = draw(tmp_path_factory.mktemp("data") / "pictures", 22)
    cut = folder / "008.png"
    cut.write_bytes(cut.read_bytes()[:100])
    dataset = load_dataset(folder, "csv")
    return Dataset(dataset.samples, ("x.xml: broken XML",))


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """The folder of the runs ``first`` and ``second``, and of ``all`` their methods at once."""
    folder = tmp_path_factory.mktemp("runs")
    run_on(dataset, folder / "first", methods=GUIDED | GRADIENT, save_maps=True, **CHOICES)
    run_on(dataset, folder / "second", methods=FEEDBACK | GRADIENT, save_maps=True, **CHOICES)
    run_on(dataset, folder / "all", methods=GUIDED | GRADIENT | FEEDBACK, save_maps=True, **CHOICES)
    return folder


def both(folder):
    return [folder / "first", folder / "second"]


def manifest_of(run):
    return json.loads((run / "manifest.json").read_text())


def untimed(part):
    return pq.read_table(part, partitioning=None).select(COMPARABLE)


def assert_merged(run, whole):
    """The same manifest, the same rows in the same order, the same maps, the same summary."""
    assert manifest_of(run)["run"] == manifest_of(whole)["run"]
    assert list(manifest_of(run)["run"]["methods"]) == list(manifest_of(whole)["run"]["methods"])
    parts = sorted(part.name for part in (whole / "rows").iterdir())
    assert sorted(part.name for part in (run / "rows").iterdir()) == parts
    for part in parts:
        assert untimed(run / "rows" / part).equals(untimed(whole / "rows" / part))
    for maps in (whole / "maps").iterdir():
        with np.load(maps) as expected, np.load(run / "maps" / maps.name) as found:
            assert set(found.files) == set(expected.files)
            assert all(np.array_equal(found[name], expected[name]) for name in expected.files)
    assert summary_of(run) == summary_of(whole)


def test_merged_is_as_if_evaluated_together(finished, tmp_path):
    told = []
    outcome = merge(both(finished), tmp_path / "new", progress=lambda *counts: told.append(counts))
    assert (outcome.parts, outcome.missing, outcome.summary) == (6, 0, tmp_path / "new" / "summary.json")
    assert told == [(done, 6) for done in range(1, 7)]
    assert_merged(tmp_path / "new", finished / "all")
    pairs = {(pair["first"], pair["second"]) for pair in summary_of(tmp_path / "new")["paired"]}
    assert ("feedback", "guided_backprop") in pairs
    problems = (tmp_path / "new" / "problems.txt").read_text().splitlines()
    assert [line.partition(": ")[0] for line in problems] == ["x.xml", "008.png"]
    assert problems[0] == "x.xml: broken XML"


def test_times_are_the_first_run_s(finished, tmp_path):
    merge(both(finished), tmp_path / "new")

    def seconds(run, method):
        rows = runs.read_rows(run, range(6), ["method", "sample", "seconds_method"]).to_pylist()
        return {row["sample"]: row["seconds_method"] for row in rows if row["method"] == method}

    for method, run in {"gradient": "first", "guided_backprop": "first", "feedback": "second"}.items():
        assert seconds(tmp_path / "new", method) == seconds(finished / run, method)


def test_the_manifest_tells_where_it_came_from(finished, tmp_path):
    merge(both(finished), tmp_path / "new", about={"command": "looktwice merge first second"})
    about = manifest_of(tmp_path / "new")["about"]
    assert about["command"] == "looktwice merge first second"
    first, second = about["merged"]
    assert (first["run"], first["methods"]) == (str(finished / "first"), ["guided_backprop", "gradient"])
    assert {name: second[name] for name in ("begun", "threads", "weights")} == {
        name: manifest_of(finished / "second")["about"][name] for name in ("begun", "threads", "weights")
    }


def test_table_and_report_take_it_like_any_run(finished, tmp_path):
    merge(both(finished), tmp_path / "new")
    assert paper_tables([tmp_path / "new"]) == paper_tables([finished / "all"])
    write_report([tmp_path / "new"], tmp_path / "report.html")
    assert "guided_backprop" in (tmp_path / "report.html").read_text()


def test_evaluate_goes_on_with_it(dataset, finished, tmp_path):
    run = tmp_path / "new"
    merge(both(finished), run)
    runs.part_path(run, 2).unlink()
    run_on(dataset, run, methods=GUIDED | GRADIENT | FEEDBACK, save_maps=True, **CHOICES)
    assert_merged(run, finished / "all")


def test_a_merged_run_is_merged_again(dataset, finished, tmp_path):
    for name, methods in (("one", GUIDED), ("two", GRADIENT), ("three", FEEDBACK)):
        run_on(dataset, tmp_path / name, methods=methods, **CHOICES)
    merge([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    merge([tmp_path / "both", tmp_path / "three"], tmp_path / "new")
    merge([tmp_path / name for name in ("one", "two", "three")], tmp_path / "at once")
    assert not (tmp_path / "new" / "maps").exists()
    for run in (tmp_path / "new", tmp_path / "at once"):
        assert rows_of(run).equals(rows_of(finished / "all"))
        assert summary_of(run) == summary_of(finished / "all")


def test_maps_that_only_one_run_saved_are_kept(dataset, finished, tmp_path):
    run_on(dataset, tmp_path / "second", methods=FEEDBACK, **CHOICES)
    merge([finished / "first", tmp_path / "second"], tmp_path / "new")
    with np.load(tmp_path / "new" / "maps" / "part-000000.npz") as maps:
        assert set(maps.files) == {"guided_backprop", "gradient", "sample", "target", "rank"}
    assert manifest_of(tmp_path / "new")["run"]["save"]["maps"]


def test_thresholds_of_another_run_are_each_method_s_own(dataset, tmp_path):
    some, others = Dataset(dataset.samples[:10]), Dataset(dataset.samples[10:])
    for name, methods in (("one", GRADIENT), ("two", FEEDBACK), ("all", GRADIENT | FEEDBACK)):
        choices = {"rule": BoxRule("contour"), "methods": methods}
        run_on(some, tmp_path / "tuned" / name, **choices)
        run_on(others, tmp_path / name, tune_on=str(tmp_path / "tuned" / name), **choices)
    merge([tmp_path / "one", tmp_path / "two"], tmp_path / "new")
    run = manifest_of(tmp_path / "new")["run"]
    assert set(run["box"]["thresholds"]) == {"gradient", "feedback", "center_box", "full_image"}
    assert run == manifest_of(tmp_path / "all")["run"]
    assert summary_of(tmp_path / "new") == summary_of(tmp_path / "all")


# Stopped and gone on with.


def test_a_stopped_merge_goes_on_and_redoes_nothing(finished, tmp_path):
    run = tmp_path / "new"
    with pytest.raises(StopError):
        merge(both(finished), run, progress=stop_after(3))
    assert not (run / "summary.json").exists()
    made = {part: part.stat().st_mtime_ns for part in (run / "rows").iterdir()}
    assert len(made) == 3
    runs.part_path(run, 1).write_bytes(b"half")
    merge(both(finished), run)
    assert_merged(run, finished / "all")
    redone = [part.name for part, when in made.items() if part.stat().st_mtime_ns != when]
    assert redone == ["part-000001.parquet"]


KILLED = """
import os, signal, sys
from looktwice import atomic_files as runs
from looktwice.runs.merge import merge

real, folders = runs.write_synced, sys.argv[1:]

def dies(path, content):
    if "part-000003.parquet" in path.name:
        path.write_bytes(content[:100])
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, content)

runs.write_synced = dies
merge(folders[:-1], folders[-1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_killed_merge_goes_on(finished, tmp_path):
    run = tmp_path / "new"
    source = str(Path(__file__).parents[2] / "src")
    folders = [str(folder) for folder in (*both(finished), run)]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *folders], env=os.environ | {"PYTHONPATH": source}, check=False, timeout=120
    )
    assert ended.returncode == -signal.SIGKILL
    assert len(list((run / "rows").glob("part-*"))) == 3
    assert len(list((run / "rows").glob(".part-*"))) == 1
    merge(both(finished), run)
    assert_merged(run, finished / "all")


# What does not fit.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "predicted"}, "target was true, is predicted"),
        ({"batch_size": 8}, "batch_size was 4, is 8"),
        ({"seed": 1}, "images.seed was 0, is 1"),
        ({"limit": 20}, "images.count was 22, is 20"),
        ({"rule": BoxRule("contour", threshold=0.3)}, "box.threshold was 0.2, is 0.3"),
        ({"boxes": "any"}, "box.boxes was largest, is any"),
        ({"tune_on": "hash:0.5"}, "images.tuning_share was 0.4, is 0.5"),
        ({"methods": {"gradient": {"blur": 0.05}}}, "methods.gradient.blur was 0.03, is 0.05"),
    ],
)
def test_runs_that_differ_are_refused(dataset, finished, tmp_path, change, said):
    run_on(dataset, tmp_path / "other", **{"methods": FEEDBACK} | CHOICES | change)
    with pytest.raises(RunError) as caught:
        merge([finished / "first", tmp_path / "other"], tmp_path / "new")
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'other'} does not fit {finished / 'first'}: ")
    assert not (tmp_path / "new").exists()


def test_methods_of_later_runs_are_compared_too(dataset, finished, tmp_path):
    run_on(dataset, tmp_path / "third", methods={"feedback": {"steps": 2, "blur": 0.03}}, **CHOICES)
    with pytest.raises(RunError, match=r"third does not fit .*first, .*second: methods\.feedback\.steps was 1, is 2;"):
        merge([*both(finished), tmp_path / "third"], tmp_path / "new")


def test_another_network_or_data_set_is_refused(dataset, finished, tmp_path):
    model = colours()
    model.module.head.bias.data[0] += 0.001
    run_on(dataset, tmp_path / "other", model=model, methods=FEEDBACK, **CHOICES)
    with pytest.raises(RunError, match=r"model\.weights_hash was \w{64}, is \w{64};"):
        merge([finished / "first", tmp_path / "other"], tmp_path / "new")
    run_on(Dataset(dataset.samples[1:]), tmp_path / "fewer", methods=FEEDBACK, **CHOICES)
    with pytest.raises(RunError, match=r"data\.fingerprint was"):
        merge([finished / "first", tmp_path / "fewer"], tmp_path / "new")


@pytest.mark.parametrize(("name", "change"), [("center_box", "probability"), ("gradient", "iou")])
def test_rows_that_should_be_the_same_and_are_not(dataset, finished, tmp_path, name, change):
    run_on(dataset, tmp_path / "second", methods=FEEDBACK | GRADIENT, **CHOICES)
    part = runs.part_path(tmp_path / "second", 1)
    rows = pq.read_table(part, partitioning=None)
    changed = [
        row | {change: np.nextafter(row[change], 2)} if (row["method"], row["error"]) == (name, None) else row
        for row in rows.to_pylist()
    ]
    identity = runs.read_manifest(tmp_path / "second").identity
    runs.write_part(tmp_path / "second", 1, changed, rows.schema.remove_metadata(), identity)
    sample = next(row["sample"] for row in changed if row["method"] == name and row[change] is not None)
    with pytest.raises(RunError, match=rf"do not have the same rows of {name}: {change} of {sample} differs"):
        merge([finished / "first", tmp_path / "second"], tmp_path / "new")


def test_unfinished_or_damaged_runs_are_refused(dataset, finished, tmp_path):
    run_on(dataset, tmp_path / "second", methods=FEEDBACK, **CHOICES)
    (tmp_path / "second" / "summary.json").unlink()
    with pytest.raises(RunError, match="second is not finished; run the command that began it again"):
        merge([finished / "first", tmp_path / "second"], tmp_path / "new")
    with pytest.raises(RunError, match="holds no run"):
        merge([finished / "first", tmp_path / "nowhere"], tmp_path / "new")
    with pytest.raises(RunError, match="1 run to merge; two or more are needed"):
        merge([finished / "first"], tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "second" / "summary.json").write_text("{}")
    runs.part_path(tmp_path / "second", 4).write_bytes(b"half")
    with pytest.raises(RunError, match=r"part-000004\.parquet cannot be read; run the command that began the run"):
        merge([finished / "first", tmp_path / "second"], tmp_path / "new")


def test_maps_of_other_rows_are_refused(dataset, finished, tmp_path):
    run_on(dataset, tmp_path / "second", methods=FEEDBACK, save_maps=True, **CHOICES)
    maps = tmp_path / "second" / "maps"
    (maps / "part-000001.npz").write_bytes((maps / "part-000002.npz").read_bytes())
    with pytest.raises(RunError, match=r"second: the maps of part 1 are of other rows"):
        merge([finished / "first", tmp_path / "second"], tmp_path / "new")
    (maps / "part-000001.npz").write_bytes(b"PK")
    with pytest.raises(RunError, match=r"part-000001\.npz cannot be read"):
        merge([finished / "first", tmp_path / "second"], tmp_path / "new")


def test_a_folder_that_holds_something_else_is_refused(dataset, finished, tmp_path):
    before = (finished / "first" / "manifest.json").read_bytes()
    with pytest.raises(RunError, match=r"first holds another evaluation: methods\.feedback was absent"):
        merge(both(finished), finished / "first")
    with pytest.raises(RunError, match="all was evaluated; name another --output"):
        merge(both(finished), finished / "all")
    assert (finished / "first" / "manifest.json").read_bytes() == before
    merge(both(finished), tmp_path / "new")
    run_on(dataset, tmp_path / "again", methods=FEEDBACK, save_maps=True, **CHOICES)
    with pytest.raises(RunError, match=r"new was merged from .*first, .*second; name another --output"):
        merge([finished / "first", tmp_path / "again"], tmp_path / "new")


def test_without_pyarrow_the_extra_is_named(finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"looktwice\[evaluate\]"):
        merging.merge(both(finished), tmp_path / "new")

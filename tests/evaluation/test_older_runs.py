"""Runs whose rows lack columns that are younger: what is done stays, and what is missing is computed."""

import json
import shutil
import warnings

import pyarrow.parquet as pq
import pytest

from evaluations import METHODS, StopError, assert_same, run_on, stop_after
from looktwice.errors import LooktwiceWarning, RunError
from looktwice.evaluation import evaluate as evaluating
from looktwice.evaluation.processes import Shard
from looktwice.report.page import render
from looktwice.report.paper_tables import paper_tables
from looktwice.runs.columns import ALL_BOXES, COLUMNS, MAY_LACK
from looktwice.runs.folder import MANIFEST, read_manifest, read_rows, read_summary, write_table
from looktwice.runs.merge import COMPARABLE, merge
from looktwice.runs.parts import decode_part

ABOUT = {"root": "gone", "layout": "csv"}
YOUNG = ["small_map"]


def age(run, parts, columns=tuple(YOUNG)):
    """Parts of a run as a version wrote them that did not know these columns."""
    for part in parts:
        table = decode_part((run / "rows" / f"part-{part:06d}.parquet").read_bytes()).rows
        write_table(run, part, table.drop_columns(list(columns)), read_manifest(run).identity)
    return run


def older(run, folder, parts=range(6), columns=tuple(YOUNG)):
    return age(shutil.copytree(run, folder), parts, columns)


def times(run):
    return {part: part.stat().st_mtime_ns for part in (run / "rows").iterdir()}


@pytest.fixture(autouse=True)
def nothing_is_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error", LooktwiceWarning)
        yield


@pytest.fixture
def no_work(monkeypatch):
    def work(*_args, **_choices):
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(evaluating, "_work", work)


@pytest.mark.parametrize("columns", [YOUNG, ["small_map", "largest_boxes"], [*ALL_BOXES, *YOUNG], sorted(MAY_LACK)])
def test_a_finished_older_run_is_not_computed_again(dataset, undisturbed, tmp_path, no_work, columns):
    run = older(undisturbed, tmp_path / "run", columns=columns)
    before, manifest = times(run), (run / MANIFEST).read_bytes()
    status = run_on(dataset, run)
    assert (status.missing, status.summary) == (0, run / "summary.json")
    assert times(run) == before
    assert (run / MANIFEST).read_bytes() == manifest
    assert rows_of_both(run, undisturbed, columns)


def rows_of_both(run, other, lacking):
    """Whether two runs have the same rows, but for columns that one of them may lack."""
    names = [name for name in COMPARABLE if name not in lacking]
    parts = read_manifest(run).run.parts
    return read_rows(run, parts, names).equals(read_rows(other, parts, names))


def test_a_finished_older_run_has_the_same_summary(dataset, undisturbed, tmp_path, no_work):
    run = older(undisturbed, tmp_path / "run")
    run_on(dataset, run)
    assert (run / "summary.json").read_bytes() == (undisturbed / "summary.json").read_bytes()


def test_an_unfinished_older_run_keeps_what_is_done(dataset, undisturbed, tmp_path):
    run = older(undisturbed, tmp_path / "run")
    (run / "summary.json").unlink()
    for part in (1, 4):
        (run / "rows" / f"part-{part:06d}.parquet").unlink()
    kept, identity = times(run), read_manifest(run).identity
    told = []
    run_on(dataset, run, progress=lambda done, total: told.append((done, total)))
    assert told == [(14, 22), (18, 22), (22, 22)]
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    assert len(times(run)) == 6
    assert read_manifest(run).identity == identity == read_manifest(undisturbed).identity
    assert rows_of_both(run, undisturbed, YOUNG)
    maps = [row["small_map"] for row in read_rows(run, range(6), ["small_map"]).to_pylist()]
    assert 0 < sum(each is not None for each in maps) < len(maps)


@pytest.mark.parametrize("columns", [YOUNG, ["small_map", "largest_boxes"]])
def test_mixed_parts_have_one_summary_table_and_report(dataset, tmp_path, columns):
    run_on(dataset, tmp_path / "new", about=ABOUT)
    mixed = older(tmp_path / "new", tmp_path / "mixed", parts=(0, 3), columns=columns)
    run_on(dataset, mixed, about=ABOUT)
    assert (mixed / "summary.json").read_bytes() == (tmp_path / "new" / "summary.json").read_bytes()
    assert paper_tables([mixed]) == paper_tables([tmp_path / "new"])
    assert render([mixed]).count('class="card"') == render([tmp_path / "new"]).count('class="card"') > 0


def test_of_mixed_parts_a_measure_that_some_maps_lack_has_no_number(dataset, undisturbed, tmp_path, no_work):
    run = older(undisturbed, tmp_path / "run", parts=(0, 3), columns=sorted(MAY_LACK))
    run_on(dataset, run)
    scores = json.loads((run / "summary.json").read_text())["methods"]["feedback"]
    whole = json.loads((undisturbed / "summary.json").read_text())["methods"]["feedback"]
    for name in ("box_f1", "energy_in_box", "pointing_game"):
        assert whole[name]["value"] is not None
        assert scores[name]["value"] is None
        assert scores[name]["reason"]
    assert scores["top1_loc_error"] == whole["top1_loc_error"]


def test_old_and_new_runs_and_mixed_ones_are_merged(dataset, tmp_path):
    runs = {name: tmp_path / name for name in METHODS}
    for name, run in runs.items():
        run_on(dataset, run, methods={name: METHODS[name]})
    whole = merge(list(runs.values()), tmp_path / "whole").summary.read_bytes()
    aged = older(runs["gradient"], tmp_path / "aged")
    mixed = older(runs["feedback"], tmp_path / "mixed", parts=(1, 2))
    for place, pair in enumerate([(aged, runs["feedback"]), (aged, mixed), (runs["gradient"], mixed)]):
        assert merge(pair, tmp_path / f"merged-{place}").summary.read_bytes() == whole
        assert rows_of_both(tmp_path / f"merged-{place}", tmp_path / "whole", YOUNG)


def test_a_merged_run_of_an_older_version_is_not_joined_again(dataset, tmp_path):
    runs = {name: tmp_path / name for name in METHODS}
    for name, run in runs.items():
        run_on(dataset, run, methods={name: METHODS[name]})
    merge(list(runs.values()), tmp_path / "merged")
    before = times(age(tmp_path / "merged", range(6)))
    merge(list(runs.values()), tmp_path / "merged")
    assert times(tmp_path / "merged") == before


# ---- parts that cannot be used -------------------------------------------------------------------------------------


def test_parts_of_another_schema_are_told_and_computed_again(dataset, undisturbed, tmp_path):
    run = older(undisturbed, tmp_path / "run", parts=(2, 4), columns=["iou", "small_map"])
    with pytest.warns(LooktwiceWarning) as told:
        run_on(dataset, run)
    assert [str(each.message) for each in told] == [
        f"{run}: 2 parts cannot be used and are computed again (part-000002.parquet: it lacks the column iou)"
    ]
    assert_same(run, undisturbed)


def test_a_column_of_another_type_is_told(dataset, undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    table = pq.read_table(run / "rows" / "part-000001.parquet", partitioning=None)
    place = table.column_names.index("iou")
    table = table.set_column(place, "iou", table["iou"].cast("float32"))
    write_table(run, 1, table, read_manifest(run).identity)
    with pytest.warns(LooktwiceWarning, match=r"1 part cannot be used .* its column iou \(float\) is not one of this"):
        run_on(dataset, run)
    assert_same(run, undisturbed)


def test_a_stop_leaves_old_parts_and_no_summary(dataset, undisturbed, tmp_path):
    run = older(undisturbed, tmp_path / "run", columns=["iou"])
    before = times(run)
    with pytest.warns(LooktwiceWarning, match="6 parts cannot be used"), pytest.raises(StopError):
        run_on(dataset, run, progress=stop_after(4))
    assert not (run / "summary.json").exists()
    with pytest.raises(RunError, match="is not finished"):
        read_summary(run)
    now = times(run)
    assert set(now) == set(before)  # each is replaced by a whole one, and none is removed before
    assert [part.name for part in sorted(now) if now[part] != before[part]] == ["part-000000.parquet"]
    with pytest.warns(LooktwiceWarning, match="5 parts cannot be used"):
        run_on(dataset, run)
    assert_same(run, undisturbed)


def test_parts_that_cannot_be_used_count_as_missing_for_other_processes(dataset, undisturbed, tmp_path):
    run = older(undisturbed, tmp_path / "run", parts=(0, 2), columns=["iou_by_max_any"])
    status = run_on(dataset, run, shard=Shard(1, 2))
    assert (status.missing, status.summary) == (2, None)
    (run / "rows" / "part-000004.parquet").unlink()
    assert run_on(dataset, run, shard=Shard(1, 2)).missing == 3
    with pytest.warns(LooktwiceWarning, match="2 parts cannot be used"):
        assert run_on(dataset, run, shard=Shard(0, 2)).summary is not None
    assert_same(run, undisturbed)


# ---- the next column -----------------------------------------------------------------------------------------------


def test_each_column_is_either_old_or_may_be_lacking():
    """A new column that is not in MAY_LACK would make this version compute all older runs again."""
    first = (
        *("sample", "order", "tuning", "method", "options", "rank", "target", "target_place", "probability"),
        *("predicted", "predicted_probability", "labels", "label_place", "correct", "right", "judged"),
        *("width", "height", "threshold", "boxes", "iou_per_truth", "iou", "iou_any"),
        *("iou_by_max_largest", "iou_by_max_any", "iou_by_energy_largest", "iou_by_energy_any", "iou_energy_box"),
        *("max_box_acc_iou", "max_box_acc_v2_iou", "note", "error", "seconds_method", "overhead_seconds"),
    )
    assert set(COLUMNS) - MAY_LACK == set(first)

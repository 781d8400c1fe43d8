"""Runs that are damaged, or hold what is not theirs: each is one line, never a traceback and never a wrong number."""

import json
import random
import shutil
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evaluations import METHODS, draw, run_on
from looktwice.cli import app
from looktwice.datasets import load_dataset
from looktwice.errors import LooktwiceError, RunError
from looktwice.localization import BoxRule
from looktwice.report.page import render
from looktwice.report.paper_tables import paper_tables
from looktwice.runs import folder as runs
from looktwice.runs.merge import merge
from looktwice.runs.saved_maps import read_maps
from looktwice.runs.scoring import Scoring
from looktwice.runs.summarise import write_summary
from report_runs import make_older

CHOICES = {"rule": BoxRule("contour"), "target": "true", "tune_on": "hash:0.4", "save_maps": True}
GRADIENT, FEEDBACK = ({name: METHODS[name]} for name in METHODS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two methods; one of another method; and one whose method has other options."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = load_dataset(draw(folder / "pictures", 12), "csv")
    run_on(dataset, folder / "run", **CHOICES)
    run_on(dataset, folder / "second", methods={"guided_backprop": {}}, **CHOICES)
    run_on(dataset, folder / "other", methods=GRADIENT | {"feedback": {"steps": 2, "blur": 0.03}}, **CHOICES)
    make_older(folder / "run", folder / "older")
    make_older(folder / "other", folder / "older-other")
    return folder


@pytest.fixture(params=["run", "older"])
def damaged(request, finished, tmp_path):
    """A copy of the run to be damaged, as this version and as an older one wrote it."""
    return shutil.copytree(finished / request.param, tmp_path / request.param)


def refused_everywhere(run, finished, said, *, by_table=True):
    """Report, merge and table say the same line."""
    for work in (
        lambda: render([run]),
        lambda: merge([run, finished / "second"], run.parent / "merged"),
        *([lambda: paper_tables([run])] if by_table else []),
    ):
        with pytest.raises(RunError, match=said) as caught:
            work()
        assert "\n" not in str(caught.value)


def rewrite(run, change, part=1):
    """Writes a part's rows again after a change, as any program could: with what the old part told of itself."""
    path = runs.part_path(run, part)
    table = pq.read_table(path, partitioning=None)
    changed = pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema)
    pq.write_table(changed, path)


def shortened(rows):
    return [row | {"iou_by_max_largest": row["iou_by_max_largest"] and row["iou_by_max_largest"][:50]} for row in rows]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [], "it has no rows"),
        (lambda rows: [row for row in rows for _ in range(2)], "it has rows twice"),
        (lambda rows: rows[:-1], "rows are missing|not of the run's methods and images"),
        (lambda rows: [row for row in rows if row["method"] != "feedback"], "not of the run's methods and images"),
        (lambda rows: [row | {"order": row["order"] + 4} for row in rows], "not of the run's methods and images"),
        (lambda rows: [row | {"sample": f"x{row['rank']}{row['target']}"} for row in rows], "are of several runs"),
        (shortened, r"iou_by_max_largest has \[50\] numbers; 100 are needed"),
    ],
)
def test_a_part_with_other_rows_than_its_own(finished, damaged, change, said):
    rewrite(damaged, change)
    # A part of this version tells by its checksum; one of an older version by its rows alone.
    said = said if damaged.name == "older" else "its bytes have changed since it was written"
    by_table = "numbers" not in said  # a table needs no curves
    refused_everywhere(damaged, finished, rf"part-000001\.parquet cannot be read.*\(.*({said})", by_table=by_table)


@pytest.mark.parametrize(
    "change",
    [
        {"box_truths": [-1] * 3},
        {"box_nested": []},
        {"boxes": [{"x1": 0.0, "y1": 0.0, "x2": 1.0, "y2": 1.0, "score": 0.5}] * 3},
        {"box_nested": None},
        {"box_truths": None},
        {"boxes": None},
    ],
)
def test_a_row_that_does_not_say_of_each_box_what_it_is_worth(finished, tmp_path, change):
    run = shutil.copytree(finished / "older", tmp_path / "older")
    rewrite(run, lambda rows: [row | change if row["method"] == "full_image" else row for row in rows])
    said = r"part-000001\.parquet cannot be read.*\(box_truths and box_nested do not have an entry for each box"
    with pytest.raises(RunError, match=said):
        runs.read_rows(run, [1], Scoring.of_manifest(runs.read_manifest(run)).columns)
    with pytest.raises(RunError, match=said):
        merge([run, finished / "second"], tmp_path / "merged")


def test_a_part_of_another_chunk(finished, damaged):
    shutil.copy(runs.part_path(damaged, 2), runs.part_path(damaged, 1))
    refused_everywhere(damaged, finished, r"part-000001\.parquet cannot be read")


def test_a_part_of_a_run_with_other_options(finished, damaged):
    other = finished / ("older-other" if damaged.name == "older" else "other")
    shutil.copy(runs.part_path(other, 1), runs.part_path(damaged, 1))
    said = "with other options" if damaged.name == "older" else "of another evaluation"
    refused_everywhere(damaged, finished, rf"part-000001\.parquet cannot be read.*\(.*{said}")


def test_a_part_of_an_older_version_in_a_run_of_this_one(finished, tmp_path):
    run = shutil.copytree(finished / "run", tmp_path / "run")
    shutil.copy(runs.part_path(finished / "older", 1), runs.part_path(run, 1))
    refused_everywhere(run, finished, "of another evaluation")


def test_a_part_that_is_gone(finished, damaged):
    runs.part_path(damaged, 1).unlink()
    refused_everywhere(damaged, finished, r"part-000001\.parquet cannot be read.*\(No such file or directory\)")


@pytest.mark.parametrize("length", [0, 1, 200, -1])
def test_a_file_of_maps_cut_short(finished, damaged, length):
    path = damaged / "maps" / "part-000001.npz"
    path.write_bytes(path.read_bytes()[:length])
    refused_everywhere(damaged, finished, r"part-000001\.npz cannot be read .*; evaluate into", by_table=False)
    result = CliRunner().invoke(app, ["report", str(damaged), "--output", str(damaged / "page.html")])
    assert isinstance(result.exception, RunError)


def test_flipped_bits_of_saved_maps_change_no_map(finished, tmp_path):
    run = shutil.copytree(finished / "run", tmp_path / "run")
    path = run / "maps" / "part-000001.npz"
    content, before = path.read_bytes(), read_maps(run, 1)
    draw_place = random.Random(0)
    for _ in range(200):
        place = draw_place.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = read_maps(run, 1)
        except RunError:
            continue
        assert set(found) == set(before)
        assert all(np.array_equal(found[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "change",
    [
        {"gradient": np.zeros((3, 40))},  # no pictures
        {"gradient": np.zeros((2, 40, 40))},  # too few
        {"sample": np.zeros((99,))},  # whose?
    ],
)
def test_maps_that_do_not_fit_each_other(finished, tmp_path, change):
    run = shutil.copytree(finished / "older", tmp_path / "run")
    path = run / "maps" / "part-000001.npz"
    with np.load(path) as arrays:
        kept = dict(arrays)
    np.savez(path, **kept | change)
    with pytest.raises(RunError, match=r"part-000001\.npz cannot be read"):
        read_maps(run, 1)


def test_maps_of_another_run_are_not_this_ones(finished, tmp_path):
    run = shutil.copytree(finished / "run", tmp_path / "run")
    shutil.copy(finished / "other" / "maps" / "part-000001.npz", run / "maps" / "part-000001.npz")
    with pytest.raises(RunError, match="its maps are of another evaluation"):
        render([run])


def test_maps_left_by_another_run_are_none_in_a_run_that_saves_none(finished, tmp_path):
    dataset = load_dataset(finished / "pictures", "csv")
    run_on(dataset, tmp_path / "run", **CHOICES | {"save_maps": False})
    shutil.copytree(finished / "run" / "maps", tmp_path / "run" / "maps")
    assert read_maps(tmp_path / "run", 1) == {}


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_manifest_whose_facts_were_changed(finished, tmp_path):
    run = shutil.copytree(finished / "run", tmp_path / "run")
    edit(run / "manifest.json", lambda content: content["run"]["model"].update(weights_hash="0" * 64))
    refused_everywhere(run, finished, r"manifest\.json is no manifest .*not those that it was written with")


def test_a_manifest_without_what_is_only_told(damaged):
    edit(damaged / "manifest.json", lambda content: content.pop("about"))
    assert "gradient" in render([damaged]).lower()
    assert paper_tables([damaged])


def test_no_threads(finished, damaged):
    edit(damaged / "manifest.json", lambda content: content["about"].update(threads=0))
    refused_everywhere(damaged, finished, r"manifest\.json is no manifest .*threads is 0")


def test_an_empty_summary(finished, damaged):
    (damaged / "summary.json").write_text("{}")
    with pytest.raises(RunError, match=r"summary\.json lacks gradient; remove it"):
        render([damaged])
    with pytest.raises(RunError, match=r"summary\.json lacks gradient; remove it"):
        paper_tables([damaged])
    write_summary(damaged)
    assert render([damaged])


def test_no_images_or_methods(finished, tmp_path):
    for number, change in enumerate(
        (lambda content: content["run"]["images"].update(count=0), lambda content: content["run"].update(methods={}))
    ):
        run = shutil.copytree(finished / "older", tmp_path / f"{number}")
        edit(run / "manifest.json", change)
        with pytest.raises(RunError):
            render([run])


def places(content, path=()):
    """The path of every value in a JSON value."""
    yield path
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*path, key))


def replaced(content, path, value):
    """A JSON value with another value at a path; ``...`` removes it."""
    if not path:
        return value
    copy = content.copy()
    if value is ... and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


def try_all(run):
    """Everything that reads a run; what is wrong is one line."""
    for work in (
        lambda: paper_tables([run]),
        lambda: render([run]).encode(errors="backslashreplace"),
        lambda: runs.read_rows(run, [0], ["sample"]),
    ):
        with suppress(LooktwiceError):
            work()


@pytest.mark.parametrize("name", ["manifest.json", "summary.json"])
@pytest.mark.parametrize(("count", "seed"), [(12, 0), pytest.param(200, 1, marks=pytest.mark.slow)])
def test_any_value_replaced_by_any_other_is_one_line_or_no_matter(finished, tmp_path, name, count, seed):
    """In files of an older version, whose facts no checksum holds."""
    run = shutil.copytree(finished / "older", tmp_path / "run")
    content = json.loads((run / name).read_text())
    values = [..., None, 0, -1, 0.5, 10**400, True, "x", "\ud800", [], {}, [None], {"x": None}]
    chance = random.Random(seed)
    everywhere = [path for path in places(content) if path]
    for _ in range(count):
        path, value = chance.choice(everywhere), chance.choice(values)
        if value is not ... or isinstance(path[-1], str):
            (run / name).write_text(json.dumps(replaced(content, path, value)))
            try_all(run)

"""Runs that an older version wrote: other names of a column and of options, and measures that it did not know."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluations import METHODS, draw, run_on
from looktwice.datasets import load_dataset
from looktwice.errors import RunError
from looktwice.localization import BoxRule
from looktwice.metrics.measures import ALL_BOXES as BOX_MEASURES
from looktwice.report.page import render
from looktwice.report.paper_tables import paper_tables
from looktwice.runs import folder as runs
from looktwice.runs.columns import ALL_BOXES, COLUMNS
from looktwice.runs.merge import COMPARABLE, merge
from looktwice.runs.saved_maps import read_maps
from looktwice.runs.summarise import write_summary

CHOICES = {"rule": BoxRule("contour"), "target": "true", "tune_on": "hash:0.4", "save_maps": True}
GRADIENT, FEEDBACK = ({name: METHODS[name]} for name in METHODS)


def aged(run, folder):
    """A copy of a run as an older version would have written it."""
    shutil.copytree(run, folder)
    for part in (folder / "rows").iterdir():
        table = pq.read_table(part, partitioning=None)
        table = table.replace_schema_metadata(None)
        names = ["seconds_frame" if name == "overhead_seconds" else name for name in table.column_names]
        pq.write_table(table.rename_columns(names), part)
    for file in (folder / "maps").iterdir():
        with np.load(file) as arrays:
            kept = dict(arrays)
        np.savez(file, **kept)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["identity"]
    for options in manifest["run"]["methods"].values():
        if "propagate" in options:
            options["spread"] = options.pop("propagate")
        options["values"] = "energy"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two runs of today and the same two as an older version wrote them."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = load_dataset(draw(folder / "pictures", 12), "csv")
    for name, methods in (("first", GRADIENT), ("second", FEEDBACK)):
        run_on(dataset, folder / name, methods=methods, about={"root": "gone", "layout": "csv"}, **CHOICES)
        aged(folder / name, folder / f"old-{name}")
    return folder


def test_the_aged_run_is_unlike_a_run_of_today(finished):
    part = finished / "old-first" / "rows" / "part-000000.parquet"
    assert "seconds_frame" in pq.read_schema(part).names
    options = json.loads((finished / "old-first" / "manifest.json").read_text())["run"]["methods"]["gradient"]
    assert (options["spread"], options["values"]) == (False, "energy")


def test_rows_have_the_names_of_today(finished):
    parts = runs.read_manifest(finished / "first").run.parts
    rows, old = (runs.read_rows(finished / name, parts, tuple(COLUMNS)) for name in ("first", "old-first"))
    assert old.equals(rows)
    assert old.column_names == list(COLUMNS)
    some = runs.read_rows(finished / "old-first", parts, ["overhead_seconds", "sample"])
    assert some.column_names == ["overhead_seconds", "sample"]


def test_its_parts_are_complete(finished):
    rows = runs.read_rows(finished / "first", [0], ("sample", "method")).to_pylist()
    keys = {(row["sample"], row["method"]) for row in rows}
    assert runs.part_fault(finished / "old-first", 0, keys, runs.row_schema(COLUMNS)) is None


def test_an_older_part_whose_texts_are_damaged_is_refused(finished, tmp_path):
    shutil.copytree(finished / "old-first", tmp_path / "run")
    part = runs.part_path(tmp_path / "run", 0)
    pq.write_table(pq.read_table(part, partitioning=None), part, compression="none", use_dictionary=False)
    name = next(iter(runs.read_rows(tmp_path / "run", [0], ["sample"])["sample"].to_pylist())).encode()
    part.write_bytes(part.read_bytes().replace(name, b"\xff" + name[1:]))
    with pytest.raises(RunError, match=r"part-000000\.parquet cannot be read; run the command"):
        runs.read_rows(tmp_path / "run", [0], ["sample"])
    assert runs.part_fault(tmp_path / "run", 0, [], None) is not None


def test_its_summary_is_the_same(finished, tmp_path):
    run = shutil.copytree(finished / "old-first", tmp_path / "run")
    before = (run / "summary.json").read_bytes()
    (run / "summary.json").unlink()
    write_summary(run)
    assert (run / "summary.json").read_bytes() == before


def test_table_and_report_show_it(finished):
    assert paper_tables([finished / "old-first"]) == paper_tables([finished / "first"])
    page = render([finished / "old-first"])
    assert page.count('class="card"') == render([finished / "first"]).count('class="card"') > 0
    assert "&#34;spread&#34;: false" in page  # its manifest is shown as it is


def test_old_runs_are_merged(finished, tmp_path):
    merge([finished / "first", finished / "second"], tmp_path / "new")
    merge([finished / "old-first", finished / "old-second"], tmp_path / "old")
    assert (tmp_path / "old" / "summary.json").read_bytes() == (tmp_path / "new" / "summary.json").read_bytes()
    manifest = runs.read_manifest(tmp_path / "old")
    assert manifest.run.methods["gradient"]["values"] == "energy"
    for index in manifest.run.parts:
        old, new = (pq.read_table(runs.part_path(tmp_path / name, index), partitioning=None) for name in ("old", "new"))
        assert old.select(COMPARABLE).equals(new.select(COMPARABLE))
        assert old.column_names == list(COLUMNS)
        assert set(read_maps(tmp_path / "old", index)) == {"gradient", "feedback", "sample", "target", "rank"}


def test_a_measure_that_is_younger_than_the_run_has_no_numbers(finished, monkeypatch):
    number = runs.MAP_NUMBERS["energy_in_box"]
    monkeypatch.setattr(runs, "MAP_NUMBERS", {**runs.MAP_NUMBERS, "brand_new": number})
    rows = runs.read_rows(finished / "first", [0], ["brand_new", "sample"])
    assert rows.column_names == ["brand_new", "sample"]
    assert rows["brand_new"].null_count == len(rows) > 0


def without_all_boxes(run, folder):
    """A copy of a run as a version wrote it that did not know the measures of all boxes."""
    aged(run, folder)
    for part in (folder / "rows").iterdir():
        pq.write_table(pq.read_table(part, partitioning=None).drop_columns(list(ALL_BOXES)), part)
    (folder / "summary.json").unlink()
    write_summary(folder)
    return folder


def test_a_run_without_the_columns_of_all_boxes_has_none_of_their_measures(finished, tmp_path):
    old = json.loads((without_all_boxes(finished / "first", tmp_path / "old") / "summary.json").read_text())
    new = json.loads((finished / "first" / "summary.json").read_text())
    names = {measure.name for measure in BOX_MEASURES}
    for method, scores in old["methods"].items():
        for name in scores:
            if name in names:
                assert scores[name]["value"] is None
                assert "evaluate into another folder" in scores[name]["reason"]
                assert (
                    new["methods"][method][name]["value"] is not None
                    or "no image" in (new["methods"][method][name]["reason"])
                )
            else:
                assert scores[name] == new["methods"][method][name]
    assert paper_tables([tmp_path / "old"]) == paper_tables([finished / "first"])
    assert "All boxes of an image" not in render([tmp_path / "old"])
    assert "All boxes of an image" in render([finished / "first"])


def test_a_run_without_the_columns_of_all_boxes_is_merged(finished, tmp_path):
    without_all_boxes(finished / "second", tmp_path / "old")
    merge([finished / "old-first", tmp_path / "old"], tmp_path / "merged")
    methods = json.loads((tmp_path / "merged" / "summary.json").read_text())["methods"]
    assert methods["gradient"]["box_f1"]["value"] is not None
    assert methods["feedback"]["box_f1"]["value"] is None

"""Methods of one's own in a run: their rows, and when a run goes on with them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from evaluations import METHODS, assert_same, run_on, summary_of
from looktwice.attention import METHODS as TABLE
from looktwice.attention import Label, Method
from looktwice.datasets import Dataset
from looktwice.errors import OptionError, RunError
from looktwice.report.page import render
from looktwice.runs.folder import read_manifest
from looktwice.runs.merge import merge
from own_methods import OWN_METHODS


def brightness(network, images, targets, *, power):
    return images.abs().sum(1) ** power


BRIGHT = Method(
    Label("Brightness", "Bright", "#123456"), "distance from the mean colour", "mine",
    {**TABLE["grad_cam"].options, "power": 1.0}, attribute=brightness,
)  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN_METHODS)
    return path


def facts(run):
    return json.loads((run / "manifest.json").read_text())


def test_a_file_and_a_row_are_the_same_method(dataset, file, tmp_path):
    run_on(dataset, tmp_path / "file", methods=METHODS | {f"{file}:BRIGHT": {"power": 1.0}}, save_maps=True)
    run_on(dataset, tmp_path / "row", methods=METHODS | {"BRIGHT": BRIGHT}, save_maps=True)
    maps = [np.load(tmp_path / run / "maps" / "part-000000.npz") for run in ("file", "row")]
    assert np.array_equal(maps[0]["BRIGHT"], maps[1]["BRIGHT"])
    assert summary_of(tmp_path / "file") == summary_of(tmp_path / "row")
    assert facts(tmp_path / "row")["run"]["methods"]["BRIGHT"]["code"]["file"] == "test_own_method.py"
    assert facts(tmp_path / "row")["about"]["labels"]["BRIGHT"]["title"] == "Brightness"


def test_a_run_without_any_says_nothing_of_them(undisturbed):
    manifest = facts(undisturbed)
    assert "labels" not in manifest["about"]
    assert not any("code" in options for options in manifest["run"]["methods"].values())


def test_a_file_may_move_but_not_change(dataset, file, tmp_path):
    run = tmp_path / "run"
    few = Dataset(dataset.samples[:4])
    run_on(few, run, methods={f"{file}:BRIGHT": {}})
    moved = tmp_path / "elsewhere" / "mine.py"
    moved.parent.mkdir()
    file.rename(moved)
    run_on(few, run, methods={f"{moved}:BRIGHT": {}})
    moved.write_text(OWN_METHODS.replace("** power", "** (2 * power)"))
    with pytest.raises(RunError, match=r"methods\.BRIGHT\.code\.sha256 was \w{64}, is \w{64}; name another --output"):
        run_on(few, run, methods={f"{moved}:BRIGHT": {}})


def test_thresholds_do_not_carry_over_to_other_code(dataset, file, tmp_path):
    some, others = Dataset(dataset.samples[:10]), Dataset(dataset.samples[10:])
    run_on(some, tmp_path / "tuned", methods={f"{file}:BRIGHT": {}})
    choices = {"methods": {f"{file}:BRIGHT": {}}, "tune_on": str(tmp_path / "tuned")}
    run_on(others, tmp_path / "run", **choices)
    file.write_text(OWN_METHODS + "\n")
    with pytest.raises(RunError, match=r"do not carry over: methods\.BRIGHT\.code"):
        run_on(others, tmp_path / "other", **choices)


def test_it_is_merged_with_methods_of_the_table(dataset, file, tmp_path):
    few = Dataset(dataset.samples[:6])
    mine = {f"{file}:BRIGHT": {}}
    run_on(few, tmp_path / "table")
    run_on(few, tmp_path / "mine", methods=mine)
    run_on(few, tmp_path / "all", methods=METHODS | mine)
    merge([tmp_path / "table", tmp_path / "mine"], tmp_path / "merged")
    assert_same(tmp_path / "merged", tmp_path / "all")
    assert facts(tmp_path / "merged")["run"] == facts(tmp_path / "all")["run"]
    assert facts(tmp_path / "merged")["about"]["labels"] == facts(tmp_path / "mine")["about"]["labels"]


def test_a_report_shows_it_as_its_row_says(dataset, tmp_path):
    run = tmp_path / "run"
    own = replace(BRIGHT, label=Label("How bright", "Bright <it>", "#654321"))
    run_on(Dataset(dataset.samples[:4]), run, methods={"mine": own, "gradient": {}})
    assert read_manifest(run).label_of("mine") == own.label
    page = render([run])
    assert "How bright" in page
    assert "Bright &lt;it&gt;" in page
    assert "#654321" in page


def test_a_manifest_with_a_colour_that_is_none_is_refused(dataset, tmp_path):
    run = tmp_path / "run"
    run_on(Dataset(dataset.samples[:4]), run, methods={"mine": BRIGHT})
    path = run / "manifest.json"
    path.write_text(path.read_text().replace(BRIGHT.label.colour, "red;"))
    with pytest.raises(RunError, match="the colour 'red;'"):
        render([run])


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"full_image": BRIGHT}, "full_image has the name of a baseline"),
        ({"gradient": BRIGHT}, "gradient of your own has a name of the package's"),
        ({"mine": replace(BRIGHT, options={**BRIGHT.options, "power": brightness})}, "mine.power is .* cannot keep"),
    ],
)
def test_what_cannot_be_evaluated(dataset, tmp_path, methods, said):
    with pytest.raises(OptionError, match=said):
        run_on(dataset, tmp_path / "run", methods=methods)
    assert not (tmp_path / "run").exists()

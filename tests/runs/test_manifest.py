"""Manifests and summaries: from their files and back to the same bytes, and what is none is refused in one line."""

import json
from dataclasses import asdict, replace

import pytest

from evaluations import METHODS, draw, run_on
from looktwice.atomic_files import as_json
from looktwice.datasets import load_dataset
from looktwice.errors import RunError
from looktwice.images import Window
from looktwice.localization import BoxRule
from looktwice.metrics.judged_maps import Undefined
from looktwice.models import IMAGENET
from looktwice.runs.folder import read_finished, read_manifest, read_summary
from looktwice.runs.json_forms import to_json
from looktwice.runs.manifest import GridCell, GridFacts, Manifest, PreprocessingFacts
from looktwice.runs.summary import Score, Summary

SMALLEST = {"run": {"model": {"name": "nets/own.py:own"}, "preprocessing": {"resize": 256, "crop": 224}}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with thresholds that were chosen on another one, and with facts that nothing reads again."""
    folder = tmp_path_factory.mktemp("manifest")
    samples = load_dataset(draw(folder / "pictures", 12), "csv")
    some, others = type(samples)(samples.samples[:6]), type(samples)(samples.samples[6:])
    choices = {"methods": METHODS, "rule": BoxRule("contour")}
    run_on(some, folder / "tuned", **choices)
    about = {"command": "looktwice evaluate", "mood": "good"}
    run_on(others, folder / "run", tune_on=str(folder / "tuned"), limit=4, about=about, **choices)
    return folder / "run"


def test_a_manifest_is_read_and_written_as_the_same_bytes(run):
    content = (run / "manifest.json").read_bytes()
    assert as_json(read_manifest(run).as_json()) == content


def test_a_summary_is_read_and_written_as_the_same_bytes(run):
    content = (run / "summary.json").read_bytes()
    assert as_json(read_summary(run).as_json()) == content


def test_squares_are_read_and_written():
    plain = Manifest.from_json(SMALLEST)
    assert plain.run.subject == "images"
    assert "grid" not in plain.as_json()["run"]  # so the identity of older runs is as it was
    cells = tuple(GridCell(f"{number}.png", number) for number in range(4))
    grid = GridFacts(wanted=3, halved=True, squares=(cells,), unreadable=("9.png: is empty",))
    game = Manifest(plain.about, replace(plain.run, grid=grid))
    assert game.identity != plain.identity
    again = Manifest.from_json(json.loads(as_json(game.as_json())))
    assert (again.run.grid, again.run.subject, again.identity) == (grid, "squares", game.identity)


def test_what_a_box_rule_does_not_use_is_left_out(run):
    plain = Manifest.from_json(SMALLEST)
    box = {"rule": "contour", "threshold": 0.2, "by": "max", "smallest": 0.01, "boxes": "largest", "thresholds": None}
    assert plain.as_json()["run"]["box"] == box  # so the identity of older runs is as it was
    assert json.loads((run / "manifest.json").read_text())["run"]["box"].keys() == box.keys()
    objects = replace(plain.run.box, rule="objects", min_score=0.4, scorer="abc")
    changed = Manifest(plain.about, replace(plain.run, box=objects))
    kept = {"rule": "objects", "min_score": 0.4, "scorer": "abc", "boxes": "largest", "thresholds": None}
    assert changed.as_json()["run"]["box"] == kept
    again = Manifest.from_json(json.loads(as_json(changed.as_json())))
    assert (again.run.box, again.identity) == (objects, changed.identity)


def test_what_a_manifest_says(run):
    manifest = read_manifest(run)
    content = json.loads((run / "manifest.json").read_text())
    assert manifest.about.told == content["about"]
    assert (manifest.about.command, manifest.about.told["mood"]) == ("looktwice evaluate", "good")
    assert manifest.run.images.count == content["run"]["images"]["count"] == 4
    assert manifest.run.names == (*METHODS, "center_box", "full_image")
    assert manifest.run.parts == range(1)
    assert manifest.run.box.box_rule == BoxRule("contour")
    box = manifest.run.box.thresholds["gradient"].box
    assert box == content["run"]["box"]["thresholds"]["gradient"]["box"]


def test_what_a_summary_says(run):
    _, summary = read_finished(run)
    content = json.loads((run / "summary.json").read_text())
    found, gradient = content["methods"]["gradient"], summary.methods["gradient"]
    assert gradient.score("mean_iou") == Score(**found["mean_iou"])
    assert gradient.score("gt_known_loc_error") is None
    assert gradient.scores["gt_known_loc_error"] == Undefined(found["gt_known_loc_error"]["reason"])
    (pair,) = [each for each in content["paired"] if (each["first"], each["second"]) == ("feedback", "gradient")]
    there = pair["differences"]["mean_iou"]
    assert summary.difference("feedback", "gradient")["mean_iou"] == Score(**there)
    back = summary.difference("gradient", "feedback")["mean_iou"]
    assert (back.value, back.low, back.high) == (-there["value"], -there["high"], -there["low"])
    assert summary.difference("feedback", "nothing") == {}


def test_missing_keys_get_defaults():
    manifest = Manifest.from_json(SMALLEST)
    assert manifest.run.model.short_name == "own"
    assert manifest.run.preprocessing.window(256, 256) == Window(16.0, 16.0, 240.0, 240.0, 256, 256)
    assert (manifest.run.target, manifest.run.box.box_rule, manifest.run.save.maps) == (
        "predicted",
        BoxRule("contour"),
        False,
    )
    assert (len(manifest.run.parts), manifest.about.begun, manifest.about.merged) == (0, "", None)
    assert Summary.from_json({}) == Summary()


def test_keys_of_other_versions_are_left_out():
    more = {"run": SMALLEST["run"] | {"weather": "fine", "model": {"name": "own", "colour": "red"}}}
    assert Manifest.from_json(more).run.model.name == "own"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"run": {}},
        {"run": []},
        {"about": 3, **SMALLEST},
        {"about": {"threads": "four"}, **SMALLEST},
        {"run": SMALLEST["run"] | {"model": {"name": 7}}},
        {"run": SMALLEST["run"] | {"model": {"weights_hash": "0"}}},
        {"run": SMALLEST["run"] | {"images": {"count": "many"}}},
        {"run": SMALLEST["run"] | {"images": {"count": True}}},
        {"run": SMALLEST["run"] | {"batch_size": 0}},
        {"run": SMALLEST["run"] | {"target": "all"}},
        {"run": SMALLEST["run"] | {"box": {"rule": "circle"}}},
        {"run": SMALLEST["run"] | {"box": {"threshold": 2.0}}},
        {"run": SMALLEST["run"] | {"methods": ["gradient"]}},
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"is no manifest of a run .*; name the folder that evaluate wrote to") as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "manifest.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"methods": 3}, {"images": "x"}, {"methods": {"a": {"mean_iou": {"value": "x"}}}}])
def test_what_is_no_summary_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "manifest.json").write_text(json.dumps(SMALLEST))
    (tmp_path / "summary.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"summary\.json is no summary of a run"):
        read_summary(tmp_path)


def test_brackets_that_nest_too_deep_are_refused_in_one_line(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match=r"manifest\.json cannot be read \(maximum recursion depth .*; remove it"):
        read_manifest(tmp_path)


def test_a_summary_without_a_method_of_the_run_is_refused(tmp_path):
    run = SMALLEST["run"] | {"methods": {"gradient": {}}}
    (tmp_path / "manifest.json").write_text(json.dumps({"run": run}))
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(RunError, match=r"summary\.json lacks gradient; remove it"):
        read_finished(tmp_path)


OLD = {"resize": 256, "crop": 224, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "interpolation": "bilinear"}


def with_input(**sizes):
    return {"run": {**SMALLEST["run"], "preprocessing": {**OLD, "squash": False, **sizes}}}


def test_a_square_input_has_the_identity_of_older_runs():
    content = with_input()
    manifest = Manifest.from_json(content)
    assert to_json(manifest.run.preprocessing) == content["run"]["preprocessing"]
    own = replace(IMAGENET, mean=(0.5,) * 3, std=(0.2,) * 3, crop=(224, 224))
    assert to_json(PreprocessingFacts(**asdict(own))) == content["run"]["preprocessing"]


def test_an_input_that_is_not_square_is_kept_as_it_is():
    content = with_input(resize=[60, 120], crop=[48, 96], mean=[0.5], std=[0.2])
    facts = Manifest.from_json(content).run.preprocessing
    assert (facts.resize, facts.crop, facts.mean) == ((60, 120), (48, 96), (0.5,))
    assert to_json(facts) == content["run"]["preprocessing"]
    own = replace(IMAGENET, resize=(60, 120), crop=(48, 96), mean=(0.5,), std=(0.2,))
    assert facts == PreprocessingFacts(**asdict(own))
    assert facts.window(640, 480) == own.window(640, 480)


NO_SIZES = ([1, 2, 3], [48], [48, "96"], [48, None], [0, 96], [[48, 96]], 0, -1, None, True, "224", {})


@pytest.mark.parametrize("size", NO_SIZES)
@pytest.mark.parametrize("name", ["resize", "crop"])
def test_a_size_that_is_none_is_refused_in_one_line(tmp_path, name, size):
    (tmp_path / "manifest.json").write_text(json.dumps(with_input(**{name: size})))
    with pytest.raises(RunError, match=r"manifest\.json is no manifest of a run") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)

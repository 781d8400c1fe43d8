"""The commands as a user types them; what they compute is tested with the rooms that do."""

import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from looktwice.cli import app
from looktwice.errors import DatasetError, LooktwiceError, OptionError, RunError
from looktwice.localization.objects import scorer_hash

NETWORK = """
import torch
from torch import nn

def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 9, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = ["image,label,x1,y1,x2,y2"]
    for number in range(4):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number % 3},5,5,25,20")
    lines += ["gone.png,1,0,0,5,5", "0.png,no such class,0,0,5,5"]
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    (folder / "network.py").write_text(NETWORK)
    return folder


def program(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, LooktwiceError):
        raise result.exception
    return result


def evaluate(data, run, *arguments):
    fixed = ("--layout", "csv", "--model", f"{data}/network.py:tiny", "--workers", 0, "--device", "cpu")
    return program("evaluate", data, *fixed, "--output", run, *arguments)


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    choices = ("--methods", "gradient,feedback", "--option", "feedback.steps=1", "--option", "gradient.channels=sum")
    result = evaluate(data, run, *choices, "--squash", "--target", "true", "--batch-size", 2, "--seed", 3)
    assert result.exit_code == 0, result.output
    return run, result


def test_choices_arrive(done):
    run = manifest(done[0])["run"]
    assert list(run["methods"]) == ["gradient", "feedback"]
    assert (run["methods"]["feedback"]["steps"], run["methods"]["gradient"]["channels"]) == (1, "sum")
    assert (run["target"], run["batch_size"], run["images"]["seed"]) == ("true", 2, 3)
    assert run["preprocessing"]["squash"]
    assert run["box"] | {"thresholds": None} == {
        "rule": "objects",
        "min_score": 0.2,
        "scorer": scorer_hash(),
        "boxes": "largest",
        "thresholds": None,
    }


def test_the_end_tells_numbers_and_where_they_are(done):
    run, result = done
    assert "4 images, 0 of them failed" in result.stdout
    assert "center_box" in result.stdout
    titles = [line for line in result.stdout.splitlines() if line.startswith("method")]
    assert "GT-known error" in titles[0]
    assert re.split(r" {2,}", titles[1])[-4:] == ["F1", "AP50", "boxes an image", "nested"]
    assert result.stdout.splitlines()[-1] == str(run / "summary.json")
    assert shlex.split(manifest(run)["about"]["command"])[0] == "looktwice"


def test_problems_are_told_and_kept(done):
    run, result = done
    assert "gone.png: the image is missing" in result.stderr
    kept = (run / "problems.txt").read_text().splitlines()
    assert len(kept) == manifest(run)["run"]["data"]["problems"] == 2


def test_images_that_fail_are_named_at_the_end(data, tmp_path):
    lines = ["image,label", "0.png,0"]
    for number in range(7):
        (tmp_path / f"{number}-broken.png").write_bytes((data / "1.png").read_bytes()[:80])
        lines.append(f"{number}-broken.png,1")
    (tmp_path / "0.png").write_bytes((data / "0.png").read_bytes())
    (tmp_path / "images.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "network.py").write_text(NETWORK)
    result = evaluate(tmp_path, tmp_path / "run", "--methods", "gradient")
    assert "8 images, 7 of them failed" in result.stdout
    assert [line.split()[1] for line in result.stderr.splitlines()[:5]] == [f"{n}-broken.png:" for n in range(5)]
    assert f"7 problems in all; every one is in {tmp_path / 'run'}/problems.txt" in result.stderr


def test_strict_stops_before_anything_is_written(data, tmp_path):
    with pytest.raises(DatasetError, match="strict"):
        evaluate(data, tmp_path / "run", "--strict")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "box"),
    [
        (("--box", "contour"), ("contour", 0.2, "max")),
        (("--threshold", 0.35), ("contour", 0.35, "max")),
        (("--box", "energy"), ("energy", 0.95, "max")),
        (("--threshold-by", "energy", "--threshold", 0.6), ("contour", 0.6, "energy")),
    ],
)
def test_box_rules(data, tmp_path, arguments, box):
    evaluate(data, tmp_path / "run", "--methods", "gradient", "--limit", 1, *arguments)
    found = manifest(tmp_path / "run")["run"]["box"]
    assert (found["rule"], found["threshold"], found["by"]) == box


def test_objects_are_evaluated(data, tmp_path):
    asked = ("--box", "objects", "--min-score", 0.25, "--max-boxes", 3)
    evaluate(data, tmp_path / "run", "--methods", "gradient", "--limit", 1, *asked)
    found = manifest(tmp_path / "run")["run"]["box"]
    assert (found["rule"], found["min_score"], found["max_boxes"]) == ("objects", 0.25, 3)
    assert "threshold" not in found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "gradient,feedbak"), "unknown method: 'feedbak'; did you mean feedback"),
        (("--option", "feedback.steps"), "METHOD.KEY=VALUE is needed"),
        (("--option", "steps=3"), "METHOD.KEY=VALUE is needed"),
        (("--option", "feedback.step=3"), "unknown option for feedback: 'step'; did you mean"),
        (("--option", "feedback.steps=many"), "feedback.steps=many: a whole number is needed; the default is"),
        (("--methods", "gradient", "--option", "feedback.steps=3"), "unknown method of this run: 'feedback'"),
        (("--tune-on", "hash:0.5", "--threshold", 0.3), "leave one of them out"),
        (("--box", "energy", "--threshold-by", "max"), "is for contours"),
        (("--threshold-by", "energy"), "give --threshold or --tune-on"),
        (("--box", "circle"), "one of objects, contour, energy is needed"),
        (("--box", "objects", "--threshold", 0.3), "objects need no threshold"),
        (("--min-score", 0.3, "--box", "contour"), "--min-score is for --box objects"),
        (("--box", "objects", "--min-score", -1), "min_score is -1.0"),
        (("--max-boxes", 0), "max_boxes is 0"),
        (("--boxes", "any", "--max-boxes", 3, "--box", "contour"), "max_boxes has no use"),
        (("--layout", "ilsvcr"), "unknown layout 'ilsvcr'"),
    ],
)
def test_mistakes_are_one_line(data, tmp_path, arguments, said):
    with pytest.raises(OptionError) as caught:
        evaluate(data, tmp_path / "run", *arguments)
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_one_process_of_several_does_its_share(data, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = evaluate(data, tmp_path / "run", "--methods", "gradient", "--batch-size", 1)
    assert result.exit_code == 0
    assert "2 of 4 parts are still missing" in result.stderr
    assert "gone.png" not in result.stderr  # the first process says so
    assert sorted(part.name for part in (tmp_path / "run" / "rows").iterdir()) == [
        "part-000001.parquet",
        "part-000003.parquet",
    ]


@pytest.mark.parametrize(
    ("form", "sign"), [("text", "---"), ("markdown", "| ---"), ("latex", r"\toprule"), ("csv", ",")]
)
def test_table(done, form, sign):
    result = program("table", done[0], "--form", form)
    assert result.exit_code == 0
    assert sign in result.stdout
    assert "feedback" in result.stdout


def test_table_of_no_run(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        program("table", tmp_path)


def test_merge(data, tmp_path):
    for method in ("gradient", "feedback"):
        evaluate(data, tmp_path / method, "--methods", method, "--limit", 2)
    runs = (tmp_path / "gradient", tmp_path / "feedback")
    result = program("merge", *runs, "--output", tmp_path / "both")
    assert result.exit_code == 0, result.output
    assert "2 images, 0 of them failed" in result.stdout
    assert result.stdout.splitlines()[-1] == str(tmp_path / "both" / "summary.json")
    assert list(manifest(tmp_path / "both")["run"]["methods"]) == ["gradient", "feedback"]
    about = manifest(tmp_path / "both")["about"]
    assert shlex.split(about["command"])[0] == "looktwice"
    assert [each["run"] for each in about["merged"]] == [str(run) for run in runs]
    table = program("table", tmp_path / "both").stdout
    assert "Gradient (GT)" in table
    assert "Local feedback (FB)" in table
    evaluate(data, tmp_path / "more", "--methods", "guided_backprop", "--limit", 3)
    with pytest.raises(RunError, match=r"images\.limit was 2, is 3"):
        program("merge", runs[0], tmp_path / "more", "--output", tmp_path / "other")


def test_torchvisions_googlenet_is_rehearsed_with_weights_that_say_they_are_random(data, tmp_path):
    """The download itself is tested up to its request (``test_models``); what comes after it is this."""
    fixed = ("--layout", "csv", "--workers", 0, "--device", "cpu", "--limit", 1, "--methods", "gradient")
    result = program(
        "evaluate", data, *fixed, "--model", "googlenet", "--weights", "random", "--output", tmp_path / "run"
    )
    assert result.exit_code == 0, result.output
    assert manifest(tmp_path / "run")["about"]["weights"] == "random"
    assert manifest(tmp_path / "run")["run"]["model"]["classes"] == 1000
    told = program("table", tmp_path / "run").stdout
    assert "weights: random (SHA-256" in told
    assert "65.9" in told  # the paper's gradient on GoogLeNet, beside ours

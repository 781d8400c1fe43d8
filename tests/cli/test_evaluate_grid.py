"""``evaluate --measure grid`` as a user types it: choices, what is told, tables and page, a kill, mistakes."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluations import assert_same, rows_of
from hues import draw
from looktwice.cli import app
from looktwice.errors import LooktwiceError, OptionError, RunError
from processes import finish, launch, wait_for
from report_runs import make_data, make_run

NETWORKS = """
import sys
import time
sys.path.insert(0, {helpers!r})
import torch
from torch import nn
from hues import Hues

def eight():
    return Hues()

def slow():
    class Slow(Hues):
        def forward(self, images):
            time.sleep(0.02)
            return super().forward(images)
    return Slow()

def fixed():
    class Fixed(Hues):
        def forward(self, images):
            assert images.shape[-1] == 24, f"the input size is {{images.shape[-1]}}, not 24"
            return super().forward(images)
    return Fixed()

def deaf():
    return Hues(gain=0.01)
"""
INPUT = ("--squash", "--size", "24", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = draw(tmp_path_factory.mktemp("grid") / "data", 60)
    helpers = str(Path(__file__).parents[1] / "helpers")
    (folder / "networks.py").write_text(NETWORKS.format(helpers=helpers))
    return folder


def command(data, *arguments, network="eight"):
    fixed = ("--layout", "csv", "--model", f"{data}/networks.py:{network}", "--workers", "0", "--device", "cpu")
    return ["evaluate", str(data), *fixed, *INPUT, *map(str, arguments)]


def program(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, LooktwiceError):
        raise result.exception
    return result


def evaluate(data, run, *arguments, network="eight"):
    return program(*command(data, *arguments, network=network), "--output", run)


@pytest.fixture(scope="module")
def played(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    choices = ("--methods", "gradient,feedback,global_feedback", "--option", "feedback.steps=1")
    more = ("--option", "gradient.blur=0.05", "--option", "global_feedback.steps=1")
    result = evaluate(data, run, "--measure", "grid", *choices, *more)
    assert result.exit_code == 0, result.output
    return run, result


def facts_of(run):
    return json.loads((run / "manifest.json").read_text())["run"]


def test_choices_arrive(played):
    facts = facts_of(played[0])
    assert (facts["target"], list(facts["baselines"]), facts["images"]["count"]) == ("true", ["full_image"], 2)
    finish_of = {name: (own["values"], own["blur"]) for name, own in facts["methods"].items()}
    assert finish_of == {
        "gradient": ("maximum", 0.05),
        "feedback": ("maximum", 0.0),
        "global_feedback": ("maximum", 0.0),
    }
    assert (facts["grid"]["wanted"], facts["grid"]["min_probability"], facts["grid"]["halved"]) == (10, 0.7, False)


def test_the_end_tells_squares_and_shares(played):
    run, result = played
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "2 squares of four images at twice the network's input (10 were asked for, and the network recognises too few "
        "images), 0 of them failed; per cent"
    )
    assert lines[2].split(maxsplit=1) == ["method", "share in own quarter"]
    assert [line.split() for line in lines if line.startswith("full_image")] == [["full_image", "25.0"]]
    assert lines[-1] == str(run / "summary.json")


def test_a_network_of_one_size_is_told(data, tmp_path):
    choices = ("--measure", "grid", "--methods", "gradient", "--grids", 1, "--min-probability", 0.6)
    result = evaluate(data, tmp_path / "run", *choices, network="fixed")
    assert result.stdout.startswith(
        "1 square of four images at half size, as the network takes its own size only, 0 of them failed"
    )
    grid = facts_of(tmp_path / "run")["grid"]
    assert (grid["wanted"], grid["min_probability"], grid["halved"]) == (1, 0.6, True)


def test_table(played):
    run, _ = played
    told = program("table", run).stdout
    assert told.startswith("Grid pointing game, share in the own quarter (%), networks:eight")
    assert "How it was measured" in told
    assert "squares: 2 squares of four images" in told
    assert "boxes" not in told
    two = program("table", run, run, "--form", "csv").stdout.splitlines()
    assert two[0].split(",")[:5] == ["network", "method", "share", "low", "high"]


def test_a_table_of_images_and_squares_is_refused(data, played, tmp_path):
    evaluate(data, tmp_path / "boxes", "--methods", "gradient", "--limit", 2)
    with pytest.raises(RunError, match="is a grid pointing game and other runs are not"):
        program("table", played[0], tmp_path / "boxes")


def test_the_page_says_it_in_words(played, tmp_path):
    page = tmp_path / "report.html"
    assert program("report", played[0], "--output", page).exit_code == 0
    text = page.read_text()
    for said in (
        "Share in the own quarter by method",
        "A map that does not depend on the class has 25 %.",
        "<dt>squares</dt><dd>2 squares of four images at twice the network&#39;s input",
        "8 images are too few to compare methods; 50 or more are needed.",
        'popovertarget="meaning-0-grid_pointing_game">Grid pointing game, share in the own quarter',
        "All 8 reported maps of squares.",
    ):
        assert said in text
    for unsaid in ("Localization error of all runs", "How tight the boxes are", "Pointing game</dt>"):
        assert unsaid not in text
    assert text.count('<article class="card"') == text.count('class="picture" alt="" src="data:image/jpeg') == 8
    assert text.count('"map": "data:image/png') == 8 * 3  # of each method
    program("report", played[0], played[0], "--output", page)
    assert "Grid pointing game of all runs" in page.read_text()


def test_a_page_of_images_and_of_squares(played, tmp_path):
    boxes = make_run(tmp_path / "boxes", make_data(tmp_path / "data"), maps=False)
    page = tmp_path / "report.html"
    assert program("report", boxes, played[0], "--output", page).exit_code == 0
    text = page.read_text()
    assert text.count('class="gallery"') == 2
    assert text.count("How tight the boxes are") == 1
    assert text.count("Share in the own quarter by method") == text.count("<h3>Error by method") == 1
    assert "of all runs" not in text  # there is one of each


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_killed_and_started_again(data, tmp_path):
    choices = ("--measure", "grid", "--methods", "gradient,feedback", "--batch-size", "1")
    arguments = ["-m", "looktwice", *command(data, *choices, network="slow")]
    run = tmp_path / "run"
    process = launch(arguments, run)
    wait_for(1, run, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    assert finish(launch(arguments, run)).rstrip().endswith(str(run / "summary.json"))
    finish(launch(arguments, tmp_path / "whole"))
    assert rows_of(run).num_rows == 2 * 4 * 3
    assert_same(run, tmp_path / "whole")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--measure", "gird"), "unknown measure: 'gird'; did you mean grid?"),
        (("--grids", 4), "--grids and --min-probability are for --measure grid"),
        (("--min-probability", 0.5), "--grids and --min-probability are for --measure grid"),
        (("--measure", "grid", "--min-probability", 7), "min_probability is 7.0; a number above 0 and up to 1"),
        (("--measure", "grid", "--target", "top5"), "target is top5; in the grid pointing game"),
        (("--measure", "grid", "--tune-on", "runs/a"), "the grid pointing game has no threshold"),
        (("--measure", "grid", "--save-npy"), "a grid's maps are of squares"),
    ],
)
def test_mistakes_are_one_line(data, tmp_path, arguments, said):
    with pytest.raises(OptionError) as caught:
        evaluate(data, tmp_path / "run", *arguments)
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_network_that_recognises_nothing(data, tmp_path):
    with pytest.raises(RunError, match=r"recognises 0 with a probability of 0\.7 or more.*--min-probability"):
        evaluate(data, tmp_path / "run", "--measure", "grid", network="deaf")

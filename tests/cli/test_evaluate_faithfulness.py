"""``evaluate --faithfulness`` as a user types it: what arrives, what is told, the page, a kill, mistakes."""

import json
import os
import signal
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from evaluations import assert_same, draw
from looktwice.cli import app
from looktwice.errors import LooktwiceError, OptionError
from looktwice.runs.folder import read_manifest, read_rows
from processes import NETWORK, finish, launch, wait_for

NETWORKS = NETWORK + "\ndef six():\n    return Slow()\n"
INPUT = ("--squash", "--size", "40", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = draw(tmp_path_factory.mktemp("faithfulness") / "data", 5)
    (folder / "networks.py").write_text(NETWORKS)
    return folder


def command(data, *arguments, layout="csv"):
    model = f"{data}/networks.py:six" if (data / "networks.py").exists() else f"{data.parent}/networks.py:six"
    fixed = ("--layout", layout, "--model", model, "--methods", "gradient,grad_cam", "--workers", "0")
    return ["evaluate", str(data), *fixed, "--device", "cpu", *INPUT, *map(str, arguments)]


def program(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, LooktwiceError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, program(*command(data, "--faithfulness"), "--output", run)


def test_the_choice_arrives(done):
    assert json.loads((done[0] / "manifest.json").read_text())["run"]["faithfulness"] == {"steps": 28, "blur": 0.05}


def test_the_end_tells_the_numbers(done):
    run, told = done
    head, *rows = [line.split() for line in told.splitlines()[2:8] if "---" not in line]
    assert "insertion deletion" in " ".join(head)
    scores = json.loads((run / "summary.json").read_text())["methods"]
    for method, *numbers in rows[:4]:
        for name in ("insertion_auc", "deletion_auc"):
            assert f"{100 * scores[method][name]['value']:.1f}" in numbers


def test_the_page_has_the_columns_only_where_the_run_has_them(data, done, tmp_path):
    program(*command(data), "--output", tmp_path / "plain")
    for run, there in ((done[0], True), (tmp_path / "plain", False)):
        program("report", run, "--output", tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert ("<caption>Faithfulness: " in page) is there
        assert ("<dt>Insertion, area under the curve</dt>" in page) is there
        assert ("<figcaption>Deletion, area under the curve</figcaption>" in page) is there
        assert ("while a blurred picture gets back its pixels" in page) is there


def test_class_folders_without_boxes(data, tmp_path):
    for name in ("0", "1"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in (0, 1):
            Image.open(data / f"{number:03d}.png").save(tmp_path / "data" / name / f"{number}.png")
    (tmp_path / "networks.py").write_text(NETWORKS)
    run = tmp_path / "run"
    told = program(*command(tmp_path / "data", "--faithfulness", layout="folders"), "--output", run)
    assert "insertion" in told
    assert "pointing" not in told
    rows = read_rows(run, read_manifest(run).run.parts, ["insertion", "deletion", "judged"])
    assert (rows["judged"].null_count, rows["insertion"].null_count, len(rows)) == (16, 0, 16)
    program("report", run, "--output", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<figcaption>Insertion, area under the curve</figcaption>" in page
    assert page.count('<article class="card"') == 4
    assert '"map": "data:image/png;base64,' in page
    assert "Insertion, area under the curve (%)" in program("table", run)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
@pytest.mark.slow
def test_killed_and_started_again(data, done, tmp_path):
    arguments = ["-m", "looktwice", *command(data, "--faithfulness", "--batch-size", "1")]
    process = launch(arguments, tmp_path / "run")
    wait_for(1, tmp_path / "run", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    finish(launch(arguments, tmp_path / "run"))
    finish(launch(arguments, tmp_path / "whole"))
    assert_same(tmp_path / "run", tmp_path / "whole")
    found = [
        read_rows(tmp_path / name, read_manifest(tmp_path / name).run.parts, ["insertion", "deletion"])
        for name in ("run", "whole")
    ]
    assert found[0].equals(found[1])
    assert found[0]["insertion"].null_count == 0


def test_a_grid_is_refused_in_one_line(data, tmp_path):
    with pytest.raises(OptionError) as caught:
        program(*command(data, "--faithfulness", "--measure", "grid"), "--output", tmp_path / "run")
    assert "a grid pointing game has squares of four; measure boxes (--measure boxes)" in str(caught.value)
    assert not (tmp_path / "run").exists()

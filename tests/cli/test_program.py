"""The program as a process of its own."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from looktwice.cli import app
from looktwice.datasets import LAYOUTS
from looktwice.export.forms import FORMS
from noise import noise


def python(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *arguments], env=environment, **pipes | options)


def test_help_loads_nothing_heavy():
    script = (
        "import sys; from looktwice.cli import run; sys.argv = ['looktwice', 'attend', '--help']\n"
        "try: run()\n"
        "except SystemExit: print([name for name in ('torch', 'cv2', 'numpy', 'PIL') if name in sys.modules])"
    )
    out, _ = python("-c", script).communicate()
    assert out.decode().splitlines()[-1] == "[]"


@pytest.mark.parametrize(("command", "left_out"), [("evaluate", ["pictures"]), ("label", [])])
def test_help_names_every_layout(command, left_out):
    """``evaluate`` needs labels, which ``pictures`` do not have."""
    parameters = get_command(app).commands[command].params
    told = next(each.help for each in parameters if each.name == "layout")
    assert [layout for layout in LAYOUTS if layout not in told] == left_out


def test_help_names_every_form():
    told = next(each.help for each in get_command(app).commands["label"].params if each.name == "form")
    assert [form for form in FORMS if form not in told] == []


@pytest.mark.parametrize("command", [["methods"], ["--help"]])
def test_a_reader_that_goes_away_ends_the_program_quietly(command):
    reader, writer = os.pipe()
    os.close(reader)
    process = python("-m", "looktwice", *command, stdout=writer)
    os.close(writer)
    _, err = process.communicate()
    assert (process.returncode, err) == (1, b"")


@pytest.mark.slow
def test_a_run_whose_reader_goes_away_stops(net, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(300):
        noise(seed=number).save(folder / f"{number:03}.png")
    choice = ("--model", net(), "--method", "gradient", "--output", str(tmp_path / "out"))
    process = python("-m", "looktwice", "attend", str(folder), *choice)
    assert process.stdout.readline().strip()
    process.stdout.close()
    err = process.stderr.read()
    assert (process.wait(), err) == (1, b"")
    assert len(list((tmp_path / "out").iterdir())) < 600


def test_a_program_without_standard_output_works():
    script = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'looktwice', 'methods'])"
    process = python("-c", script)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


def test_a_file_name_that_is_no_text_works(net, tmp_path):
    image = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        noise().save(image)
    except OSError:
        pytest.skip("this file system takes only names that are text")
    choice = ("--model", net(), "--method", "gradient", "--target", "0", "--output", str(tmp_path / "out"))
    process = python("-m", "looktwice", "attend", str(image), *choice)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert [Path(os.fsdecode(line)).exists() for line in out.splitlines()] == [True, True]
    assert out.splitlines()[0].endswith(b"caf\xe9.0.png")


def test_output_that_cannot_be_printed_is_one_line():
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("wb") as full:
        process = python("-m", "looktwice", "--version", stdout=full)
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.decode().splitlines() == [f"looktwice: output: {os.strerror(errno.ENOSPC)}"]

"""The page of the forms: what it says of turned pictures and of moved copies is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from label_sets import draw
from looktwice.cli import run

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "forms.md"
NETWORK = """
import sys
sys.path.insert(0, {helpers!r})
from dataclasses import replace
from evaluations import colours
def build():
    return replace(colours(), classes=("red", "green", "blue", "cyan", "magenta", "yellow"))
"""


def blocks():
    """The language and the text of each block."""
    return re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    draw(tmp_path / "photos" / "cat.png", (64, 48))
    draw(tmp_path / "photos" / "dog.jpg", (64, 48))
    draw(tmp_path / "photos" / "turned.jpg", (64, 48), exif=6)
    (tmp_path / "net.py").write_text(NETWORK.format(helpers=str(ROOT / "tests" / "helpers")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_line(line, monkeypatch):
    """A line of a shell, with a network that takes a moment."""
    words = shlex.split(line)
    if words[0] != "looktwice":
        subprocess.run(words, check=True)
        return
    quick = ["--method", "gradient"] if words[1] == "label" else ["--methods", "gradient"]
    monkeypatch.setattr(sys, "argv", [*words, "--model", "net.py:build", "--squash", "--workers", "0", *quick])
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 0, line


def test_the_pictures_of_torchvision_have_the_size_that_coco_states(folder, monkeypatch):
    run_line("looktwice label photos --output labels", monkeypatch)
    names: dict = {}
    (block,) = (text for language, text in blocks() if language == "python" and "CocoDetection" in text)
    exec(block, names)
    stated = [(entry["width"], entry["height"]) for entry in names["train"].coco.dataset["images"]]
    assert [names["train"][number][0].size for number in range(3)] == stated == [(64, 48)] * 3


def test_a_moved_copy_needs_no_picture_of_this_machine(folder, monkeypatch):
    run_line("looktwice label photos --form yolo --output labels", monkeypatch)
    for command in re.findall(r"`((?:cp|tar) [^`]*)`", PAGE.read_text())[:2]:
        run_line(command, monkeypatch)
    (folder / "unpacked").mkdir()
    run_line("tar -xf yolo.tar -C unpacked", monkeypatch)
    (folder / "photos").rename(folder / "gone")
    for root in (folder / "elsewhere", folder / "unpacked" / "labels" / "yolo"):
        pictures = [*(root / "images").rglob("*.jpg"), *(root / "images").rglob("*.png")]
        assert len(pictures) == 3
        for picture in pictures:
            with Image.open(picture) as opened:
                assert opened.size == (64, 48)

"""Where the data is: recorded so that a report finds it again, and named by any bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import looktwice

NETWORK = """
import torch
from torch import nn

def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 9, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
"""


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def csv(folder):
    for number in range(4):
        picture(folder / f"{number}.png", number)
    rows = [f"{number}.png,cat,5,5,25,20\n" for number in range(4)]
    (folder / "boxes.csv").write_text("image,label,x1,y1,x2,y2\n" + "".join(rows))
    return "boxes.csv"


def coco(folder):
    images = [{"id": number, "file_name": f"{number}.png", "width": 60, "height": 40} for number in range(4)]
    boxes = [{"image_id": number, "category_id": 1, "bbox": [5, 5, 20, 15]} for number in range(4)]
    for number in range(4):
        picture(folder / "val2017" / f"{number}.png", number)
    (folder / "annotations").mkdir()
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return "."


def wsol(folder):
    meta = folder.parent / "meta"
    meta.mkdir()
    for number in range(4):
        picture(folder / "v" / f"{number}.png", number)
    for name, tail in {"image_ids": "", "class_labels": ",1", "localization": ",5,5,25,20"}.items():
        (meta / f"{name}.txt").write_text("".join(f"v/{number}.png{tail}\n" for number in range(4)))
    return "."


LAYOUTS = {
    "csv": (csv, ("--classes", "names.json")),
    "coco": (coco, ("--classes", "names.json")),
    "wsol": (wsol, ("--metadata", "meta")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_report_finds_what_was_named_to_evaluate(looktwice, tmp_path, monkeypatch, layout, absolute):
    """From another folder too, though the paths were relative."""
    make, named = LAYOUTS[layout]
    (tmp_path / "data").mkdir()
    root = Path("data") / make(tmp_path / "data")
    (tmp_path / "names.json").write_text('{"cat": 1}')
    (tmp_path / "network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    where = [tmp_path / root if absolute else root, named[0], tmp_path / named[1] if absolute else named[1]]
    fixed = (
        "--layout",
        layout,
        "--model",
        "network.py:tiny",
        "--methods",
        "gradient",
        "--workers",
        0,
        "--target",
        "true",
    )
    ran = looktwice("evaluate", *where, *fixed, "--output", "run")
    assert ran.code == 0, ran.err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ran = looktwice("report", tmp_path / "run", "--output", "page.html")
    assert (ran.code, ran.out) == (0, ["page.html"])
    page = Path("page.html").read_text()
    assert page.count('src="data:image/jpeg') == 4
    assert 'class="note"' not in page
    place = tmp_path / named[1]
    place.rename(tmp_path / "moved")
    looktwice("report", tmp_path / "run", "--output", "page.html")
    page = Path("page.html").read_text()
    assert page.count('src="data:image/jpeg') == 0
    assert f"{place} does not exist" in page


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_of_any_bytes_from_evaluate_to_report(tmp_path):
    """As the folder of the data, of the run and of the page, as an image, and in a line of trouble."""

    def bytes_path(folder, name):
        return os.fsencode(folder) + b"/" + name

    place = os.fsdecode(bytes_path(tmp_path, b"caf\xe9\x1b[31m"))
    data, run = Path(place) / "data", Path(place) / "run"
    for number in range(2):
        picture(Path(os.fsdecode(bytes_path(data / "cat", b"caf\xe9%d.png" % number))), number)
    broken = Path(os.fsdecode(bytes_path(data / "cat", b"bad\xff\x1b[31m.png")))
    broken.write_bytes(b"no image")
    Path(os.fsdecode(bytes_path(data, b"empty\xe9"))).mkdir()
    (Path(place) / "network.py").write_text(NETWORK)

    def program(*arguments):
        environment = os.environ | {"PYTHONPATH": str(Path(looktwice.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "looktwice", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, check=False)

    fixed = ("--layout", "folders", "--model", f"{place}/network.py:tiny", "--methods", "gradient", "--device", "cpu")
    ran = program("evaluate", data, *fixed, "--output", run)
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    assert b"Traceback" not in ran.stderr
    assert b"\x1b" not in ran.stderr
    assert rb"bad\xff\x1b[31m.png: is not an image" in ran.stderr
    assert rb"empty\xe9: the class folder holds no image" in ran.stderr
    problems = (run / "problems.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition(":")[0] for line in problems] == [r"empty\xe9", r"cat/bad\xff\x1b[31m.png"]
    about = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["about"]
    assert Path(about["root"]) == data  # it can be found again
    again = program("evaluate", data, *fixed, "--output", run)
    assert again.returncode == 0
    assert b"are still missing" not in again.stderr
    for arguments in (("table", run), ("merge", run, run, "--output", Path(place) / "merged")):
        ran = program(*arguments)
        assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    ran = program("report", run, "--output", Path(place) / "page.html")
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    assert b"\x1b" not in ran.stderr
    page = (Path(place) / "page.html").read_bytes()
    assert b"no image has true boxes, so none was judged" in page  # there are none in this layout
    assert page.count(b'<article class="card"') == page.count(b'class="picture" alt="" src="data:image/jpeg') == 2
    assert b"\x1b" not in page

"""The recipes of CONTRIBUTING, carried out on a copy of the package: a new file and a row need no other change."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import looktwice

METHOD = '''
"""Brightness: where the picture is bright."""

from torch import Tensor


def brightness(network, images: Tensor, targets: Tensor, *, power: float) -> Tensor:
    """The mean colour, to a power: (N, H, W)."""
    return (images - images.amin((1, 2, 3), keepdim=True)).mean(1).pow(power)
'''
METHOD_ROW = """        "brightness": Method(
            LABELS["brightness"], "where the picture is bright", "nobody", {"power": 2.0, **FINISH_OPTIONS},
            attribute=brightness,
        ),
"""
ACTIVATION_ROW = """    ActivationRow(
        {F.threshold: False},
        lambda *_: Activation(
            "threshold", lambda pre, _: F.threshold(pre, 0.0, 0.0), _relu_derivative, _relu_derivative
        ),
    ),
"""
LAYOUT = '''
"""A list of images with a box each: "name class x1 y1 x2 y2"."""

from looktwice.datasets.files import read_lines
from looktwice.datasets.items import Item, numeric_classes


def read(request, log):
    """Read ``list.txt`` in the root."""
    file = request.root / "list.txt"
    rows = [line.split() for line in read_lines(file)]
    items = [
        Item(name, request.root / name, file, [(label, tuple(map(float, sides)))]) for name, label, *sides in rows
    ]
    return items, numeric_classes(request)
'''
MEASURE = '''
"""How often a box is hit by far."""

from looktwice.metrics.judged_maps import Sample


def close_hits(maps, at):
    """Whether the box of each map has IoU >= 0.9."""
    return Sample(maps.overlap_at(at.box)[maps.first] >= 0.9)
'''
MEASURE_ROW = """    Measure("close_hits", "Close hits", "close", "share of maps whose box has IoU >= 0.9", close_hits),
"""
EXPORTER = '''
"""A finding as a line of text."""

from looktwice.atomic_files import write_whole


def write_line(finding, stem):
    """Writes ``STEM.txt``."""
    return write_whole(stem.with_name(f"{stem.name}.txt"), f"{finding.class_name} {len(finding.boxes)}".encode())
'''
SOURCE = '''
"""Networks that see only how bright a picture is, by name: bright:CLASSES."""

from torch import nn

from looktwice.models.model import Model
from looktwice.models.plan import NetworkPlan
from looktwice.models.preprocessing import Preprocessing


def plan_bright(name, classes):
    """A network with as many classes as its name says."""
    names = tuple(classes or (f"class {k}" for k in range(int(name.partition(":")[2]))))
    even = Preprocessing(32, 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    layers = [nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(names))]
    return NetworkPlan(name, lambda kind: Model(name, nn.Sequential(*layers), even, names))
'''
FORM = '''
"""The form ``counts``: how many objects each image has."""

from looktwice.export.claims import claimed


def write(labels, folder):
    """Writes ``counts.txt``."""
    path = folder / "counts.txt"
    lines = [f"{image.id} {len(image.objects)}\\n" for image in labels.images()]
    with claimed(labels, path, folder) as mine:
        mine.write(path, "".join(lines).encode())
    return path
'''
FORM_ROW = """        "counts": Form(counts.write, "how many objects each image has"),
"""
USE_FORM = """
import sys
from pathlib import Path
from looktwice.export.forms import FORMS
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.images import Window

folder = Path(sys.argv[1])
image = LabelledImage("a.png", "a", folder / "a.png", 5, 4, Window.whole(5, 4), (), ())
labels = LabelSet((), lambda: iter([image]), 1, folder, frozenset(), {})
print(FORMS["counts"].write(labels, folder / "out").read_text())
"""
NETWORK = """
import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.activation = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 3), activation

    def forward(self, images):
        return self.head(self.activation(self.conv(images)).mean((2, 3)))

def usual():
    return Net(F.relu)

def new():
    return Net(lambda h: F.threshold(h, 0.0, 0.0))
"""


def add(package: Path, file: str, before: str, *lines: str) -> None:
    """Puts lines before the first line that is ``before``."""
    path = package / file
    text = path.read_text()
    assert text.count(f"\n{before}") >= 1, (file, before)
    path.write_text(text.replace(f"\n{before}", "\n" + "".join(lines) + before, 1))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with all parts added as CONTRIBUTING says: a file, a row, and the row's import."""
    source = tmp_path_factory.mktemp("copy")
    package = source / "looktwice"
    shutil.copytree(Path(looktwice.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in {
        "attention/brightness.py": METHOD,
        "datasets/layouts/lines.py": LAYOUT,
        "metrics/close_hits.py": MEASURE,
        "export/line.py": EXPORTER,
        "models/bright.py": SOURCE,
        "export/forms/counts.py": FORM,
    }.items():
        (package / file).write_text(text)
    methods = "attention/methods.py"
    add(
        package,
        "labels.py",
        '        "gradient": Label(',
        '        "brightness": Label("Brightness", "Bright", "#444"),\n',
    )
    add(package, methods, '        "gradient": _gradient(', METHOD_ROW)
    add(package, methods, "from looktwice.attention import", "from looktwice.attention.brightness import brightness\n")
    add(package, "gating/activations.py", '    _row("relu6"', ACTIVATION_ROW)
    layouts = "datasets/layouts/__init__.py"
    add(package, layouts, '        "csv": Layout(', '        "lines": Layout(lines.read),\n')
    add(package, layouts, "from looktwice.datasets.layouts import", "from looktwice.datasets.layouts import lines\n")
    measures = "metrics/measures.py"
    add(package, measures, '    Measure(\n        "mean_iou"', MEASURE_ROW)
    add(package, measures, "from looktwice.metrics.mean_iou", "from looktwice.metrics.close_hits import close_hits\n")
    catalogue = "models/catalogue.py"
    add(package, catalogue, '    "timm": plan_timm', '    "bright": plan_bright,\n')
    add(package, catalogue, "from looktwice.models.hugging", "from looktwice.models.bright import plan_bright\n")
    forms = "export/forms/__init__.py"
    add(package, forms, '        "coco": Form(', FORM_ROW)
    add(package, forms, "from looktwice.export.forms import", "from looktwice.export.forms import counts\n")
    exporters = "export/__init__.py"
    add(package, exporters, "from looktwice.export.finding", "from looktwice.export.line import write_line\n")
    text = (package / exporters).read_text()
    (package / exporters).write_text(
        text.replace('"record": write_record}', '"record": write_record, "line": write_line}')
    )
    return source


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "list.txt").write_text("".join(f"{number}.png {number} 5 5 30 30\n" for number in range(3)))
    (folder / "net.py").write_text(NETWORK)
    return folder


def program(package: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "looktwice", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(package)},
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_method_a_layout_and_a_measure_go_through_a_whole_evaluation(package: Path, data: Path, tmp_path: Path):
    assert "brightness\tBrightness\twhere the picture is bright" in program(package, "methods")
    choices = ["--layout", "lines", "--model", f"{data}/net.py:usual", "--methods", "brightness,gradient"]
    run = ["--target", "true", "--workers", "0", "--device", "cpu", "--output", tmp_path / "run"]
    printed = program(package, "evaluate", data, *choices, *run, "--option", "brightness.power=3")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["methods"]["brightness"]["images"] == 3
    assert 0 <= summary["methods"]["brightness"]["close_hits"]["value"] <= 1
    assert "close" in printed.splitlines()[2] if len(printed.splitlines()) > 2 else "close" in printed
    program(package, "report", tmp_path / "run", "--output", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Brightness" in page
    assert "#444" in page
    assert "share of maps whose box has IoU &gt;= 0.9" in page or "close" in page


def test_an_activation_is_gated_like_the_one_that_it_equals(package: Path, data: Path, tmp_path: Path):
    found = {}
    for name in ("usual", "new"):
        out = tmp_path / name
        program(package, "attend", data / "0.png", "--model", f"{data}/net.py:{name}", "--target", "1", "--output", out)
        found[name] = json.loads((out / "0.1.json").read_text())
    assert found["new"]["scores"] == pytest.approx(found["usual"]["scores"])
    assert found["new"]["boxes"] == found["usual"]["boxes"]


def test_a_source_of_networks_makes_the_network_of_a_name(package: Path, data: Path, tmp_path: Path):
    program(package, "attend", data / "0.png", "--model", "bright:3", "--target", "2", "--output", tmp_path)
    record = json.loads((tmp_path / "0.2.json").read_text())
    assert (record["model"], record["target"]) == ("bright:3", {"index": 2, "name": "class 2"})


def test_an_exporter_writes_beside_the_others(package: Path, data: Path, tmp_path: Path):
    printed = program(package, "attend", data / "0.png", "--model", f"{data}/net.py:usual", "--target", "1",
                      "--output", tmp_path)  # fmt: skip
    assert [Path(line).name for line in printed.split()] == ["0.1.png", "0.1.json", "0.1.txt"]
    assert (tmp_path / "0.1.txt").read_text().startswith("class 1 ")


def test_a_form_writes_a_labelled_data_set(package: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", USE_FORM, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "a.png 0\n\n"

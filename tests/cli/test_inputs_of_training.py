"""Networks whose inputs are not ImageNet's: 64×64 pixels, and no mean is subtracted."""

import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from looktwice.cli import app
from looktwice.models import load_model

NETWORK = """
import torch
from torch import nn
from looktwice.models import Model, Preprocessing

def build():
    # The second class from a brightness of 3/8 on; ImageNet's mean makes every picture of the test darker than that.
    net = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.fill_(1 / 192)
        net[0].bias.zero_()
        net[4].weight.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
        net[4].bias.copy_(torch.tensor([1.5, -1.5]))
    return net

def with_its_own():
    preprocessing = Preprocessing(resize=64, crop=64, mean=(0, 0, 0), std=(1, 1, 1), squash=True)
    return Model("mine", build(), preprocessing, classes=("dark", "bright"))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    lines = ["image,label,x1,y1,x2,y2"]
    for number in range(24):
        gray = (76, 115)[number % 2]
        Image.new("RGB", (64, 64), (gray,) * 3).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},0,0,64,64")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    (folder / "mine.py").write_text(NETWORK)
    torch.save(load_model(f"{folder}/mine.py:build").module.state_dict(), folder / "w.pth")
    return folder


def evaluate(data, run, factory, *arguments):
    fixed = ("--layout", "csv", "--workers", 0, "--device", "cpu", "--methods", "gradient", "--output", run)
    command = ("evaluate", data, *fixed, "--model", f"{data}/mine.py:{factory}", *arguments)
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 0, result.output
    table = [line.split("  ") for line in result.stdout.splitlines()[2:5]]
    columns, values = ([cell.strip() for cell in line if cell] for line in (table[0], table[2]))
    return dict(zip(columns, values, strict=True)), result.stderr


def test_a_network_with_the_wrong_inputs_shows_it_in_the_table_and_in_a_line(data, tmp_path):
    table, said = evaluate(data, tmp_path / "run", "build", "--weights", data / "w.pth")
    assert list(table)[:3] == ["method", "top-1 class error", "top-1 loc. error"]  # two classes: top-5 says nothing
    assert table["top-1 class error"] == "50.0"
    assert "first guess is wrong for 50% of the images (a blind guess: 50%)" in said
    assert "check its preprocessing" in said
    assert "--classes" in said


def test_a_model_with_its_own_preprocessing_is_right_and_silent(data, tmp_path):
    table, said = evaluate(data, tmp_path / "run", "with_its_own", "--weights", data / "w.pth")
    assert (table["top-1 class error"], table["top-1 loc. error"]) == ("0.0", "0.0")
    assert said == ""
    run = json.loads((tmp_path / "run" / "manifest.json").read_text())["run"]
    expected = {"resize": 64, "crop": 64, "mean": [0, 0, 0], "std": [1, 1, 1], "squash": True}
    assert {key: run["preprocessing"][key] for key in expected} == expected


def test_a_table_calls_a_network_by_its_file_and_factory(data, tmp_path):
    evaluate(data, tmp_path / "a", "build")
    evaluate(data, tmp_path / "b", "with_its_own")
    told = CliRunner().invoke(app, ["table", str(tmp_path / "a"), str(tmp_path / "b")]).stdout
    assert "Table 1. Localization error (%), mine:build\n" in told
    assert "Table 1. Localization error (%), mine:with_its_own\n" in told

"""Evaluations of networks whose input is not square, or has another number of channels than RGB."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from evaluations import PREPROCESSING, colours, draw, run_on, summary_of
from looktwice.datasets import load_dataset
from looktwice.errors import OptionError, RunError
from looktwice.explain.comparison import Comparison, compare_images
from looktwice.runs.folder import read_manifest
from looktwice.runs.saved_maps import read_maps

WIDE = {"resize": (30, 60), "crop": (30, 60), "squash": False}
HIGH = {"resize": (60, 30), "crop": (60, 30), "squash": False}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(draw(tmp_path_factory.mktemp("data"), 12), "csv")


def having(**choices):
    return replace(colours(), preprocessing=replace(PREPROCESSING, **choices))


def test_an_input_that_is_not_square_finds_what_a_square_one_finds(dataset, tmp_path):
    run_on(dataset, tmp_path / "wide", model=having(**WIDE), save_maps=True)
    run_on(dataset, tmp_path / "square")
    assert read_maps(tmp_path / "wide", 0)["gradient"].shape[1:] == (30, 60)
    wide, square = (summary_of(tmp_path / name)["methods"] for name in ("wide", "square"))
    for method in ("feedback", "center_box"):
        values = [each[method]["mean_iou"]["value"] for each in (wide, square)]
        assert values[0] == pytest.approx(values[1], abs=0.1)


def test_a_run_of_it_goes_on_and_another_input_does_not(dataset, tmp_path):
    go = partial(run_on, dataset, tmp_path / "run", limit=4)
    first = go(model=having(**WIDE))
    assert go(model=having(**WIDE)) == first
    assert read_manifest(tmp_path / "run").run.preprocessing.crop == (30, 60)
    with pytest.raises(RunError, match=r"preprocessing\.crop was \[30, 60\], is \[60, 30\]"):
        go(model=having(**HIGH))


class Opaque(nn.Module):
    """Four channels: the first class where the picture is opaque, the second where it is clear."""

    def __init__(self):
        super().__init__()
        self.only, self.relu = nn.Conv2d(4, 2, 1), nn.ReLU()
        with torch.no_grad():
            self.only.weight.zero_()
            self.only.weight[:, 3, 0, 0] = torch.tensor([1.0, -1.0])
            self.only.bias.copy_(torch.tensor([0.0, 1.0]))

    def forward(self, images):
        return 10 * self.relu(self.only(images)).mean((2, 3))


@pytest.fixture
def opaque():
    return replace(having(mean=(0.0,) * 4, std=(1.0,) * 4), module=Opaque().eval(), classes=("opaque", "clear"))


@pytest.fixture
def clear(tmp_path):
    """A data set: a picture with a clear square at (10, 12) to (30, 32), and one that has no transparency."""
    pixels = np.full((50, 60, 4), 200, dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[12:32, 10:30, 3] = 0
    Image.fromarray(pixels, "RGBA").save(tmp_path / "clear.png")
    Image.fromarray(np.ascontiguousarray(pixels[..., :3])).save(tmp_path / "plain.jpg")
    (tmp_path / "images.csv").write_text("image,label,x1,y1,x2,y2\nclear.png,1,10,12,30,32\nplain.jpg,0,0,0,60,50\n")
    return tmp_path


def test_four_channels_are_read_with_their_transparency(clear, opaque, tmp_path):
    run_on(load_dataset(clear, "csv"), tmp_path / "run", model=opaque, target="true")
    found = summary_of(tmp_path / "run")["methods"]["feedback"]
    assert found["images"] == 2
    assert found["top1_class_error"]["value"] == 0.5  # most of the picture with the square is opaque too
    assert found["energy_in_box"]["value"] > 0.9


def test_networks_of_different_channels_are_compared(clear, opaque, tmp_path):
    pictures = [clear / "clear.png", clear / "plain.jpg"]
    figure = Comparison("networks", ("feedback",), targets=(1,))
    six = nn.Sequential(opaque.module, nn.ConstantPad1d((0, 4), 0.0))  # as many classes as the other network
    networks = [colours(), replace(opaque, name="opaque", module=six, classes=tuple("rgbcmy"))]
    results = list(compare_images(networks, pictures, tmp_path, figure))
    assert [result.error for result in results if result.error] == []
    assert any(result.files for result in results)


def test_channels_that_no_picture_has_are_refused_before_anything_is_written(dataset, tmp_path):
    with pytest.raises(OptionError, match="input has 6 channels"):
        run_on(dataset, tmp_path / "run", model=having(mean=(0.5,) * 6, std=(0.5,) * 6))
    assert not (tmp_path / "run").exists()


def test_the_status_of_a_run_doubts_a_network_with_the_wrong_inputs(tmp_path):
    many = load_dataset(draw(tmp_path / "data", 24), "csv")
    wrong = having(std=(9.0,) * 3)
    assert run_on(many, tmp_path / "right").doubt is None
    assert "the network's first guess is wrong for" in run_on(many, tmp_path / "wrong", model=wrong).doubt
    assert run_on(many, tmp_path / "few", model=wrong, limit=19).doubt is None

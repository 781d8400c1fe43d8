"""What the commands say of gates, of maps that show nothing, and of probabilities."""

import json

import pytest
import torch

from looktwice.images import read_image
from looktwice.models import load_model

NETWORKS = """
import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self, classes=3, squeezes=0):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.body = nn.Conv2d(3, 8, 5, 8, 2), nn.Conv2d(8, 8, 3, 2, 1)
        self.hidden, self.head = nn.Linear(8, 6), nn.Linear(6, classes)
        self.squeezes = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(squeezes))

    def forward(self, x):
        x = F.relu(self.body(F.relu(self.stem(x))))
        for squeeze in self.squeezes:
            x = x * F.relu(squeeze(x.mean((2, 3), keepdim=True))).sigmoid()
        return self.head(F.relu(self.hidden(x.mean((2, 3)))))

def plain():
    return Net()

def squeezing():
    return Net(squeezes=5)

def against():
    net = Net()
    net.head.weight.data.abs_().neg_()
    net.hidden.weight.data.abs_()
    net.body.weight.data.abs_()
    net.stem.weight.data.abs_()
    return net

class Ending(nn.Module):
    def __init__(self, classes, end):
        super().__init__()
        self.net, self.end = Net(classes), end
    def forward(self, x):
        return self.end(self.net(x))

def logits():
    return Ending(3, nn.Identity())

def softmax():
    return Ending(3, nn.Softmax(1))

def log_softmax():
    return Ending(3, nn.LogSoftmax(1))

def sigmoids():
    return Ending(3, nn.Sigmoid())

def one_logit():
    net = Net(1)
    net.head.weight.data.zero_()
    net.head.bias.data.fill_(-4)
    return net

def one_sigmoid():
    return Ending(1, nn.Sigmoid())
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    return lambda name: f"{tmp_path}/nets.py:{name}"


@pytest.fixture
def attend(looktwice, photo, tmp_path, net):
    def call(name, *choice):
        ran = looktwice("attend", photo, "--model", net(name), "--output", tmp_path / "out", *choice)
        assert ran.code == 0
        return ran, [json.loads((tmp_path / "out" / line).read_text()) for line in ran.out if line.endswith("json")]

    return call


def test_the_record_says_which_activations_are_gated(attend):
    _, (record,) = attend("plain", "--option", "steps=1", "--option", "layers=all")
    assert record["activations"] == {"seen": 3, "gated": 3, "grids": [[28, 28], [14, 14]]}
    _, (record,) = attend("plain", "--option", "steps=1", "--option", "layers=1")
    assert record["activations"] == {"seen": 3, "gated": 1, "grids": [[14, 14]]}
    _, (record,) = attend("plain", "--method", "gradient")
    assert record["activations"] == {"seen": 3, "gated": 0, "grids": []}
    assert record["notes"] == []


@pytest.mark.parametrize("flag", ["--verbose", "-v"])
def test_verbose_says_it_in_a_line_for_each_image(attend, photo, flag):
    ran, (record, _) = attend("plain", flag, "--top", 2, "--option", "steps=1", "--option", "layers=0,1")
    assert "input: squashed to 224×224; bilinear; mean 0.485 0.456 0.406; std" in ran.err[0]
    unsure = f"looktwice: {photo}: {record['doubts'][0]}"
    assert ran.err[1:] == [f"looktwice: {photo}: 2 of 3 activations are gated, at 28×28 and 14×14", unsure]
    ran, _ = attend("plain", "--option", "steps=1")
    assert ran.err == [unsure]


def test_a_map_that_is_zero_is_said_on_the_screen_and_in_the_record(attend, photo):
    ran, (record,) = attend("against", "--target", 1)
    assert len(record["notes"]) == 1
    assert "the map is zero everywhere" in record["notes"][0]
    assert ran.err == [f"looktwice: {photo}: class 1: {record['notes'][0]}"]


def test_a_network_that_is_gated_in_part_is_said_once(looktwice, attend, photo, tmp_path):
    photo.with_name("other.png").write_bytes(photo.read_bytes())
    ran, records = attend("squeezing", photo.with_name("other.png"), "--top", 2, "--option", "steps=1")
    assert len(records) == 4
    assert all("5 of the network's 8 activations carry no gates" in record["notes"][0] for record in records)
    about_network = [line for line in ran.err if not line.startswith(f"looktwice: {tmp_path}")]
    assert [line.startswith("looktwice: Global feedback: 5 of") for line in about_network] == [True]
    assert len(ran.err) == 1 + 2  # and each picture's doubt


def test_a_comparison_says_its_notes(looktwice, photo, tmp_path, net):
    choice = ("--methods", "feedback,global_feedback", "--target", 1, "--output", tmp_path / "out")
    ran = looktwice("compare", photo, "--model", net("against"), *choice)
    assert ran.code == 0
    assert f"looktwice: {photo}: Local feedback, class 1: the map is zero everywhere" in ran.err[0]
    assert len(ran.err) == 2
    ran = looktwice("compare", photo, "--model", net("squeezing"), "--animate", *choice)
    assert [line.split(": ")[1] for line in ran.err] == [str(photo), "Local feedback", "Global feedback"]
    assert "The network is not sure" in ran.err[0]


@pytest.mark.parametrize("name", ["logits", "softmax", "log_softmax", "sigmoids", "one_logit", "one_sigmoid"])
def test_the_probability_is_the_networks_own(attend, net, photo, name):
    model = load_model(net(name), squash=True)
    with torch.no_grad():
        scores = model.module(model.prepare(read_image(photo))[0])[0]
    expected = {
        "logits": scores.softmax(0),
        "log_softmax": scores.exp(),
        "one_logit": torch.tensor([0.01798620996]),  # 1 / (1 + e⁴)
    }.get(name, scores)
    count = len(expected)
    _, records = attend(name, "--top", count, "--method", "gradient")
    assert [record["target"]["index"] for record in records] == expected.argsort(descending=True).tolist()
    for record in records:
        assert record["probability"] == pytest.approx(float(expected[record["target"]["index"]]), abs=1e-6)
        assert record["target"]["name"] == f"class {record['target']['index']}"


def test_a_network_with_one_output_has_one_class(looktwice, attend, net, photo, tmp_path):
    _, (record,) = attend("one_logit", "--method", "gradient")
    assert record["target"] == {"index": 0, "name": "class 0"}
    ran = looktwice("attend", photo, "--model", net("one_logit"), "--top", 2, "--output", tmp_path)
    assert (ran.code, len(ran.err)) == (1, 1)
    assert "top is 2" in ran.err[0]
    ran = looktwice("compare", photo, "--figure", "classes", "--model", net("one_logit"), "--output", tmp_path)
    assert ran.code == 0

"""Doubts about a map stand in the record, in the picture and on the screen."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from looktwice.figures.text import WARNING

SAMPLES = Path(__file__).parents[2] / "examples" / "images"
RANDOM = "The weights are random: map, boxes and class mean nothing."


def red(file):
    """How many pixels of a picture are in the colour of warnings."""
    with Image.open(file) as picture:
        return int((np.asarray(picture.convert("RGB")) == WARNING).all(axis=2).sum())


@pytest.fixture
def attend(looktwice, tmp_path):
    def call(*arguments):
        ran = looktwice("attend", *arguments, "--output", tmp_path / "out", "--method", "gradient")
        assert ran.code == 0
        files = [Path(line) for line in ran.out]
        records = [json.loads(file.read_text()) for file in files if file.suffix == ".json"]
        return ran.err, records, [red(file) for file in files if file.suffix == ".png"]

    return call


def test_a_sure_network_leaves_no_doubt(attend):
    said, (record,), reds = attend(SAMPLES / "cat.jpg")
    assert (said, record["doubts"], reds) == ([], [], [0])


def test_random_weights_are_said_everywhere(attend):
    said, records, reds = attend(SAMPLES / "cat.jpg", "--model", "squeezenet1_1", "--weights", "random", "--top", 2)
    assert all(record["doubts"][0] == RANDOM for record in records)
    assert [line.startswith(f"looktwice: {SAMPLES}/cat.jpg: {RANDOM}") for line in said] == [True]
    assert min(reds) >= 20


def test_a_black_picture_is_not_recognised(attend, tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "black.png")
    said, (record,), (pixels,) = attend(tmp_path / "black.png")
    (doubt,) = record["doubts"]
    assert doubt.startswith(f"The network is not sure: {record['target']['name']} is most probable, with")
    assert said[0] == f"looktwice: {tmp_path}/black.png: {doubt}"
    assert pixels >= 20


def test_an_improbable_class_is_said_for_its_own_map_only(attend):
    said, records, reds = attend(SAMPLES / "cat.jpg", "--target", "auto", "--target", "espresso")
    assert [len(record["doubts"]) for record in records] == [0, 1]
    assert records[1]["doubts"][0].startswith("espresso is improbable")
    assert said == [f"looktwice: {SAMPLES}/cat.jpg: {records[1]['doubts'][0]}"]
    assert reds[0] == 0 < reds[1]


@pytest.mark.parametrize(
    ("choice", "lines"),
    [
        (("--figure", "classes", "--target", "auto", "--target", "espresso"), 1),
        (("--figure", "boxes", "--target", "espresso", "--methods", "gradient"), 1),
        (("--figure", "methods", "--target", "Egyptian cat", "--methods", "gradient"), 0),
    ],
)
def test_a_comparison_says_them_once_for_each_picture(looktwice, tmp_path, choice, lines):
    ran = looktwice("compare", SAMPLES / "cat.jpg", *choice, "--output", tmp_path)
    assert ran.code == 0
    assert [": espresso is improbable" in line for line in ran.err] == [True] * lines
    (file,) = ran.out
    assert (red(file) >= 20) == bool(lines)


def test_of_several_networks_each_doubt_names_its_own(looktwice, tmp_path):
    choice = (
        "--model",
        "efficientnet_lite0",
        "--model",
        "squeezenet1_1",
        "--weights",
        "default",
        "--weights",
        "random",
    )
    ran = looktwice("compare", SAMPLES / "cat.jpg", *choice, "--methods", "gradient", "--output", tmp_path)
    assert ran.code == 0
    (line,) = [line for line in ran.err if RANDOM in line]
    assert f"{SAMPLES}/cat.jpg: squeezenet1_1: {RANDOM}" in line
    assert red(ran.out[0]) >= 20

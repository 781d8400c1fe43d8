"""Files of users beside results, and names of files that are no names for a terminal."""

import json
from pathlib import Path

import pytest

from command_line import refused
from noise import noise


@pytest.fixture
def attend(looktwice, net):
    def call(*arguments):
        return looktwice("attend", *arguments, "--model", net(), "--target", 0, "--method", "gradient")

    return call


def test_a_picture_of_the_users_own_is_never_overwritten(attend, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    noise(seed=1).save(folder / "cat.png")
    noise(seed=2).save(folder / "cat.0.png")
    before = (folder / "cat.0.png").read_bytes()
    ran = attend(folder, "--output", folder)
    assert (ran.code, len(ran.err)) == (1, 2)
    assert f"{folder}/cat.png: {folder}/cat.0.png is there already and is no result of looktwice" in ran.err[0]
    assert (folder / "cat.0.png").read_bytes() == before
    assert [Path(line).name for line in ran.out] == ["cat.0.0.png", "cat.0.0.json"]


def test_a_text_of_the_users_own_is_never_overwritten(attend, photo, tmp_path):
    (tmp_path / "photo.0.json").write_text("mine")
    ran = attend(photo, "--output", tmp_path)
    assert ran.code == 1
    assert "photo.0.json is there already" in ran.err[0]
    assert [Path(line).name for line in ran.out] == ["photo.0.png"]  # what is written is told
    assert (tmp_path / "photo.0.json").read_text() == "mine"


def test_a_comparison_overwrites_results_only(looktwice, net, photo, tmp_path):
    for form in ("png", "svg", "gif"):
        choice = ("compare", photo, "--figure", "methods", "--methods", "feedback", "--form", form)
        compare = (*choice, "--model", net(), "--output", tmp_path)
        assert [looktwice(*compare).code for _ in range(2)] == [0, 0]
        (tmp_path / f"compare-methods.{form}").write_bytes(b"mine")
        assert refused(looktwice(*compare), f"compare-methods.{form} is there already", "--output")
        assert (tmp_path / f"compare-methods.{form}").read_bytes() == b"mine"


def test_results_are_never_inputs_of_the_next_run(attend, looktwice, net, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    noise().save(folder / "cat.png")
    looktwice("compare", folder / "cat.png", "--model", net(), "--methods", "gradient", "--output", folder)
    looktwice("compare", folder / "cat.png", "--model", net(), "--animate", "--output", folder / "deeper")
    first = attend(folder, "--output", folder)
    assert (first.code, len(first.out)) == (0, 2)
    for again in (attend(folder, "--output", folder), attend(folder / "*.png", "--output", folder)):
        assert (again.code, again.out, again.err) == (0, first.out, [])


def test_a_result_that_is_named_is_an_input(attend, tmp_path, photo):
    assert attend(photo, "--output", tmp_path / "out").code == 0
    ran = attend(tmp_path / "out" / "photo.0.png", "--output", tmp_path / "out")
    assert [Path(line).name for line in ran.out] == ["photo.0.0.png", "photo.0.0.json"]


def test_a_folder_of_results_alone_has_no_images(attend, photo, tmp_path):
    attend(photo, "--output", tmp_path / "out")
    ran = attend(tmp_path / "out", "--output", tmp_path / "out")
    assert (ran.code, ran.out) == (1, [])
    assert "no image there but results" in ran.err[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["attend", "PHOTO", "--output", ""],
        ["compare", "PHOTO", "--output", ""],
        ["evaluate", "", "--output", "run"],
        ["evaluate", "data", "--output", ""],
        ["evaluate", "data", "--output", "run", "--classes", ""],
        ["merge", "", "", "--output", "run"],
        ["table", ""],
        ["report", ""],
        ["report", "run", "--output", ""],
    ],
)
def test_an_empty_name_is_not_the_current_folder(looktwice, photo, tmp_path, monkeypatch, arguments):
    (tmp_path / "here").mkdir()
    noise().save(tmp_path / "here" / "cat.png")
    monkeypatch.chdir(tmp_path / "here")
    ran = looktwice(*[photo if each == "PHOTO" else each for each in arguments])
    assert (ran.code, ran.out) == (1, [])
    assert "empty" in ran.err[0]
    assert [file.name for file in (tmp_path / "here").iterdir()] == ["cat.png"]


STEERING = "a\x1b[31m\x9b2J\u202egpj.png"


def test_escape_codes_in_names_are_not_printed(attend, looktwice, net, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    noise().save(folder / STEERING)
    (folder / "b\x1b]0;title\x07.png").write_bytes(b"no image")
    outputs = [
        attend(folder, folder / "gone\x1b[31m.png", "--output", tmp_path / "out\x1b[1m"),
        looktwice("compare", folder / STEERING, "--model", net(), "--methods", "gradient", "--output", folder),
        looktwice("attend", folder, "--model", f"{tmp_path}/\x1b[31m.py:net"),
        looktwice("attend", folder, "--weights", f"{tmp_path}/\x1b[31m.pth"),
        looktwice("attend", folder, "--model", net(), "--target", "\x1b[31m"),
        looktwice("attend", folder, "--\x1b[31m"),
        looktwice("\x1b[31m"),
        looktwice("models", "\x1b[31m"),
        looktwice("table", f"{tmp_path}/\x1b[31m"),
        looktwice("merge", f"{tmp_path}/\x1b[31m", f"{tmp_path}/\x1b[32m", "--output", f"{tmp_path}/\x1b[33m"),
        looktwice("report", f"{tmp_path}/\x1b[31m"),
        looktwice("evaluate", f"{tmp_path}/\x1b[31m", "--output", f"{tmp_path}/run"),
    ]
    for ran in outputs:
        shown = "\n".join(ran.out + ran.err)
        assert shown
        assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert "a\\x1b[31m\\x9b2J\\u202egpj.0.png" in outputs[0].out[0]
    (record,) = (tmp_path / "out\x1b[1m").glob("*.json")
    assert json.loads(record.read_text())["image"] == str(folder / STEERING)


LATE = """
import torch
from torch import nn


class Late(nn.Module):
    def __init__(self, is_wrong):
        super().__init__()
        self.layer, self.is_wrong = nn.Conv2d(3, 4, 3), is_wrong

    def forward(self, images):
        if self.is_wrong(images):
            raise KeyError("a slip")
        return torch.relu(self.layer(images)).mean((2, 3))


def on_a_batch():
    return Late(lambda images: len(images) > 1)


def on_noise():
    return Late(lambda images: images.std() > 0.5)
"""
"""Networks that run on one blank image, and fail later."""


@pytest.mark.parametrize(
    ("command", "factory"),
    [("attend", "on_noise"), ("compare", "on_noise"), ("label", "on_noise"), ("label", "on_a_batch")],
)
def test_a_network_of_the_users_own_that_fails_late_is_told_in_one_line(looktwice, tmp_path, command, factory):
    (tmp_path / "late.py").write_text(LATE)
    (tmp_path / "in").mkdir()
    for seed in range(3):
        noise(seed=seed).save(tmp_path / "in" / f"{seed}.png")
    model = ("--model", f"{tmp_path}/late.py:{factory}", "--size", 32, "--device", "cpu")
    ran = looktwice(command, tmp_path / "in", "--output", tmp_path / "out", *model)
    assert ran.code == 1
    assert ran.err[-1] == f"looktwice: {tmp_path}/late.py, line 13: its own code fails with KeyError: 'a slip'"
    assert not any("Traceback" in line for line in ran.err)


def test_a_fault_that_is_not_the_users_is_not_told_as_theirs(looktwice, net, photo, tmp_path, monkeypatch):
    def slip(*_, **__):
        raise KeyError("ours")

    monkeypatch.setattr("looktwice.explain.images.attend_images", slip)
    with pytest.raises(KeyError, match="ours"):
        looktwice("attend", photo, "--model", net(), "--output", tmp_path / "out")

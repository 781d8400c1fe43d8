"""Choices that cannot be met, and results that can go nowhere."""

import errno
import os
from pathlib import Path

import pytest
import torch

from command_line import refused
from looktwice.atomic_files import write_whole
from looktwice.explain import images as gallery
from looktwice.models import load_model


@pytest.mark.parametrize(
    ("choice", "parts"),
    [
        (["--target", "tabbi"], ["'tabbi'", "'tabby'"]),
        (["--target", "1000"], ["1000", "0 … 999"]),
        (["--target", "-1"], ["-1", "0 … 999"]),
        (["--target=--5"], ["'--5'", "0 … 999"]),
        (["--target", "9" * 5000], ["9…", "0 … 999"]),
        (["--target", "a\0b"], ["a\\x00b", "0 … 999"]),
        (["--option", "steps=" + "9" * 5000], ["9…", "whole number"]),
        (["--option", "trace_weight=1e400"], ["1e400", "a number"]),
        (["--option", "layers=--1"], ["--1", "whole numbers"]),
        (["--option", "layers=" + "9" * 5000], ["9…", "whole numbers"]),
        (["--method", "x" * 5000], ["xx…", "there are gradient"]),
        (["--threshold", "nan"], ["nan"]),
        (["--device", "cuda:99999999999999999999"], ["device"]),
        (["--top", "1001"], ["1001", "1000"]),
        (["--top", "2", "--target", "tabby"], ["--top", "--target"]),
        (["--method", "globalfeedback"], ["'globalfeedback'", "global_feedback"]),
        (["--method", "?"], ["there are gradient"]),
        (["--option", "step=3"], ["'step'", "steps"]),
        (["--option", "steps"], ["steps", "KEY=VALUE"]),
        (["--option", "steps=many"], ["steps=many", "whole number", "5"]),
        (["--option", "steps=1.5"], ["steps=1.5", "whole number"]),
        (["--option", "steps=-1"], ["-1"]),
        (["--option", "blur=nan"], ["blur=nan", "number"]),
        (["--option", "fixed_scale=maybe"], ["fixed_scale=maybe", "true or false"]),
        (["--option", "layers=some"], ["layers=some", "whole numbers"]),
        (["--option", "layers=99"], ["99"]),
        (["--option", "minor=huge"], ["'huge'", "suppress"]),
        (["--box", "round"], ["'round'", "contour", "energy"]),
        (["--threshold", "1.5"], ["1.5", "share"]),
        (["--threshold-by", "mean"], ["'mean'", "max"]),
        (["--box", "energy", "--threshold-by", "max"], ["--threshold-by"]),
        (["--weights", "weights.onnx"], ["weights.onnx", ".safetensors"]),
        (["--weights", "gone.pth"], ["gone.pth", "no such file"]),
        (["--device", "abacus"], ["abacus"]),
        (["--device", "meta"], ["--device meta", "cpu or cuda"]),
    ],
)
def test_a_choice_that_cannot_be_met_is_one_line(looktwice, net, photo, tmp_path, choice, parts):
    ran = looktwice("attend", photo, "--model", net("imagenet"), "--output", tmp_path / "out", *choice)
    assert refused(ran, *parts)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("resnet5", ["'resnet5'", "resnet50"]),
        ("convnext_tinny", ["'convnext_tinny'", "convnext_tiny", "timm:NAME"]),
        ("timm:resnet19", ["'resnet19'", "timm:resnet18"]),
        ("gone.onnx", ["gone.onnx", "no such file"]),
        ("hf:./gone", ["no such folder"]),
        ("NET:smooth", ["no activation", "ReLU, GELU, SiLU"]),
        ("NET:broken", ["no such luck"]),
        ("NET:nett", ["'nett'", "net"]),
        ("gone.py:net", ["gone.py", "no such file"]),
    ],
)
def test_a_network_that_cannot_be_used_is_one_line(looktwice, net, photo, tmp_path, name, parts):
    name = net(name[4:]) if name.startswith("NET:") else name
    assert refused(looktwice("attend", photo, "--model", name, "--output", tmp_path / "out"), *parts)


def test_weights_of_another_network_are_one_line(looktwice, net, photo, tmp_path):
    torch.save(load_model(net("imagenet")).module.state_dict(), tmp_path / "other.pth")
    ran = looktwice("attend", photo, "--model", net(), "--weights", tmp_path / "other.pth", "--output", tmp_path)
    assert refused(ran, "other.pth does not fit", "(1000, 8) instead of (5, 8)")


@pytest.mark.parametrize(
    ("choice", "parts"),
    [
        (["--methods", "gradient,gradiant"], ["'gradiant'", "gradient"]),
        (["--methods", ""], ["''"]),
        (["--figure", "box"], ["'box'", "boxes"]),
        (["--target", "class 77"], ["'class 77'", "nearest"]),
        (["--form", "bmp"], ["'bmp'", "mp4"]),
        (["--animate", "--form", "pdf"], ["--form pdf", "--animate"]),
        (["--animate", "--methods", "gradient,integrated_gradients"], ["no steps", "global_feedback"]),
        (["--figure", "gates", "--methods", "feedback,gradient"], ["gradient: no gates", "global_feedback"]),
        (["--figure", "networks"], ["one network", "--model"]),
        (["--weights", "default", "--weights", "default"], ["2 times --weights", "1 network"]),
    ],
)
def test_a_comparison_that_cannot_be_made_is_one_line(looktwice, net, photo, tmp_path, choice, parts):
    if choice == ["--methods", ""]:
        choice = ["--methods", ","]
    assert refused(looktwice("compare", photo, "--model", net(), "--output", tmp_path / "out", *choice), *parts)


@pytest.mark.parametrize(
    "arguments", [[], ["attend"], ["look"], ["attend", "a.png", "--top", "x"], ["attend", "--nix"]]
)
def test_wrong_usage_has_its_own_exit_code(looktwice, arguments):
    ran = looktwice(*arguments)
    assert ran.code == 2
    assert "Usage: looktwice" in "\n".join(ran.out + ran.err)


@pytest.mark.parametrize("command", ["attend", "compare"])
def test_a_folder_that_cannot_be_made_is_one_line(looktwice, net, photo, command):
    ran = looktwice(command, photo, "--model", net(), "--output", photo / "below" / "a-file")
    assert refused(ran, f"{photo}/below/a-file", "--output")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_folder_without_permission_is_one_line(looktwice, net, photo, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert refused(looktwice("attend", photo, "--model", net(), "--output", locked), str(locked), "--output")


def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(looktwice, net, photo, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write = Path.write_bytes

    def full(self, data):
        write(self, data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    ran = looktwice("attend", photo, "--model", net(), "--target", 0, "--method", "gradient", "--output", out)
    assert refused(ran, str(out / "photo.0.png"), os.strerror(errno.ENOSPC))
    assert list(out.iterdir()) == []


def test_a_result_replaces_an_older_one(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    assert write_whole(tmp_path / "a.png", b"new").read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_an_interrupted_run_ends_quietly(looktwice, net, photo, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(gallery, "attend_images", interrupted)
    ran = looktwice("attend", photo, "--model", net(), "--output", tmp_path)
    assert (ran.code, ran.out) == (130, [])
    assert not any("Traceback" in line for line in ran.err)


def test_long_names_leave_room_for_the_class(tmp_path):
    names = gallery.distinct_names([tmp_path / f"{'é' * 120}{end}.png" for end in ("", "a")])
    assert all(len(os.fsencode(name)) < 210 for name in names.values())
    assert len(set(names.values())) == 2

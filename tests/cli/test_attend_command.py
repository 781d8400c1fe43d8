"""The program as its user meets it: what it writes, what it prints, and its one line for whatever goes wrong."""

import errno
import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from looktwice import __version__
from looktwice.atomic_files import write_whole
from looktwice.attention.api import attend
from looktwice.attention.methods import METHODS
from looktwice.cli import run
from looktwice.explain import comparison, explanation
from looktwice.explain import images as gallery
from looktwice.gating.frozen import frozen
from looktwice.images import read_image
from looktwice.localization import BoxRule, locate
from looktwice.models import load_model

SAMPLES = Path(__file__).parents[2] / "examples" / "images"
NETWORKS = """
import torch
from torch import nn

def net(classes=5, activation=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=8), activation(), nn.Conv2d(4, 8, 3, stride=2), activation(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )

def imagenet():
    return net(1000)

def smooth():
    return net(activation=nn.GELU)

def broken():
    raise RuntimeError("no such luck")

def overflowing():
    made = net()
    made[-1].bias.data.fill_(torch.inf)
    return made
"""


class Ran:
    """What a run of the program left: exit code, lines of standard output and of standard error."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.splitlines(), err.splitlines()


@pytest.fixture
def looktwice(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["looktwice", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run()
        return Ran(end.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def net(tmp_path):
    """Networks that take a moment, by factory."""
    file = tmp_path / "networks.py"
    file.write_text(NETWORKS)
    return lambda name="net": f"{file}:{name}"


def noise(width=60, height=40, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "photo.png"
    noise().save(file)
    return file


def refused(ran, *parts):
    """Exit code 1, nothing on standard output, and one line that has all of ``parts``."""
    assert ran.code == 1
    assert ran.out == []
    assert len(ran.err) == 1
    assert all(part in ran.err[0] for part in parts), ran.err[0]
    return True


# What is written.


def test_an_image_gives_a_picture_and_a_record(looktwice, net, photo, tmp_path):
    out = tmp_path / "new" / "folder"
    ran = looktwice("attend", photo, "--model", net(), "--output", out, "--option", "steps=2")
    assert (ran.code, ran.err) == (0, [])
    model = load_model(net())
    image, window = model.prepare(read_image(photo))
    with frozen(model.module) as network, torch.no_grad():
        probabilities = network(image).softmax(1)[0]
    k = int(probabilities.argmax())
    assert ran.out == [f"{out}/photo.{k}.png", f"{out}/photo.{k}.json"]
    assert sorted(map(str, out.iterdir())) == sorted(ran.out)

    seen = attend(model.module, image, k, steps=2)
    record = json.loads((out / f"photo.{k}.json").read_text())
    expected = {
        "image": str(photo),
        "width": 60,
        "height": 40,
        "model": net(),
        "weights": "as its factory made them",
        "method": "global_feedback",
        "options": METHODS["global_feedback"].options | {"steps": 2},
        "target": {"index": k, "name": f"class {k}"},
        "closed_layers": len(seen.closed),
        "box_rule": {"rule": "contour", "threshold": 0.2, "by": "max", "smallest": 0.01},
        "looktwice": __version__,
    }
    assert {key: record[key] for key in expected} == expected
    assert record["probability"] == pytest.approx(float(probabilities[k]), abs=1e-6)
    assert record["scores"] == pytest.approx(seen.scores[0].tolist(), abs=1e-5)
    boxes = [(box.x1, box.y1, box.x2, box.y2, box.score) for box in locate(seen.maps[0].numpy(), window, BoxRule())]
    assert boxes
    assert [[*box.values()] for box in record["boxes"]] == [pytest.approx(box, abs=1e-3) for box in boxes]
    assert list(record["boxes"][0]) == ["x1", "y1", "x2", "y2", "score"]
    with Image.open(ran.out[0]) as picture:
        assert picture.format == "PNG"
        assert picture.width == 512


def test_the_class_is_the_one_asked_for(looktwice, net, photo, tmp_path):
    def classes(*choice):
        ran = looktwice(
            "attend", photo, "--model", net("imagenet"), "--method", "gradient", "--output", tmp_path, *choice
        )
        assert ran.code == 0
        return [int(line.split(".")[-2]) for line in ran.out if line.endswith("json")]

    assert classes("--target", "tabby") == classes("--target", 281) == classes("--target", "TABBY") == [281]
    model = load_model(net("imagenet"))
    with torch.no_grad():
        ranked = model.module(model.prepare(read_image(photo))[0])[0].argsort(descending=True).tolist()
    assert classes("--top", 3) == ranked[:3]
    assert classes() == classes("--target", "auto") == ranked[:1]


def test_options_reach_the_method_in_their_own_type(looktwice, net, photo, tmp_path):
    given = {
        "steps": ("3", 3),
        "step_size": ("1", 1.0),
        "minor": ("drop", "drop"),
        "fixed_scale": ("True", True),
        "layers": ("0,-1", [0, -1]),
    }
    pairs = [part for key, (text, _) in given.items() for part in ("--option", f"{key}={text}")]
    ran = looktwice("attend", photo, "--model", net(), "--target", 1, "--output", tmp_path, *pairs)
    assert ran.code == 0
    record = json.loads((tmp_path / "photo.1.json").read_text())
    assert {key: record["options"][key] for key in given} == {key: value for key, (_, value) in given.items()}
    assert type(record["options"]["step_size"]) is float
    model = load_model(net())
    seen = attend(
        model.module,
        model.prepare(read_image(photo))[0],
        1,
        **{key: value for key, (_, value) in given.items()},
    )
    assert record["scores"] == pytest.approx(seen.scores[0].tolist(), abs=1e-5)


def test_boxes_follow_the_rule_asked_for(looktwice, net, photo, tmp_path):
    def boxes(*rule):
        choice = ("--model", net(), "--target", 0, "--method", "gradient", "--output", tmp_path)
        assert looktwice("attend", photo, *choice, *rule).code == 0
        return json.loads((tmp_path / "photo.0.json").read_text())["boxes"]

    model = load_model(net())
    image, window = model.prepare(read_image(photo))
    heat = attend(model.module, image, 0, method="gradient").maps[0].numpy()
    for rule, asked in [
        (BoxRule(), ()),
        (BoxRule("energy", 0.95), ("--box", "energy")),
        (BoxRule("energy", 0.5), ("--box", "energy", "--threshold", 0.5)),
        (BoxRule("contour", 0.7), ("--threshold", 0.7)),
        (BoxRule("contour", 0.6, "energy"), ("--threshold-by", "energy", "--threshold", 0.6)),
    ]:
        wanted = [
            pytest.approx((box.x1, box.y1, box.x2, box.y2, box.score), abs=1e-3) for box in locate(heat, window, rule)
        ]
        assert [tuple(box.values()) for box in boxes(*asked)] == wanted


def test_squash_looks_at_the_whole_image(looktwice, net, photo, tmp_path):
    def window(*choice):
        looktwice(
            "attend", photo, "--model", net(), "--target", 0, "--method", "gradient", "--output", tmp_path, *choice
        )
        return [*json.loads((tmp_path / "photo.0.json").read_text())["window"].values()]

    assert window("--squash") == [0, 0, 60, 40]
    # The central 224 of 384 × 256: 80 and 16 pixels are cut off, in units of 256 / 40.
    assert window() == [12.5, 2.5, 47.5, 37.5]


def test_folders_globs_and_files_are_taken_once_each(looktwice, net, tmp_path):
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "deeper/c.png"):
        noise().save(folder / name)
    (folder / "notes.txt").write_text("no image")
    choice = ("--model", net(), "--target", 0, "--method", "gradient", "--output", tmp_path / "out")
    ran = looktwice("attend", folder / "*.jpg", folder, folder / "a.png", *choice)
    assert ran.code == 0
    assert [Path(line).name for line in ran.out if line.endswith("json")] == ["b.0.json", "a.0.json", "c.0.json"]


def test_images_of_the_same_name_do_not_overwrite_each_other(looktwice, net, tmp_path):
    for seed, name in enumerate(["x/cat.png", "y/cat.png", "y/cat-2.png", "y/Cat.jpg"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise(seed=seed).save(tmp_path / name)
    out = tmp_path / "out"
    ran = looktwice(
        "attend",
        tmp_path / "x",
        tmp_path / "y",
        "--model",
        net(),
        "--target",
        0,
        "--method",
        "gradient",
        "--output",
        out,
    )
    assert ran.code == 0
    records = {file.name: json.loads(file.read_text())["image"] for file in out.glob("*.json")}
    assert len(records) == 4
    assert sorted(records.values()) == sorted(
        str(tmp_path / n) for n in ["x/cat.png", "y/Cat.jpg", "y/cat-2.png", "y/cat.png"]
    )
    assert records["cat.0.json"] == str(tmp_path / "x/cat.png")
    assert len({name.casefold() for name in records}) == 4


def test_a_comparison_has_a_column_for_each_method_and_a_row_for_each_image(looktwice, net, tmp_path):
    for name in ("a", "b", "c"):
        noise().save(tmp_path / f"{name}.png")
    sizes = {}
    for count in (1, 2, 3):
        for methods in ("gradient", "gradient,feedback"):
            images = sorted(tmp_path.glob("?.png"))[:count]
            ran = looktwice("compare", *images, "--model", net(), "--methods", methods, "--output", tmp_path / "out")
            assert (ran.code, ran.out, ran.err) == (0, [str(tmp_path / "out" / "compare-methods.png")], [])
            sizes[count, methods] = Image.open(ran.out[0]).size
    (width, height), (wider, _), (_, two), (_, three) = (
        sizes[key] for key in [(1, "gradient"), (1, "gradient,feedback"), (2, "gradient"), (3, "gradient")]
    )
    assert wider - width == comparison.THUMBNAIL + 8
    assert two - height == three - two == comparison.THUMBNAIL * 40 // 60 + 8


def test_a_comparison_of_boxes_has_a_row_for_each_method(looktwice, net, photo, tmp_path):
    heights = []
    for methods in ("gradient", "gradient,guided_backprop"):
        ran = looktwice(
            "compare", photo, "--figure", "boxes", "--methods", methods, "--model", net(), "--output", tmp_path
        )
        assert (ran.code, ran.out) == (0, [str(tmp_path / "compare-boxes.png")])
        with Image.open(ran.out[0]) as sheet:
            heights.append(sheet.height)
    assert heights[1] - heights[0] == comparison.THUMBNAIL * 40 // 60 + 8


def test_what_is_given_several_times_is_compared(looktwice, net, photo, tmp_path):
    def file(*choice):
        ran = looktwice("compare", photo, "--model", net(), "--output", tmp_path, *choice)
        assert (ran.code, ran.err, len(ran.out)) == (0, [], 1)
        return Path(ran.out[0]).name

    assert file("--methods", "gradient") == "compare-methods.png"
    assert file("--target", 0, "--target", "class 1") == "compare-classes.png"
    assert file("--model", net(), "--weights", "default") == "compare-networks.png"
    assert file("--animate") == "compare-gates.gif"
    assert file("--animate", "--target", 0, "--target", 1) == "compare-classes.gif"
    assert file("--figure", "boxes", "--target", 0, "--target", 1) == "compare-boxes.png"


def test_networks_with_different_classes_are_not_compared(looktwice, net, photo, tmp_path):
    ran = looktwice("compare", photo, "--model", net(), "--model", net("imagenet"), "--output", tmp_path)
    assert refused(ran, "different classes", "same")


def test_each_network_gets_its_own_weights(looktwice, net, photo, tmp_path):
    torch.save(load_model(net()).module.state_dict(), tmp_path / "own.pth")
    two = ("--model", net(), "--model", net("imagenet"), "--output", tmp_path)
    ran = looktwice("compare", photo, *two, "--weights", tmp_path / "own.pth", "--weights", "default")
    assert refused(ran, "different classes")  # both could be loaded
    assert refused(looktwice("compare", photo, *two, "--weights", tmp_path / "own.pth"), "does not fit", "imagenet")


@pytest.mark.parametrize(
    ("form", "package", "remedy"),
    [("svg", "matplotlib", "looktwice[figures]"), ("pdf", "matplotlib", "PDF"), ("mp4", "imageio_ffmpeg", "GIF")],
)
def test_a_missing_package_is_one_line(looktwice, net, photo, tmp_path, monkeypatch, form, package, remedy):
    for name in (package, f"{package}.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    ran = looktwice("compare", photo, "--model", net(), "--form", form, "--output", tmp_path / "out")
    assert refused(ran, package.replace("_", "-"), remedy)


def test_a_method_without_scores_gives_a_picture_and_a_record(looktwice, net, photo, tmp_path):
    pytest.importorskip("pytorch_grad_cam")
    choice = ("--model", net(), "--target", 0, "--method", "grad_cam", "--output", tmp_path)
    assert looktwice("attend", photo, *choice).code == 0
    assert json.loads((tmp_path / "photo.0.json").read_text())["scores"] == []


def test_a_long_comparison_goes_on_further_pages(looktwice, net, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "PAGE", 2)
    for name in "abcde":
        noise().save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"")
    ran = looktwice("compare", tmp_path, "--model", net(), "--methods", "gradient", "--output", tmp_path / "out")
    assert ran.code == 1  # for the empty file
    assert [Path(line).name for line in ran.out] == ["compare-methods.png", "compare-methods-2.png"]
    assert len({Image.open(line).size for line in ran.out}) == 1


def test_models_and_methods_are_tables_for_programs(looktwice):
    models = [line.split("\t") for line in looktwice("models").out]
    assert {len(row) for row in models} == {3}
    assert ["efficientnet_lite0", "224"] in [row[:2] for row in models]
    assert ["inception_v3", "299"] in [row[:2] for row in models]
    assert all(int(size) >= 200 and weights for _, size, weights in models)
    methods = {
        name: (source, options) for name, _, source, options in (row.split("\t") for row in looktwice("methods").out)
    }
    assert list(methods) == list(METHODS)
    assert methods["feedback"][0] == METHODS["feedback"].source
    assert "trace_weight=0.0" in methods["feedback"][1].split(", ")


def test_on_a_terminal_tables_have_a_header(looktwice, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(looktwice("methods").out))
    assert "\t" not in text
    assert re.search(r"method\W+summary\W+source\W+options", text.splitlines()[1])


def test_version_and_help(looktwice):
    assert looktwice("--version").out == [f"looktwice {__version__}"]
    assert looktwice("--help").code == 0
    for command in ("attend", "compare", "models", "methods"):
        assert looktwice(command, "--help").out[0].startswith(f"Usage: looktwice {command}")


# Images that must work, and images that cost one line.


def kinds(folder):
    """One file of each kind that must work: name → (width, height) as seen upright."""
    grey = noise().convert("L")
    clear = noise().convert("RGBA")
    clear.putalpha(100)
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for name, image, extra in [
        ("grey.png", grey, {}),
        ("cmyk.jpg", noise().convert("CMYK"), {}),
        ("palette.png", noise().convert("P"), {}),
        ("alpha.png", clear, {}),
        ("deep.png", deep, {}),
        ("turned.jpg", noise(), {"exif": turned}),
        ("dot.png", noise(1, 1), {}),
        ("strip.png", noise(10_000, 50), {}),
    ]:
        image.save(folder / name, **extra)
    special = {"turned": (40, 60), "dot": (1, 1), "strip": (10_000, 50)}
    return {name.stem: special.get(name.stem, (60, 40)) for name in folder.iterdir()}


def test_every_kind_of_picture_works(looktwice, net, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    sizes = kinds(folder)
    out = tmp_path / "out"
    ran = looktwice("attend", folder, "--model", net(), "--target", 0, "--method", "gradient", "--output", out)
    assert (ran.code, ran.err) == (0, [])
    for stem, (width, height) in sizes.items():
        record = json.loads((out / f"{stem}.0.json").read_text())
        assert (record["width"], record["height"]) == (width, height)
        for box in record["boxes"]:
            assert 0 <= box["x1"] < box["x2"] <= width
            assert 0 <= box["y1"] < box["y2"] <= height
    with Image.open(out / "strip.0.png") as picture:
        assert picture.width == 4096
    ran = looktwice("compare", folder, "--model", net(), "--methods", "gradient", "--output", out)
    assert (ran.code, ran.err) == (0, [])


def bomb():
    """A PNG of a few bytes that claims 50,000 × 50,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated():
    data = io.BytesIO()
    noise(300, 300).save(data, "JPEG")
    return data.getvalue()[:2000]


@pytest.mark.parametrize("command", ["attend", "compare"])
def test_broken_images_cost_a_line_each_and_the_rest_is_done(looktwice, net, tmp_path, command):
    folder = tmp_path / "in"
    folder.mkdir()
    broken = {"cut.jpg": truncated(), "empty.png": b"", "text.png": b"no image at all", "bomb.png": bomb()}
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    (tmp_path / "nothing").mkdir()
    noise().save(folder / "a-good.png")
    noise().save(folder / "zebra.png")
    out = tmp_path / "out"
    missing = [tmp_path / "gone.png", tmp_path / "nothing", tmp_path / "*.bmp"]
    choice = ("--target", 0, "--method", "gradient") if command == "attend" else ("--methods", "gradient")
    ran = looktwice(command, *missing, folder, "--model", net(), "--output", out, *choice)
    assert ran.code == 1
    assert len(ran.err) == len(broken) + len(missing) + 1
    for path in [*missing, *(folder / name for name in broken)]:
        (line,) = [line for line in ran.err if f"{path}:" in line]
        assert "; " in line or "check the path" in line  # the remedy
    assert "7 of" in ran.err[-1]
    written = {Path(line).name for line in ran.out}
    if command == "attend":
        assert written == {"a-good.0.png", "a-good.0.json", "zebra.0.png", "zebra.0.json"}
    else:
        assert written == {"compare-methods.png"}
    assert {file.name for file in out.iterdir()} == written


@pytest.mark.parametrize("command", [["attend"], ["compare"], ["compare", "--figure", "boxes"]])
def test_scores_that_are_no_numbers_cost_the_image(looktwice, net, photo, tmp_path, command):
    ran = looktwice(*command, photo, "--model", net("overflowing"), "--output", tmp_path / "out")
    assert (ran.code, ran.out, len(ran.err)) == (1, [], 2)
    assert f"{photo}: the network's scores are NaN or infinite" in ran.err[0]
    assert list((tmp_path / "out").iterdir()) == []


def test_batches_give_what_single_images_give(looktwice, net, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        noise(60, 40 + number, seed=number).save(folder / f"{number}.png")
    (folder / "1.png").write_bytes(b"")

    def results(size):
        monkeypatch.setattr(explanation, "_batch_size", lambda _: size)
        ran = looktwice("attend", folder, "--model", net(), "--top", 2, "--output", tmp_path / str(size))
        assert (ran.code, len(ran.err)) == (1, 2)
        return {file.name: json.loads(file.read_text()) for file in (tmp_path / str(size)).glob("*.json")}

    single, batched = results(1), results(3)
    assert len(single) == 8
    assert single.keys() == batched.keys()
    for name, record in single.items():
        assert batched[name]["scores"] == pytest.approx(record["scores"], abs=1e-4)
        assert {**batched[name], "scores": 0, "probability": 0, "boxes": 0} == {
            **record,
            "scores": 0,
            "probability": 0,
            "boxes": 0,
        }


def test_nothing_but_missing_images(looktwice, net, tmp_path):
    ran = looktwice("attend", tmp_path / "gone.png", "--model", net(), "--output", tmp_path / "out")
    assert ran.code == 1
    assert "no such file" in ran.err[0]
    assert list((tmp_path / "out").iterdir()) == []


# Choices that cannot be met.


@pytest.mark.parametrize(
    ("choice", "parts"),
    [
        (["--target", "tabbi"], ["'tabbi'", "'tabby'"]),
        (["--target", "1000"], ["1000", "0 … 999"]),
        (["--target", "-1"], ["-1", "0 … 999"]),
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
        ("convnext_tiny", ["convnext_tiny", "GELU"]),
        ("NET:smooth", ["ReLU"]),
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


# Where results cannot go.


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


# As a process of its own.


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


# The embedded network on a real picture.


def test_the_default_network_names_the_cat_and_finds_it(looktwice, tmp_path):
    ran = looktwice("attend", SAMPLES / "cat.jpg", "--squash", "--output", tmp_path)
    assert (ran.code, ran.err) == (0, [])
    (file,) = tmp_path.glob("cat.*.json")
    record = json.loads(file.read_text())
    assert record["model"] == "efficientnet_lite0"
    assert record["target"]["name"] in {"tabby", "tiger cat", "Egyptian cat"}
    assert record["probability"] > 0.3
    # Both eyes and the nose, in pixels of the photograph.
    box = record["boxes"][0]
    for x, y in [(172, 110), (310, 135), (258, 245)]:
        assert box["x1"] < x < box["x2"]
        assert box["y1"] < y < box["y2"]

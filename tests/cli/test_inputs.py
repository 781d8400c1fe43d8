"""Images that must work, and images that cost one line."""

import io
import json
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from looktwice.cli.inputs import class_index
from looktwice.errors import InputError
from looktwice.explain import explanation
from noise import noise


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


def test_a_number_that_is_one_class_and_names_another_is_refused():
    network = SimpleNamespace(classes=("0", "1", "10", "11", "2", "3"))
    assert [class_index(network, text) for text in ("1", "10", "4", "2 (4)", "10 (2)", "auto")] == [1, 2, 4, 4, 2, None]
    with pytest.raises(InputError, match=r"^2 is the index of a class and the name of another; give name and index: "):
        class_index(network, "2")
    with pytest.raises(InputError, match=r"'x \(1\)' or '1 \(0\)' or '1 \(2\)'"):
        class_index(SimpleNamespace(classes=("1", "x", "1")), "1")

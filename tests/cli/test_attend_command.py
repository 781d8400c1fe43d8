"""What ``attend`` and ``compare`` write."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command_line import refused
from looktwice import __version__
from looktwice.attention.api import attend
from looktwice.attention.methods import METHODS
from looktwice.explain import comparison
from looktwice.figures.text import MARGIN
from looktwice.gating.frozen import frozen
from looktwice.images import read_image
from looktwice.localization import BoxRule, locate
from looktwice.models import load_model
from noise import noise

SAMPLES = Path(__file__).parents[2] / "examples" / "images"


def test_an_image_gives_a_picture_and_a_record(looktwice, net, photo, tmp_path):
    out = tmp_path / "new" / "folder"
    ran = looktwice("attend", photo, "--model", net(), "--output", out, "--option", "steps=2")
    assert (ran.code, ran.err) == (0, [])
    model = load_model(net(), squash=True)
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
        "box_rule": {"rule": "objects", "min_score": 0.2},
        "looktwice": __version__,
    }
    assert {key: record[key] for key in expected} == expected
    assert record["probability"] == pytest.approx(float(probabilities[k]), abs=1e-6)
    assert record["scores"] == pytest.approx(seen.scores[0].tolist(), abs=1e-5)
    boxes = [(box.x1, box.y1, box.x2, box.y2, box.score) for box in locate(seen.extents[0].numpy(), window, BoxRule())]
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
    model = load_model(net("imagenet"), squash=True)
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
    model = load_model(net(), squash=True)
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

    model = load_model(net(), squash=True)
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


def test_objects_are_drawn_as_asked_for(looktwice, net, photo, tmp_path):
    def record(*rule):
        choice = ("--model", net(), "--target", 0, "--method", "gradient", "--output", tmp_path)
        assert looktwice("attend", photo, *choice, *rule).code == 0
        return json.loads((tmp_path / "photo.0.json").read_text())

    model = load_model(net(), squash=True)
    image, window = model.prepare(read_image(photo))
    heat = attend(model.module, image, 0, method="gradient").maps[0].numpy()
    low = ("--box", "objects", "--min-score", 0.01)
    for rule, asked in [
        (BoxRule("objects"), ("--box", "objects")),
        (BoxRule("objects", min_score=0.01), low),
        (BoxRule("objects", min_score=0.01), ("--min-score", 0.01)),
        (BoxRule("contour", 0.5), ("--threshold", 0.5)),
        (BoxRule("objects", min_score=0.01, max_boxes=2), (*low, "--max-boxes", 2)),
        (BoxRule("objects", min_score=0.01, max_boxes=1), (*low, "--boxes", "largest")),
        (BoxRule("contour", 0.5, max_boxes=1), ("--box", "contour", "--threshold", 0.5, "--boxes", "largest")),
        (BoxRule("contour", 0.5), ("--box", "contour", "--threshold", 0.5, "--boxes", "all")),
    ]:
        found = record(*asked)
        wanted = [pytest.approx((*box.corners, box.score), abs=1e-3) for box in locate(heat, window, rule)]
        assert [tuple(box.values()) for box in found["boxes"]] == wanted != []
        assert found["box_rule"] == rule.as_dict()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--box", "objects", "--threshold", 0.3), "--threshold is for --box contour and energy"),
        (("--box", "objects", "--threshold-by", "max"), "--threshold-by is for --box contour and energy"),
        (("--box", "contour", "--min-score", 0.3), "--min-score is for --box objects"),
        (("--box", "energy", "--min-score", 0.3), "--min-score is for --box objects"),
        (("--box", "objects", "--min-score", 1.5), "min_score is 1.5; a share from 0 to 1 is needed"),
        (("--box", "objects", "--min-score", "nan"), "min_score is nan"),
        (("--max-boxes", 0), "max_boxes is 0; a whole number from 1 is needed"),
        (("--boxes", "some"), "unknown choice of boxes: 'some'"),
        (("--boxes", "largest", "--max-boxes", 2), "leave one of them out"),
    ],
)
def test_boxes_that_cannot_be_drawn_are_refused(looktwice, net, photo, tmp_path, asked, said):
    ran = looktwice("attend", photo, "--model", net(), "--output", tmp_path / "out", *asked)
    assert refused(ran, said)
    assert not (tmp_path / "out").exists()


def test_the_whole_image_is_looked_at_unless_its_centre_is_asked_for(looktwice, net, photo, tmp_path):
    def window(*choice):
        looktwice(
            "attend", photo, "--model", net(), "--target", 0, "--method", "gradient", "--output", tmp_path, *choice
        )
        return [*json.loads((tmp_path / "photo.0.json").read_text())["window"].values()]

    assert window() == window("--squash") == [0, 0, 60, 40]
    # The central 224 of 384 × 256: 80 and 16 pixels are cut off, in units of 256 / 40.
    assert window("--centre") == [12.5, 2.5, 47.5, 37.5]


@pytest.mark.parametrize(("choice", "covered"), [((), 360), (("--squash",), 360), (("--centre",), 210)])
def test_a_comparison_shows_whole_images_unless_their_centre_is_asked_for(
    looktwice, net, photo, tmp_path, choice, covered
):
    ran = looktwice("compare", photo, "--model", net(), "--figure", "boxes", "--output", tmp_path, *choice)
    assert ran.code == 0
    # The map alone is black where it covers nothing. It is 360 pixels wide, or the 35 of 60 that a crop leaves.
    with Image.open(tmp_path / "compare-boxes.png") as sheet:
        row = np.asarray(sheet.convert("RGB")).astype(int)[120]
    alone = row[-3 * (360 + MARGIN) : -2 * (360 + MARGIN)][:360]
    assert (alone.sum(axis=1) > 0).sum() == covered


@pytest.mark.parametrize(
    "asked", [("--box", "objects"), ("--min-score", 0.01), ("--threshold", 0.5), ("--max-boxes", 1)]
)
def test_a_comparison_draws_the_boxes_asked_for(looktwice, net, photo, tmp_path, asked):
    def frames(*choice):
        call = ("compare", photo, "--model", net(), "--methods", "gradient", "--output", tmp_path, *choice)
        assert looktwice(*call).code == 0
        with Image.open(tmp_path / "compare-methods.png") as sheet:
            cells = np.asarray(sheet.convert("RGB"))[40:240, -2 * 368 + 360 :]
        return int((cells == 255).all(axis=2).sum())

    assert frames(*asked) > frames() + 50


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
    monkeypatch.setattr(comparison, "ROWS_PER_PAGE", 2)
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
    assert {"convnext_tiny", "vit_b_16", "efficientnet_b0", "maxvit_t"} <= {row[0] for row in models}
    methods = {
        name: (source, options, title)
        for name, title, _, source, options in (row.split("\t") for row in looktwice("methods").out)
    }
    assert list(methods) == list(METHODS)
    assert {name: row[2] for name, row in methods.items()} == {name: row.label.title for name, row in METHODS.items()}
    assert methods["feedback"][0] == METHODS["feedback"].source
    assert "trace_weight=0.0" in methods["feedback"][1].split(", ")


def test_the_list_of_models_says_how_others_are_named(looktwice):
    (line,) = looktwice("models").err
    assert all(part in line for part in ("timm:NAME", "hf:OWNER/NAME", "hf:FOLDER", "FILE.onnx", "FILE.py:FACTORY"))


def test_on_a_terminal_tables_have_a_header(looktwice, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(looktwice("methods").out))
    assert "\t" not in text
    assert re.search(r"method\W+title\W+summary\W+source\W+options", text.splitlines()[1])


def test_version_and_help(looktwice):
    assert looktwice("--version").out == [f"looktwice {__version__}"]
    assert looktwice("--help").code == 0
    for command in ("attend", "compare", "models", "methods"):
        assert looktwice(command, "--help").out[0].startswith(f"Usage: looktwice {command}")


def test_the_default_network_names_the_cat_and_finds_it(looktwice, tmp_path):
    ran = looktwice("attend", SAMPLES / "cat.jpg", "--output", tmp_path)
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

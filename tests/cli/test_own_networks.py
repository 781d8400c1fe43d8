"""Networks that a user has trained on inputs of their own: 64×64, 48×96 and gray, with their own mean and std."""

import json
from itertools import takewhile

import numpy as np
import pytest
import torch
from PIL import Image

import stripes
from looktwice.models import Preprocessing, load_model
from stripes import CLASSES, NETWORK, data_set, picture

OWN = {
    "square": ("rgb", 64, (64, 64), ("--size", "64", "--mean", "0.1,0.1,0.1", "--std", "0.05,0.05,0.05")),
    "wide": ("rgb", (48, 96), (48, 96), ("--size", "48x96", "--channels", 3, "--mean", "0.1", "--std", "0.05")),
    "gray": ("gray", 64, (64, 64), ("--size", "64", "--mean", "0.1", "--std", "0.05")),
}
"""By case: the factory, the size of its input, that of the pictures, and the options that say it."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """For each case a folder with the file of the network, its weights and a data set."""
    folder = tmp_path_factory.mktemp("own")
    for case, (factory, size, pictures, _) in OWN.items():
        channels = 1 if factory == "gray" else 3
        choices = Preprocessing(size, size, (0.1,) * channels, (0.05,) * channels)
        network = stripes.trained(factory, choices, pictures)
        data_set(folder / case, tuple(2 * side for side in pictures), count=24)  # larger than what the network sees
        (folder / case / "mine.py").write_text(NETWORK)
        torch.save(network.state_dict(), folder / case / "w.pth")
    return folder


@pytest.fixture
def command(trained, looktwice):
    def call(case, name, *arguments):
        home = trained / case
        chosen = ("--model", f"{home}/mine.py:{OWN[case][0]}", "--weights", home / "w.pth", "--device", "cpu")
        return looktwice(name, *arguments, *chosen)

    return call


@pytest.fixture
def evaluate(trained, command, tmp_path):
    def call(case, *arguments):
        fixed = (
            "--layout",
            "csv",
            "--classes",
            trained / case / "names.txt",
            "--workers",
            0,
            "--output",
            tmp_path / "run",
        )
        return command(case, "evaluate", trained / case, *fixed, "--methods", "gradient,global_feedback", *arguments)

    return call


def errors(ran):
    """By method, the columns of the first printed table."""
    table = list(takewhile(str.strip, ran.out[2:]))
    head, _, *lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table]
    return {line[0]: dict(zip(head, line, strict=True)) for line in lines}


@pytest.mark.parametrize("case", OWN)
def test_boxes_come_out_in_pixels_of_the_picture(command, trained, tmp_path, case):
    (height, width), options = OWN[case][2], OWN[case][3]
    place = (5 * height // 2, width // 2)
    image, box = picture(np.random.default_rng(5), 1, (5 * height, 5 * width), corner=place, side=2 * height)
    image.save(tmp_path / "known.png")
    choices = (*options, "--classes", trained / case / "names.txt", "--box", "contour", "-v")
    ran = command(case, "attend", tmp_path / "known.png", "--output", tmp_path / "out", *choices)
    assert ran.code == 0, ran.err
    assert " input: " in ran.err[0]
    record = json.loads((tmp_path / "out" / "known.1.json").read_text())
    assert record["target"]["name"] == "upright"
    found = record["boxes"][0]
    inside = [max(found["x1"], box[0]), max(found["y1"], box[1]), min(found["x2"], box[2]), min(found["y2"], box[3])]
    found_area = (found["x2"] - found["x1"]) * (found["y2"] - found["y1"])
    assert (inside[2] - inside[0]) * (inside[3] - inside[1]) > 0.8 * found_area  # which part of it is the network's own


@pytest.mark.parametrize("case", OWN)
def test_the_inputs_of_training_give_right_classes_and_no_doubt(evaluate, tmp_path, case):
    ran = evaluate(case, *OWN[case][3])
    assert ran.code == 0, ran.err
    assert ran.err == []
    table = errors(ran)
    assert float(table["global_feedback"]["top-1 class error"]) < 10
    assert float(table["global_feedback"]["top-1 loc. error"]) < 50
    kept = json.loads((tmp_path / "run" / "manifest.json").read_text())["run"]["preprocessing"]
    assert kept["resize"] == kept["crop"] == ([48, 96] if case == "wide" else 64)
    assert (kept["mean"], kept["std"]) == ([0.1] * len(kept["mean"]), [0.05] * len(kept["mean"]))


@pytest.mark.parametrize("case", ["square", "wide"])
@pytest.mark.parametrize("target", ["predicted", "true"])
def test_a_wrong_mean_shows(evaluate, case, target):
    ran = evaluate(case, *OWN[case][3][:2], "--target", target)
    assert float(errors(ran)["gradient"]["top-1 class error"]) > 50
    (doubt,) = ran.err
    assert "the network's first guess is wrong for " in doubt
    assert "check its preprocessing (--size, --crop, --mean, --std)" in doubt


def test_classes_in_another_order_show(evaluate, trained, tmp_path):
    (tmp_path / "turned.txt").write_text("\n".join([*CLASSES[1:], CLASSES[0]]) + "\n")
    ran = evaluate("square", *OWN["square"][3], "--classes", tmp_path / "turned.txt")
    (doubt,) = ran.err
    assert "wrong for 100% of the images" in doubt
    assert "the network's class indices, in its order (--classes)" in doubt


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--size", 72, "--crop", 64), "preprocessing.resize was 64, is 72"),
        (("--size", "64x64"), "preprocessing.resize was 64, is [64, 64]"),
        (("--mean", "0.2"), "preprocessing.mean was [0.1], is [0.2]"),
        (("--std", "0.1"), "preprocessing.std was [0.05], is [0.1]"),
        (("--interpolation", "bicubic"), "preprocessing.interpolation was bilinear, is bicubic"),
    ],
)
def test_a_run_does_not_go_on_with_another_input(evaluate, changed, said):
    assert evaluate("gray", *OWN["gray"][3], "--limit", 2).code == 0
    assert evaluate("gray", *OWN["gray"][3], "--limit", 2).code == 0
    ran = evaluate("gray", *OWN["gray"][3], "--limit", 2, *changed)
    assert ran.code == 1
    assert said in ran.err[0]


def test_a_run_of_an_input_that_is_not_square_is_reported_and_tabled(evaluate, looktwice, tmp_path):
    evaluate("wide", *OWN["wide"][3], "--limit", 4, "--save-maps")
    ran = looktwice("table", tmp_path / "run")
    assert "preprocessing: squashed to 48×96" in "\n".join(ran.out)
    ran = looktwice("report", tmp_path / "run", "--output", tmp_path / "report.html")
    assert ran.code == 0, ran.err
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("figure", ["methods", "boxes", "gates", "classes"])
def test_figures_of_an_input_that_is_not_square(command, trained, tmp_path, figure):
    output = ("--figure", figure, "--output", tmp_path / "out")
    ran = command("wide", "compare", trained / "wide" / "000.png", *OWN["wide"][3], *output)
    assert ran.code == 0, ran.err
    assert (tmp_path / "out" / f"compare-{figure}.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "(1, 3, 224, 224): the images have 3 channels, and the network takes 1 channel"),
        (("--channels", 1), "channels is 1, and the model's mean has 3 numbers; give a mean and a std of one number"),
        (("--mean", "0.1,0.1", "--std", "0.1"), "mean has 2 numbers and std has 1 number"),
        (
            ("--mean", "0.1", "--std", "0.1", "--channels", 3),
            "the images have 3 channels, and the network takes 1 channel",
        ),
        (
            ("--channels", 6, "--mean", "0.1", "--std", "0.1"),
            "the images have 6 channels, and the network takes 1 channel",
        ),
        (("--size", "big"), "--size big: a number of pixels is needed, such as 64, or height x width, such as 48x96"),
        (("--size", ""), "--size '': a number of pixels is needed"),
        (("--size", "0"), "resize is 0; a whole number from 1 to 16384 is needed"),
        (("--size", "64x0"), "resize is (64, 0); a whole number"),
        (("--size", "1" * 400), "a number of pixels is needed"),
        (("--crop", "-1"), "--crop -1: a number of pixels is needed"),
        (("--crop", "400"), "crop is 400; a whole number from 1 to 256 is needed, which is resize"),
        (("--crop", "48x400"), "crop is 48×400, and the resized image may have only 256×256 pixels"),
        (("--mean", "a,b,c"), "--mean a,b,c: a number for each channel is needed"),
        (("--mean", "nan"), "--mean nan: a number for each channel is needed"),
        (("--mean", "123,116,103"), "which is for pixels in 0 … 255; divide it by 255"),
        (("--std", "0,0,0"), "std is (0.0, 0.0, 0.0); a finite number above 0"),
        (("--interpolation", "cubic"), "interpolation is 'cubic'; one of nearest, box, bilinear"),
        (("--classes", "gone.txt"), "--classes gone.txt: no such file"),
    ],
)
def test_mistakes_are_one_line(command, trained, tmp_path, options, said):
    ran = command("gray", "attend", trained / "gray" / "000.png", "--output", tmp_path / "out", *options)
    assert ran.code == 1
    assert len(ran.err) == 1
    assert said in ran.err[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("a\nb\n", "2 class names for"),
        ('{"a": 0, "c": 2}', "has no name for class 1; give one for each class from 0 to the last"),
        ("", "is not a classes file"),
    ],
)
def test_class_names_that_do_not_fit_are_one_line(command, trained, tmp_path, names, said):
    file = tmp_path / ("names.json" if names.startswith("{") else "names.txt")
    file.write_text(names)
    chosen = ("--classes", file, *OWN["gray"][3], "--output", tmp_path / "out")
    ran = command("gray", "attend", trained / "gray" / "000.png", *chosen)
    assert (ran.code, len(ran.err)) == (1, 1)
    assert said in ran.err[0]


def test_a_gray_network_gets_the_gray_of_a_colour_picture(command, trained, tmp_path):
    with Image.open(trained / "gray" / "001.png") as image:
        image.convert("RGBA").save(tmp_path / "a.png")
        image.convert("L").save(tmp_path / "b.png")
    ran = command(
        "gray", "attend", tmp_path / "a.png", tmp_path / "b.png", *OWN["gray"][3], "--output", tmp_path / "out"
    )
    assert ran.code == 0
    first, second = (json.loads((tmp_path / "out" / f"{name}.1.json").read_text()) for name in "ab")
    assert first["boxes"] == second["boxes"]
    assert first["target"] == second["target"]


def test_a_network_with_a_new_head_is_named_by_a_list_of_classes(looktwice, photo, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    weights = ("--model", "squeezenet1_1", "--weights", "random", "--classes", tmp_path / "names.txt")
    chosen = ("--size", 96, "--target", "dog", "--method", "gradient")
    ran = looktwice("attend", photo, *weights, *chosen, "--output", tmp_path)
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "photo.1.json").read_text())["target"]["name"] == "dog"


def test_an_evaluated_network_with_a_new_head_is_counted_by_its_list_of_classes(trained, looktwice, tmp_path):
    torch.save(load_model("squeezenet1_1", weights="random", classes=CLASSES).module.state_dict(), tmp_path / "w.pth")
    data, run = trained / "square", tmp_path / "run"
    fixed = ("--layout", "csv", "--classes", data / "names.txt", "--workers", 0, "--limit", 1, "--output", run)
    chosen = ("--model", "squeezenet1_1", "--weights", tmp_path / "w.pth", "--methods", "gradient", "--size", 64)
    ran = looktwice("evaluate", data, *fixed, *chosen)
    assert ran.code == 0, ran.err
    assert json.loads((run / "manifest.json").read_text())["run"]["model"]["classes"] == 3

"""The command ``label``, as a user types it: what is read, what is told, mistakes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from command_line import refused
from looktwice import cli

NETWORK = """
import sys
sys.path.insert(0, {helpers!r})
from dataclasses import replace
from evaluations import colours
def build():
    return replace(colours(), classes=("red", "green", "blue", "cyan", "magenta", "yellow"))
"""
COLOURS = ("red", "green", "blue")


def square(file, colour, seed=0):
    """A dark picture with one square of a colour."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (48, 64, 3), dtype=np.uint8)
    pixels[10:26, 20:40] = 20
    pixels[10:26, 20:40, COLOURS.index(colour)] = 250
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def network(tmp_path):
    helpers = str(Path(__file__).parents[1] / "helpers")
    (tmp_path / "net.py").write_text(NETWORK.format(helpers=helpers))
    return f"{tmp_path}/net.py:build"


@pytest.fixture
def photos(tmp_path):
    for number, colour in enumerate(COLOURS):
        square(tmp_path / "photos" / f"{number}.png", colour, number)
    return tmp_path / "photos"


@pytest.fixture
def label(looktwice, network, tmp_path):
    def command(source, *arguments):
        fixed = ("--output", str(tmp_path / "labels"), "--model", network, "--method", "gradient", "--workers", "0")
        return looktwice("label", str(source), *fixed, *map(str, arguments))

    return command


def found(folder):
    """(file name, class, box) of every annotation."""
    content = json.loads((folder / "labels" / "coco.json").read_text())
    names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
    classes = {each["id"]: each["name"] for each in content["categories"]}
    return [(names[each["image_id"]], classes[each["category_id"]]) for each in content["annotations"]]


def test_a_folder_of_pictures_gets_the_predicted_classes(label, photos, tmp_path):
    ran = label(photos, "--form", "coco,csv")
    assert ran.code == 0
    assert ran.out == [f"{tmp_path}/labels/{name}" for name in ("coco.json", "labels.csv", "review.html")]
    assert f"looktwice: {photos}: pictures without labels; pictures: 3, with a label: 0" in ran.err
    assert "looktwice: pictures: 3; boxes: 3" in ran.err
    assert found(tmp_path) == [("0.png", "red"), ("1.png", "green"), ("2.png", "blue")]


def test_class_folders_are_found_by_the_networks_names_and_their_labels_count(label, tmp_path):
    for number, colour in enumerate(COLOURS):
        square(tmp_path / "photos" / "Yellow" / f"{number}.png", colour, number)
    square(tmp_path / "photos" / "blue" / "3.png", "blue")
    ran = label(tmp_path / "photos")
    assert ran.code == 0
    assert f"looktwice: {tmp_path}/photos: a folder for each class; pictures: 4, with a label: 4" in ran.err
    assert {each for _, each in found(tmp_path)} == {"yellow", "blue"}
    classes = json.loads((tmp_path / "labels" / "classes.json").read_text())["classes"]
    assert [(each["id"], each["name"], each["index"]) for each in classes] == [(0, "blue", 2), (1, "yellow", 5)]


def test_a_classes_file_names_the_class_folders(label, tmp_path):
    square(tmp_path / "photos" / "rot" / "1.png", "red")
    (tmp_path / "classes.json").write_text('{"rot": 0}')
    ran = label(tmp_path / "photos", "--classes", tmp_path / "classes.json")
    assert ran.code == 0
    assert found(tmp_path) == [("1.png", "rot")]


def test_some_folders_that_name_no_class_are_refused_with_remedies(label, tmp_path):
    square(tmp_path / "photos" / "red" / "1.png", "red")
    square(tmp_path / "photos" / "dog" / "1.png", "red")
    refused(label(tmp_path / "photos"), "dog", "--classes", "--layout pictures")
    assert not (tmp_path / "labels").exists()


def test_folders_whose_names_are_no_classes_are_told(label, tmp_path):
    square(tmp_path / "photos" / "Katze" / "1.png", "red")
    square(tmp_path / "photos" / "Hund" / "1.png", "blue")
    ran = label(tmp_path / "photos")
    assert ran.code == 0
    assert sum("its 2 folders (Hund, Katze) are not taken as labels" in line for line in ran.err) == 1
    assert {each for _, each in found(tmp_path)} == {"red", "blue"}


def test_a_classes_file_that_names_no_label_is_refused(label, tmp_path):
    square(tmp_path / "photos" / "Katze" / "1.png", "red")
    (tmp_path / "classes.json").write_text('{"Kater": 0}')
    ran = label(tmp_path / "photos", "--classes", tmp_path / "classes.json")
    assert ran.code == 1
    assert "no picture of" in ran.err[-1]
    assert not (tmp_path / "labels").exists()


def test_labels_beside_the_pictures_are_no_pictures(label, looktwice, network, photos):
    for name in ("first", "second"):
        ran = looktwice(
            *("label", photos, "--output", photos / name, "--model", network, "--method", "gradient"),
            *("--workers", "0", "--form", "yolo,csv"),
        )
        assert ran.code == 0
        assert f"looktwice: {photos}: pictures without labels; pictures: 3, with a label: 0" in ran.err


def test_a_label_that_the_network_lacks_costs_only_its_pictures(label, photos, tmp_path):
    (photos / "list.csv").write_text("image,label\n0.png,red\n1.png,dog\n2.png,\n")
    ran = label(photos)
    assert ran.code == 0
    assert f"looktwice: {photos}: a CSV file; pictures: 2, with a label: 1" in ran.err
    assert "unknown class 'dog'" in (tmp_path / "labels" / "problems.txt").read_text()
    assert found(tmp_path) == [("0.png", "red"), ("2.png", "blue")]


def test_a_class_that_is_named_is_looked_for_in_every_picture(label, photos, tmp_path):
    assert label(photos, "--target", "green", "--target", "4").code == 0
    assert {each for _, each in found(tmp_path)} == {"green", "magenta"}
    classes = json.loads((tmp_path / "labels" / "classes.json").read_text())["classes"]
    assert [each["name"] for each in classes] == ["green", "magenta"]


def test_pictures_whose_class_is_not_sure_are_counted(label, photos):
    ran = label(photos, "--min-probability", "1")
    assert ran.code == 0
    assert any("without a box, because no class is probable enough: " in line for line in ran.err)


def test_a_picture_that_cannot_be_read_is_told_and_counted_and_no_failure(label, photos, tmp_path):
    (photos / "4.png").write_text("no picture")
    ran = label(photos)
    assert ran.code == 0
    assert sum("4.png: is not an image" in line for line in ran.err) == 1
    assert (tmp_path / "labels" / "problems.txt").read_text().startswith("4.png: is not an image")
    assert len(found(tmp_path)) == 3


def test_the_output_folder_may_lie_in_the_source(looktwice, network, photos):
    command = ("label", photos, "--output", photos / "labels", "--model", network, "--method", "gradient")
    arguments = [*map(str, command), "--workers", "0", "--form", "yolo", "--pictures"]
    assert looktwice(*arguments).code == 0
    again = looktwice(*arguments)
    assert again.code == 0
    assert f"looktwice: {photos}: pictures without labels; pictures: 3, with a label: 0" in again.err


def test_the_same_command_goes_on_and_another_is_refused(label, photos):
    assert label(photos).code == 0
    assert label(photos, "--form", "coco,yolo").code == 0
    ran = label(photos, "--min-score", "0.5")
    assert ran.code == 1
    assert "box.min_score was 0.2, is 0.5" in ran.err[-1]
    assert "name another --output" in ran.err[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--form", "coca"], "did you mean coco"),
        (["--form", ""], "unknown form"),
        (["--split", "1"], "share of images for validation"),
        (["--target", "predicted", "--target", "red"], "leave the other --target out"),
        (["--target", "dog"], "no class is named 'dog'"),
        (["--min-probability", "2"], "0 … 1"),
        (["--layout", "picture"], "unknown layout"),
        (["--method", "gradcam"], "did you mean"),
        (["--option", "stepps=3"], "unknown option"),
        (["--min-score", "0.5", "--threshold", "0.2"], "--min-score"),
        (["--output", ""], "name of a file or folder is empty"),
        (["--classes", "none.txt"], "none.txt"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(label, photos, tmp_path, arguments, said):
    refused(label(photos, *arguments), said)
    assert not (tmp_path / "labels").exists()


def test_a_check_prints_a_table_and_writes_it(label, photos, tmp_path):
    (tmp_path / "hand.csv").write_text(
        "image,label,x1,y1,x2,y2\n0.png,red,20,10,40,26\n1.png,green,20,10,40,26\n2.png,blue,50,30,64,48\n"
    )
    ran = label(photos, "--check", tmp_path / "hand.csv")
    assert ran.code == 0
    assert any(line.startswith("Labels of 3 images, held against boxes drawn by hand") for line in ran.out)
    scores = json.loads((tmp_path / "labels" / "check.json").read_text())["scores"]
    assert scores["box_recall"]["value"] == pytest.approx(2 / 3)


def test_labels_are_checked_against_their_own_form_and_an_export_of_label_studio(label, photos, tmp_path):
    assert label(photos, "--form", "voc,csv,coco").code == 0
    labels, export = tmp_path / "labels", tmp_path / "export"
    shutil.copytree(photos, export / "images")
    content = json.loads((labels / "coco.json").read_text())
    content["info"] = {"contributor": "Label Studio"}
    for number, image in enumerate(content["images"]):
        image["file_name"] = ("../../G/{}", "images/7ea30258__{}", "/data/local-files/?d=photos/{}")[number % 3].format(
            image["file_name"]
        )
    (export / "result.json").write_text(json.dumps(content))
    for check in (labels / "voc", labels / "labels.csv", labels / "coco.json", labels, export):
        ran = label(photos, "--form", "voc,csv,coco", "--check", check)
        assert ran.code == 0
        found = json.loads((labels / "check.json").read_text())
        assert found["scores"]["box_recall"]["value"] == 1, check
        assert found["images"]["unmatched"] == found["images"]["left_out"] == []
    assert found["images"]["copies"] == 1


def test_boxes_by_hand_that_cannot_be_read_are_refused_before_the_work(label, photos, tmp_path):
    ran = label(photos, "--check", tmp_path / "hand.json")
    assert ran.code == 1
    assert "hand.json does not exist" in ran.err[-1]
    assert not (tmp_path / "labels").exists()


def test_a_folder_without_images_is_one_line(label, tmp_path):
    (tmp_path / "photos").mkdir()
    refused(label(tmp_path / "photos"), "holds no image")


def test_a_folder_that_is_not_there_is_one_line(label, tmp_path):
    refused(label(tmp_path / "photos"), "does not exist")


def test_no_source_at_all_is_wrong_usage():
    ran = CliRunner().invoke(cli.app, ["label", "--output", "labels"])
    assert ran.exit_code == 2

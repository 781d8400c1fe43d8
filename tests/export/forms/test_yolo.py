"""The form yolo: the documented rules of ultralytics line by line, and supervision reads the same boxes."""

import glob
import re
from pathlib import Path

import pytest
import supervision
import yaml
from PIL import Image

from forms import assert_close, exact, files, is_upright, write
from label_sets import NAMES, SetMaker, awkward
from looktwice.export.label_set import LabelClass, LabelSet
from looktwice.localization.boxes import Box

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
BOX = (0, Box(1.0, 2.0, 20.0, 10.0, 0.5))


@pytest.fixture
def labels(tmp_path) -> LabelSet:
    return awkward(tmp_path / "photos").done("sub/a.jpg", "turned.jpg")


def pictures(data_file: Path, split: str) -> list[Path]:
    """The pictures that ultralytics finds: its root is the folder of data.yaml where that names no path."""
    data = yaml.safe_load(data_file.read_text(encoding="utf-8"))
    assert "path" not in data
    found = glob.glob(f"{data_file.parent / data[split]}/**/*.*", recursive=True)  # noqa: PTH207 - as ultralytics does
    return sorted(Path(path) for path in found if Path(path).suffix.lower() in SUFFIXES)


def label_file(picture: Path) -> Path:
    """As ultralytics finds it: the last /images/ of the path becomes /labels/."""
    return Path("/labels/".join(str(picture).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt")


def boxes(file: Path, width: int, height: int):
    rows = [line.split() for line in file.read_text().splitlines()]
    found = []
    for number, *sides in rows:
        x, y, w, h = map(float, sides)
        found.append(
            (int(number), ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height))
        )
    return found


def test_each_rule_of_ultralytics_holds(labels, tmp_path):
    file = write("yolo", labels, tmp_path / "out")
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert data == {"train": "images/train", "val": "images/val", "nc": 5, "names": dict(enumerate(NAMES))}
    seen = 0
    for split in ("train", "val"):
        for picture in pictures(file, split):
            with Image.open(picture) as opened:
                opened.load()
                assert opened.format.lower() in {"jpeg", "png", "webp", "bmp", "tiff"}
                assert opened.getexif().get(0x0112, 1) == 1
            lines = label_file(picture).read_text().splitlines()
            assert len(set(lines)) == len(lines)
            for line in lines:
                assert re.fullmatch(r"[0-4]( (0\.\d{8}|1\.0{8})){4}", line)
                _, x, y, width, height = map(float, line.split())
                assert 0 <= x - width / 2 + 1e-7 <= x + width / 2 <= 1 + 1e-7
                assert 0 <= y - height / 2 + 1e-7 <= y + height / 2 <= 1 + 1e-7
                assert width > 0 < height
            seen += 1
    assert seen == labels.count == len([name for name in files(file.parent) if name.startswith("labels/")])


def test_the_boxes_come_back_to_a_hundredth_of_a_pixel(labels, tmp_path):
    root = write("yolo", labels, tmp_path / "out").parent
    for image in labels.images():
        split = "val" if image.id in labels.validation else "train"
        file = root / "labels" / split / f"{image.name}.txt"
        assert_close(boxes(file, image.width, image.height), exact(labels, image.id), within=0.01)


def test_pictures_are_upright_and_of_the_right_size(labels, tmp_path):
    file = write("yolo", labels, tmp_path / "out")
    found = {
        label_file(path).relative_to(file.parent / "labels"): path
        for split in ("train", "val")
        for path in pictures(file, split)
    }
    for image in labels.images():
        path = found[Path("val" if image.id in labels.validation else "train") / f"{image.name}.txt"]
        with Image.open(path) as picture:
            assert picture.size == (image.width, image.height)
        if min(image.width, image.height) > 9:
            assert is_upright(path, (image.width, image.height))


def test_a_picture_is_linked_only_if_its_file_is_upright_and_of_a_kind_that_ultralytics_opens(labels, tmp_path):
    root = write("yolo", labels, tmp_path / "out").parent
    found = files(root / "images")
    assert found["train/a.jpg"] == f"-> {tmp_path}/photos/a.jpg"
    assert found["val/turned.jpg"] == "-> ../../../images/turned.jpg"
    assert found["train/packed/x.jpg"] == "-> ../../../../images/packed/x.jpg"
    assert found["train/crop.png"].startswith(b"\x89PNG")  # a GIF in photos/


def test_the_kind_is_what_the_file_holds_and_not_what_its_suffix_says(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("gif.jpg", BOX, kind="GIF").add("png.jpg", BOX, kind="PNG")
    root = write("yolo", maker.done(), tmp_path / "out").parent
    found = files(root / "images" / "train")
    assert found["gif.png"].startswith(b"\x89PNG")
    assert found["png.png"] == f"-> {tmp_path}/photos/png.jpg"


def test_a_picture_without_an_object_has_an_empty_label_file(labels, tmp_path):
    root = write("yolo", labels, tmp_path / "out").parent
    assert (root / "labels/train/sub/a b.txt").read_bytes() == b""


def test_equal_objects_are_one_line(tmp_path):
    root = write("yolo", SetMaker(tmp_path / "photos").add("a.png", BOX, BOX).done(), tmp_path / "out").parent
    assert (root / "labels/train/a.txt").read_text().count("\n") == 1


def test_names_that_ultralytics_would_not_find_get_others(tmp_path):
    maker = SetMaker(tmp_path / "photos")
    for name in ("images/a.png", "images_/a.png", "Images__/a.png", ".hidden/a.png", "_.hidden/a.png"):
        maker.add(name, BOX)
    file = write("yolo", maker.done(), tmp_path / "out")
    assert len(pictures(file, "train")) == 5
    assert all(label_file(picture).is_file() for picture in pictures(file, "train"))


@pytest.mark.parametrize(("validation", "expected"), [((), "train"), (("a.png", "b.png"), "val")])
def test_one_split_is_named_for_both_if_the_other_has_no_picture(tmp_path, validation, expected):
    labels = SetMaker(tmp_path / "photos").add("a.png", BOX).add("b.png", BOX).done(*validation)
    data = yaml.safe_load(write("yolo", labels, tmp_path / "out").read_text())
    assert data["train"] == data["val"] == f"images/{expected}"


def test_another_split_leaves_no_label_of_the_earlier_one(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.png", BOX).add("b.png", BOX)
    root = write("yolo", maker.done("a.png"), tmp_path / "out").parent
    write("yolo", maker.done("b.png"), tmp_path / "out")
    assert sorted(files(root)) == [
        "data.yaml",
        "images/train/a.png",
        "images/val/b.png",
        "labels/train/a.txt",
        "labels/val/b.txt",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "no",
        "null",
        "~",
        "1e3",
        "a: b",
        "# c",
        "'q'",
        '"q"',
        "日本",
        "a\nb",
        " x ",
        "{a}",
        "- a",
        "\x07",
        "é\u2028",
        "😀",
        "\\",
    ],
)
def test_yaml_gives_a_class_name_back(tmp_path, name):
    maker = SetMaker(tmp_path / "photos", (LabelClass(0, name, 7),)).add("a.png", BOX)
    file = write("yolo", maker.done(), tmp_path / "out")
    assert yaml.safe_load(file.read_bytes())["names"] == {0: name}


def test_supervision_reads_the_same_boxes(tmp_path):
    maker = SetMaker(tmp_path / "photos", awkward(tmp_path / "x").classes)
    maker.add("a.jpg", (0, Box(3.0, 4.0, 30.25, 20.5, 0.9)), (4, Box(0.0, 0.0, 50.0, 40.0, 0.8)))
    labels = maker.add("t.jpg", (2, Box(0.5, 1.0, 29.0, 60.0, 0.5)), size=(30, 60), exif=6).done()
    file = write("yolo", labels, tmp_path / "out")
    root = file.parent
    read = supervision.DetectionDataset.from_yolo(str(root / "images/train"), str(root / "labels/train"), str(file))
    assert tuple(read.classes) == NAMES
    assert len(read) == 2
    for path, picture, found in read:
        expected = exact(labels, Path(path).name)
        assert_close(list(zip(found.class_id, found.xyxy, strict=True)), expected, within=0.01)
        assert picture.shape[:2] == ((60, 30) if "t.jpg" in path else (40, 50))


def test_the_file_is_ascii_so_that_no_locale_matters(tmp_path, labels):
    assert write("yolo", labels, tmp_path / "out").read_bytes().isascii()

"""The form voc: torchvision, supervision and the layout voc read the same boxes, in whole pixels."""

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
import supervision
from PIL import Image
from torchvision.datasets import VOCDetection

from forms import files, in_pixels, is_upright, write
from label_sets import NAMES, SetMaker, awkward
from looktwice.datasets import load_dataset
from looktwice.errors import InputError
from looktwice.export.label_set import LabelClass, LabelSet
from looktwice.images import read_annotated
from looktwice.localization.boxes import Box

BOX = (0, Box(1.0, 2.0, 20.0, 10.0, 0.5))


@pytest.fixture
def labels(tmp_path) -> LabelSet:
    return awkward(tmp_path / "photos").done("sub/a.jpg")


def as_read(labels, image_id):
    """Class index → boxes."""
    expected: dict[int, list] = {}
    for number, box in in_pixels(labels, image_id):
        expected.setdefault(labels.classes[number].index, []).append(tuple(map(float, box)))
    return expected


def test_the_layout_reads_the_same_boxes(labels, tmp_path):
    root = write("voc", labels, tmp_path / "out")
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({name: one.index for name, one in zip(NAMES, labels.classes, strict=True)}))
    read = load_dataset(root, "voc", split="trainval", classes=classes)
    assert read.problems == ("Annotations/sub/a b.xml: sub/a b has no object; left out",)
    found = {sample.id: sample for sample in read.samples}
    with_objects = [image for image in labels.images() if image.objects]
    assert len(found) == len(with_objects)
    for image in with_objects:
        sample = found[image.name]
        assert sample.stated_size == (image.width, image.height)
        assert dict(zip(sample.labels, map(list, sample.boxes), strict=True)) == as_read(labels, image.id)
        picture = read_annotated(sample.image, sample.stated_size)
        assert picture.image.size == (image.width, image.height)
        assert picture.notes == ()


def test_torchvision_reads_the_same_boxes_and_pictures(labels, tmp_path):
    root = write("voc", labels, tmp_path / "out")
    (tmp_path / "VOCdevkit").mkdir()
    shutil.move(root, tmp_path / "VOCdevkit" / "VOC2012")
    seen = []
    for split, count in (("train", labels.count - 1), ("val", 1), ("trainval", labels.count)):
        read = VOCDetection(str(tmp_path), image_set=split)
        assert len(read) == count
    # Links into the output folder are relative, so the pictures of a moved folder are those that are not turned.
    images = {image.name: image for image in labels.images()}
    for index, file in enumerate(read.annotations):
        name = file.split("/Annotations/")[1].removesuffix(".xml")
        image = images[name]
        target = read.parse_voc_xml(ElementTree.parse(file).getroot())
        found = [
            (NAMES.index(one["name"]), tuple(int(one["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")))
            for one in target["annotation"]["object"]
        ]
        expected = [(number, (x1 + 1, y1 + 1, x2, y2)) for number, (x1, y1, x2, y2) in in_pixels(labels, image.id)]
        assert found == expected
        if image.content is None and image.orientation is None:
            assert read[index][0].size == (image.width, image.height)
        seen.append(name)
    assert seen == [image.name for image in labels.images()]


def test_supervision_reads_the_same_boxes(tmp_path):
    maker = SetMaker(tmp_path / "photos", awkward(tmp_path / "x").classes)
    maker.add("a.png", (0, Box(3.0, 4.0, 30.25, 20.5, 0.9)), (4, Box(0.0, 0.0, 50.0, 40.0, 0.8)))
    labels = maker.add("t.jpg", (2, Box(0.5, 1.0, 29.0, 60.0, 0.5)), size=(30, 60), exif=6).done()
    root = write("voc", labels, tmp_path / "out")
    read = supervision.DetectionDataset.from_pascal_voc(str(root / "JPEGImages"), str(root / "Annotations"))
    assert len(read) == 2
    for (file, picture, found), image_id in zip(read, ("a.png", "t.jpg"), strict=True):
        assert file.endswith(f"{image_id[0]}.jpg")
        expected = in_pixels(labels, image_id)
        assert [read.classes[number] for number in found.class_id] == [NAMES[number] for number, _ in expected]
        assert np.array_equal(found.xyxy, np.array([corners for _, corners in expected]))
        assert picture.shape[:2] == ((60, 30) if image_id == "t.jpg" else (40, 50))


def test_pictures_are_jpeg_files_and_upright(labels, tmp_path):
    root = write("voc", labels, tmp_path / "out")
    for image in labels.images():
        file = root / "JPEGImages" / f"{image.name}.jpg"
        with Image.open(file) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (image.width, image.height)
        if min(image.width, image.height) > 9:
            assert is_upright(file, (image.width, image.height))


def test_only_a_jpeg_file_is_linked(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.jpeg", BOX).add("b.png", BOX).add("c.jpg", BOX, kind="PNG")
    found = files(write("voc", maker.done(), tmp_path / "out") / "JPEGImages")
    assert found["a.jpg"] == f"-> {tmp_path}/photos/a.jpeg"
    assert all(found[name].startswith(b"\xff\xd8") for name in ("b.jpg", "c.jpg"))


def test_boxes_of_one_pixel_and_at_the_borders(tmp_path):
    boxes = [Box(0.0, 0.0, 0.2, 0.2, 0.5), Box(49.8, 39.9, 50.0, 40.0, 0.4), Box(0.0, 0.0, 50.0, 40.0, 0.3)]
    labels = SetMaker(tmp_path / "photos").add("a.jpg", *[(0, box) for box in boxes]).done()
    text = (write("voc", labels, tmp_path / "out") / "Annotations" / "a.xml").read_text()
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax>" in text
    assert "<xmin>50</xmin><ymin>40</ymin><xmax>50</xmax><ymax>40</ymax>" in text
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>50</xmax><ymax>40</ymax>" in text


def test_another_split_leaves_nothing_of_the_earlier_one(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.jpg", BOX).add("b.jpg", BOX)
    root = write("voc", maker.done("a.jpg"), tmp_path / "out")
    maker.images.pop()
    write("voc", maker.done(), tmp_path / "out")
    assert sorted(files(root)) == [
        "Annotations/a.xml",
        "ImageSets/Main/train.txt",
        "ImageSets/Main/trainval.txt",
        "ImageSets/Main/val.txt",
        "JPEGImages/a.jpg",
        "labelmap.txt",
    ]
    assert (root / "ImageSets/Main/val.txt").read_text() == ""


def as_datumaro_reads(text):
    """The rules of datumaro's reader: blank lines and comments are skipped, four parts are needed, names come once."""
    found = {}
    for line in map(str.strip, text.splitlines()):
        if line and line[0] != "#":
            name, colour, parts, actions = line.split(":")
            assert name not in found
            assert (parts, actions) == ("", "")
            found[name] = tuple(map(int, colour.split(",")))
    return found


def test_the_label_map_names_each_class_with_its_colour_in_the_form_masks(tmp_path):
    labels = awkward(tmp_path / "photos").done()
    found = as_datumaro_reads((write("voc", labels, tmp_path / "out") / "labelmap.txt").read_text(encoding="utf-8"))
    with Image.open(write("masks", labels, tmp_path / "out") / "a.png") as picture:
        palette = np.array(picture.getpalette()).reshape(-1, 3)
    assert [*found] == ["background", *NAMES[:4]]  # the last name has a colon
    assert [*found.values()] == [tuple(colour) for colour in palette[:5].tolist()]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ["background"]),
        (("background", "cat"), ["background", "cat"]),
        (("#1", "a:b", "c d", "é"), ["background", "c d", "é"]),
        (tuple(map(str, range(1000))), ["background", *map(str, range(1000))]),
    ],
)
def test_a_label_map_of_any_names_can_be_read(names, expected, tmp_path):
    classes = tuple(LabelClass(number, name, number) for number, name in enumerate(names))
    root = write("voc", SetMaker(tmp_path / "photos", classes).done(), tmp_path / "out")
    found = as_datumaro_reads((root / "labelmap.txt").read_text(encoding="utf-8"))
    assert [*found] == expected
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("name", ["my dog 1", "a&b", "a<b>c", "日本", "#1", 'q"q', "x.y", "cat -1"])
def test_an_image_name_comes_back(tmp_path, name):
    classes = tmp_path / "classes.txt"
    classes.write_text("tench\n")
    labels = SetMaker(tmp_path / "photos", (LabelClass(0, "tench", 0),)).add(f"{name}.jpg", BOX).done()
    read = load_dataset(write("voc", labels, tmp_path / "out"), "voc", split="train", classes=classes)
    assert [sample.id for sample in read.samples] == [name]


@pytest.mark.parametrize("name", ["a\nb", "caf\udce9", " a", "a ", "a\x01"])
def test_an_image_name_that_a_list_cannot_hold_is_refused(tmp_path, name):
    labels = SetMaker(tmp_path / "photos").add(f"{name}.jpg", BOX).done()
    with pytest.raises(InputError, match=r"the image name .* the form voc cannot hold; rename it") as refused:
        write("voc", labels, tmp_path / "out")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["a\x01b", "a\nb", " a", "", "\udce9", "\uffff"])
@pytest.mark.parametrize("form", ["voc", "label-studio"])
def test_a_class_name_that_xml_cannot_hold_is_refused(tmp_path, name, form):
    labels = SetMaker(tmp_path / "photos", (LabelClass(0, name, 0),)).add("a.jpg", BOX).done()
    with pytest.raises(InputError, match=r"the class name .* cannot hold"):
        write(form, labels, tmp_path / "out")
    assert not (tmp_path / "out").exists()

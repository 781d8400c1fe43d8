"""The form coco: pycocotools, supervision, torchvision and the layout coco read the same boxes and masks."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import supervision
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from forms import assert_close, exact, files, is_upright, write
from label_sets import NAMES, RING, SetMaker, awkward, region_box
from looktwice.datasets import load_dataset
from looktwice.export.label_set import LabelClass, LabelSet
from looktwice.localization.boxes import Box


@pytest.fixture
def labels(tmp_path) -> LabelSet:
    return awkward(tmp_path / "photos").done("sub/a.jpg")


def opened(file) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(file))


def corners(annotation):
    x, y, width, height = annotation["bbox"]
    return x, y, x + width, y + height


def test_pycocotools_gives_the_same_classes_and_boxes(labels, tmp_path):
    coco = opened(write("coco", labels, tmp_path / "out"))
    assert {number: one["name"] for number, one in coco.cats.items()} == dict(enumerate(NAMES, start=1))
    assert list(coco.imgs) == list(range(1, labels.count + 1))
    for number, image in enumerate(labels.images(), start=1):
        entries = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert_close([(one["category_id"] - 1, corners(one)) for one in entries], exact(labels, image.id))
        assert [one["score"] for one in entries] == [found.box.score for found in image.objects]
        assert (coco.imgs[number]["width"], coco.imgs[number]["height"]) == (image.width, image.height)


def test_pycocotools_makes_the_masks_of_the_regions(labels, tmp_path):
    coco = opened(write("coco", labels, tmp_path / "out"))
    checked = 0
    annotations = iter(coco.dataset["annotations"])
    for image in labels.images():
        for found in image.objects:
            annotation = next(annotations)
            mask = None if found.box.region is None else found.box.region.mask(image.width, image.height)
            if mask is not None and mask.any():
                assert (coco.annToMask(annotation).astype(bool) == mask).all()
                assert annotation["area"] == mask.sum()
                checked += 1
    assert checked == 6


def test_annotations_have_what_coco_says(labels, tmp_path):
    content = json.loads(write("coco", labels, tmp_path / "out").read_text())
    assert list(content) == ["info", "licenses", "categories", "images", "annotations"]
    assert content["info"]["model"] == "net"
    assert [one["id"] for one in content["annotations"]] == list(range(1, 13))
    assert all(one["iscrowd"] == 0 and one["area"] > 0 and one["probability"] == 0.75 for one in content["annotations"])
    assert {one["split"] for one in content["images"]} == {"train", "val"}
    assert [one["file_name"] for one in content["images"] if one["split"] == "val"] == ["sub/a.jpg"]


def test_annotations_are_results_that_pycocotools_loads(labels, tmp_path):
    truth = opened(write("coco", labels, tmp_path / "out"))
    keys = ("image_id", "category_id", "bbox", "score")
    results = [{key: one[key] for key in keys} for one in truth.dataset["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = truth.loadRes(results)
    assert len(loaded.anns) == len(results)


def test_pictures_lie_where_their_names_say(labels, tmp_path):
    content = json.loads(write("coco", labels, tmp_path / "out").read_text())
    for entry, image in zip(content["images"], labels.images(), strict=True):
        root = tmp_path / "photos" if image.content is None else tmp_path / "out" / "images"
        assert (root / entry["file_name"]).is_file()
        stored_turned = image.content is None and image.orientation is not None
        assert entry.get("exif_orientation") == (image.orientation.value if stored_turned else None)


def test_a_packed_picture_becomes_an_upright_file(labels, tmp_path):
    write("coco", labels, tmp_path / "out")
    assert sorted(files(tmp_path / "out" / "images")) == ["packed/turned.jpeg", "packed/x.jpg"]
    assert is_upright(tmp_path / "out" / "images" / "packed" / "turned.jpeg", (30, 40))
    (image,) = (image for image in labels.images() if image.id == "packed/x.jpg")
    assert (tmp_path / "out" / "images" / "packed" / "x.jpg").read_bytes() == image.content.read()


def test_a_picture_outside_the_root_is_named_by_its_whole_path(tmp_path):
    labels = SetMaker(tmp_path / "far").add("a.png", (0, Box(1.0, 1.0, 5.0, 5.0, 0.5))).done(root=tmp_path / "near")
    (entry,) = json.loads(write("coco", labels, tmp_path / "out").read_text())["images"]
    assert entry["file_name"] == str(tmp_path / "far" / "a.png")


def test_names_start_from_the_folder_of_a_file_that_lists_the_pictures(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.png", (0, Box(1.0, 1.0, 5.0, 5.0, 0.5)))
    (tmp_path / "photos" / "list.csv").write_text("image,label\n")
    labels = maker.done(root=tmp_path / "photos" / "list.csv")
    (entry,) = json.loads(write("coco", labels, tmp_path / "out").read_text())["images"]
    assert entry["file_name"] == "a.png"


def test_a_file_name_that_is_no_text_comes_back(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("caf\udce9.png", (0, Box(1.0, 1.0, 5.0, 5.0, 0.5)))
    path = write("coco", maker.done(), tmp_path / "out")
    (entry,) = json.loads(path.read_bytes().decode("ascii"))["images"]
    assert (tmp_path / "photos" / entry["file_name"]).is_file()


def test_supervision_reads_the_same_boxes(tmp_path):
    labels = two_pictures(tmp_path / "photos")
    path = write("coco", labels, tmp_path / "out")
    read = supervision.DetectionDataset.from_coco(str(tmp_path / "photos"), str(path))
    assert tuple(read.classes) == NAMES
    for file, _, found in read:
        assert_close(list(zip(found.class_id, found.xyxy, strict=True)), exact(labels, file.rsplit("/", 1)[1]))


def two_pictures(root, *, kind=".jpg") -> LabelSet:
    maker = SetMaker(root)
    maker.add(f"a{kind}", (0, Box(3.0, 4.0, 30.25, 20.5, 0.9)), (4, Box(0.0, 0.0, 50.0, 40.0, 0.8)))
    return maker.add(f"b{kind}", (2, Box(10.1, 4.0, 12.0, 5.0, 0.9)), size=(300, 7)).done()


def test_torchvision_reads_the_same_boxes(tmp_path):
    labels = two_pictures(tmp_path / "photos")
    path = write("coco", labels, tmp_path / "out")
    with contextlib.redirect_stdout(io.StringIO()):
        read = CocoDetection(str(tmp_path / "photos"), str(path))
    assert len(read) == 2
    for (picture, target), image in zip(read, labels.images(), strict=True):
        assert picture.size == (image.width, image.height)
        assert_close([(one["category_id"] - 1, corners(one)) for one in target], exact(labels, image.id))


def test_the_layout_coco_reads_the_same_boxes(labels, tmp_path):
    path = write("coco", labels, tmp_path / "out")
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    shutil.copy(path, tmp_path / "data" / "annotations" / "instances_all.json")
    shutil.copytree(tmp_path / "photos", tmp_path / "data" / "all")
    shutil.copytree(tmp_path / "out" / "images", tmp_path / "data" / "all", dirs_exist_ok=True)
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({name: one.index for name, one in zip(NAMES, labels.classes, strict=True)}))
    read = load_dataset(tmp_path / "data", "coco", split="all", classes=classes)
    assert read.problems == ()
    found = {sample.id: sample for sample in read.samples}
    for image in labels.images():
        if image.objects:
            sample = found[image.id]
            assert sample.stated_size == (image.width, image.height)
            expected: dict[int, list] = {}
            for number, box in exact(labels, image.id):
                expected.setdefault(labels.classes[number].index, []).append(box)
            assert list(sample.labels) == list(expected)
            for index, boxes in expected.items():
                assert np.abs(np.array(sample.boxes_of(index)) - np.array(boxes)).max() <= 0.001


def test_a_data_set_without_a_picture_is_a_file_that_opens(tmp_path):
    coco = opened(write("coco", LabelSet((), lambda: iter(()), 0, tmp_path, frozenset(), {}), tmp_path / "out"))
    assert coco.imgs == coco.anns == coco.cats == {}


def test_names_that_json_must_escape_come_back(tmp_path):
    names = ['a "b"', "null", "1e3", "a\nb", "\x07", "日本", " x "]
    classes = tuple(LabelClass(number, name, number) for number, name in enumerate(names))
    maker = SetMaker(tmp_path / "photos", classes).add("a.png", (5, Box(0.0, 0.0, 1.0, 1.0, 0.5)))
    coco = opened(write("coco", maker.done(), tmp_path / "out"))
    assert [one["name"] for one in coco.cats.values()] == names


def test_supervision_makes_the_mask_of_a_region_with_a_hole(tmp_path):
    box = region_box(RING, (50, 40), at=(1, 1), map_size=(7, 7))
    labels = SetMaker(tmp_path / "photos").add("a.jpg", (0, box)).done()
    path = write("coco", labels, tmp_path / "out")
    read = supervision.DetectionDataset.from_coco(str(tmp_path / "photos"), str(path), force_masks=True)
    ((_, _, found),) = read
    assert np.array_equal(found.mask[0], box.region.mask(50, 40))

"""The layout ``coco``."""

import json
from pathlib import Path

import pytest

from layouts import box, write
from looktwice.datasets import (
    Sample,
    known_classes,
    load_dataset,
)
from looktwice.errors import DatasetError


def coco(root, *, images, annotations, mapping=None):
    categories = [{"id": 18, "name": "dog"}, {"id": 24, "name": "zebra"}, {"id": 1, "name": "person"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write(root / "annotations/instances_val2017.json", json.dumps(content))
    for image in images:
        if isinstance(image, dict) and "file_name" in image:
            write(root / "val2017" / image["file_name"])
    return write(root / "classes.json", json.dumps({"dog": 207, "24": 340, "person": None} | (mapping or {})))


def image(key, **size):
    return {"id": key, "file_name": f"{key:04d}.jpg"} | size


def test_coco_by_hand(tmp_path):
    classes = coco(
        tmp_path,
        images=[image(7, width=100, height=50), image(3), image(4), image(5), image(6)],
        annotations=[
            box(3, 18, 1, 2, 3, 4),
            box(7, 24, 10.5, 20.25, 30, 10),
            box(7, 18, 0, 0, 100, 50),
            box(7, 24, 0, 0, 100, 50, crowd=1),
            box(7, 1, 0, 0, 5, 5),
            box(7, 24, 1, 1, 1, 1),
            box(5, 1, 0, 0, 5, 5),
            box(6, 18, 0, 0, 5, 5, crowd=1),
        ],
    )
    data = load_dataset(tmp_path, "coco", classes=classes, strict=True)
    assert data.samples == (
        Sample(
            "0007.jpg",
            tmp_path / "val2017/0007.jpg",
            (340, 207),
            (((10.5, 20.25, 40.5, 30.25), (1, 1, 2, 2)), ((0, 0, 100, 50),)),
            100,
            50,
        ),
        Sample("0003.jpg", tmp_path / "val2017/0003.jpg", (207,), (((1, 2, 4, 6),),)),
    )
    file = Path("annotations/instances_val2017.json")
    assert data.notes == (
        f"{file}: 2 crowd regions ignored",
        f"{file}: 2 images without an object left out",
        f"{tmp_path}: 1 images left out: the classes file gives their classes no index",
    )
    assert data.class_names == {207: "dog", 340: "24"}


def test_coco_faults(tmp_path):
    classes = coco(
        tmp_path,
        images=[
            image(1, width=10, height=10),
            image(1),
            {"id": 9},
            image(2, width=float("inf"), height=1),
            image(3),
            5,
        ],
        annotations=[
            box(1, 18, 8, 8, 8, 8),
            box(1, 18, 3, 3, 0, 5),
            {"image_id": 1, "category_id": 18},
            box(1, 18, 1, 2, 3),
            None,
            box(77, 18, 1, 1, 1, 1),
            box(3, 99, 1, 1, 1, 1),
        ],
    )
    data = load_dataset(tmp_path, "coco", classes=classes)
    assert [(s.id, s.labels, s.boxes) for s in data.samples] == [("0001.jpg", (207,), (((8, 8, 10, 10),),))]
    file = Path("annotations/instances_val2017.json")
    assert [line.removeprefix(f"{file}: ")[:24] for line in data.problems] == [
        "annotation 2: needs imag",
        "annotation 3: needs imag",
        "annotation 4: needs imag",
        "0001.jpg: box (8, 8, 16,",
        "0001.jpg: box (3, 3, 3, ",
        "0001.jpg: the image id 1",
        "image 2: needs id, file_",
        "image 3: needs id, file_",
        "0003.jpg: unknown class ",
        "image 5: needs id, file_",
        "image id 77 is not among",
    ]


def test_coco_needs_a_classes_file_and_valid_json(tmp_path):
    classes = coco(tmp_path, images=[image(1)], annotations=[box(1, 18, 1, 1, 1, 1)])
    with pytest.raises(DatasetError, match="classes file"):
        load_dataset(tmp_path, "coco")
    for content in ('{"images": [', "[]", '{"images": [], "annotations": []}', '{"images": 1}'):
        write(tmp_path / "annotations/instances_val2017.json", content)
        with pytest.raises(DatasetError, match=r"instances_val2017\.json is"):
            load_dataset(tmp_path, "coco", classes=classes)


HUGE = 10**399


def test_one_bad_record_costs_itself(tmp_path):
    """Numbers that no float holds, names that no file has, and texts where numbers belong."""
    images = [image(1), image(2, width=HUGE, height=1), image(3, width=1e999, height=9), image(4)]
    names = ["a\0b.jpg", "\ud800.jpg", "d\0/a.jpg", "caf\udce9.jpg", "", "x" * 9999]
    annotations = [
        box(1, 18, HUGE, 0, 1, 1),
        box(1, 18, 0, 0, 1e999, 5),
        box(1, 18, 0, 0, float("nan"), 5),
        {"image_id": 1, "category_id": 18, "bbox": "1234"},
        {"image_id": [1], "category_id": 18, "bbox": [1, 1, 1, 1]},
        *(box(key, 18, 1, 1, 4, 4) for key in range(1, 11)),
    ]
    classes = coco(tmp_path, images=images, annotations=annotations)
    file = tmp_path / "annotations/instances_val2017.json"
    content = json.loads(file.read_text())
    content["images"] += [{"id": 5 + n, "file_name": name} for n, name in enumerate(names)]
    content["categories"] += [{"name": "no id"}, {"id": 18, "name": "another dog"}, 7]
    before, _, after = json.dumps(content).rpartition(str(HUGE))  # of a box
    file.write_text(f"{before}{'9' * 5000}{after}")
    data = load_dataset(tmp_path, "coco", classes=classes)
    assert [(s.id, s.boxes) for s in data.samples] == [
        (name, (((1, 1, 5, 5),),)) for name in ("0001.jpg", "0002.jpg", "0004.jpg")
    ]
    assert data.samples[1].width is None  # the stated one is no size
    for line in data.problems:
        assert len(line) <= 500
        line.encode()
    found = "\n".join(data.problems)
    for part in (
        "category 3",
        "the category id 18 is used twice",
        "category 5",
        "annotation 3",
        "annotation 4",
        "image 2",
    ):
        assert f"{part}: " in found or f"{part};" in found
    assert found.count("not finite") == 3
    assert found.count("the image is missing") == len(names) - 1
    assert "'' is no name of an image" in found


def test_one_image_by_two_spellings_of_its_path(tmp_path):
    classes = coco(tmp_path, images=[image(1)], annotations=[box(1, 18, 0, 0, 5, 5), box(2, 18, 0, 0, 5, 5)])
    file = tmp_path / "annotations/instances_val2017.json"
    content = json.loads(file.read_text())
    content["images"].append({"id": 2, "file_name": "./0001.jpg"})
    file.write_text(json.dumps(content))
    data = load_dataset(tmp_path, "coco", classes=classes)
    assert [s.id for s in data.samples] == ["0001.jpg"]
    assert "listed twice" in data.problems[0]


# Files as tools export them.


def exported(path, *names):
    """A COCO file that lists these images; each has a zebra."""
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [box(n, 24, 0, 0, 5, 5) for n in range(len(names))],
        "categories": [{"id": 24, "name": "zebra"}],
    }
    return write(path, json.dumps(content))


def images(root, **choices):
    """The image files of a data set, from the root."""
    data = load_dataset(root, "coco", known=known_classes(["dog", "Zebra"]), strict=True, **choices)
    assert {sample.labels for sample in data.samples} == {(1,)}
    folder = root if root.is_dir() else root.parent
    return [str(sample.image.relative_to(folder)) for sample in data.samples]


def test_cvat_exports_instances_default_and_a_folder_images(tmp_path):
    file = exported(tmp_path / "annotations/instances_default.json", "a.jpg", "s/b.jpg")
    write(tmp_path / "images/a.jpg")
    write(tmp_path / "images/s/b.jpg")
    assert images(tmp_path) == ["images/a.jpg", "images/s/b.jpg"]
    assert images(tmp_path, split="default") == ["images/a.jpg", "images/s/b.jpg"]
    data = load_dataset(file, "coco", known=known_classes(["zebra"]), strict=True)
    assert [sample.image for sample in data.samples] == [tmp_path / "images/a.jpg", tmp_path / "images/s/b.jpg"]


def test_cvat_exports_subsets_in_folders_of_images(tmp_path):
    for name in ("train", "val"):
        exported(tmp_path / f"annotations/instances_{name}.json", f"{name}.jpg")
        write(tmp_path / f"images/{name}/{name}.jpg")
    assert images(tmp_path, split="val") == ["images/val/val.jpg"]
    with pytest.raises(DatasetError, match="has the splits train, val; name one"):
        images(tmp_path)


def test_roboflow_exports_the_file_beside_the_images(tmp_path):
    file = exported(tmp_path / "train/_annotations.coco.json", "a.jpg")
    write(tmp_path / "train/a.jpg")
    assert images(tmp_path / "train") == images(file) == ["a.jpg"]
    assert images(tmp_path, split="train") == ["train/a.jpg"]


def test_label_studio_exports_result_json_and_a_folder_images(tmp_path):
    write(tmp_path / "images/a.jpg")
    assert images(exported(tmp_path / "result.json", "images/a.jpg")) == ["images/a.jpg"]
    assert images(exported(tmp_path / "other.json", "a.jpg")) == ["images/a.jpg"]


def test_cocos_own_folder_comes_first(tmp_path):
    exported(tmp_path / "annotations/instances_val2017.json", "a.jpg")
    exported(tmp_path / "annotations/instances_train2017.json", "b.jpg")
    write(tmp_path / "val2017/a.jpg")
    write(tmp_path / "images/a.jpg")
    assert images(tmp_path) == ["val2017/a.jpg"]


def test_a_category_id_is_no_name_of_a_networks_class(tmp_path):
    file = exported(tmp_path / "x.json", "a.jpg")
    write(tmp_path / "a.jpg")
    data = load_dataset(file, "coco", known=known_classes(["24", "zebra"]), strict=True)
    assert data.samples[0].labels == (1,)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"images": [], "annotations": [], "categories": []}', '"x"'])
def test_a_json_file_that_is_not_cocos(tmp_path, content):
    with pytest.raises(DatasetError, match=r"x\.json"):
        load_dataset(write(tmp_path / "x.json", content), "coco", known=known_classes(["zebra"]), unlabelled=True)


DIGITS = ("0", "1", "10", "11", "2", "3")


def of_category(root, number, categories=DIGITS, **choices):
    """The labels of an image with one box of a category; the categories are counted from 0."""
    named = [{"id": n, "name": name} for n, name in enumerate(categories)]
    content = {"images": [image(1)], "annotations": [box(1, number, 0, 0, 5, 5)], "categories": named}
    write(root / "0001.jpg")
    return load_dataset(write(root / "x.json", json.dumps(content)), "coco", **choices).samples[0].labels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "\n".join(DIGITS)),
        ("c.json", json.dumps(DIGITS)),
        ("classes.json", json.dumps({"classes": [{"name": n, "index": i, "id": i} for i, n in enumerate(DIGITS)]})),
    ],
)
def test_a_list_of_names_that_are_digits_is_no_list_of_ids(tmp_path, name, content):
    assert of_category(tmp_path, 2, classes=write(tmp_path / name, content)) == (2,)
    assert of_category(tmp_path, 2, known=known_classes(DIGITS)) == (2,)


def test_a_list_of_ids_counts_if_it_has_no_categorys_name(tmp_path):
    assert of_category(tmp_path, 2, ("a", "b", "c"), classes=write(tmp_path / "c.txt", "1\n2\n")) == (1,)


@pytest.mark.parametrize(
    ("names", "mapping", "why"),
    [
        (
            ("1", "0"),
            {"0": 3, "1": 4},
            "category '1' is ambiguous: by its id 0 it is class 3 .* its name '1' is class 4",
        ),
        (("x", "y", "1"), {"1": 3}, "category 'y' is ambiguous: by its id 1 it is class 3 .* another category's name"),
    ],
)
def test_an_id_and_a_name_that_disagree_are_refused(tmp_path, names, mapping, why):
    with pytest.raises(DatasetError, match=why):
        of_category(tmp_path, 1, names, classes=write(tmp_path / "c.json", json.dumps(mapping)))


def test_an_id_and_a_name_that_agree_are_one_class(tmp_path):
    classes = write(tmp_path / "c.json", json.dumps({"0": 7, "x": 7, "1": 4}))
    assert of_category(tmp_path, 0, ("x", "1"), classes=classes) == (7,)
    assert of_category(tmp_path, 1, ("x", "1"), classes=classes) == (4,)


def test_a_category_that_is_not_listed_is_no_class_with_its_number_as_name(tmp_path):
    with pytest.raises(DatasetError, match="unknown class '3'"):
        of_category(tmp_path, 3, ("0", "1"), known=known_classes(DIGITS))
    assert of_category(tmp_path, 3, ("x",), classes=write(tmp_path / "c.json", '{"3": 5}')) == (5,)

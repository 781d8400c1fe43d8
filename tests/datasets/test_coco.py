"""The layout ``coco``."""

import json
from pathlib import Path

import pytest

from layouts import box, write
from looktwice.datasets import (
    Sample,
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

"""Images without a label: kept if that is asked for, else as before."""

import json

import pytest

from layouts import TENCH, ilsvrc, voc, write, xml
from looktwice.datasets import Dataset, Sample, load_dataset
from looktwice.errors import DatasetError


def labels(data):
    return {sample.id: sample.labels for sample in data.samples}


def test_images_beside_the_class_folders(tmp_path):
    for name in ("cat/1.jpg", "2.jpg", ".3.jpg", "notes.txt"):
        write(tmp_path / name)
    (tmp_path / "folder.jpg").mkdir()
    write(tmp_path / "folder.jpg/x.jpg")
    data = load_dataset(tmp_path, "folders", unlabelled=True, strict=True)
    assert labels(data) == {"2.jpg": (), "cat/1.jpg": (0,), "folder.jpg/x.jpg": (1,)}
    assert data.samples[0] == Sample("2.jpg", tmp_path / "2.jpg", (), ())
    assert "2.jpg" not in labels(load_dataset(tmp_path, "folders"))


def test_csv_rows_without_a_label(tmp_path):
    for name in "abc":
        write(tmp_path / f"{name}.jpg")
    rows = "image,label,x1,y1,x2,y2\na.jpg,,,,,\nb.jpg,3,0,0,2,2\nc.jpg,,1,1,2,2\na.jpg,,,,,\n"
    file = write(tmp_path / "x.csv", rows)
    data = load_dataset(file, "csv", unlabelled=True)
    assert labels(data) == {"a.jpg": (), "b.jpg": (3,)}
    assert [line[:15] for line in data.problems] == ["x.csv: line 4: "]  # a box without a label
    assert len(load_dataset(file, "csv").problems) == 3


def test_a_list_of_images_alone(tmp_path):
    write(tmp_path / "a.jpg")
    file = write(tmp_path / "x.csv", "image\na.jpg\na.jpg,3\n")
    data = load_dataset(file, "csv", unlabelled=True)
    assert labels(data) == {"a.jpg": ()}
    assert data.problems == ("x.csv: line 3: an image alone is needed; left out",)
    with pytest.raises(DatasetError, match="header image,label"):
        load_dataset(file, "csv")


def test_xml_files_without_objects_and_images_without_xml_files(tmp_path):
    root = voc(tmp_path, {"a": xml(), "b": "", "c": xml(("dog", 1, 1, 5, 5)), "d": "<broken"})
    (root / "Annotations/b.xml").unlink()
    data = load_dataset(root, "voc", unlabelled=True)
    assert labels(data) == {"a": (), "b": (), "c": (11,)}
    assert data.samples[0].stated_size == (100, 80)
    assert [line.partition(": ")[0] for line in data.problems] == ["Annotations/d.xml"]
    assert labels(load_dataset(root, "voc")) == {"c": (11,)}


def test_images_of_ilsvrc_without_annotations(tmp_path):
    root = ilsvrc(tmp_path, {"A": xml(TENCH), "B": xml()})
    assert labels(load_dataset(root, "ilsvrc", unlabelled=True, strict=True)) == {"A": (0,), "B": ()}
    (root / "Annotations").rename(root / "elsewhere")
    assert labels(load_dataset(root, "ilsvrc", unlabelled=True, strict=True)) == {"A": (), "B": ()}
    with pytest.raises(DatasetError, match="no boxes found"):
        load_dataset(root, "ilsvrc")


def test_ids_of_wsol_without_a_label(tmp_path):
    lists = {"image_ids": "a.jpg\nb.jpg\n", "class_labels": "a.jpg,3\n", "localization": "a.jpg,0,0,1,1\n"}
    for name, text in lists.items():
        write(tmp_path / f"metadata/{name}.txt", text)
    for name in "ab":
        write(tmp_path / f"{name}.jpg")
    assert labels(load_dataset(tmp_path, "wsol", unlabelled=True, strict=True)) == {"a.jpg": (3,), "b.jpg": ()}
    assert labels(load_dataset(tmp_path, "wsol")) == {"a.jpg": (3,)}


def test_an_image_whose_labels_are_all_unknown_is_left_out(tmp_path):
    root = voc(tmp_path, {"a": xml(("gnu", 1, 1, 5, 5)), "b": xml()})
    data = load_dataset(root, "voc", unlabelled=True)
    assert labels(data) == {"b": ()}
    assert "unknown class 'gnu'" in data.problems[0]


def test_an_image_whose_class_is_left_out_on_purpose_gets_no_prediction(tmp_path):
    root = voc(tmp_path, {"a": xml(("cat", 1, 1, 5, 5)), "b": xml()})
    data = load_dataset(root, "voc", classes=write(tmp_path / "c.csv", "dog,3\ncat,\n"), unlabelled=True, strict=True)
    assert labels(data) == {"b": ()}
    assert "1 images left out" in data.notes[0]


def coco(root, content):
    for image in content["images"]:
        write(root / "val2017" / image["file_name"])
    return write(root / "annotations/instances_val2017.json", json.dumps(content)).parents[1]


def test_coco_images_without_annotations(tmp_path):
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)],
        "annotations": [
            {"image_id": 0, "category_id": 1, "bbox": [0, 0, 1, 1]},
            {"image_id": 2, "category_id": 1, "bbox": "broken"},
            {"image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1], "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": "dog"}],
    }
    classes = write(tmp_path / "c.json", '["cat", "dog"]')
    data = load_dataset(coco(tmp_path, content), "coco", classes=classes, unlabelled=True)
    assert labels(data) == {"0.jpg": (1,), "1.jpg": (), "3.jpg": ()}  # a broken annotation is no missing one
    assert len(data.problems) == 1
    assert labels(load_dataset(tmp_path, "coco", classes=classes)) == {"0.jpg": (1,)}


def test_coco_without_any_annotation(tmp_path):
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "categories": []}
    classes = write(tmp_path / "c.json", '["cat", "dog"]')
    data = load_dataset(coco(tmp_path, content), "coco", classes=classes, unlabelled=True, strict=True)
    assert labels(data) == {"1.jpg": ()}
    with pytest.raises(DatasetError, match="annotations"):
        load_dataset(tmp_path, "coco", classes=classes)


def test_the_fingerprint_depends_on_unlabelled_samples(tmp_path):
    one, other = (Sample(name, tmp_path / name, (), ()) for name in "ab")
    labelled = Sample("b", tmp_path / "b", (0,), ((),))
    sets = [(one, labelled), (one, other), (labelled,), (one,), ()]
    assert len({Dataset(samples).fingerprint() for samples in sets}) == len(sets)

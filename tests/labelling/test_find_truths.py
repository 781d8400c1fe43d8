"""Boxes drawn by hand in a folder: which file is read, and in which layout. No picture lies anywhere, or many do."""

import json

import pytest
from PIL import Image

from layouts import box, write, xml
from looktwice.errors import DatasetError, OptionError
from looktwice.labelling.find_truths import find_truths
from looktwice.labelling.truths import read_truths

COCO = json.dumps(
    {
        "images": [
            {"id": 0, "file_name": "images/a.jpg", "width": 100, "height": 80},
            {"id": 1, "file_name": "images/b.jpg", "width": 100, "height": 80},
        ],
        "annotations": [box(0, 0, 10, 20, 30, 40)],
        "categories": [{"id": 0, "name": "cat"}],
    }
)


def with_classes(folder):
    return write(folder / "classes.json", '{"cat": 281}')


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (100, 80)).save(path)


@pytest.mark.parametrize("layout", [None, "coco"])
@pytest.mark.parametrize(
    "name",
    [
        "result.json",
        "coco.json",
        "annotations.json",
        "annotations/person.json",
        "annotations/instances_default.json",
        "_annotations.coco.json",
        "train/_annotations.coco.json",
    ],
)
def test_a_folder_with_one_coco_file_and_pictures_is_coco(tmp_path, name, layout):
    picture(tmp_path / "export/images/a.jpg")
    picture(tmp_path / "export/b.jpg")
    write(tmp_path / "export" / name, COCO)
    write(tmp_path / "export/labels.json", "{}")  # of another kind
    found = read_truths(tmp_path / "export", layout, classes=with_classes(tmp_path))
    assert [(sample.id, sample.labels) for sample in found.samples] == [("images/a.jpg", (281,)), ("images/b.jpg", ())]


def test_json_files_that_are_not_coco_do_not_count(tmp_path):
    write(tmp_path / "result.json", COCO)
    for name, text in (("coco.json", "no json"), ("annotations.json", "[1]"), ("annotations/x.json", '{"images": []}')):
        write(tmp_path / name, text)
    assert find_truths(tmp_path, None, None, None) == (tmp_path / "result.json", "coco")


def test_of_two_coco_files_the_user_says_which(tmp_path):
    write(tmp_path / "result.json", COCO)
    write(tmp_path / "annotations/all.json", COCO)
    with pytest.raises(OptionError, match=r"2 COCO files \(annotations/all\.json, result\.json\); give the one"):
        read_truths(tmp_path)


def test_a_folder_with_pictures_alone_is_refused(tmp_path):
    picture(tmp_path / "images/a.jpg")
    with pytest.raises(DatasetError, match="has pictures and no file with boxes that is known; give"):
        read_truths(tmp_path)


def test_a_voc_folder_without_lists_is_voc(tmp_path):
    picture(tmp_path / "export/images/a.jpg")
    for name in ("a", "b"):
        write(tmp_path / f"export/Annotations/{name}.xml", xml(("cat", 1, 1, 50, 40)))
    found = read_truths(tmp_path / "export", classes=with_classes(tmp_path))
    assert [sample.id for sample in found.samples] == ["a", "b"]


def test_a_folder_with_a_csv_file_needs_no_layout(tmp_path):
    write(tmp_path / "boxes.csv", "image,label,x1,y1,x2,y2\na.jpg,3,1,2,30,40\n")
    picture(tmp_path / "a.jpg")
    assert [sample.id for sample in read_truths(tmp_path).samples] == ["a.jpg"]

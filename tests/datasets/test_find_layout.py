"""What a folder or file is."""

from pathlib import Path

import pytest

from layouts import TENCH, ilsvrc, voc, write, xml
from looktwice.datasets import LAYOUTS, find_layout, known_classes
from looktwice.errors import DatasetError

KNOWN = known_classes(["cat", "dog", "crane", "crane"])


def made(root, *names):
    for name in names:
        write(root / name)
    return root


def layout(root, **choices):
    found = find_layout(root, KNOWN, **choices)
    assert found in LAYOUTS
    return found


def test_layouts_by_their_files(tmp_path):
    assert layout(ilsvrc(tmp_path / "i", {"A": xml(TENCH)})) == "ilsvrc"
    assert layout(ilsvrc(tmp_path / "j", {"A": xml(TENCH)}, base=tmp_path / "j/ILSVRC")) == "ilsvrc"
    assert layout(voc(tmp_path / "v", {"a": xml()})) == "voc"
    assert layout(made(tmp_path / "w", "metadata/image_ids.txt", "a.jpg")) == "wsol"
    assert layout(made(tmp_path / "x", "metadata/val/image_ids.txt", "a.jpg"), split="val") == "wsol"
    assert layout(made(tmp_path / "c", "annotations/instances_val2017.json", "val2017/a.jpg")) == "coco"
    assert layout(made(tmp_path / "r", "_annotations.coco.json", "a.jpg")) == "coco"
    assert layout(made(tmp_path / "s", "train/_annotations.coco.json", "train/a.jpg"), split="train") == "coco"
    assert layout(write(tmp_path / "coco.json", "{}")) == "coco"


@pytest.mark.parametrize("header", ["image", "image,label", "image, label,x1,y1,x2,y2"])
def test_a_csv_file_with_the_header(tmp_path, header):
    made(tmp_path, "a.jpg", "other.csv")
    file = write(tmp_path / "x.csv", f"{header}\na.jpg,1,,,,\n")
    assert layout(tmp_path) == layout(file) == "csv"


def test_a_csv_file_with_another_header_beside_pictures(tmp_path):
    made(tmp_path, "a.jpg")
    write(tmp_path / "x.csv", "name,price\na,1\n")
    assert layout(tmp_path) == "pictures"


def test_two_lists_of_images_are_refused(tmp_path):
    for name in ("train", "val"):
        write(tmp_path / f"{name}.csv", "image,label\n")
    with pytest.raises(DatasetError, match=r"holds 2 lists of images \(train.csv, val.csv\); give one"):
        layout(tmp_path)
    assert layout(tmp_path, split="val") == "csv"


def test_class_folders(tmp_path):
    made(tmp_path, "cat/1.jpg", "Dog/2.jpg", "crane/3.jpg", "loose.jpg", "docs/readme.txt", ".git/x.jpg")
    assert layout(tmp_path) == "folders"


def test_pictures(tmp_path):
    assert layout(made(tmp_path / "1", "a.jpg")) == "pictures"
    assert layout(made(tmp_path / "2", "2023/a.jpg", "2024/may/b.jpg")) == "pictures"
    assert layout(tmp_path / "1/a.jpg") == "pictures"


def test_some_folders_name_classes_and_others_do_not(tmp_path):
    made(tmp_path, "cat/1.jpg", *(f"{name}/2.jpg" for name in ("gnu", "x", "y", "z")))
    with pytest.raises(
        DatasetError, match=r"\('cat'\), others are not \('gnu', 'x', 'y' …\).*--classes FILE.*pictures"
    ):
        layout(tmp_path)


def test_class_folders_with_folders_in_them(tmp_path):
    with pytest.raises(DatasetError, match=r"others are not \('cat/may'\)"):
        layout(made(tmp_path, "cat/1.jpg", "cat/may/2.jpg"))


def test_class_folders_one_folder_deeper(tmp_path):
    made(tmp_path, "train/cat/1.jpg", "val/dog/1.jpg")
    with pytest.raises(DatasetError, match=r"in 'train', 'val'; name one of these with --split"):
        layout(tmp_path)
    assert layout(tmp_path, split="val") == "folders"


def test_results_in_the_folder_are_not_looked_at(tmp_path):
    made(tmp_path, "cat/1.jpg", "out/overlays/2.jpg")
    assert layout(tmp_path, leave_out=tmp_path / "out") == "folders"


def test_several_layouts_are_refused_by_name(tmp_path):
    voc(tmp_path, {"a": xml()})
    made(tmp_path, "annotations/instances_val2017.json")
    with pytest.raises(DatasetError, match=r"voc \(PASCAL VOC\) and coco \(COCO instances\); say which"):
        layout(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        layout(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no image and no data set"):
        layout(tmp_path)
    with pytest.raises(DatasetError, match="check the folder and the split"):
        layout(tmp_path, split="train")


def test_a_file_of_an_unknown_kind(tmp_path):
    with pytest.raises(DatasetError, match="unknown kind"):
        layout(write(tmp_path / "a.pdf"))


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def closed(folder):  # not chmod: root reads everything
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(DatasetError, match=r"cannot be read \(Permission denied\); check its permissions"):
        layout(tmp_path)

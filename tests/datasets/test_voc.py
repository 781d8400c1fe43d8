"""The layout ``voc``."""

import errno
import os
from pathlib import Path

import pytest

from layouts import voc, write, xml
from looktwice.datasets import (
    VOC_CLASSES,
    load_dataset,
)
from looktwice.errors import DatasetError


def test_voc_by_hand(tmp_path):
    text = xml(("person", 1, 1, 100, 80), ("dog", 11, 21, 30, 40, "difficult"), ("person", 5.5, 6, 7, 8))
    data = load_dataset(voc(tmp_path, {"2007_000032": text}), "voc", strict=True)
    (sample,) = data.samples
    assert sample.image == tmp_path / "JPEGImages/2007_000032.jpg"
    assert sample.labels == (14, 11)
    assert sample.boxes == (((0, 0, 100, 80), (4.5, 5, 7, 8)), ((10, 20, 30, 40),))
    assert data.class_names[14] == "person"
    assert data.notes == ("Annotations: 1 objects marked difficult, kept like any other",)


def test_voc_names_are_the_twenty_in_order():
    assert len(set(VOC_CLASSES)) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_voc_box_from_zero_is_one_pixel_over_and_no_fault(tmp_path):
    data = load_dataset(voc(tmp_path, {"a": xml(("dog", 0, 0, 10, 10))}), "voc", strict=True)
    assert data.samples[0].boxes == (((0, 0, 10, 10),),)


def test_voc_parts_are_no_objects(tmp_path):
    text = xml(("person", 1, 1, 50, 50)).replace(
        "</object>",
        "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>12</xmax><ymax>12</ymax></bndbox></part></object>",
    )
    data = load_dataset(voc(tmp_path, {"a": text}), "voc", strict=True)
    assert (data.samples[0].labels, data.samples[0].boxes) == ((14,), (((0, 0, 50, 50),),))


def test_voc_split_and_classes(tmp_path):
    root = voc(tmp_path, {"a": xml(("dog", 1, 1, 5, 5)), "b": xml(("cat", 1, 1, 5, 5), ("dog", 1, 1, 5, 5))})
    write(root / "ImageSets/Main/dog_test.txt", "b  1\na -1\n")
    classes = write(root / "classes.csv", "name,index\ncat,281\ndog,207\n")
    data = load_dataset(root, "voc", split="dog_test", classes=classes, strict=True)
    assert [(s.id, s.labels) for s in data.samples] == [("b", (281, 207)), ("a", (207,))]


def test_one_unknown_class_leaves_the_others(tmp_path):
    text = xml(("dog", 1, 1, 5, 5), ("gnu", 1, 1, 5, 5), ("gnu", 2, 2, 6, 6))
    data = load_dataset(voc(tmp_path, {"a": text}), "voc")
    assert data.samples[0].labels == (11,)
    assert len(data.problems) == 1
    assert "a.xml: a: unknown class 'gnu'" in data.problems[0]


def ids(root, lines, names, layout="voc"):
    """The ids and problems of a list of images; each of the images has a dog."""
    voc(root, {name: xml(("dog", 1, 1, 5, 5)) for name in names})
    write(root / "ImageSets/Main/val.txt", "".join(f"{line}\n" for line in lines))
    data = load_dataset(root, layout)
    return [sample.id for sample in data.samples], data.problems


def test_a_listed_name_with_a_blank_is_not_cut_to_another_image(tmp_path):
    assert ids(tmp_path / "1", ["cat 2", "my dog"], ["cat", "cat 2", "my", "my dog"]) == (["cat 2", "my dog"], ())
    found, problems = ids(tmp_path / "2", ["cat 2", "a"], ["cat", "a"])
    assert found == ["a"]
    assert len(problems) == 1
    assert "cat 2.xml" in problems[0]


def test_a_flag_of_minus_one_zero_or_one_after_a_name_with_blanks(tmp_path):
    lines = ["my dog -1", "cat  1", "cat 2   0"]
    assert ids(tmp_path, lines, ["my dog", "cat", "cat 2"]) == (["my dog", "cat", "cat 2"], ())


def test_a_list_without_flags_may_have_a_name_that_ends_in_one(tmp_path):
    assert ids(tmp_path / "1", ["cat 1", "my dog"], ["cat", "cat 1", "my dog"]) == (["cat 1", "my dog"], ())
    assert ids(tmp_path / "2", ["cat 1", "cat 0"], ["cat 1", "cat 0"]) == (["cat 1", "cat 0"], ())


def test_a_flag_in_some_lines_only_is_still_a_flag(tmp_path):
    assert ids(tmp_path, ["cat 1", "dog"], ["cat", "dog"]) == (["cat", "dog"], ())


def test_a_size_of_400_digits_costs_its_own_check(tmp_path):
    bad = xml(("dog", 1, 1, 5, 5), size=("9" * 400, 80))
    data = load_dataset(
        voc(tmp_path, {"a": bad, "b": xml(("dog", 1, 1, 5, 5)), "c": bad.replace("9" * 400, "9" * 5000)}), "voc"
    )
    assert [(s.id, s.width) for s in data.samples] == [("a", None), ("b", 100)]
    assert [line.partition(": ")[0] for line in data.problems] == ["Annotations/a.xml", "Annotations/c.xml"]
    assert max(map(len, data.problems)) <= 500


def test_a_box_beyond_all_numbers_costs_itself(tmp_path):
    text = xml(("dog", 1, 1, "1e400", 5), ("dog", "nan", 1, 5, 5), ("dog", 1, 1, 5, 5))
    data = load_dataset(voc(tmp_path, {"a": text}), "voc")
    assert data.samples[0].boxes == (((0, 0, 5, 5),),)
    assert len(data.problems) == 2


def seven(root, **lists):
    """Seven XML files; ``val`` lists the first two of them."""
    voc(root, {name: xml(("dog", 1, 1, 10, 10)) for name in "abcdefg"})
    for name, ids in ({"val": "ab"} | lists).items():
        write(root / f"ImageSets/Main/{name}.txt", "\n".join(ids))
    return root


def test_voc_tells_how_many_images_other_lists_have(tmp_path):
    root = seven(tmp_path, train="cde", trainval="abcde", cat_train="f", test="g")
    data = load_dataset(root, "voc", strict=True)
    assert [sample.id for sample in data.samples] == ["a", "b"]
    assert data.notes == (
        "ImageSets/Main: val is read; 4 images of other lists (train, trainval or test) are not; name a split",
    )
    assert load_dataset(root, "voc", split="val").notes == ()


def test_voc_a_broken_list_that_nobody_asked_for_is_no_fault(tmp_path):
    root = seven(tmp_path)
    (root / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfe\x00")
    assert len(load_dataset(root, "voc", strict=True).samples) == 2


def test_voc_without_images_is_read_from_trainval(tmp_path):
    root = seven(tmp_path, train="cde", trainval="abcde")
    data = load_dataset(root, "voc", images_needed=False)
    assert [sample.id for sample in data.samples] == list("abcde")
    assert data.notes == ("Annotations: 2 XML files are not in the list trainval and are not read; name a split",)
    assert [sample.id for sample in load_dataset(root, "voc", split="val", images_needed=False).samples] == ["a", "b"]


def test_voc_without_images_and_without_trainval_has_all_xml_files(tmp_path):
    root = seven(tmp_path)
    write(root / "Annotations/x/h.1.xml", xml(("dog", 1, 1, 10, 10)))
    data = load_dataset(root, "voc", images_needed=False)
    assert [sample.id for sample in data.samples] == [*"abcdefg", "x/h.1"]


def test_annotations_in_a_folder_that_cannot_be_read_are_not_missing(tmp_path, monkeypatch):
    root = voc(tmp_path, {"a": xml(("dog", 1, 1, 5, 5))})
    real = os.listdir

    def refusing(place):
        if Path(place) == root / "Annotations":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "listdir", refusing)
    monkeypatch.setattr(Path, "read_bytes", lambda path: refusing(path.parent))
    with pytest.raises(DatasetError, match=r"the annotation cannot be read \(Permission denied\)"):
        load_dataset(root, "voc", unlabelled=True)

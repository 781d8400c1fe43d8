"""A network's own classes, in which a data set's class names are found."""

import json
from dataclasses import replace

import pytest

from layouts import voc, write, xml
from looktwice.datasets import known_classes, load_dataset
from looktwice.datasets.classes import distinct_names, read_classes
from looktwice.errors import DatasetError, printable

NAMES = ("tench, Tinca tinca", "Egyptian cat", "crane", "crane", "Cardigan", "cardigan", "sea-lion", "caf\u00e9")


@pytest.mark.parametrize(
    ("key", "index"),
    [
        ("Egyptian cat", 1),
        ("egyptian_cat", 1),
        ("EGYPTIAN-CAT", 1),
        ("Cardigan", 4),
        ("cardigan", 5),
        ("sea lion", 6),
        ("tench", 0),
        ("tinca_tinca", 0),
        ("tench, Tinca tinca", 0),
        ("Egyptian cat, tabby", 1),
        ("cafe\u0301", 7),
    ],
)
def test_a_name_in_any_spelling(key, index):
    assert known_classes(NAMES).find(key) == index


@pytest.mark.parametrize("key", ["crane", "CARDIGAN", "cat", "0", "", " ", "tench, crane"])
def test_a_name_that_means_no_class_or_several_finds_none(key):
    with pytest.raises(KeyError):
        known_classes(NAMES).find(key)


def test_an_ambiguous_name_is_said_with_its_classes():
    classes = known_classes(NAMES)
    assert classes.fault("Crane") == (
        "class 'Crane' is ambiguous: it means the classes 2, 3; left out; give its index in a classes file"
    )
    assert classes.fault("gnu") == "unknown class 'gnu', left out; name it in the classes file"
    assert "0, 1, 2, 3, 4 …" in known_classes(["x"] * 9).fault("x")


def known(*names):
    return known_classes(names)


def test_class_folders_are_taken_by_name_not_by_place(tmp_path):
    for name in ("dog", "crane", "gnu"):
        write(tmp_path / name / "1.jpg")
    data = load_dataset(tmp_path, "folders", known=known("cat", "crane", "dog", "crane"))
    assert [(s.id, s.labels) for s in data.samples] == [("dog/1.jpg", (2,))]
    assert data.class_names[2] == "dog"
    assert data.problems == (
        "crane: class 'crane' is ambiguous: it means the classes 1, 3; 1 images left out; give its index in a classes "
        "file",
        "gnu: unknown class 'gnu', 1 images left out; name it in the classes file",
    )


def test_a_class_folder_of_digits_is_no_index(tmp_path):
    write(tmp_path / "1" / "1.jpg")
    with pytest.raises(DatasetError, match="unknown class '1'"):
        load_dataset(tmp_path, "folders", known=known("cat", "dog"))


def test_csv_labels_are_names_or_indices(tmp_path):
    rows = "image,label\na.jpg,Dog\nb.jpg,0\nc.jpg,7\n"
    for name in "abc":
        write(tmp_path / f"{name}.jpg")
    data = load_dataset(write(tmp_path / "x.csv", rows), "csv", known=known("cat", "dog"))
    assert [(s.id, s.labels) for s in data.samples] == [("a.jpg", (1,)), ("b.jpg", (0,))]
    assert "unknown class '7'" in data.problems[0]


def test_voc_names_are_the_networks(tmp_path):
    root = voc(tmp_path, {"a": xml(("dog", 1, 1, 5, 5)), "b": xml(("person", 1, 1, 5, 5))})
    data = load_dataset(root, "voc", known=known("cat", "dog"))
    assert [(s.id, s.labels) for s in data.samples] == [("a", (1,))]
    assert "unknown class 'person'" in data.problems[0]


def test_a_classes_file_comes_before_the_networks_classes(tmp_path):
    write(tmp_path / "data/hound/1.jpg")
    classes = write(tmp_path / "c.csv", "hound,1\n")
    data = load_dataset(tmp_path / "data", "folders", classes=classes, known=known("hound", "dog"))
    assert data.samples[0].labels == (1,)


def test_a_label_beyond_the_networks_classes_is_refused(tmp_path):
    write(tmp_path / "data/hound/1.jpg")
    classes = write(tmp_path / "c.csv", "hound,207\n")
    with pytest.raises(DatasetError, match=r"class 207, but the network has classes 0 … 1; give a classes file"):
        load_dataset(tmp_path / "data", "folders", classes=classes, known=known("cat", "dog"))


DIGITS = ("0", "1", "10", "11", "2", "3")
"""The classes of folders that are called by numbers, in the order of their names."""


def test_a_whole_number_is_an_index_and_a_text_is_a_name_first():
    classes = replace(known_classes(DIGITS), numeric=True)
    assert [classes.find(key) for key in (2, "2", "10", "4", 4)] == [2, 4, 2, 4, 4]
    with pytest.raises(KeyError):
        classes.find(10)
    with pytest.raises(KeyError):
        known_classes(DIGITS).find(2)  # where no index is a key


@pytest.mark.parametrize(
    ("name", "content", "index"),
    [
        ("c.json", '{"2": 5}', 5),
        ("c.csv", "2,5\n", 5),
        ("c.txt", "\n".join(DIGITS), 2),
        ("d.json", '["2", "1", "0"]', 2),
    ],
)
def test_a_whole_number_is_an_id_only_where_the_classes_file_may_list_ids(tmp_path, name, content, index):
    assert read_classes(write(tmp_path / name, content), numeric=True).find(2) == index


def test_a_csv_label_that_is_the_name_of_one_class_and_the_index_of_another_is_refused(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.jpg")
    file = write(tmp_path / "x.csv", "image,label\na.jpg,1\nb.jpg,2\n")
    with pytest.raises(DatasetError, match=r"label '2' is the name of class 4 and the index 2; give .* --classes FILE"):
        load_dataset(file, "csv", known=known(*DIGITS))
    with pytest.raises(DatasetError, match="label '2' is the name of class 1 and the index 2"):
        load_dataset(file, "csv", known=known("2", "2", "x"))
    listed = write(tmp_path / "names.txt", "\n".join(DIGITS))
    with pytest.raises(DatasetError, match="label '2' is the name of class 4"):
        load_dataset(file, "csv", classes=listed)
    said = write(tmp_path / "said.json", '{"1": 1, "2": 4}')
    data = load_dataset(file, "csv", classes=said, known=known(*DIGITS))
    assert [sample.labels for sample in data.samples] == [(1,), (4,)]
    same = load_dataset(file, "csv", known=known("0", "1", "2"))
    assert [sample.labels for sample in same.samples] == [(1,), (2,)]


def test_wsol_labels_are_indices_where_names_are_digits(tmp_path):
    write(tmp_path / "a.jpg")
    for name, line in (("image_ids", "a.jpg"), ("class_labels", "a.jpg,2"), ("localization", "a.jpg,0,0,4,4")):
        write(tmp_path / f"metadata/{name}.txt", f"{line}\n")
    assert load_dataset(tmp_path, "wsol", known=known(*DIGITS)).samples[0].labels == (2,)


@pytest.mark.parametrize(
    "names",
    [
        ("n01440764 tench", "n01443537 goldfish", "n01440765 tench", "tench", "goldfish", "x"),
        ("a", "a", "a (0)", "a (1)", "a (0) (0)", "b"),
        ("a", "a", "a (0)"),
        (" a", "a ", "a", "A", "", "  "),
        ("cat, tom", "tom, cat", "cat", "tom", "cat,tom"),
        ("Crane", "crane", "CRANE", "cra ne", "cra_ne", "cra-ne"),
        ("a\tb", "a\nb", "a\x1b", "a\\x1b", "\ud800", "\u2028"),
        ("crane (1)", "crane", "crane", "0 (1)", "1 (0)"),
    ],
)
def test_own_names_are_found_again(names):
    every = range(len(names))
    classes = known_classes(names)
    assert [classes.find(name) for name in distinct_names(names, every)] == [*every]
    printed = distinct_names([printable(name) for name in names], every)
    assert [classes.find(name) for name in printed] == [*every]


def test_a_name_with_its_index_has_one_meaning_where_names_are_digits(tmp_path):
    write(tmp_path / "a.jpg")
    file = write(tmp_path / "x.csv", "image,label\na.jpg,2 (4)\na.jpg,10 (2)\n")
    listed = {"classes": [{"id": i, "name": name, "index": i} for i, name in enumerate(DIGITS)]}
    classes = write(tmp_path / "classes.json", json.dumps(listed))
    for choices in ({"known": known(*DIGITS)}, {"classes": classes}):
        data = load_dataset(file, "csv", **choices)
        assert data.samples[0].labels == (4, 2)
        assert data.class_names[4] == "2"

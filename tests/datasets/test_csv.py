"""The layout ``csv``."""

import pytest

from layouts import SYNSETS, write
from looktwice.datasets import (
    Sample,
    load_dataset,
)
from looktwice.errors import DatasetError


def test_csv_by_hand(tmp_path):
    rows = "image,label,x1,y1,x2,y2\nd/b.jpg,5,0,1,10,20.5\na.jpg,2,,,,\nd/b.jpg,4,1,1,2,2\n\nd/b.jpg,5,3,3,4,4\n"
    file = write(tmp_path / "boxes.csv", "\ufeff" + rows)
    write(tmp_path / "a.jpg")
    write(tmp_path / "d/b.jpg")
    expected = (
        Sample("d/b.jpg", tmp_path / "d/b.jpg", (5, 4), (((0, 1, 10, 20.5), (3, 3, 4, 4)), ((1, 1, 2, 2),))),
        Sample("a.jpg", tmp_path / "a.jpg", (2,), ((),)),
    )
    assert load_dataset(file, "csv", strict=True).samples == expected
    assert load_dataset(tmp_path, "csv", strict=True).samples == expected
    write(tmp_path / "other.csv", "image,label\na.jpg,2\n")
    assert load_dataset(tmp_path, "csv", split="other", strict=True).samples == expected[1:]
    with pytest.raises(DatasetError, match="2 CSV files"):
        load_dataset(tmp_path, "csv")


def test_csv_faults(tmp_path):
    file = write(
        tmp_path / "boxes.csv",
        "image,label,x1,y1,x2,y2\na.jpg,2,1,1,x,2\na.jpg,,1,1,2,2\na.jpg,2,1,1,2\na.jpg,cat,1,1,2,2\n"
        "a.jpg,2,-0.5,0,5,5\na.jpg,2,5,5,5,9\n/etc/hostname,1,,,,\n../a.jpg,1,,,,\ngone.jpg,1,,,,\n",
    )
    write(tmp_path / "a.jpg")
    data = load_dataset(file, "csv")
    assert [(s.id, s.labels, s.boxes) for s in data.samples] == [("a.jpg", (2,), (((0, 0, 5, 5),),))]
    found = [line.removeprefix("boxes.csv: ") for line in data.problems]
    for line, start in zip(
        found,
        [
            "line 2:",
            "line 3:",
            "line 4:",
            "a.jpg: box (-0.5, 0, 5, 5) reaches 0.5 px",  # no slack where the convention is ours
            "a.jpg: box (5, 5, 5, 9) is empty",
            "a.jpg: unknown class 'cat'",
            "/etc/hostname leads out",
            "../a.jpg leads out",
            "gone.jpg: the image is missing",
        ],
        strict=True,
    ):
        assert line.startswith(start)


def test_a_problem_is_one_line_whatever_a_name_holds(tmp_path):
    write(tmp_path / "a.jpg")
    data = load_dataset(write(tmp_path / "boxes.csv", 'image,label\na.jpg,1\n"a\nb.jpg",1\n'), "csv")
    assert data.problems == ("a b.jpg: the image is missing; left out",)


@pytest.mark.parametrize("header", ["", "a.jpg,1\n", "image,label,x1\n", "label,image\n"])
def test_csv_needs_its_header(tmp_path, header):
    write(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=r"image,label\[,x1,y1,x2,y2\] is needed"):
        load_dataset(write(tmp_path / "boxes.csv", header), "csv")


def test_csv_names_through_a_classes_file(tmp_path):
    write(tmp_path / "a.jpg")
    file = write(tmp_path / "boxes.csv", 'image,label\na.jpg,"tench, Tinca tinca"\na.jpg,n03126707\na.jpg,1\na.jpg,3\n')
    data = load_dataset(file, "csv", classes=write(tmp_path / "synsets.txt", SYNSETS))
    assert data.samples[0].labels == (0, 2, 1)
    assert "unknown class '3'" in data.problems[0]


def test_one_image_by_two_spellings_of_its_path(tmp_path):
    write(tmp_path / "d/a.jpg")
    rows = "image,label,x1,y1,x2,y2\nd/a.jpg,2,0,0,5,5\n./d/a.jpg,2,1,1,2,2\nd//a.jpg,3,,,,\n"
    data = load_dataset(write(tmp_path / "boxes.csv", rows), "csv", strict=True)
    assert [(s.id, s.labels, len(s.boxes[0])) for s in data.samples] == [("d/a.jpg", (2, 3), 2)]


def test_a_name_that_begins_with_a_blank_is_not_cut_to_another_image(tmp_path):
    for name in (" cat.jpg", "cat.jpg", "dog.jpg"):
        write(tmp_path / name)
    rows = 'image,label\n" cat.jpg",2\n  dog.jpg , 3\n'
    data = load_dataset(write(tmp_path / "boxes.csv", rows), "csv", strict=True)
    assert [(s.id, s.labels) for s in data.samples] == [(" cat.jpg", (2,)), ("dog.jpg", (3,))]


@pytest.mark.parametrize("bad", ['"a" b,1', '"a,1', "a\0b.jpg,1", "a.jpg,1,2,3,4,1e400", f"{'a' * 200_000},1"])
def test_one_bad_row_costs_itself(tmp_path, bad):
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.jpg")
    rows = f"image,label,x1,y1,x2,y2\na.jpg,2,0,0,5,5\n{bad}\nb.jpg,3,0,0,5,5\n"
    data = load_dataset(write(tmp_path / "boxes.csv", rows), "csv")
    assert [(s.id, s.labels[0]) for s in data.samples] == [("a.jpg", 2), ("b.jpg", 3)]
    assert 1 <= len(data.problems) <= 2
    assert max(map(len, data.problems)) <= 500

"""A name for the files of each image: unique on every file system."""

from pathlib import Path

import pytest

from looktwice.datasets import Sample
from looktwice.labelling.names import image_names


def names(*ids):
    return image_names([Sample(id, Path("/data") / id, (), ()) for id in ids])


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a.jpg", "b/a.jpg"], ["a", "b/a"]),
        (["a.jpg", "a.png"], ["a_jpg", "a_png"]),
        (["a.jpg", "A.jpg"], ["a_jpg", "A_jpg-2"]),
        (["a.jpg", "a_jpg.png", "a.png"], ["a_jpg", "a_jpg-2", "a_png"]),
        (["archive.tar.gz.jpg"], ["archive.tar.gz"]),
        ([".jpg"], [".jpg"]),
        (["a b/ü.jpeg"], ["a b/ü"]),
    ],
)
def test_stems_that_are_shared_stay_apart(ids, expected):
    assert names(*ids) == expected


def test_an_id_without_the_suffix_of_its_file_is_the_name():
    assert image_names([Sample("val_1.2", Path("/data/val_1.2.JPEG"), (), ())]) == ["val_1.2"]


def test_a_long_name_leaves_room_for_an_ending():
    (name,) = names(f"{'ä' * 125}.jpg")
    assert len(name.encode()) <= 200
    assert name == "ä" * 100


def test_long_names_that_are_cut_to_the_same_stay_apart():
    found = names(f"{'x' * 240}1.jpg", f"{'x' * 240}2.jpg")
    assert len({name.casefold() for name in found}) == 2


def test_ten_thousand_of_one_stem_stay_apart():
    found = names(*[f"a.{number:05d}" for number in range(10_000)])
    assert len({name.casefold() for name in found}) == 10_000


@pytest.mark.parametrize("letter", ["ä", "あ", "😀"])
@pytest.mark.parametrize("lead", ["", "x", "xx", "xxx"])
def test_a_long_name_is_cut_after_a_whole_letter(letter, lead):
    (name,) = names(f"{lead}{letter * 80}{letter * 80}.jpg")
    assert name.removeprefix(lead) == letter * ((200 - len(lead)) // len(letter.encode()))


def test_bytes_that_are_no_text_stay_as_they_are():
    (name,) = names("\udce3" * 250 + ".jpg")
    assert name == "\udce3" * 200


@pytest.mark.parametrize("ending", ["png", "PNG", "txt", "xml", "jpg", "jpeg", "npy", "tif", "bmp", "webp", "json"])
def test_a_folder_is_never_named_like_a_file_of_a_form(ending):
    assert names("x.gif", f"x.{ending}/1.bmp", f"a/x.{ending}/b.c/2.bmp") == [
        "x",
        f"x_{ending}/1",
        f"a/x_{ending}/b.c/2",
    ]


def test_folders_that_would_be_called_alike_stay_apart():
    found = names("x.png/1.bmp", "x_png/1.bmp", "X.PNG/1.bmp")
    assert len({name.casefold() for name in found}) == 3

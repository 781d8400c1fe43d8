"""The layout ``folders``."""

import errno
import os
from pathlib import Path

import pytest

from layouts import SYNSETS, write
from looktwice.datasets import (
    load_dataset,
)
from looktwice.errors import DatasetError


def folders(root):
    for name in ("b/2.JPG", "b/10.png", "a/1.webp", "a/notes.txt", ".hidden/x.jpg", "b/.y.jpg"):
        write(root / name)
    write(root / "loose.jpg")
    return root


def test_folders_by_hand(tmp_path):
    data = load_dataset(folders(tmp_path / "val"), "folders", strict=True)
    assert [(s.id, s.labels, s.boxes) for s in data.samples] == [
        ("a/1.webp", (0,), ((),)),
        ("b/10.png", (1,), ((),)),
        ("b/2.JPG", (1,), ((),)),
    ]
    assert data.class_names == {0: "a", 1: "b"}
    assert data.notes[0].endswith("1 files ignored: their names do not end like an image's")
    assert load_dataset(tmp_path, "folders", split="val").samples == data.samples


def test_folders_by_synset_or_name(tmp_path):
    for name in ("n03126707", "tench", "Tinca tinca", "crane", "empty"):
        write(tmp_path / name / "1.jpg")
    (tmp_path / "empty/1.jpg").unlink()
    data = load_dataset(tmp_path, "folders", classes=write(tmp_path / "synsets.txt", SYNSETS))
    assert [(s.id, s.labels) for s in data.samples] == [
        ("Tinca tinca/1.jpg", (0,)),
        ("n03126707/1.jpg", (2,)),
        ("tench/1.jpg", (0,)),
    ]
    assert [line.split(",")[0] for line in data.problems] == [
        "crane: unknown class 'crane'",  # two classes bear the name
        "empty: the class folder holds no image",
    ]


def test_folders_without_a_folder(tmp_path):
    with pytest.raises(DatasetError, match="no usable image"):
        load_dataset(tmp_path, "folders")
    with pytest.raises(DatasetError, match="no folder"):
        load_dataset(tmp_path, "folders", split="val")


def unreadable(monkeypatch, folder, called):
    """Makes a function of ``os`` refuse one folder, as the system does for users without the right to read it."""
    real = getattr(os, called)

    def refusing(place):
        if Path(place) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, called, refusing)


def test_a_class_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        write(tmp_path / name / "1.jpg")
    unreadable(monkeypatch, tmp_path / "dog", "listdir")
    data = load_dataset(tmp_path, "folders")
    assert [sample.id for sample in data.samples] == ["cat/1.jpg"]
    assert data.problems == ("dog: the class folder cannot be read (Permission denied); its images are left out",)


def test_a_root_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    unreadable(monkeypatch, tmp_path, "scandir")
    with pytest.raises(DatasetError, match=r"cannot be read \(Permission denied\); check its permissions"):
        load_dataset(tmp_path, "folders")


def test_a_listed_image_in_a_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    for name in ("a/1.jpg", "b/1.jpg"):
        write(tmp_path / name)
    file = write(tmp_path / "x.csv", "image,label\na/1.jpg,1\nb/1.jpg,1\nb/2.jpg,1\nc/1.jpg,1\n")
    unreadable(monkeypatch, tmp_path / "b", "listdir")
    assert load_dataset(file, "csv").problems == (
        "b/1.jpg: the image's folder cannot be read (Permission denied); left out",
        "b/2.jpg: the image's folder cannot be read (Permission denied); left out",
        "c/1.jpg: the image is missing; left out",
    )

"""The layout ``pictures``."""

import os
import sys
from pathlib import Path

import pytest

from layouts import write
from looktwice.datasets import Sample, load_dataset
from looktwice.errors import DatasetError


def ids(root, **choices):
    return [sample.id for sample in load_dataset(root, "pictures", unlabelled=True, strict=True, **choices).samples]


def test_all_images_in_all_folders(tmp_path):
    for name in ("b.JPG", "a.png", "x/y/1.webp", "x/2.jpg", "x.txt", ".c.jpg", ".thumbnails/d.jpg", "x/._2.jpg"):
        write(tmp_path / name)
    data = load_dataset(tmp_path, "pictures", unlabelled=True, strict=True)
    assert [s.id for s in data.samples] == ["a.png", "b.JPG", "x/2.jpg", "x/y/1.webp"]
    assert data.samples[3] == Sample("x/y/1.webp", tmp_path / "x/y/1.webp", (), ())
    assert ids(tmp_path, split="x") == ["2.jpg", "y/1.webp"]


def test_one_image(tmp_path):
    write(tmp_path / "a.scan")
    assert ids(tmp_path / "a.scan") == ["a.scan"]


def test_the_output_folder_in_the_source_is_not_read(tmp_path):
    for name in ("a.jpg", "out/b.jpg", "out/x/c.jpg", "output/d.jpg"):
        write(tmp_path / name)
    assert ids(tmp_path, leave_out=tmp_path / "output/../out") == ["a.jpg", "output/d.jpg"]
    for name in ("cat/a.jpg", "out/b.jpg"):
        write(tmp_path / "classes" / name)
    data = load_dataset(tmp_path / "classes", "folders", leave_out=tmp_path / "classes/out")
    assert [sample.id for sample in data.samples] == ["cat/a.jpg"]


def test_without_labels_it_is_refused_with_the_remedy(tmp_path):
    write(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=r"have no labels, but labels are needed here; .*looktwice label$"):
        load_dataset(tmp_path, "pictures")


def test_a_folder_without_images(tmp_path):
    write(tmp_path / "a.txt")
    with pytest.raises(DatasetError, match="no usable image"):
        load_dataset(tmp_path, "pictures", unlabelled=True)
    with pytest.raises(DatasetError, match="is no folder"):
        load_dataset(tmp_path, "pictures", unlabelled=True, split="train")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_and_a_circle_ends(tmp_path):
    write(tmp_path / "store/a.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/linked").symlink_to(tmp_path / "store")
    (tmp_path / "root/twice").symlink_to(tmp_path / "store")
    (tmp_path / "store/circle").symlink_to(tmp_path / "root")
    assert ids(tmp_path / "root") == ["linked/a.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("layout", ["pictures", "folders"])
def test_a_link_to_itself_is_no_folder(tmp_path, layout):
    write(tmp_path / "cat/a.jpg")
    (tmp_path / "cat/itself").symlink_to("itself")
    (tmp_path / "itself").symlink_to("itself")
    assert [sample.id for sample in load_dataset(tmp_path, layout, unlabelled=True).samples] == ["cat/a.jpg"]


def test_a_folder_that_cannot_be_read_is_a_problem(tmp_path, monkeypatch):
    write(tmp_path / "a.jpg")
    write(tmp_path / "closed/b.jpg")
    real = os.scandir

    def scandir(folder):  # not chmod: root reads everything
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    data = load_dataset(tmp_path, "pictures", unlabelled=True)
    assert [sample.id for sample in data.samples] == ["a.jpg"]
    assert data.problems == ("closed: the folder cannot be read (Permission denied); its images are left out",)


def test_two_names_that_are_printed_alike_are_one_image_and_a_problem(tmp_path):
    for name in ("a\x1b.png", "a\\x1b.png", "b\x1b.png"):
        write(tmp_path / name)
    data = load_dataset(tmp_path, "pictures", unlabelled=True)
    assert [sample.id for sample in data.samples] == ["a\\x1b.png", "b\\x1b.png"]
    assert len(data.problems) == 1
    assert "are both printed as a\\x1b.png; rename one; left out" in data.problems[0]

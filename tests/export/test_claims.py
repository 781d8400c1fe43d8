"""Corrections are never lost: what looktwice has written is recognised, whatever stopped it."""

import os
import shutil
from multiprocessing import get_context
from pathlib import Path

import pytest
from PIL import Image

from forms import files, with_maps, write
from label_sets import SetMaker, awkward
from looktwice.atomic_files import remove_unfinished
from looktwice.errors import InputError
from looktwice.export.forms import FORMS
from looktwice.localization.boxes import Box

BOX = (0, Box(1.0, 2.0, 20.0, 10.0, 0.5))
CORRECTED = {
    "coco": "coco.json",
    "yolo": "yolo/labels/train/a.txt",
    "voc": "voc/Annotations/a.xml",
    "label-studio": "label-studio.json",
    "csv": "labels.csv",
    "masks": "masks/a.png",
    "wsol": "wsol/metadata/localization.txt",
}
"""A file of each form that a person may correct."""


def simple(folder: Path):
    maker = SetMaker(folder / "photos").add("a.jpg", BOX).add("b.png", BOX).add("c.jpg", BOX, exif=6)
    return with_maps(maker.done("b.png"), folder / "out")


def stamps(folder: Path):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


def test_every_form_has_a_file_to_correct():
    assert CORRECTED.keys() == FORMS.keys()


@pytest.mark.parametrize("form", FORMS)
def test_a_corrected_file_is_refused_in_one_line_and_nothing_changes(form, tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    write(form, labels, out)
    file = out / CORRECTED[form]
    file.write_bytes(file.read_bytes() + b"\n")
    before = files(out)
    with pytest.raises(InputError, match="was changed since looktwice wrote it; move your corrected") as refused:
        write(form, simple(tmp_path), out)
    assert str(refused.value).startswith(f"{file} ")
    assert "\n" not in str(refused.value)
    assert files(out) == before


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("remedy", ["move", "remove"])
def test_each_remedy_of_the_refusal_works(form, remedy, tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    write(form, labels, out)
    before = files(out)
    file = out / CORRECTED[form]
    file.write_bytes(b"corrected")
    top = out.joinpath(*Path(CORRECTED[form]).parts[: 2 if form == "wsol" else 1])
    if remedy == "move":
        shutil.move(top, tmp_path / "mine")
    else:
        file.unlink()
    write(form, labels, out)
    assert files(out) == before


def test_all_changed_files_are_counted(tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    write("yolo", labels, out)
    for file in (out / "yolo" / "labels").rglob("*.txt"):
        file.write_text("0 0.5 0.5 1 1\n")
    with pytest.raises(InputError, match=r"a\.txt \(and 2 more files\) was changed since"):
        write("yolo", labels, out)


def test_a_change_that_keeps_the_size_and_the_time_is_seen(tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    file = write("coco", labels, out)
    times = file.stat()
    file.write_bytes(file.read_bytes().replace(b'"iscrowd": 0', b'"iscrowd": 1'))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(InputError, match="was changed since"):
        write("coco", labels, out)


def test_a_corrected_file_behind_a_link_is_refused(tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    file = write("coco", labels, out)
    (tmp_path / "mine.json").write_text("{}")
    file.unlink()
    file.symlink_to(tmp_path / "mine.json")
    with pytest.raises(InputError, match="was changed since"):
        write("coco", labels, out)
    assert (tmp_path / "mine.json").read_text() == "{}"


@pytest.mark.parametrize("form", FORMS)
def test_an_unchanged_file_is_not_written_again(form, tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    write(form, labels, out)
    before = {path: stamp for path, stamp in stamps(out).items() if ".looktwice-forms" not in path.parts}
    write(form, labels, out)
    assert {path: stamp for path, stamp in stamps(out).items() if ".looktwice-forms" not in path.parts} == before


@pytest.mark.parametrize("form", ["yolo", "voc", "masks"])
def test_files_that_others_put_into_the_folder_stay(form, tmp_path):
    """As ultralytics does with ``labels/train.cache``."""
    labels, out = simple(tmp_path), tmp_path / "out"
    write(form, labels, out)
    for name in ("train.cache", "deep/notes.txt"):
        (out / form / name).parent.mkdir(exist_ok=True)
        (out / form / name).write_text("mine")
    write(form, labels, out)
    assert [(out / form / name).read_text() for name in ("train.cache", "deep/notes.txt")] == ["mine", "mine"]


def test_a_users_file_where_a_new_one_would_be_is_refused(tmp_path):
    out = tmp_path / "out"
    maker = SetMaker(tmp_path / "photos").add("a.jpg", BOX)
    write("yolo", maker.done(), out)
    (out / "yolo/labels/train/b.txt").write_text("mine")
    with pytest.raises(InputError, match=r"b\.txt is there already and was not written by looktwice"):
        write("yolo", maker.add("b.jpg", BOX).done(), out)
    assert (out / "yolo/labels/train/b.txt").read_text() == "mine"


@pytest.mark.parametrize("form", ["yolo", "voc", "csv"])
def test_a_picture_that_the_user_put_in_the_place_of_a_link_is_refused(form, tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    write(form, labels, out)
    (link,) = out.rglob("a.jpg")
    link.unlink()
    link.write_bytes(b"blurred")
    with pytest.raises(InputError, match=r"a\.jpg is no longer the picture .*photos/a\.jpg; move it, or remove it"):
        write(form, labels, out)
    assert link.read_bytes() == b"blurred"


@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_a_folder_of_a_version_that_kept_no_digests_is_refused(form, tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    write(form, labels, out)
    for mark in (out / ".looktwice-forms").iterdir():
        mark.write_bytes(b"")
    with pytest.raises(InputError, match="is there already and was not written by looktwice; move it"):
        write(form, labels, out)


@pytest.mark.parametrize("form", ["yolo", "voc", "csv", "label-studio", "masks", "wsol"])
@pytest.mark.parametrize(
    ("name", "kind", "exif"), [("p.png", "PNG", None), ("p.gif", "GIF", None), ("p.jpg", "JPEG", 6)]
)
def test_a_replaced_picture_is_the_new_one_in_every_form(form, name, kind, exif, tmp_path):
    out = tmp_path / "out"
    write(form, with_maps(SetMaker(tmp_path / "photos").add(name, BOX, kind=kind, exif=exif).done(), out), out)
    labels = SetMaker(tmp_path / "photos").add(name, BOX, kind=kind, exif=exif, size=(70, 60)).done()
    write(form, labels, out)
    for file in out.rglob("p.*"):
        if "masks" not in file.parts and file.suffix in (".png", ".gif", ".jpg"):
            with Image.open(file) as picture:
                assert picture.size == (70, 60)


@pytest.mark.parametrize("order", [("GIF", "PNG"), ("PNG", "GIF")])
def test_a_link_and_a_written_picture_may_take_each_others_place(order, tmp_path):
    """Ultralytics opens no GIF: it is written as PNG, and a PNG is linked."""
    out = tmp_path / "out"
    for kind in order:
        write("yolo", SetMaker(tmp_path / "photos").add("p.png", BOX, kind=kind).done(), out)
    assert (out / "yolo/images/train/p.png").is_symlink() == (order[1] == "PNG")


def test_a_written_picture_that_the_user_changed_is_refused(tmp_path):
    out = tmp_path / "out"
    labels = SetMaker(tmp_path / "photos").add("p.png", BOX).done()
    write("voc", labels, out)
    (out / "voc/JPEGImages/p.jpg").write_bytes(b"blurred")
    with pytest.raises(InputError, match=r"p\.jpg was changed since looktwice wrote it"):
        write("voc", labels, out)


# Killed.


def killed(form, labels, folder, number):
    """Writes in a process that is killed just before its ``number``-th renaming; whether it was killed."""

    def run():
        rename, left = Path.replace, iter(range(number, -1, -1))

        def stop(path, target):
            if next(left) == 0:
                os._exit(9)
            return rename(path, target)

        Path.replace = stop
        write(form, labels, folder)
        os._exit(0)

    process = get_context("fork").Process(target=run)
    process.start()
    process.join()
    remove_unfinished(folder)
    assert process.exitcode in (0, 9)
    return process.exitcode == 9


@pytest.mark.parametrize("form", FORMS)
def test_killed_between_any_two_files_it_goes_on_with_another_split(form, tmp_path):
    """Files of the first split, of the killed one, and of none are there; all are recognised."""
    maker = awkward(tmp_path / "photos")
    fresh, out = tmp_path / "fresh", tmp_path / "out"
    write(form, with_maps(maker.done("turned.jpg"), fresh), fresh)
    write(form, with_maps(maker.done("a.jpg"), out), out)
    number = 0
    while killed(form, maker.done("long.png", "a.jpg"), out, number):
        number += 1
        if number % 3 == 0:
            write(form, maker.done("a.jpg"), out)
    write(form, maker.done("turned.jpg"), out)
    assert number > 0
    assert files(out) == files(fresh)


@pytest.mark.parametrize("form", FORMS)
def test_killed_at_its_first_files_it_goes_on(form, tmp_path):
    labels = awkward(tmp_path / "photos").done()
    with_maps(labels, tmp_path / "fresh")
    with_maps(labels, tmp_path / "out")
    write(form, labels, tmp_path / "fresh")
    for number in (0, 1, 1, 0):
        assert killed(form, labels, tmp_path / "out", number)
    write(form, labels, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_a_journal_that_a_full_disk_cut_does_not_matter(tmp_path):
    labels, out = simple(tmp_path), tmp_path / "out"
    write("yolo", labels, out)
    before = files(out)
    (out / ".looktwice-forms" / ".yolo.host.1-0.new").write_bytes(b'["labels/tr')
    write("yolo", labels, out)
    assert files(out) == before


# Refused names.


@pytest.mark.parametrize("form", ["voc", "wsol", "csv"])
@pytest.mark.parametrize("name", ["z\nz.png", "caf\udce9.png"])
def test_a_form_that_refuses_a_name_leaves_nothing(form, name, tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.png", BOX).add(name, BOX)
    labels = with_maps(maker.done(), tmp_path / "out")
    before = sorted((tmp_path / "out").rglob("*"))
    with pytest.raises(InputError, match="cannot hold"):
        write(form, labels, tmp_path / "out")
    assert sorted((tmp_path / "out").rglob("*")) == before

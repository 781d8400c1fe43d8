"""What holds for every form: the same bytes each time, nothing of the user's lost, one line for each trouble."""

import errno
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from forms import files, is_upright, with_maps, write
from label_sets import SetMaker, awkward
from looktwice.errors import InputError, LooktwiceError, RunError
from looktwice.export.forms import FORMS
from looktwice.export.label_set import LabelledImage
from looktwice.localization.boxes import Box

BOX = (0, Box(1.0, 2.0, 20.0, 10.0, 0.5))
WITHOUT_MAPS = [name for name, form in FORMS.items() if not form.needs_maps]
LINKING = ["yolo", "csv", "voc"]


def simple(root: Path) -> SetMaker:
    return SetMaker(root).add("a.jpg", BOX).add("b.png", BOX).add("c.jpg", BOX, exif=6)


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_the_same_data_set_gives_the_same_bytes_in_any_folder(form, tmp_path):
    labels = awkward(tmp_path / "photos").done("a.jpg")
    write(form, labels, tmp_path / "one")
    write(form, labels, tmp_path / "deep" / "two")
    assert files(tmp_path / "one") == files(tmp_path / "deep" / "two")


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_writing_again_changes_nothing(form, tmp_path):
    labels = awkward(tmp_path / "photos").done("a.jpg")
    write(form, labels, tmp_path / "out")
    before = files(tmp_path / "out")
    write(form, labels, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_forms_in_any_order_give_the_same_files(tmp_path):
    labels = awkward(tmp_path / "photos").done("a.jpg")
    for form in WITHOUT_MAPS:
        write(form, labels, tmp_path / "one")
    for form in reversed(WITHOUT_MAPS):
        write(form, labels, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_a_writing_that_was_stopped_anywhere_is_made_good_by_the_next(form, tmp_path):
    labels = awkward(tmp_path / "photos").done("a.jpg")
    write(form, labels, tmp_path / "whole")

    for after in range(0, labels.count, 3):

        def stopping(after=after):
            for number, image in enumerate(labels.images()):
                if number == after:
                    raise KeyboardInterrupt
                yield image

        with pytest.raises(KeyboardInterrupt):
            write(form, replace(labels, images=stopping), tmp_path / "out")
        assert not (tmp_path / "out" / FILES[form]).exists()
    write(form, labels, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


FILES = {
    "coco": "coco.json",
    "yolo": "yolo/data.yaml",
    "csv": "labels.csv",
    "voc": "voc/ImageSets/Main/train.txt",
    "label-studio": "label-studio.json",
    "masks": "masks/classes.json",
}
"""The file of each form that appears last."""


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_it_returns_what_a_user_opens(form, tmp_path):
    last = tmp_path / "out" / FILES[form]
    expected = tmp_path / "out" / form if form in ("voc", "masks") else last
    assert write(form, simple(tmp_path / "photos").done(), tmp_path / "out") == expected
    assert last.is_file()


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_a_relative_folder_gives_the_same_files(form, tmp_path, monkeypatch):
    labels = awkward(tmp_path / "photos").done("a.jpg")
    write(form, labels, tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    write(form, labels, Path("two"))
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_images_are_read_one_by_one(form, tmp_path):
    labels = simple(tmp_path / "photos").done()
    held: list[int] = []

    class Counted(LabelledImage):
        def __del__(self):
            held.remove(id(self))

    def images():
        for image in labels.images():
            copy = Counted(**{name: getattr(image, name) for name in image.__dataclass_fields__})
            held.append(id(copy))
            yield copy
            del copy
            assert len(held) <= 1

    write(form, replace(labels, images=images), tmp_path / "out")


@pytest.mark.parametrize("form", FORMS)
def test_several_processes_write_at_the_same_time(form, tmp_path):
    """As the processes of a shared labelling do; one of them begins while others write and sweep."""
    maker = awkward(tmp_path / "photos")
    for number in range(20):
        maker.add(f"more/{number}/a.png", BOX)
    labels = with_maps(with_maps(maker.done("a.jpg"), tmp_path / "out"), tmp_path / "whole")
    write(form, labels, tmp_path / "whole")
    context = get_context("fork")
    for _ in range(3):
        writers = [context.Process(target=write, args=(form, labels, tmp_path / "out")) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0] * 4
        assert files(tmp_path / "out") == files(tmp_path / "whole")


# What is the user's.


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_something_of_the_users_is_never_replaced(form, tmp_path):
    labels = simple(tmp_path / "photos").done()
    top = tmp_path / "out" / Path(FILES[form]).parts[0]
    top.parent.mkdir()
    if "/" in FILES[form]:
        top.mkdir()
        (top / "mine.txt").write_text("mine")
    else:
        top.write_text("mine")
    before = files(tmp_path / "out")
    with pytest.raises(InputError, match="is there already and was not written by looktwice; move it"):
        write(form, labels, tmp_path / "out")
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("form", LINKING)
def test_pictures_in_a_folder_images_beside_the_labels_are_not_replaced(form, tmp_path):
    labels = simple(tmp_path / "data" / "images").done()
    before = files(tmp_path / "data")
    with pytest.raises(InputError, match=r"images: the pictures lie where .*images would be written"):
        write(form, labels, tmp_path / "data")
    assert files(tmp_path / "data" / "images") == {name.removeprefix("images/"): text for name, text in before.items()}


def test_the_pictures_of_an_earlier_writing_are_not_replaced_by_links_to_themselves(tmp_path):
    write("yolo", simple(tmp_path / "photos").done(), tmp_path / "out")
    before = files(tmp_path / "out")
    again = SetMaker(tmp_path / "other").add("a.jpg", BOX).done(root=tmp_path / "out" / "yolo" / "images")
    with pytest.raises(InputError, match="the pictures lie where"):
        write("yolo", again, tmp_path / "out")
    assert files(tmp_path / "out") == before


# Trouble.


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_a_full_disk_is_one_line(form, tmp_path, monkeypatch):
    labels = simple(tmp_path / "photos").done()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("write_bytes", "symlink_to", "mkdir", "open"):
        monkeypatch.setattr(Path, name, full)
    with pytest.raises(RunError, match="free some space"):
        write(form, labels, tmp_path / "out")


@pytest.mark.parametrize("form", LINKING)
@pytest.mark.parametrize("exif", [None, 6])
def test_a_picture_that_is_gone_is_one_line(form, exif, tmp_path):
    labels = SetMaker(tmp_path / "photos").add("a.jpg", BOX, exif=exif).done()
    (tmp_path / "photos" / "a.jpg").unlink()
    with pytest.raises(LooktwiceError, match=r"a\.jpg: (cannot be read any more|no such file)"):
        write(form, labels, tmp_path / "out")


@pytest.mark.parametrize("form", LINKING)
def test_where_links_fail_pictures_are_copied(form, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    write(form, simple(tmp_path / "photos").done(), tmp_path / "out")
    (found,) = (tmp_path / "out").rglob("a.jpg")
    assert not found.is_symlink()
    assert found.read_bytes() == (tmp_path / "photos" / "a.jpg").read_bytes()


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_a_name_as_long_as_the_file_system_allows(form, tmp_path):
    name = "n" * 251
    labels = SetMaker(tmp_path / "photos").add(f"{name}.jpg", BOX).add("t.jpg", BOX, exif=3).done()
    write(form, labels, tmp_path / "out")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("value", range(2, 9))
def test_every_orientation_becomes_upright(value, suffix, packed, tmp_path):
    labels = SetMaker(tmp_path / "photos").add(f"a.{suffix}", BOX, size=(60, 30), exif=value, packed=packed).done()
    write("yolo", labels, tmp_path / "out")
    written = "jpg" if suffix == "jpg" else "png"
    assert is_upright(tmp_path / f"out/yolo/images/train/a.{written}", (60, 30))


@pytest.mark.parametrize("form", WITHOUT_MAPS)
def test_a_data_set_without_an_image(form, tmp_path):
    write(form, SetMaker(tmp_path).done(), tmp_path / "out")
    assert (tmp_path / "out" / FILES[form]).is_file()


@pytest.mark.parametrize("form", FORMS)
def test_an_image_without_a_class(form, tmp_path):
    """No class was probable enough: there is nothing to say of it, and no form stumbles."""
    maker = SetMaker(tmp_path / "photos").add("none.jpg", looked_for=()).add("a.png", BOX)
    maker.add("turned.jpg", looked_for=(), exif=6)
    write(form, with_maps(maker.done("none.jpg"), tmp_path / "out"), tmp_path / "out")
    found = files(tmp_path / "out")
    expected = {
        "coco": ("coco.json", b'"file_name": "none.jpg"'),
        "yolo": ("yolo/labels/val/none.txt", b""),
        "voc": ("voc/ImageSets/Main/val.txt", b"none\n"),
        "label-studio": ("label-studio.json", b'"name": "none.jpg", "split": "val"}, "predictions": []}'),
        "csv": ("labels.csv", b"\nimages/a.png,0,1.0,2.0,20.0,10.0\n"),
        "masks": ("masks/none.png", b"PNG"),
        "wsol": ("wsol/metadata/image_ids.txt", b"a.png\n"),
    }
    file, part = expected[form]
    assert part in found[file]


@pytest.mark.parametrize("form", ["coco", "yolo", "label-studio", "masks"])
def test_a_name_of_any_bytes_is_taken(form, tmp_path):
    maker = SetMaker(tmp_path / "photos")
    for name in ("a\nb.jpg", " c.png", "d .png", "caf\udce9.png", "e,f.png", "g.png/h.png"):
        maker.add(name, BOX, kind="PNG")
    write(form, maker.done(), tmp_path / "out")


@pytest.mark.parametrize(("name", "kind", "suffix"), [("a", "JPEG", ".jpg"), ("b.img", "PNG", ".png")])
def test_a_suffix_that_says_nothing_becomes_the_usual_one(name, kind, suffix, tmp_path):
    labels = SetMaker(tmp_path / "photos").add(name, BOX, kind=kind).done()
    write("csv", labels, tmp_path / "out")
    assert [file.suffix for file in (tmp_path / "out" / "images").iterdir()] == [suffix]

"""Labels that are held against their own forms: every image is found, and every box is right."""

import json
import shutil
from dataclasses import replace

import pytest

from label_sets import NAMES, SetMaker, awkward
from looktwice.datasets import Sample
from looktwice.export.claims import is_claimed
from looktwice.export.forms import FORMS
from looktwice.labelling.check import check_labels
from looktwice.labelling.names import image_names
from looktwice.labelling.truths import read_truths
from looktwice.localization.boxes import Box

BOX = (0, Box(1.0, 2.0, 20.0, 10.0, 0.5))
PLACES = {"coco": "coco.json", "csv": "labels.csv", "voc": "voc"}


def own_form(form, labels, folder):
    """A form of the labels as boxes drawn by hand."""
    FORMS[form].write(labels, folder)
    classes = folder.parent / "classes.json"
    classes.write_text(json.dumps({name: one.index for name, one in zip(NAMES, labels.classes, strict=True)}))
    return read_truths(folder / PLACES[form], classes=None if form == "csv" else classes, labels=folder)


@pytest.mark.parametrize("form", PLACES)
def test_a_form_in_the_folder_of_the_labels(form, tmp_path):
    labels = awkward(tmp_path / "photos").done("a.jpg")
    check = check_labels(labels, own_form(form, labels, tmp_path / "labels"))
    boxed = sum(bool(image.objects) for image in labels.images())
    assert check.images.judged == boxed
    without = ("sub/a b: no box was drawn on it by hand",) if form == "csv" else ()
    assert (check.images.unmatched, check.images.ambiguous, check.images.left_out) == ((), (), without)
    if form == "voc":  # whole pixels: one box of less than half a pixel is another one
        assert check.scores["box_recall"].value == pytest.approx(11 / 12)
    else:
        assert check.scores["box_recall"].value == check.corrections[1].images_untouched.value == 1


@pytest.mark.parametrize("form", PLACES)
@pytest.mark.parametrize("exif", range(2, 9))
@pytest.mark.parametrize("size", [(60, 30), (40, 40)])
def test_a_picture_that_is_stored_turned(form, exif, size, tmp_path):
    labels = SetMaker(tmp_path / "photos").add("x/a.webp", BOX, size=size, exif=exif).add("b.jpg", BOX).done()
    check = check_labels(labels, own_form(form, labels, tmp_path / "labels"))
    assert (check.images.judged, check.corrections[1].images_untouched.value) == (2, 1)


@pytest.mark.parametrize("form", PLACES)
def test_images_with_names_that_are_like_those_of_others(form, tmp_path):
    # Each has a box of its own, so a wrong pair would be a wrong box.
    maker = SetMaker(tmp_path / "photos")
    for number, name in enumerate(
        ("a.jpg", "a.png", "a_jpg.jpg", "b.jpg", "b.jpg.jpg", "images/b.jpg", "images/c.png")
    ):
        maker.add(name, (0, Box(5.0 * number, 0.0, 5.0 * number + 5.0, 10.0, 0.5)))
    names = image_names([Sample(image.id, image.file, (), ()) for image in maker.images])
    maker.images = [replace(image, name=name) for image, name in zip(maker.images, names, strict=True)]
    labels = maker.done()
    check = check_labels(labels, own_form(form, labels, tmp_path / "labels"))
    assert (check.images.judged, check.corrections[1].images_untouched.value) == (7, 1)
    assert check.images.by_path_end == 0


def test_a_corrected_copy_elsewhere(tmp_path):
    labels = SetMaker(tmp_path / "photos").add("x/a.jpg", BOX).add("turned.jpg", BOX, exif=3).done()
    own_form("csv", labels, tmp_path / "labels")
    shutil.copy(tmp_path / "labels/labels.csv", tmp_path / "mine.csv")
    check = check_labels(labels, read_truths(tmp_path / "mine.csv", labels=tmp_path / "labels"))
    assert check.images.judged == 1
    assert "images/turned.jpg: it is stored turned" in check.images.left_out[0]


def test_a_file_of_the_users_in_the_folder_of_the_labels_is_not_taken_for_a_form(tmp_path):
    labels = SetMaker(tmp_path / "photos").add("a.jpg", BOX, exif=3).done()
    own_form("csv", labels, tmp_path / "labels")
    (tmp_path / "labels/mine.csv").write_text("image,label,x1,y1,x2,y2\na.jpg,0,1,2,3,4\n")
    assert not read_truths(tmp_path / "labels/mine.csv", labels=tmp_path / "labels").samples[0].upright
    claimed = [is_claimed(tmp_path / name, tmp_path / "labels") for name in ("labels/labels.csv", "labels", "photos")]
    assert claimed == [True, False, False]

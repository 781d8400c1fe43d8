"""The form masks: the value of a pixel is the class of the best object that covers it."""

import json

import numpy as np
import pytest
from PIL import Image

from forms import files, is_upright, write
from label_sets import NAMES, RING, SetMaker, awkward, region_box
from looktwice.errors import InputError
from looktwice.export.forms import masks
from looktwice.export.label_set import LabelClass
from looktwice.localization.boxes import Box


def values(file):
    with Image.open(file) as picture:
        return picture.mode, np.asarray(picture)


def slowly(image):
    """Pixel by pixel: of the objects that cover it, the first one with the best score."""
    expected = np.zeros((image.height, image.width), dtype=int)
    covers = []
    for found in image.objects:
        if found.box.region is not None:
            covers.append(found.box.region.mask(image.width, image.height))
        else:
            x1, y1, x2, y2 = (round(side + 1e-9) for side in found.box.corners)
            cover = np.zeros((image.height, image.width), dtype=bool)
            cover[y1:y2, x1:x2] = True
            covers.append(cover)
    for y in range(image.height):
        for x in range(image.width):
            over = [
                (found.box.score, -place, found.id) for place, found in enumerate(image.objects) if covers[place][y, x]
            ]
            if over:
                expected[y, x] = max(over)[2] + 1
    return expected


def test_every_pixel_has_the_class_of_its_best_object(tmp_path):
    labels = awkward(tmp_path / "photos").done()
    root = write("masks", labels, tmp_path / "out")
    for image in labels.images():
        mode, found = values(root / f"{image.name}.png")
        assert mode == "P"
        assert np.array_equal(found, slowly(image)), image.id


def test_of_equal_scores_the_first_object_is_on_top(tmp_path):
    boxes = [
        (0, Box(0.0, 0.0, 10.0, 10.0, 0.5)),
        (1, Box(5.0, 5.0, 20.0, 20.0, 0.5)),
        (2, Box(0.0, 0.0, 50.0, 40.0, 0.9)),
    ]
    labels = SetMaker(tmp_path / "photos").add("a.png", *boxes[:2]).add("b.png", *boxes).done()
    root = write("masks", labels, tmp_path / "out")
    first, second = values(root / "a.png")[1], values(root / "b.png")[1]
    assert (first[2, 2], first[7, 7], first[15, 15], first[30, 30]) == (1, 1, 2, 0)
    assert set(np.unique(second)) == {3}


def test_a_hole_stays_open(tmp_path):
    labels = SetMaker(tmp_path / "photos").add("a.png", (0, region_box(RING, (60, 60))), size=(60, 60)).done()
    found = values(write("masks", labels, tmp_path / "out") / "a.png")[1]
    assert found[30, 30] == 0
    assert found[10, 30] == 1


def test_the_classes_are_in_a_file(tmp_path):
    root = write("masks", awkward(tmp_path / "photos").done(), tmp_path / "out")
    names = json.loads((root / "classes.json").read_text(encoding="utf-8"))
    assert names == {"0": "background", **{str(number): name for number, name in enumerate(NAMES, start=1)}}


def test_the_palette_is_that_of_pascal_voc(tmp_path):
    labels = SetMaker(tmp_path / "photos").add("a.png", (0, Box(0.0, 0.0, 10.0, 10.0, 0.5))).done()
    with Image.open(write("masks", labels, tmp_path / "out") / "a.png") as picture:
        palette = np.array(picture.getpalette()).reshape(-1, 3)
        seen = np.asarray(picture.convert("RGB"))
    assert palette[:6].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert seen[5, 5].tolist() == [128, 0, 0]


@pytest.mark.parametrize(("count", "mode"), [(255, "P"), (256, "I;16"), (1000, "I;16")])
def test_more_than_255_classes_are_16_bit_gray(tmp_path, count, mode):
    classes = tuple(LabelClass(number, str(number), number) for number in range(count))
    labels = SetMaker(tmp_path / "photos", classes).add("a.png", (count - 1, Box(0.0, 0.0, 10.0, 10.0, 0.5))).done()
    found = values(write("masks", labels, tmp_path / "out") / "a.png")
    assert found[0] == mode
    assert found[1][5, 5] == count


def test_too_many_classes_are_refused(tmp_path):
    classes = tuple(LabelClass(number, str(number), number) for number in range(65536))
    with pytest.raises(InputError, match="65,536 classes are more than the 65,535"):
        masks.write(SetMaker(tmp_path, classes).done(), tmp_path / "out")


def test_a_picture_that_is_stored_turned_gets_an_upright_copy(tmp_path):
    labels = awkward(tmp_path / "photos").done()
    write("masks", labels, tmp_path / "out")
    assert sorted(files(tmp_path / "out" / "images")) == [
        "packed/turned.jpeg",
        "packed/x.jpg",
        "stored/turned.png",
        "turned.jpg",
    ]
    assert is_upright(tmp_path / "out" / "images" / "stored" / "turned.png", (60, 30))


def test_no_mask_of_an_earlier_writing_stays(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.png").add("b.png")
    root = write("masks", maker.done(), tmp_path / "out")
    maker.images.pop()
    write("masks", maker.done(), tmp_path / "out")
    assert sorted(files(root)) == ["a.png", "classes.json"]

"""The form csv: the layout csv reads the same boxes."""

import pytest

from forms import exact, files, is_upright, write
from label_sets import SetMaker, awkward
from looktwice.datasets import load_dataset
from looktwice.errors import InputError
from looktwice.images import read_annotated
from looktwice.localization.boxes import Box

BOX = (0, Box(1.0, 2.0, 20.0, 10.0, 0.5))


def test_the_layout_reads_the_same_boxes_and_labels(tmp_path):
    labels = awkward(tmp_path / "photos").done()
    read = load_dataset(write("csv", labels, tmp_path / "out"), "csv")
    assert read.problems == ()
    assert len(read.samples) == labels.count
    for sample, image in zip(read.samples, labels.images(), strict=True):
        expected: dict[int, list] = {labels.classes[one.id].index: [] for one in image.classes}
        for number, box in exact(labels, image.id):
            corners = tuple(round(side, 3) for side in box)
            expected[labels.classes[number].index].append(corners if corners[0] < corners[2] else box)
        assert dict(zip(sample.labels, map(list, sample.boxes), strict=True)) == expected


def test_the_pictures_are_those_that_the_boxes_were_drawn_on(tmp_path):
    labels = awkward(tmp_path / "photos").done()
    read = load_dataset(write("csv", labels, tmp_path / "out"), "csv")
    for sample, image in zip(read.samples, labels.images(), strict=True):
        picture = read_annotated(sample.image, sample.stated_size)
        assert picture.image.size == (image.width, image.height)
        assert picture.notes == ()
        if min(picture.image.size) > 9 and sample.image.suffix != ".gif":
            assert is_upright(sample.image, (image.width, image.height))


def test_the_folder_can_be_read_without_naming_the_file(tmp_path):
    labels = SetMaker(tmp_path / "photos").add("a.png", BOX).done()
    write("csv", labels, tmp_path / "out")
    assert len(load_dataset(tmp_path / "out", "csv").samples) == 1


@pytest.mark.parametrize("name", ['a "b", c.png', " a.png", "a .png", "#1%20.png", "ä/日本.png", "=1+1.png", "noöne"])
def test_a_name_comes_back(tmp_path, name):
    labels = SetMaker(tmp_path / "photos").add(name, BOX, kind="PNG").done()
    read = load_dataset(write("csv", labels, tmp_path / "out"), "csv")
    assert read.problems == ()
    assert read.samples[0].image.is_file()


@pytest.mark.parametrize("name", ["a\nb.png", "a\rb.png", "caf\udce9.png", "a\x1b.png"])
def test_a_name_that_is_no_plain_text_is_refused(tmp_path, name):
    labels = SetMaker(tmp_path / "photos").add(name, BOX).done()
    with pytest.raises(InputError, match=r"the image name .* has the character .* form csv cannot hold") as refused:
        write("csv", labels, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out" / "labels.csv").exists()


def test_pictures_with_one_stem_stay_apart(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("x/a.png", BOX).add("y/a.png", BOX)
    write("csv", maker.done(), tmp_path / "out")
    assert [name for name in files(tmp_path / "out") if name.endswith("a.png")] == ["images/x/a.png", "images/y/a.png"]

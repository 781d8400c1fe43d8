"""The form wsol: the layout wsol reads the same boxes, and wsolevaluation's own rules hold."""

import numpy as np
import pytest

from forms import files, in_pixels, is_upright, with_maps, write
from label_sets import SetMaker, awkward
from looktwice.datasets import load_dataset
from looktwice.errors import InputError
from looktwice.export.forms.wsol import map_file
from looktwice.export.label_set import LabelSet
from looktwice.images import read_annotated
from looktwice.localization.boxes import Box

BOX = (0, Box(1.0, 2.0, 20.0, 10.0, 0.5))


@pytest.fixture
def labels(tmp_path) -> LabelSet:
    return with_maps(awkward(tmp_path / "photos").done(), tmp_path / "out")


def first_boxes(labels, image):
    return [corners for number, corners in in_pixels(labels, image.id) if number == image.classes[0].id]


def test_the_layout_reads_the_same_boxes(labels, tmp_path):
    root = write("wsol", labels, tmp_path / "out")
    read = load_dataset(tmp_path / "out" / "wsol" / "images", "wsol", metadata=root)
    assert read.problems == ()
    images = [image for image in labels.images() if first_boxes(labels, image)]
    assert len(images) == labels.count - 1
    for sample, image in zip(read.samples, images, strict=True):
        assert sample.id == image.id
        assert sample.labels == (labels.classes[image.classes[0].id].index,)
        assert list(sample.boxes[0]) == first_boxes(labels, image)
        picture = read_annotated(sample.image, sample.stated_size)
        assert picture.image.size == sample.stated_size == (image.width, image.height)
        assert picture.notes == ()


def test_the_rules_of_wsolevaluation_hold(labels, tmp_path):
    """Its readers split each line at every comma, and look up label, size, boxes and map of each id."""
    root = write("wsol", labels, tmp_path / "out")
    rows = {
        name: [line.strip("\n").split(",") for line in (root / f"{name}.txt").open()]
        for name in ("image_ids", "class_labels", "image_sizes", "localization")
    }
    ids = [name for (name,) in rows["image_ids"]]
    classes = {name: int(label) for name, label in rows["class_labels"]}
    sizes = {name: (int(width), int(height)) for name, width, height in rows["image_sizes"]}
    boxes: dict[str, list] = {}
    for name, *sides in rows["localization"]:
        boxes.setdefault(name, []).append(tuple(map(int, sides)))
    assert len(set(ids)) == len(ids)
    assert set(ids) == set(classes) == set(sizes) == set(boxes)
    for name in ids:
        width, height = sizes[name]
        assert all(0 <= x1 <= x2 < width and 0 <= y1 <= y2 < height for x1, y1, x2, y2 in boxes[name])
        assert np.load(tmp_path / "out" / "wsol" / "maps" / f"{name}.npy").shape == (224, 224)
        assert (tmp_path / "out" / "wsol" / "images" / name).is_file()


def test_a_turned_picture_is_there_upright(labels, tmp_path):
    write("wsol", labels, tmp_path / "out")
    for name in ("turned.jpg", "stored/turned.png"):
        assert is_upright(tmp_path / "out" / "wsol" / "images" / name, (60, 30))


def test_a_missing_map_is_refused(tmp_path):
    labels = with_maps(SetMaker(tmp_path / "photos").add("a.png", BOX).add("b.png", BOX).done(), tmp_path / "out")
    map_file(tmp_path / "out", "b.png").unlink()
    with pytest.raises(
        InputError, match=r"wsol/maps/b\.png\.npy is missing, and the form wsol needs a map of each image"
    ):
        write("wsol", labels, tmp_path / "out")
    assert not (tmp_path / "out" / "wsol" / "metadata" / "image_ids.txt").exists()


def test_an_image_without_a_box_needs_no_map(tmp_path):
    labels = with_maps(SetMaker(tmp_path / "photos").add("a.png", BOX).done(), tmp_path / "out")
    more = SetMaker(tmp_path / "photos", images=list(labels.images())).add("empty.png").done()
    root = write("wsol", more, tmp_path / "out")
    assert (root / "image_ids.txt").read_text() == "a.png\n"


def test_only_boxes_of_the_first_class_count(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.png", (1, Box(0.0, 0.0, 5.0, 5.0, 0.5)), BOX, looked_for=(0, 1))
    maker.add("b.png", (1, Box(0.0, 0.0, 5.0, 5.0, 0.5)), looked_for=(0, 1))
    root = write("wsol", with_maps(maker.done(), tmp_path / "out"), tmp_path / "out")
    assert (root / "localization.txt").read_text() == "a.png,1,2,19,9\n"
    assert (root / "class_labels.txt").read_text() == "a.png,0\n"


@pytest.mark.parametrize("name", ["a,b.png", "a\nb.png", "caf\udce9.png"])
def test_a_name_that_a_list_cannot_hold_is_refused(tmp_path, name):
    labels = with_maps(SetMaker(tmp_path / "photos").add(name, BOX).done(), tmp_path / "out")
    with pytest.raises(InputError, match="image name") as refused:
        write("wsol", labels, tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_writing_again_keeps_the_maps_and_nothing_else_of_the_earlier_one(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.png", BOX).add("b.png", BOX)
    write("wsol", with_maps(maker.done(), tmp_path / "out"), tmp_path / "out")
    maker.images.pop()
    root = write("wsol", maker.done(), tmp_path / "out")
    assert sorted(files(root.parent)) == [
        "images/a.png",
        "maps/a.png.npy",
        "maps/b.png.npy",
        "metadata/class_labels.txt",
        "metadata/image_ids.txt",
        "metadata/image_sizes.txt",
        "metadata/localization.txt",
    ]
    assert (root / "image_ids.txt").read_text() == "a.png\n"

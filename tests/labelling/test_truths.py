"""Boxes drawn by hand: the files they are read from, and how they lie on pictures that are stored turned."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from label_checks import drawn
from layouts import TENCH, box, ilsvrc, voc, write, xml
from looktwice.datasets.classes import known_classes
from looktwice.datasets.load import load_dataset
from looktwice.decoding import Orientation
from looktwice.errors import DatasetError, OptionError
from looktwice.images import read_picture
from looktwice.labelling.truths import UnplacedError, placed, read_truths

STORED = (40, 30)


@pytest.mark.parametrize("value", range(1, 9))
def test_a_stored_box_is_turned_as_pillow_turns_the_picture(tmp_path, value):
    # Slow: the box is painted into a stored picture, and looked for in the upright one.
    corners = (3, 5, 17, 11)
    pixels = np.zeros((STORED[1], STORED[0], 3), dtype=np.uint8)
    pixels[corners[1] : corners[3], corners[0] : corners[2]] = 255
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png")
    down, across = np.nonzero(np.asarray(picture.image)[:, :, 0])
    expected = (across.min(), down.min(), across.max() + 1, down.max() + 1)
    orientation = Orientation(value, STORED)
    assert orientation.to_upright(tuple(map(float, corners))) == expected
    assert picture.orientation == (None if value == 1 else orientation)
    if value >= 5:
        sample, faults = placed(drawn("a", {7: [corners]}, size=STORED), picture.image.size, picture.orientation)
        assert sample.boxes == ((expected,),)
        assert sample.stated_size == picture.image.size
        assert faults == ()


def test_boxes_drawn_upright_stay():
    sample = drawn("a", {7: [(1, 2, 20, 30)], 8: []}, size=(30, 40))
    assert placed(sample, (30, 40), Orientation(6, STORED)) == (sample, ())
    assert placed(sample, (30, 40), None) == (sample, ())


@pytest.mark.parametrize(
    ("stated", "value", "stored"),
    [
        (None, 6, (40, 30)),  # no size
        ((40, 30), 3, (40, 30)),  # half a turn: both sizes are the same
        ((30, 30), 6, (30, 30)),  # a square
    ],
)
def test_a_size_that_does_not_tell_how_boxes_were_drawn(stated, value, stored):
    orientation = Orientation(value, stored)
    with pytest.raises(UnplacedError, match=f"stored turned .EXIF orientation {value}.*save the picture upright"):
        placed(drawn("a", {7: [(1, 2, 3, 4)]}, size=stated), orientation.upright, orientation)


@pytest.mark.parametrize("orientation", [None, Orientation(6, (60, 80)), Orientation(3, (80, 60))])
def test_boxes_drawn_on_a_scaled_copy_are_refused(orientation):
    with pytest.raises(UnplacedError, match="annotated as 40×30 pixels, and the picture has 80×60"):
        placed(drawn("a", {7: [(1, 2, 3, 4)]}, size=(40, 30)), (80, 60), orientation)


def test_without_a_size_boxes_are_clipped_to_the_picture():
    sample, (fault,) = placed(drawn("a", {7: [(1, 2, 50, 20)]}, size=None), (40, 30), None)
    assert sample.boxes == (((1, 2, 40, 20),),)
    assert "reaches 10 px out" in fault


@pytest.mark.parametrize("value", [5, 6, 7, 8])
@pytest.mark.parametrize("corners", [(2, 3, 10, 35), (2, 28, 29, 38)])
def test_a_stored_size_with_upright_boxes_is_refused(value, corners):
    # Label Studio's converter writes the size of the stored pixels beside boxes that were drawn upright.
    sample = drawn("a", {7: [(1, 2, 20, 20), corners]}, size=STORED)
    with pytest.raises(
        UnplacedError, match=r"stored turned .* states the stored size 40×30, but it has boxes in pixels"
    ):
        placed(sample, (30, 40), Orientation(value, STORED))


def test_an_upright_size_with_stored_boxes_is_refused():
    sample = drawn("a", {7: [(1, 2, 39, 20)]}, size=(30, 40))
    with pytest.raises(UnplacedError, match="states the upright size 30×40, but it has boxes in stored pixels"):
        placed(sample, (30, 40), Orientation(6, STORED))


def test_a_pixel_over_the_border_is_no_sign_of_a_wrong_size():
    stored, faults = placed(drawn("a", {7: [(0, 0, 10, 31)]}, size=STORED), (30, 40), Orientation(6, STORED))
    assert stored.boxes == (((0, 0, 30, 10),),)
    assert faults == ()


@pytest.mark.parametrize("size", [STORED, (30, 40)])
def test_a_size_that_is_doubtful_in_another_image_is_refused(size):
    sample = drawn("a", {7: [(1, 2, 10, 10)]}, size=size)
    with pytest.raises(UnplacedError, match="but it has boxes in"):
        placed(sample, (30, 40), Orientation(6, STORED), is_doubtful=True)


@pytest.mark.parametrize(
    ("stated", "value", "stored"),
    [
        (None, 6, (40, 30)),
        ((30, 40), 6, (40, 30)),
        ((40, 30), 3, (40, 30)),
        (None, 2, (40, 30)),
        ((30, 30), 6, (30, 30)),
    ],
)
def test_an_annotation_that_says_it_is_upright(stated, value, stored):
    orientation = Orientation(value, stored)
    sample = replace(drawn("a", {7: [(1, 2, 3, 4)]}, size=stated), upright=True)
    fitted, faults = placed(sample, orientation.upright, orientation)
    assert (fitted.boxes, faults) == (sample.boxes, ())


def test_an_annotation_that_says_it_is_upright_and_states_the_stored_size():
    sample = replace(drawn("a", {7: [(1, 2, 3, 4)]}, size=STORED), upright=True)
    with pytest.raises(UnplacedError, match="states the stored size 40×30"):
        placed(sample, (30, 40), Orientation(6, STORED))


# ---- files; no image lies anywhere ---------------------------------------------------------------------------------


def test_a_csv_file(tmp_path):
    write(tmp_path / "boxes.csv", "image,label,x1,y1,x2,y2\n cat/a.jpg ,3,1,2,30,40\nb.jpg,4,,,,\n")
    found = read_truths(tmp_path / "boxes.csv")
    assert [sample.id for sample in found.samples] == ["cat/a.jpg", "b.jpg"]
    assert found.samples[0].boxes == (((1, 2, 30, 40),),)
    assert found.problems == ()
    assert read_truths(tmp_path, "csv").samples == found.samples


def test_layouts_in_folders(tmp_path):
    ilsvrc(tmp_path / "i", {"a": xml(TENCH)}, images=())
    assert read_truths(tmp_path / "i", "ilsvrc").samples[0].boxes == (((0, 0, 50, 40),),)
    voc(tmp_path / "v", {"a": xml(("cat", 1, 1, 50, 40))})
    (tmp_path / "v/JPEGImages/a.jpg").unlink()
    write(tmp_path / "classes.json", '{"cat": 281}')
    assert read_truths(tmp_path / "v", "voc", classes=tmp_path / "classes.json").samples[0].labels == (281,)


def test_a_coco_folder(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        "annotations": [box(1, 5, 10, 20, 30, 40)],
        "categories": [{"id": 5, "name": "cat"}],
    }
    write(tmp_path / "annotations/instances_val2017.json", json.dumps(content))
    write(tmp_path / "classes.json", '{"cat": 281}')
    (sample,) = read_truths(tmp_path, "coco", classes=tmp_path / "classes.json").samples
    assert (sample.id, sample.labels, sample.boxes) == ("a.jpg", (281,), (((10, 20, 40, 60),),))


@pytest.mark.parametrize(
    ("info", "key", "upright"),
    [
        ({}, None, False),
        ({}, 3, True),
        ({"looktwice": "1.0"}, None, True),
        ({"contributor": "Label Studio"}, None, True),
        ({"contributor": "COCO Consortium"}, None, False),
        (None, None, False),
        ("looktwice", None, False),
    ],
)
def test_coco_files_that_tell_their_boxes_are_upright(tmp_path, info, key, upright):
    image = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80} | ({"exif_orientation": key} if key else {})
    content = {
        "info": info,
        "images": [image],
        "annotations": [box(1, 5, 10, 20, 30, 70)],  # 10 px out of the stated size
        "categories": [{"id": 5, "name": "cat"}],
    }
    file = write(tmp_path / "a.json", json.dumps(content))
    found = read_truths(file, known=known_classes(["cat"]))
    assert [(sample.upright, sample.boxes) for sample in found.samples] == [(upright, (((10, 20, 40, 90),),))]
    assert found.problems == ()  # the box is judged where the size of the picture is known


def test_a_coco_file_with_the_names_of_the_network(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "cats/a.jpg", "width": 100, "height": 80}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [box(1, 5, 10, 20, 30, 40), box(2, 6, 1, 2, 3, 4)],
        "categories": [{"id": 5, "name": "Egyptian_cat"}, {"id": 6, "name": "unicorn"}],
    }
    file = write(tmp_path / "annotations.json", json.dumps(content))
    found = read_truths(file, known=known_classes(["dog", "Egyptian cat"]))
    assert [(sample.id, sample.labels, sample.boxes) for sample in found.samples] == [
        ("cats/a.jpg", (1,), (((10, 20, 40, 60),),))
    ]
    assert "unicorn" in "".join((*found.problems, *found.notes))


def test_names_that_lead_out_of_the_folder_are_only_compared(tmp_path):
    names = ("../../G/a.jpg", "/home/me/b.jpg", "G/../c.jpg", "/data/local-files/?d=photos/d.jpg", "..\\e.jpg")
    write(tmp_path / "boxes.csv", "image,label,x1,y1,x2,y2\n" + "".join(f"{name},3,1,2,30,40\n" for name in names))
    found = read_truths(tmp_path / "boxes.csv")
    ids = ["G/a.jpg", "home/me/b.jpg", "c.jpg", "data/local-files/?d=photos/d.jpg", "..\\e.jpg"]
    assert [sample.id for sample in found.samples] == ids
    assert found.problems == ()
    with pytest.raises(DatasetError, match="leads out of the image folder"):
        load_dataset(tmp_path / "boxes.csv", "csv")


def test_names_that_are_the_same_after_that_are_told(tmp_path):
    write(tmp_path / "boxes.csv", "image,label,x1,y1,x2,y2\n../a.jpg,3,1,2,30,40\n/a.jpg,3,1,2,30,40\n..,3,1,2,30,40\n")
    found = read_truths(tmp_path / "boxes.csv")
    assert [sample.id for sample in found.samples] == ["a.jpg"]
    assert [problem.partition(": ")[2] for problem in found.problems] == [
        "a.jpg is listed twice; the first is kept",
        "'' is no name of an image; left out",
    ]


def test_images_without_a_single_box_are_refused(tmp_path):
    write(tmp_path / "boxes.csv", "image,label\na.jpg,3\n")
    with pytest.raises(DatasetError, match=r"boxes\.csv has images and no box; name annotations with boxes"):
        read_truths(tmp_path / "boxes.csv")


@pytest.mark.parametrize(
    ("name", "layout", "said"),
    [
        ("folder", None, "nothing tells the layout of .*folder; name it, or give a .json file"),
        ("boxes.txt", None, r"nothing tells the layout of .*boxes\.txt"),
        ("boxes.csv", "coco", r"boxes\.csv is a file in layout 'csv', not 'coco'; leave the layout out"),
        ("folder", "kitti", "unknown layout 'kitti'"),
    ],
)
def test_layouts_that_do_not_fit(tmp_path, name, layout, said):
    (tmp_path / "folder").mkdir()
    for file in ("boxes.csv", "boxes.txt"):
        write(tmp_path / file, "image,label\n")
    with pytest.raises(OptionError, match=said):
        read_truths(tmp_path / name, layout)


def test_a_missing_file_is_named(tmp_path):
    for name in ("gone.csv", "gone"):
        with pytest.raises(DatasetError, match=f"{name} does not exist; name the file or folder with the boxes"):
            read_truths(tmp_path / name)

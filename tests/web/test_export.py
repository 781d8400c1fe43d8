"""``POST /api/export``: the boxes on the page as a labelled data set, and requests for it that are not possible."""

import io
import json
import sys
import threading
import zipfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from looktwice.datasets import load_dataset
from looktwice.decoding import decode
from looktwice.export.forms import yolo
from looktwice.export.placing import KINDS as SUFFIXES_OF
from looktwice.localization.boxes import Box
from looktwice.web import app as application
from looktwice.web import exporting
from looktwice.web.exporting import ExportRequest, _label_set, exported, file_name
from looktwice.web.forms import Limits, Upload
from looktwice.web.worker import GivenUpError
from page import client_with, picture, refused

CLASSES = [{"index": 2, "probability": 0.5}, {"index": 0, "probability": 0.25}]
BOXES = [
    {"class": 2, "x1": 3.25, "y1": 4, "x2": 60.5, "y2": 33, "score": 0.8},
    {"class": 0, "x1": 0, "y1": 0, "x2": 90, "y2": 60, "score": 1},
    {"class": 2, "x1": 10, "y1": 50, "x2": 12, "y2": 60, "score": 0},
]


def export(client, form="yolo", data=None, name="Kater 1.png", **fields):
    texts = {"form": form, "classes": CLASSES, "boxes": BOXES} | fields
    sent = {key: value if isinstance(value, str) else json.dumps(value) for key, value in texts.items()}
    return client.post("/api/export", files={"picture": (name, data or picture())}, data=sent)


def unpacked(response, folder):
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        archive.extractall(folder)
        return archive.namelist()


def test_coco_is_what_its_own_tool_reads(client, tmp_path):
    response = export(client, "coco")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''Kater%201.coco.json"
    (tmp_path / "a.json").write_bytes(response.content)
    read = COCO(str(tmp_path / "a.json"))
    (image,) = read.loadImgs(read.getImgIds())
    assert (image["file_name"], image["width"], image["height"]) == ("Kater 1.png", 90, 60)
    assert {one["id"]: one["name"] for one in read.loadCats(read.getCatIds())} == {1: "Bumblebee", 2: "ant"}
    found = read.loadAnns(read.getAnnIds())
    assert [one["bbox"] for one in found] == [[3.25, 4, 57.25, 29], [0, 0, 90, 60], [10, 50, 2, 10]]
    assert [one["category_id"] for one in found] == [1, 2, 1]
    assert [one["score"] for one in found] == [0.4, 0.25, 0]  # the box's, times the class's probability
    assert read.dataset["info"]["model"] == "small"


def test_coco_is_read_back_by_its_layout(client, tmp_path):
    (tmp_path / "Kater 1.png").write_bytes(picture())
    (tmp_path / "a.json").write_bytes(export(client, "coco").content)
    (tmp_path / "classes.json").write_text('{"Bumblebee": 2, "ant": 0}')
    (sample,) = load_dataset(tmp_path / "a.json", layout="coco", classes=tmp_path / "classes.json").samples
    assert sample.image == tmp_path / "Kater 1.png"
    expected = {2: ((3.25, 4.0, 60.5, 33.0), (10.0, 50.0, 12.0, 60.0)), 0: ((0.0, 0.0, 90.0, 60.0),)}
    assert dict(zip(sample.labels, sample.boxes, strict=True)) == expected


def test_yolo_has_the_picture_its_labels_and_the_names(client, tmp_path):
    files = unpacked(export(client), tmp_path)
    assert files == ["data.yaml", "images/train/Kater 1.png", "labels/train/Kater 1.txt"]
    assert (tmp_path / files[1]).read_bytes() == picture()
    lines = [[float(number) for number in line.split()] for line in (tmp_path / files[2]).read_text().splitlines()]
    expected = [
        [0, (3.25 + 60.5) / 180, 37 / 120, 57.25 / 90, 29 / 60],
        [1, 0.5, 0.5, 1, 1],
        [0, 22 / 180, 110 / 120, 2 / 90, 10 / 60],
    ]
    assert np.allclose(lines, expected, atol=1e-8)
    text = (tmp_path / "data.yaml").read_text()
    assert text == 'train: images/train\nval: images/train\nnc: 2\nnames:\n  0: "Bumblebee"\n  1: "ant"\n'


def test_a_turned_picture_is_upright_in_yolo(client, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture(kind="JPEG", exif=exif)
    boxes = [{"class": 2, "x1": 0, "y1": 0, "x2": 60, "y2": 90, "score": 1}]
    files = unpacked(export(client, data=data, name="a.jpg", boxes=boxes), tmp_path)
    with Image.open(tmp_path / files[1]) as written:
        assert written.size == (60, 90)
        assert written.getexif().get(0x0112, 1) == 1
    assert "outside" not in refused(export(client, data=data, name="a.jpg"), 422)


@pytest.mark.parametrize("kind", ["GIF", "PPM", "AVIF"])
def test_pictures_that_ultralytics_does_not_open_become_png(client, tmp_path, kind):
    files = unpacked(export(client, data=picture(kind=kind), name=f"a.{kind.lower()}"), tmp_path)
    assert files[1] == "images/train/a.png"
    assert Image.open(tmp_path / files[1]).format == "PNG"


def test_a_picture_without_boxes_is_background(client, tmp_path):
    files = unpacked(export(client, boxes=[]), tmp_path)
    assert (tmp_path / files[2]).read_text() == ""
    assert json.loads(export(client, "coco", boxes=[]).content)["annotations"] == []


def test_the_same_request_gives_the_same_bytes(client):
    assert export(client).content == export(client).content
    assert export(client, "coco").content == export(client, "coco").content


def test_the_network_does_not_look_again(client, small):
    before = small.module.passes
    assert export(client).status_code == 200
    assert small.module.passes == before


@pytest.mark.parametrize(
    ("given", "kept"),
    [("cat.jpg", "cat.jpg"), ("a.b.JPEG", "a.b.JPEG"), ("Кот 猫.png", "Кот 猫.png"), ("sub/x.png", "sub_x.png"),
     ("../../x.png", "_.._x.png"),
     ("", "picture"), (".", "picture"), ("..", "picture"), (".png", "png"), ("a\0b.png", "a_b.png"),
     ("con|<>.png", "con___.png"), ("a\udce9.png", "a_.png"), ("x" * 300 + ".png", "x" * 180 + ".png"),
     ("note.txt", "note.txt"), ("CON.jpg", "_CON.jpg"), ("con", "_con"), ("nul.txt", "_nul.txt"),
     ("COM1.png", "_COM1.png"), ("lpt9.tar.jpg", "_lpt9.tar.jpg"), ("AUX .x.png", "_AUX .x.png"),
     ("COM².png", "_COM².png"), ("conout$.gif", "_conout$.gif"), ("CON .jpg", "_CON.jpg"), ("prn..png", "_prn.png"),
     ("console.jpg", "console.jpg"), ("com.jpg", "com.jpg"), ("com10.jpg", "com10.jpg"), ("a.con.jpg", "a.con.jpg")]
)  # fmt: skip
def test_names_of_files_are_kept_where_every_system_can_hold_them(given, kept):
    assert file_name(given) == kept


@pytest.mark.parametrize(
    "name", ["../../evil.png", "..\\evil.png", "/etc/passwd", "C:\\a\\b.png", "images/x.png", ".hidden"]
)
def test_no_name_leaves_the_archive(client, tmp_path, name):
    files = unpacked(export(client, name=name), tmp_path / "out")
    assert all(".." not in file and not file.startswith("/") and "\\" not in file for file in files)
    assert len(files) == 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
@pytest.mark.parametrize("turned", [False, True])
def test_yolo_is_what_its_writer_writes(client, small, tmp_path, kind, turned):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture(kind=kind, exif=exif) if turned else picture(kind=kind)
    name = f"a{SUFFIXES_OF[kind]}"
    (tmp_path / name).write_bytes(data)
    decoded = decode(BytesIO(data), name)
    asked = ExportRequest("yolo", small, ((2, 0.5),), ((0, Box(1, 2, 30, 40, 0.5)),))
    written = yolo.write(_label_set(tmp_path / name, decoded, asked), tmp_path / "out").parent
    expected = {
        file.relative_to(written).as_posix(): file.read_bytes() for file in written.rglob("*") if file.is_file()
    }
    boxes = [{"class": 2, "x1": 1, "y1": 2, "x2": 30, "y2": 40, "score": 0.5}]
    fields = {"classes": [{"index": 2, "probability": 0.5}], "boxes": boxes}
    unpacked(export(client, data=data, name=name, **fields), tmp_path / "zip")
    found = {
        file.relative_to(tmp_path / "zip").as_posix(): file.read_bytes()
        for file in (tmp_path / "zip").rglob("*")
        if file.is_file()
    }
    assert found == expected


WRITTEN = []
"""What was opened to be written, or made, while it is watched."""
WATCHED = threading.Event()


def _watch(event, arguments):
    if WATCHED.is_set() and event in ("os.mkdir", "os.symlink", "os.link", "os.rename", "tempfile.mkdtemp"):
        WRITTEN.append((event, arguments))
    if WATCHED.is_set() and event == "open" and isinstance(arguments[2], int) and arguments[2] & 0o3:
        WRITTEN.append((event, arguments))


sys.addaudithook(_watch)


@pytest.mark.parametrize("form", ["coco", "yolo"])
@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_nothing_is_written_to_any_folder(client, form, kind, tmp_path):
    WATCHED.set()
    try:
        assert export(client, form, picture(kind=kind), name="a").status_code == 200
        refused(export(client, form, data=b"no picture"), 422)
        refused(export(client, form, boxes=[BOXES[1] | {"x2": 91}]), 422)
        assert WRITTEN == []
        (tmp_path / "a").write_text("this is seen")
        assert len(WRITTEN) == 1
    finally:
        WATCHED.clear()
        WRITTEN.clear()


def work(small, form, given_up, kind="AVIF"):
    asked = ExportRequest(form, small, ((2, 0.5),), ())
    return exported(Upload(picture(kind=kind), "a", "a"), asked, Limits(), given_up)


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_an_export_that_nobody_waits_for_does_not_begin(small, form):
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(GivenUpError):
        next(work(small, form, given_up))


def test_an_export_that_nobody_waits_for_any_more_ends_in_the_middle_of_the_picture(small, monkeypatch):
    given_up, written = threading.Event(), []
    real = exporting._Watched.write

    def write(stream, data):
        written.append(len(data))
        if len(written) == 2:
            given_up.set()
        return real(stream, data)

    monkeypatch.setattr(exporting._Watched, "write", write)
    with pytest.raises(GivenUpError):
        next(work(small, "yolo", given_up))
    assert len(written) == 2


def test_an_export_whose_time_is_up_is_given_up(small, monkeypatch):
    ends = []

    def slow(*_):
        given_up = _[-1]
        ends.append(given_up.wait(10))
        raise GivenUpError("the request was given up")
        yield

    monkeypatch.setattr(application, "exported", slow)
    with client_with(small, seconds=0.3) as client:
        assert "0.3 seconds" in refused(export(client), 504)
        assert export(client).status_code == 504
    assert ends[0]


BOX = BOXES[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"form": "voc"}, "form"), ({"model": "other"}, "model"), ({"more": "1"}, "field"),
     ({"boxes": "no json"}, "JSON list"), ({"boxes": "{}"}, "JSON list"), ({"boxes": "[1]"}, "JSON list"),
     ({"boxes": "[" * 100_000}, "JSON list"), ({"boxes": [{}]}, "JSON list"),
     ({"boxes": [BOX | {"more": 1}]}, "JSON list"),
     ({"boxes": [BOX | {"x2": 90.001}]}, "not inside the picture of 90 × 60"),
     ({"boxes": [BOX | {"y2": 61}]}, "not inside"),
     ({"boxes": [BOX | {"x1": -0.1}]}, "x1 is '-0.1'"), ({"boxes": [BOX | {"x1": 60.5}]}, "not inside"),
     ({"boxes": [BOX | {"y1": 34}]}, "not inside"), ({"boxes": [BOX | {"x1": True}]}, "x1 is 'true'"),
     ({"boxes": [BOX | {"x1": "3"}]}, "x1"), ({"boxes": [BOX | {"x1": None}]}, "x1"),
     ({"boxes": [BOX | {"x1": [1]}]}, "x1"),
     ({"boxes": [BOX | {"x1": float("nan")}]}, "x1 is 'NaN'"),
     ({"boxes": [BOX | {"x2": float("inf")}]}, "x2 is 'Infinity'"),
     ({"boxes": [BOX | {"x2": 10**400}]}, "x2"), ({"boxes": json.dumps([BOX]).replace("60.5", "1e999")}, "x2"),
     ({"boxes": json.dumps([BOX]).replace("60.5", "9" * 5000)}, "JSON list"),
     ({"boxes": [BOX | {"score": 1.01}]}, "a score"), ({"boxes": [BOX | {"class": 1}]}, "not among the classes"),
     ({"boxes": [BOX | {"class": 5}]}, "a class is '5'"), ({"boxes": [BOX | {"class": -1}]}, "a class"),
     ({"boxes": [BOX | {"class": 2.0}]}, "a class"), ({"boxes": [BOX | {"class": True}]}, "a class"),
     ({"boxes": [BOX] * 1001}, "1,001 entries; at most 1,000"), ({"classes": []}, "classes is empty"),
     ({"boxes": [BOX | {"x1": 0, "x2": 1e-9}]}, "too small; at least 0.001 pixels"),
     ({"boxes": [BOX | {"y1": 3, "y2": 3.0009}]}, "too small"),
     ({"boxes": [BOX | {"x1": 89.9999999999, "x2": 90, "y1": 0, "y2": 1e-300}]}, "too small"),
     ({"boxes": json.dumps([BOX]).replace('"score"', '"x1": 5, "score"')}, "each once"),
     ({"classes": [CLASSES[0], CLASSES[1], CLASSES[0] | {"probability": 0.1}]}, "the class 2 is twice in classes"),
     ({"classes": CLASSES * 6}, "12 entries; at most 10"), ({"classes": [{"index": 2}]}, "JSON list"),
     ({"classes": [{"index": 2, "probability": 1.5}]}, "a probability"), ({"classes": "null"}, "JSON list")]
)  # fmt: skip
def test_what_is_not_possible_is_one_line(client, fields, said):
    message = refused(export(client, **{"form": "coco"} | fields), 422)
    assert said in message
    assert len(message) < 400


def test_a_box_that_would_be_empty_in_a_very_wide_picture_is_refused(client):
    wide = picture(1_000_000, 1)
    for width, status in [(0.009, 422), (0.011, 200)]:
        boxes = [BOX | {"x1": 5, "x2": 5 + width, "y1": 0, "y2": 1}]
        assert export(client, data=wide, boxes=boxes).status_code == status


def test_as_many_boxes_as_are_allowed_fit_into_a_form(client):
    boxes = [BOX | {"x1": 3.123456789012345, "x2": 60.123456789012345, "score": 0.123456789012345}] * 1000
    assert len(json.loads(export(client, "coco", boxes=boxes).content)["annotations"]) == 1000


@pytest.mark.parametrize("missing", ["form", "classes", "boxes"])
def test_a_field_that_is_missing_is_named(client, missing):
    fields = {"form": "coco", "classes": json.dumps(CLASSES), "boxes": json.dumps(BOXES)}
    del fields[missing]
    message = refused(client.post("/api/export", files={"picture": ("a.png", picture())}, data=fields), 422)
    assert f"the field {missing} is missing" in message


def test_what_is_no_picture_is_refused_by_its_name(client):
    assert refused(export(client, "coco", data=b"text", name="cat.txt"), 422).startswith("cat.txt: is not an image")


def test_pictures_and_fields_that_are_too_large_are_refused(small):
    with client_with(small, pixels=1000, upload_bytes=20_000) as client:
        assert "megapixels" in refused(export(client), 413)
        refused(export(client, data=bytes(30_000)), 413)
        refused(export(client, boxes="[" + " " * 10**6 + "]"), 413)
        refused(export(client, boxes="[" + " " * 270_000 + "]"), 422)


def test_other_sites_and_other_methods_are_refused(client):
    assert client.get("/api/export").status_code == 404
    assert client.post("/api/export", headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/api/export").status_code == 422


def test_an_export_waits_in_the_line_and_the_line_is_bounded(small):
    with client_with(small, waiting=0, seconds=0.5) as client:
        assert export(client).status_code == 200

"""The form label-studio: the rules of Label Studio's documentation, task by task.

labelstud.io/guide/predictions (the JSON of pre-annotations) and labelstud.io/guide/storage (local files).
"""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from PIL import Image

from forms import assert_close, exact, files, is_upright, write
from label_sets import NAMES, SetMaker, awkward
from looktwice.export.label_set import LabelSet
from looktwice.localization.boxes import Box

BOX = (0, Box(1.0, 2.0, 20.0, 10.0, 0.5))


@pytest.fixture
def labels(tmp_path) -> LabelSet:
    return awkward(tmp_path / "photos").done("sub/a.jpg")


def tasks(labels, folder):
    return json.loads(write("label-studio", labels, folder).read_bytes().decode("ascii"))


def served(address: str, document_root: Path) -> Path:
    """As Label Studio finds the file: the query "d" is a path from its document root."""
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("", "", "/data/local-files/", "")
    query = parse_qs(parts.query, strict_parsing=True, errors="surrogateescape")
    assert list(query) == ["d"]
    (path,) = query["d"]
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    return document_root / path


def test_each_task_is_as_documented(labels, tmp_path):
    found = tasks(labels, tmp_path / "out")
    interface = ElementTree.parse(tmp_path / "out" / "label-studio.xml").getroot()
    image_tag, label_tag = interface.find("Image"), interface.find("RectangleLabels")
    known = {one.get("value") for one in label_tag}
    assert len(found) == labels.count
    for task in found:
        assert image_tag.get("value") == "$image"
        assert "image" in task["data"]
        for prediction in task["predictions"]:
            assert prediction["model_version"] == "looktwice 0.3.0 net"
            assert 0 <= prediction["score"] <= 1
            assert prediction["result"]
            for result in prediction["result"]:
                assert result["type"] == "rectanglelabels"
                assert result["from_name"] == label_tag.get("name")
                assert result["to_name"] == image_tag.get("name") == label_tag.get("toName")
                assert result["original_width"] > 0 < result["original_height"]
                value = result["value"]
                assert value["x"] >= 0 <= value["y"]
                assert value["width"] > 0 < value["height"]
                assert max(value["x"] + value["width"], value["y"] + value["height"]) <= 100.0001
                assert value["rotation"] == result["image_rotation"] == 0
                (name,) = value["rectanglelabels"]
                assert name in known
    keys = [one["id"] for task in found for prediction in task["predictions"] for one in prediction["result"]]
    assert len(set(keys)) == len(keys) == 12
    assert all(isinstance(key, str) for key in keys)


def test_the_boxes_come_back(labels, tmp_path):
    for task, image in zip(tasks(labels, tmp_path / "out"), labels.images(), strict=True):
        boxes = []
        for prediction in task["predictions"]:
            for one in prediction["result"]:
                value, width, height = one["value"], one["original_width"], one["original_height"]
                x, y = value["x"] * width / 100, value["y"] * height / 100
                corners = (x, y, x + value["width"] * width / 100, y + value["height"] * height / 100)
                boxes.append((NAMES.index(value["rectanglelabels"][0]), corners))
                assert (width, height) == (image.width, image.height)
        assert_close(boxes, exact(labels, image.id))


def test_the_interface_has_every_label(labels, tmp_path):
    write("label-studio", labels, tmp_path / "out")
    root = ElementTree.parse(tmp_path / "out" / "label-studio.xml").getroot()
    assert root.tag == "View"
    assert [one.get("value") for one in root.find("RectangleLabels")] == list(NAMES)


def test_every_address_leads_to_the_picture(tmp_path):
    maker = SetMaker(tmp_path / "photos").add("a.jpg", BOX).add("sub/b c.png", BOX)
    for task, image in zip(tasks(maker.done(), tmp_path / "out"), maker.images, strict=True):
        assert served(task["data"]["image"], tmp_path) == image.file
    assert not (tmp_path / "out" / "images").exists()


def test_with_turned_and_packed_pictures_one_document_root_serves_all_of_them_upright(labels, tmp_path):
    """Label Studio's export has the size of the file that it serves; so the file must not be turned."""
    for task, image in zip(tasks(labels, tmp_path / "out"), labels.images(), strict=True):
        file = served(task["data"]["image"], tmp_path / "out")
        assert file.is_file()
        with Image.open(file) as picture:
            assert picture.size == (image.width, image.height)
            assert picture.getexif().get(0x0112, 1) == 1
        if image.content is None and image.orientation is None:
            assert file.resolve() == image.file.resolve()
        for prediction in task["predictions"]:
            sizes = {(one["original_width"], one["original_height"]) for one in prediction["result"]}
            assert sizes == {(image.width, image.height)}


def test_only_turned_pictures_are_copied(tmp_path):
    tasks(SetMaker(tmp_path / "photos").add("a.jpg", BOX).add("t.jpg", BOX, exif=6).done(), tmp_path / "out")
    found = files(tmp_path / "out" / "images")
    assert found["a.jpg"] == f"-> {tmp_path}/photos/a.jpg"
    assert is_upright(tmp_path / "out" / "images" / "t.jpg", (50, 40))


@pytest.mark.parametrize(
    "name", ["a#b%20&c=d+e?.png", "ä 日本.png", "caf\udce9.png", "a\nb.png", "q\"'.png", "x;y.png"]
)
def test_an_address_holds_any_file_name(tmp_path, name):
    (task,) = tasks(SetMaker(tmp_path / "photos").add(name, BOX).done(), tmp_path / "out")
    assert served(task["data"]["image"], tmp_path).is_file()


def test_a_picture_outside_the_root_is_served_from_the_folder_images(tmp_path):
    (tmp_path / "near").mkdir()
    labels = SetMaker(tmp_path / "far").add("a.png", BOX).done(root=tmp_path / "near")
    (task,) = tasks(labels, tmp_path / "out")
    assert task["data"]["image"] == "/data/local-files/?d=images/a.png"
    assert served(task["data"]["image"], tmp_path / "out").is_file()


def test_a_picture_without_an_object_has_no_prediction(labels, tmp_path):
    (task,) = [task for task in tasks(labels, tmp_path / "out") if task["data"]["name"] == "sub/a b.png"]
    assert task["predictions"] == []


def test_a_data_set_without_a_picture_is_an_empty_list(tmp_path):
    assert tasks(LabelSet((), lambda: iter(()), 0, tmp_path, frozenset(), {}), tmp_path / "out") == []

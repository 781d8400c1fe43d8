"""The contact sheet: which images it shows, in which order, and that no name or broken picture can spoil it."""

import base64
import json
import re
import weakref
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label_checks import EVIL, label_set, labelled, picture_file, review_set
from looktwice.decoding import Orientation
from looktwice.errors import InputError, OptionError, RunError
from looktwice.export.review import certainty, write_review
from looktwice.images import find_images

BOX = (10, 10, 50, 50)


def data_of(path):
    page = path.read_text(encoding="utf-8")
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def names(path):
    return [image["name"] for image in data_of(path)["images"]]


def picture_of(tile):
    return Image.open(BytesIO(base64.b64decode(tile["picture"].removeprefix("data:image/jpeg;base64,"))))


class Elements(HTMLParser):
    """The elements of a page as a browser's parser finds them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "onerror", "onclick")]


@pytest.mark.parametrize(
    ("objects", "classes", "expected"),
    [
        ([(0, BOX, 0.8)], [(0, 0.5, True)], 0.8),
        ([(0, BOX, 0.8)], [(0, 0.5, False)], 0.8),  # the score has the class's probability in it
        ([(0, BOX, 0.8), (0, BOX, 0.3)], [(0, 1.0, True)], 0.8),  # the best box counts
        ([(0, BOX, 0.3), (0, BOX, 0.8)], [(0, 1.0, True)], 0.8),
        ([(0, BOX, 0.8), (1, BOX, 0.6)], [(0, 1.0, True), (1, 1.0, True)], 0.6),  # the least sure class counts
        ([(0, BOX, 0.8)], [(0, 1.0, True), (1, 1.0, True)], 0.0),  # the other class has no box
        ([], [(0, 1.0, True)], 0.0),
        ([], [], 0.0),
    ],
)
def test_certainty_by_hand(objects, classes, expected):
    assert certainty(labelled("a", *objects, classes=classes)) == expected


def test_images_in_most_doubt_come_first(tmp_path):
    path = write_review(review_set(tmp_path), tmp_path / "out")
    assert path == tmp_path / "out" / "review.html"
    found = names(path)
    assert [name[0] for name in found] == ["d", "e", "c", "g", "b", "a"]
    data = data_of(path)
    assert (data["total"], data["without"]) == (6, 1)
    assert [image["certainty"] for image in data["images"]] == [0, 0.18, 0.4, 0.6, 0.81, 0.95]


def test_only_the_most_doubtful_are_shown(tmp_path):
    path = write_review(review_set(tmp_path), tmp_path, most=2)
    assert names(path) == ["d.png", "e.png"]
    assert data_of(path)["total"] == 6
    assert set(data_of(path)["classes"].values()) == {"cat", "dog"}


def test_equal_doubt_keeps_the_order_of_the_data_set(tmp_path):
    images = [labelled(f"{name}.png", (0, BOX, 0.5)) for name in "cabd"]
    assert names(write_review(label_set(*images), tmp_path, most=3)) == ["c.png", "a.png", "b.png"]


def test_no_image_and_no_page_without_images(tmp_path):
    assert data_of(write_review(label_set(), tmp_path))["images"] == []
    with pytest.raises(OptionError, match="most is 0"):
        write_review(label_set(), tmp_path, most=0)


def test_a_box_and_its_class(tmp_path):
    file = picture_file(tmp_path / "a.png")
    image = labelled("a.png", (1, (10.04, 10, 60, 70.26), 0.98765), classes=((1, 0.123456, False),), file=file)
    data = data_of(write_review(label_set(image), tmp_path))
    (tile,) = data["images"]
    assert tile["boxes"] == [[1, 10.0, 10.0, 60.0, 70.3, 0.988]]
    assert tile["classes"] == [[1, 0.123, False]]
    assert data["classes"] == {"1": "dog"}
    assert data["about"] == {"looktwice": "test"}


def test_the_same_labels_give_the_same_bytes(tmp_path):
    labels = review_set(tmp_path)
    first, second = (write_review(labels, tmp_path / name).read_bytes() for name in "ab")
    assert first == second


# ---- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "small"), [((960, 480), (240, 120)), ((30, 20), (30, 20)), ((1, 2000), (1, 240))])
def test_pictures_are_small(tmp_path, size, small):
    file = picture_file(tmp_path / "a.png", size)
    (tile,) = data_of(write_review(label_set(labelled("a.png", size=size, file=file)), tmp_path))["images"]
    assert picture_of(tile).size == small
    assert (tile["width"], tile["height"]) == size


def test_five_hundred_photos_are_below_eight_megabytes(tmp_path):
    files = find_images([Path(__file__).parents[2] / "examples" / "images"])
    images = [labelled(file.name, (0, BOX, 0.5), size=Image.open(file).size, file=file) for file in files]
    sizes = [write_review(label_set(*some), tmp_path).stat().st_size for some in ((), images)]
    assert 500 * (sizes[1] - sizes[0]) / len(images) + sizes[0] < 8e6


@pytest.mark.parametrize("value", [3, 6])
def test_pictures_are_upright(tmp_path, value):
    stored = Image.new("RGB", (60, 40), "white")
    stored.paste("black", (0, 0, 30, 20))  # upper left
    exif = Image.Exif()
    exif[0x0112] = value
    stored.save(tmp_path / "a.png", exif=exif)
    orientation = Orientation(value, (60, 40))
    image = labelled("a.png", size=orientation.upright, orientation=orientation, file=tmp_path / "a.png")
    (tile,) = data_of(write_review(label_set(image), tmp_path))["images"]
    shown = picture_of(tile).convert("L")
    assert shown.size == orientation.upright
    x1, y1, x2, y2 = orientation.to_upright((0, 0, 30, 20))
    assert np.asarray(shown)[int(y1) + 4 : int(y2) - 4, int(x1) + 4 : int(x2) - 4].max() < 40
    assert np.asarray(shown).mean() > 150


class Member:
    """An image in an archive."""

    def __init__(self, content):
        self.content = content

    def read(self):
        if self.content is None:
            raise InputError("shard.tar is cut short; fetch it again")
        return self.content


def test_pictures_in_archives(tmp_path):
    content = picture_file(tmp_path / "x.png").read_bytes()
    image = labelled("shard.tar/a.png")
    images = [replace(image, content=Member(content)), replace(image, id="shard.tar/b.png", content=Member(None))]
    first, second = data_of(write_review(label_set(*images), tmp_path))["images"]
    assert first["reason"] is None
    assert second["picture"] is None
    assert second["reason"] == "shard.tar is cut short; fetch it again"


def test_pictures_that_cannot_be_shown_have_a_reason(tmp_path):
    (tmp_path / "broken.png").write_bytes(picture_file(tmp_path / "x.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    picture_file(tmp_path / "other.png", (50, 50))
    picture_file(tmp_path / "fine.png")
    known = ("broken", "text", "empty", "folder", "other", "gone", "fine")
    images = [labelled(f"{name}.png", file=tmp_path / f"{name}.png") for name in known]
    tiles = {tile["name"]: tile for tile in data_of(write_review(label_set(*images), tmp_path))["images"]}
    assert tiles["fine.png"]["reason"] is None
    assert {name for name, tile in tiles.items() if tile["picture"] is None} == {f"{name}.png" for name in known[:-1]}
    assert "damaged or cut short" in tiles["broken.png"]["reason"]
    assert "is not an image" in tiles["text.png"]["reason"]
    assert "No such file" in tiles["gone.png"]["reason"]
    assert tiles["other.png"]["reason"] == "it has 50×50 pixels now, and had 100×80 when it was labelled"
    assert str(tmp_path) not in json.dumps(tiles)  # a page may be passed on


# ---- text from outside ---------------------------------------------------------------------------------------------


def test_names_are_no_elements(tmp_path):
    path = write_review(review_set(tmp_path), tmp_path)
    text = path.read_text(encoding="utf-8")
    found, empty = Elements(text), Elements(write_review(label_set(), tmp_path / "empty").read_text(encoding="utf-8"))
    assert found.tags == empty.tags
    assert found.sources == empty.sources == []
    assert data_of(path)["classes"]["2"] == EVIL.replace("\u2028", "\\u2028")
    data = text[text.index('id="data">') + len('id="data">') : text.rindex("</script>\n<script>")]
    assert not set(data) & set("<>&")  # "</script " would do without a ">"
    assert text.count("window.hacked") == 4  # of the name and the class, in the data
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_names_of_any_bytes(tmp_path):
    evil = "caf\udce9 \x1b[31m\u202e.png"
    path = write_review(label_set(labelled(evil)), tmp_path)
    assert names(path) == ["caf\\xe9 \\x1b[31m\\u202e.png"]


def test_the_policy_names_the_scripts_of_the_page(tmp_path):
    # A browser test shows that the page runs under it. Here: nothing is allowed but what the page itself holds.
    text = write_review(review_set(tmp_path), tmp_path).read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


# ---- many images, and places ---------------------------------------------------------------------------------------


def test_images_are_gone_through_one_by_one(tmp_path):
    alive, most = set(), []

    class Watched(str):
        __slots__ = ("__weakref__",)

    def images():
        for number in range(3000):
            image = labelled(Watched(f"{number}.png"), (0, BOX, 0.5 + number / 10000))
            alive.add(weak := weakref.ref(image.id, alive.discard))
            most.append(len(alive))
            yield image
            del image, weak

    path = write_review(replace(label_set(), images=images), tmp_path, most=3)
    assert names(path) == ["0.png", "1.png", "2.png"]
    assert max(most) < 20


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"review\.html: cannot be written"):
        write_review(label_set(), tmp_path / "file")

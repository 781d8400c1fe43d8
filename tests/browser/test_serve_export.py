"""The page's boxes, saved as COCO and YOLO."""

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from serve_page import browser, opened, whole

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "examples" / "images"


@pytest.fixture
def cat(tmp_path, address):
    with browser(tmp_path) as driver:
        page = opened(driver, address)
        page.choose(SAMPLES / "cat.jpg")
        page.answered(2, "Egyptian cat")
        yield page
        assert driver.get_log("browser") == []


def listed(page, place):
    """The corners of the boxes under a figure, in whole pixels."""
    lines = page.all("#works ol")[place].find_elements("css selector", "li")
    texts = [line.get_attribute("textContent").split(" px")[0] for line in lines]
    return [[int(number) for number in re.findall("[0-9]+", text)] for text in texts]


def corners(annotation):
    x, y, width, height = annotation["bbox"]
    return [round(side) for side in (x, y, x + width, y + height)]


def test_the_boxes_on_the_page_are_saved_as_coco_and_as_yolo(cat, tmp_path):
    assert cat.one("#save-method").get_attribute("value") == "global_feedback"
    cat.by_keys(cat.one("#save-coco"))
    record = json.loads(cat.until(lambda: whole(tmp_path, "cat.coco.json")).read_text())
    assert [image["file_name"] for image in record["images"]] == ["cat.jpg"]
    assert [each["name"] for each in record["categories"]] == ["Egyptian cat"]
    assert [corners(each) for each in record["annotations"]] == listed(cat, 1)
    cat.until(lambda: cat.said() == "1 box of Global feedback saved: cat.coco.json.")
    cat.one("#save-yolo").click()
    with zipfile.ZipFile(cat.until(lambda: whole(tmp_path, "cat.yolo.zip"))) as archive:
        assert archive.namelist() == ["data.yaml", "images/train/cat.jpg", "labels/train/cat.txt"]
        assert archive.read("images/train/cat.jpg") == (SAMPLES / "cat.jpg").read_bytes()
        (line,) = archive.read("labels/train/cat.txt").decode().splitlines()
        with Image.open(io.BytesIO(archive.read("images/train/cat.jpg"))) as picture:
            width, height = picture.size
    _, x, y, across, down = map(float, line.split())
    found = [(x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height]
    assert [round(side) for side in found] == listed(cat, 1)[0]


def test_another_method_can_be_chosen_and_stays_chosen(cat, tmp_path):
    cat.one("#save-method option[value=gradient]").click()
    cat.all("#predicted button")[1].click()
    cat.until(lambda: cat.said().startswith("2 maps of"))
    assert cat.one("#save-method").get_attribute("value") == "gradient"
    cat.one("#save-coco").click()
    record = json.loads(cat.until(lambda: whole(tmp_path, "cat.coco.json")).read_text())
    assert [corners(each) for each in record["annotations"]] == listed(cat, 0)


@pytest.mark.parametrize("width", [1400, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_buttons_fit_on_every_screen(cat, width, scheme):
    with cat.screen(width, 900, scheme):
        inside = "return document.documentElement.scrollWidth <= window.innerWidth"
        assert cat.driver.execute_script(inside)
        for name in ("#save-coco", "#save-yolo", "#save-method"):
            place = cat.one(name).rect
            assert place["x"] >= 0
            assert place["x"] + place["width"] <= width


def test_a_server_that_is_gone_can_be_tried_again(cat, tmp_path):
    gone = "window.reached = window.fetch; window.fetch = () => Promise.reject(new TypeError('gone'))"
    cat.driver.execute_script(gone)
    cat.one("#save-coco").click()
    cat.until(lambda: "does not answer" in cat.one("#problem").text)
    cat.driver.execute_script("window.fetch = window.reached")
    cat.one("#again").click()
    assert cat.until(lambda: whole(tmp_path, "cat.coco.json"))

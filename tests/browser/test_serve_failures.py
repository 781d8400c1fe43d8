"""The page of ``looktwice serve`` when its server waits, fails or ends."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from serve_page import Keys, browser, opened, serving

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "examples" / "images"

HELD = """
import time
from pathlib import Path
import torch
from torch import nn

FOLDER = Path(__file__).parent

class Held(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 9, stride=8), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU(),
                                 nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    def forward(self, images):
        while (FOLDER / "hold").exists():
            time.sleep(0.01)
        if (FOLDER / "slow").exists():
            time.sleep(0.2)
        scores = self.net(images)
        return scores * float("nan") if (FOLDER / "broken").exists() else scores

def build():
    return Held()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    (folder / "held.py").write_text(HELD)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with serving("--model", f"{folder}/held.py:build") as (_, address):
        yield address


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("downloads")) as driver:
        yield driver


@pytest.fixture
def files(folder):
    """The network waits while there is a file ``hold``, is slow while there is ``slow``, fails while ``broken``."""
    files = {name: folder / name for name in ("hold", "slow", "broken")}
    yield files
    for file in files.values():
        file.unlink(missing_ok=True)


@pytest.fixture
def held(chromium, address, files):
    """The page with this network."""
    page = opened(chromium, address)
    page.hold, page.broken = files["hold"], files["broken"]
    yield page
    assert chromium.get_log("browser") == []


def choices(page):
    """All that is chosen on the page."""
    return page.driver.execute_script(
        "const value = (id) => document.getElementById(id).value;"
        "return [[...document.querySelectorAll('input:checked')].map((each) => each.value), value('model'),"
        " value('steps'), value('threshold'), value('against'), document.querySelector('#class-name').textContent,"
        " [...document.querySelectorAll('#predicted [aria-pressed=true]')].map((each) => each.textContent)]"
    )


@pytest.mark.parametrize("change", ["class", "against", "method", "view", "box", "steps", "network", "picture"])
def test_after_a_failure_all_is_as_the_maps_on_the_page(held, change):
    if change == "network":
        held.choose(SAMPLES / "cat.jpg")
        held.until(lambda: held.said().startswith("2 maps of"))
        held.one("#model").send_keys("efficientnet_lite0")
        held.answered(2, "Egyptian cat")
    else:
        held.choose(SAMPLES / "cat.jpg")
        held.until(lambda: held.said().startswith("2 maps of"))
    before, drawn = choices(held), held.drawing(1)
    held.broken.touch()
    changes = {
        "class": held.all("#predicted button")[2].click,
        "against": lambda: held.one("#against").send_keys(Keys.ARROW_DOWN),
        "method": lambda: held.one("#methods input[value=feedback]").click(),
        "view": lambda: held.one("input[name=view][value=centre]").click(),
        "box": lambda: held.one("input[name=box][value=energy]").click(),
        "steps": lambda: held.slide("#steps", 2),
        "network": lambda: held.one("#model").send_keys(Keys.HOME),
        "picture": lambda: held.choose(SAMPLES / "coffee.jpg"),
    }
    changes[change]()
    held.until(lambda: "not finite" in held.one("#problem").text)
    assert held.one("#problem").text.startswith("coffee.jpg" if change == "picture" else "cat.jpg")
    assert choices(held) == before
    assert np.array_equal(held.drawing(1), drawn)
    held.by_keys(held.one("#again"))
    held.until(lambda: "not finite" in held.one("#problem").text and held.one("#works[aria-busy=false]"))
    assert choices(held) == before
    held.broken.unlink()
    held.by_keys(held.one("#again"))
    held.until(lambda: held.one("#problem").text == "" and re.match(r"\d maps? of", held.said()))
    if change != "picture":
        assert choices(held) != before


@pytest.mark.parametrize("size", [(1400, 900), (375, 812)], ids=str)
def test_a_failure_is_in_sight_wherever_one_has_scrolled(held, size):
    with held.screen(*size):
        held.choose(SAMPLES / "cat.jpg")
        held.until(lambda: held.said().startswith("2 maps of"))
        held.broken.touch()
        control = held.one("#trajectory")
        held.driver.execute_script("arguments[0].scrollIntoView(); arguments[0].click()", control)
        held.until(lambda: "not finite" in held.one("#problem").text)
        script = "const at = arguments[0].getBoundingClientRect(); return [at.left, at.top, at.right, at.bottom]"
        for seen in ("#problem", "#again"):
            left, top, right, bottom = held.driver.execute_script(script, held.one(seen))
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]
        for method in held.all("#methods input:checked"):
            held.driver.execute_script("arguments[0].click()", method)
        held.until(lambda: "at least one method" in held.said())
        assert not held.one("#problem").is_displayed()
        left, top, right, bottom = held.driver.execute_script(script, held.one("#status"))
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_a_failure_of_the_first_picture_can_be_tried_again(held):
    held.broken.touch()
    held.choose(SAMPLES / "cat.jpg")
    held.until(lambda: "not finite" in held.one("#problem").text)
    assert held.one("#promise").is_displayed()
    held.broken.unlink()
    held.by_keys(held.one("#again"))
    held.until(lambda: held.said().startswith("2 maps of"))


def test_the_place_in_the_line_is_on_the_page(held, address):
    held.choose(SAMPLES / "cat.jpg")
    held.until(lambda: held.said().startswith("2 maps of"))
    held.hold.touch()
    held.choose(SAMPLES / "coffee.jpg")
    held.until(lambda: "looking" in held.said())
    with ThreadPoolExecutor(2) as users:
        asked = [users.submit(ask, address) for _ in range(2)]
        time.sleep(0.5)
        held.choose(SAMPLES / "rocket.jpg")  # gives up the first, and comes after the two
        held.until(lambda: held.said() == "2 pictures are before yours …")
        held.hold.unlink()
        held.until(lambda: held.said().startswith("2 maps of"))
        assert [each.result().status_code for each in asked] == [200, 200]


def ask(address):
    file = (SAMPLES / "cat.jpg").read_bytes()
    return httpx.post(f"{address}/api/attend", files={"picture": file}, data={"methods": "gradient"}, timeout=60)


def test_only_boxes_that_are_there_are_saved_and_the_page_says_so(held):
    held.choose(SAMPLES / "cat.jpg")
    held.until(lambda: held.said().startswith("2 maps of"))
    (held.hold.parent / "slow").touch()
    held.one("#against").send_keys(Keys.ARROW_DOWN)
    held.until(lambda: len(held.all(".save-png")) == 3)
    held.one("#save-coco").click()
    assert held.said() == "Global feedback is not finished. Save its boxes when all its maps are there."
    for method in held.all("#methods input:checked"):
        held.driver.execute_script("arguments[0].click()", method)
    held.until(lambda: held.all(".failed"))
    held.one("#save-coco").click()
    first, second = held.one("#class-name").text.split(" against ")
    said = rf"saved: cat\.coco\.json\. Only the boxes of “{first}”: there is no map of “{second}”\.$"
    held.until(lambda: re.search(said, held.said()))


def test_a_method_that_failed_has_no_boxes_to_save(held):
    held.choose(SAMPLES / "cat.jpg")
    held.until(lambda: held.said().startswith("2 maps of"))
    (held.hold.parent / "slow").touch()
    held.all("#predicted button")[1].click()
    held.until(lambda: len(held.all(".save-png")) == 1)
    for method in held.all("#methods input:checked"):
        held.driver.execute_script("arguments[0].click()", method)
    held.until(lambda: held.all(".failed"))
    held.one("#save-yolo").click()
    assert held.said() == "Global feedback has no map, so there are no boxes to save."


def test_the_page_says_that_the_boxes_wait_until_the_server_is_free(held, address):
    held.choose(SAMPLES / "cat.jpg")
    held.until(lambda: held.said().startswith("2 maps of"))
    held.hold.touch()
    with ThreadPoolExecutor(1) as users:
        asked = users.submit(ask, address)
        time.sleep(0.5)
        held.one("#save-coco").click()
        assert held.said() == "Saving the boxes …"
        held.until(lambda: held.said() == "The boxes wait until the server is free …")
        held.hold.unlink()
        held.until(lambda: "saved: cat.coco.json." in held.said())
        assert asked.result().status_code == 200


def test_a_server_that_ends_in_the_middle_leaves_what_was_finished(chromium, folder, files):
    with serving("--model", f"{folder}/held.py:build") as (server, address):
        page = opened(chromium, address)
        page.choose(SAMPLES / "cat.jpg")
        page.until(lambda: page.said().startswith("2 maps of"))
        files["slow"].touch()
        page.all("#predicted button")[1].click()
        page.until(lambda: len(page.all(".save-png")) == 1)
        server.kill()
        page.until(lambda: "Is looktwice still running?" in page.one("#problem").text)
    assert page.one("#problem").text.startswith("cat.jpg: ")
    assert len(page.all(".save-png")) == 1
    assert page.one(".failed").text.endswith("This map was not finished.")
    marked = page.one("#predicted [aria-pressed=true]").text
    assert marked.startswith(page.one("#class-name").text)
    assert page.one("#again").is_displayed()
    chromium.get_log("browser")  # Chromium itself notes that the server is gone

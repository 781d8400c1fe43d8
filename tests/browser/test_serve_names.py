"""The page of ``looktwice serve`` with odd names: of pictures and of classes."""

import json
from pathlib import Path

import pytest

from serve_page import browser, opened, serving

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "examples" / "images"

NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 9, stride=8), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


LONG = "x" * 180 + ".jpg"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("trunc-cat.jpg", "trunc-cat.jpg"),
        ('say "cat".jpg', 'say "cat".jpg'),
        ("a%22b.jpg", "a%22b.jpg"),
        ("кот  猫.jpg", "кот 猫.jpg"),  # the screen shows one blank
        ("the picture: a.jpg", "the picture: a.jpg"),
        (LONG, f"{'x' * 48}…{'x' * 7}.jpg"),
    ],
)
def test_a_message_names_the_file_once_and_as_it_is(page, tmp_path, name, shown):
    file = tmp_path / name
    file.write_bytes((SAMPLES / "cat.jpg").read_bytes()[:3000])
    page.choose(file)
    page.until(lambda: page.one("#problem-text").text)
    said = page.one("#problem-text").text
    assert said.startswith(f"{shown}: damaged or cut short (")
    assert said.endswith("fetch the file again or leave it out.")


def test_a_picture_that_is_too_large_is_named_once(page, tmp_path):
    file = tmp_path / "wide.jpg"
    file.write_bytes(claiming((SAMPLES / "cat.jpg").read_bytes(), 60_000, 60_000))
    page.choose(file)
    page.until(lambda: page.one("#problem-text").text)
    assert page.one("#problem-text").text.startswith("wide.jpg: the picture has more than 50 megapixels")


def claiming(jpeg, width, height):
    """The file with another size in its frame header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + jpeg[at + 4 :]


def test_an_export_that_fails_says_that_nothing_is_saved(page):
    page.choose(SAMPLES / "cat.jpg")
    page.answered(2, "Egyptian cat")
    refuse = "async () => new Response(JSON.stringify({error: 'too many; try again'}), {status: 503})"
    page.driver.execute_script(f"window.fetch = {refuse}")
    page.one("#save-coco").click()
    page.until(lambda: page.one("#problem-text").text == "Not saved: too many; try again.")


@pytest.mark.parametrize("size", [(1400, 900, "light"), (375, 812, "dark")], ids=str)
def test_a_class_with_a_very_long_name_leaves_the_maps_in_sight(tmp_path, size):
    (tmp_path / "net.py").write_text(NETWORK)
    names = [f"{number} {'long name ' * 50}{'y' * 500}" for number in range(5)]
    (tmp_path / "names.json").write_text(json.dumps(names))
    network = f"{tmp_path}/net.py:build"
    with (
        serving("--model", network, "--classes", f"{tmp_path}/names.json") as (_, address),
        browser(tmp_path) as driver,
    ):
        page = opened(driver, address)
        with page.screen(*size):
            page.choose(SAMPLES / "cat.jpg")
            page.until(lambda: page.said().startswith("2 maps of"))
            full = page.one("#class-name").get_attribute("title")
            assert full in [name.strip() for name in names]
            assert page.one("#class-name").rect["height"] < 90
            assert len(page.said()) < 100
            assert all(button.rect["height"] < 70 for button in page.all("#predicted button"))
            assert page.one("#works").rect["y"] < size[1]
            assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
            driver.save_screenshot(f"{tmp_path}/long.png")
            page.one("#against").send_keys("4")
            page.until(lambda: page.said().startswith("4 maps of"))
            assert all(title.rect["height"] < 90 for title in page.all("h3"))
            assert page.one("#works").rect["y"] < size[1]
        assert driver.get_log("browser") == []

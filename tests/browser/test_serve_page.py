"""The page of ``looktwice serve`` in Chromium, as its user meets it, by mouse and by keyboard."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "examples" / "images"
PATIENCE = 90  # seconds; the machine may be busy


@pytest.fixture(scope="module")
def address():
    command = [sys.executable, "-m", "looktwice", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().split()[1]
        server.terminate()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(downloads):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Debian's own; named, since Selenium would ask its server on the net which to take.
    options.binary_location = shutil.which("chromium")
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_window_size(1280, 1000)
    yield driver
    driver.quit()


class Page:
    """What a user sees and does."""

    def __init__(self, driver):
        self.driver = driver

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, happens):
        # What was found may have been replaced before it is asked.
        wait = WebDriverWait(
            self.driver, PATIENCE, poll_frequency=0.1, ignored_exceptions=[StaleElementReferenceException]
        )
        return wait.until(lambda _: happens())

    def choose(self, file):
        self.one("#file").send_keys(str(file))

    def said(self):
        return self.one("#status").text

    def answered(self, maps, name):
        self.until(lambda: self.said() == f"{maps} map{'s' * (maps != 1)} of “{name}”.")

    def boxes(self):
        """The boxes listed under the last figure, folded away as they are."""
        return self.all("#works ol")[-1].get_attribute("textContent")

    def drawing(self, place=0):
        """What is painted on a figure: (H, W, 3)."""
        uri = self.driver.execute_script("return document.querySelectorAll('canvas')[arguments[0]].toDataURL()", place)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))

    def slide(self, selector, value):
        """Sets a slider as a hand on it would."""
        self.driver.execute_script(
            "const [slider, value] = arguments; slider.value = value;"
            "for (const kind of ['input', 'change']) slider.dispatchEvent(new Event(kind, {bubbles: true}))",
            self.one(selector),
            value,
        )


@pytest.fixture
def page(chromium, address):
    chromium.get(address)
    page = Page(chromium)
    page.until(lambda: page.one("#limits").text)
    yield page
    assert [entry for entry in chromium.get_log("browser") if "favicon" not in entry["message"]] == []


@pytest.fixture
def cat(page):
    page.choose(SAMPLES / "cat.jpg")
    page.answered(2, "tiger cat")
    return page


def whole(downloads, name):
    """A download when it is there; its name appears before its last byte."""
    file = downloads / name
    return file if file.exists() and not list(downloads.glob("*.crdownload")) else None


def test_a_picture_gets_maps_boxes_and_a_rising_score(cat):
    assert cat.one("#class-name").text == "tiger cat"
    assert len(cat.all("#predicted button")) == 5
    assert [title.text for title in cat.all("h3")] == ["Gradient", "Global feedback"]
    assert len(cat.all(".plot svg")) == 1
    assert len(cat.all(".plot circle")) == 6
    with_boxes = cat.drawing(1)
    cat.one("#boxes").click()
    without = cat.drawing(1)
    changed = (with_boxes != without).any(-1)
    assert 0 < changed.mean() < 0.2
    cat.slide("#opacity", 0)
    bare = cat.drawing(1)
    assert (bare != without).any(-1).mean() > 0.2
    # Bare it is the picture, dimmed around the part that the network saw.
    picture = np.asarray(Image.open(SAMPLES / "cat.jpg").convert("RGB").resize(bare.shape[1::-1]), dtype=float)
    middle = (slice(bare.shape[0] // 3, bare.shape[0] // 2), slice(bare.shape[1] // 3, bare.shape[1] // 2))
    assert np.abs(bare[middle] - picture[middle]).mean() < 8
    assert bare[:10].mean() < 0.7 * picture[:10].mean()


def test_the_map_and_the_answer_can_be_saved(cat, downloads):
    cat.one("#save-json").click()
    file = cat.until(lambda: whole(downloads, "cat.282.json"))
    record = json.loads(file.read_text())
    assert record["picture"]["name"] == "cat.jpg"
    assert [method["name"] for method in record["methods"]] == ["gradient", "global_feedback"]
    assert record["methods"][1]["boxes"]
    drawn = cat.drawing(1)
    cat.all(".save-png")[1].click()
    file = cat.until(lambda: whole(downloads, "cat.282.global_feedback.png"))
    assert np.array_equal(np.asarray(Image.open(file).convert("RGB")), drawn)


def test_the_scrubber_shows_every_step(cat):
    cat.one("#boxes").click()
    gradient, last = cat.drawing(0), cat.drawing(1)
    slider = cat.one("#step")
    slider.send_keys(Keys.HOME)
    assert cat.one("#scrubber output").text == "0 of 5"
    assert slider.get_attribute("aria-valuetext") == "step 0 of 5"
    first = cat.drawing(1)
    assert (first != last).any()
    assert np.array_equal(cat.drawing(0), gradient)  # has no steps
    slider.send_keys(Keys.ARROW_RIGHT)
    assert not np.array_equal(cat.drawing(1), first)
    slider.send_keys(Keys.END)
    assert np.array_equal(cat.drawing(1), last)


def test_settings_are_followed(cat):
    cat.one("#trajectory").click()
    cat.until(lambda: not cat.one("#scrubber").is_displayed() and cat.one("#works[aria-busy=false]"))
    cat.slide("#steps", 2)
    cat.slide("#trace-weight", 0.5)
    cat.until(lambda: cat.all(".made")[1].text.startswith("2 steps · λ 0.5"))
    cat.one("#methods input[value=gradient]").click()
    cat.answered(1, "tiger cat")
    boxes = cat.boxes()
    cat.one("input[name=box][value=energy]").click()
    assert cat.one("#threshold").get_attribute("value") == "0.95"
    cat.slide("#threshold", 0.6)
    cat.until(lambda: cat.boxes() != boxes)
    boxes = cat.boxes()
    cat.one("input[name=box][value=objects]").click()
    assert (cat.one("#threshold").get_attribute("value"), cat.one("#threshold-says").text) == ("0.2", "Probability")
    cat.until(lambda: cat.boxes() != boxes)
    cat.one("#methods input[value=global_feedback]").click()
    cat.until(lambda: "at least one method" in cat.said())


def test_another_class_is_one_click_or_a_search_away(cat):
    cat.all("#predicted button")[2].click()
    cat.answered(2, "tabby")
    pressed = [button.text.split("\n")[0] for button in cat.all("#predicted button[aria-pressed=true]")]
    assert pressed == ["tabby"]
    cat.one("#query").send_keys("espresso")
    cat.until(lambda: [button.text for button in cat.all("#found button")] == ["espresso", "espresso maker"])
    cat.all("#found button")[0].click()
    cat.answered(2, "espresso")
    cat.one("#query").clear()
    cat.one("#query").send_keys("nothing of the kind")
    cat.until(lambda: "No class is named" in cat.said())


def test_a_broken_upload_gets_a_message_and_costs_nothing(cat, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((SAMPLES / "cat.jpg").read_bytes()[:3000])
    before = cat.drawing(1)
    cat.choose(broken)
    cat.until(lambda: "damaged or cut short" in cat.one("#problem").text)
    assert np.array_equal(cat.drawing(1), before)
    large = tmp_path / "large.png"
    large.write_bytes(bytes(20_000_001))
    cat.choose(large)
    assert "larger than 20 MB" in cat.one("#problem").text
    many = tmp_path / "many.png"
    Image.new("L", (10_000, 10_000)).save(many)
    cat.choose(many)
    cat.until(lambda: "more than 50 megapixels" in cat.one("#problem").text)
    assert np.array_equal(cat.drawing(1), before)
    cat.choose(SAMPLES / "coffee.jpg")
    cat.answered(2, "espresso")
    assert cat.one("#problem").text == ""
    # Chromium itself notes every answer that is no 200; nothing else may have gone wrong.
    log = cat.driver.get_log("browser")
    assert [re.search(r"status of (\d+)", entry["message"])[1] for entry in log] == ["422", "413"]


def test_a_dropped_picture_is_taken(page):
    data = base64.b64encode((SAMPLES / "coffee.jpg").read_bytes()).decode()
    page.driver.execute_script(
        "const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));"
        "const transfer = new DataTransfer();"
        "transfer.items.add(new File([bytes], 'coffee.jpg', {type: 'image/jpeg'}));"
        "document.querySelector('#drop').dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true}))",
        data,
    )
    page.answered(2, "espresso")


def test_all_of_it_can_be_reached_by_the_keyboard(cat):
    reached = []
    for _ in range(40):
        webdriver.ActionChains(cat.driver).send_keys(Keys.TAB).perform()
        focused = cat.driver.switch_to.active_element
        if focused.tag_name == "body":
            break
        # A text field and a radio button show their focus as all others do.
        shown = cat.driver.execute_script(
            "const at = document.activeElement; const seen = at.id === 'file' ? at.parentElement : at;"
            "return getComputedStyle(seen).outlineStyle",
        )
        assert shown == "solid", focused.get_attribute("outerHTML")
        reached.append(focused.get_attribute("id") or focused.get_attribute("class") or focused.get_attribute("value"))
    for wanted in ("file", "class", "query", "global_feedback", "steps", "trace-weight", "trajectory", "threshold"):
        assert wanted in reached
    for wanted in ("model", "opacity", "step", "boxes", "save-json", "save-png"):
        assert wanted in reached
    cat.all("#predicted button")[1].send_keys(Keys.ENTER)
    cat.answered(2, "Egyptian cat")
    assert cat.driver.switch_to.active_element.text.startswith("Egyptian cat")  # the focus stays where it was


def test_every_control_has_a_name(cat):
    nameless = cat.driver.execute_script(
        "return [...document.querySelectorAll('input, select, button, canvas')].filter((each) =>"
        "  !(each.labels?.length || each.textContent.trim() || each.getAttribute('aria-label')))"
        ".map((each) => each.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize("width", [320, 375, 768])
def test_a_narrow_screen_is_wide_enough(cat, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    cat.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert cat.driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert cat.one("canvas").size["width"] > 0.8 * width or width == 768
    finally:
        cat.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

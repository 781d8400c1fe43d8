"""The page of ``looktwice serve`` in Chromium, as its user meets it, by mouse and by keyboard."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_page import Keys, webdriver, whole

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "examples" / "images"


@pytest.fixture
def cat(page):
    page.choose(SAMPLES / "cat.jpg")
    page.answered(2, "Egyptian cat")
    return page


def test_a_picture_gets_maps_boxes_and_a_rising_score(cat):
    assert cat.one("#class-name").text == "Egyptian cat"
    assert len(cat.all("#predicted button")) == 5
    assert [title.text for title in cat.all("h3")] == ["Picture", "Gradient", "Global feedback"]
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
    # Bare it is the picture.
    picture = np.asarray(Image.open(SAMPLES / "cat.jpg").convert("RGB").resize(bare.shape[1::-1]), dtype=float)
    middle = (slice(bare.shape[0] // 3, bare.shape[0] // 2), slice(bare.shape[1] // 3, bare.shape[1] // 2))
    assert np.abs(bare[middle] - picture[middle]).mean() < 8
    assert np.array_equal(bare, cat.drawing(of=".original canvas"))
    # Where the network looks at the centre only, what it does not see is dimmed.
    assert np.abs(bare[:10] - picture[:10]).mean() < 8
    cat.one("input[name=view][value=centre]").click()
    cat.until(lambda: "bright part" in cat.one(".original").text)
    cat.answered(2, "Egyptian cat")
    assert cat.drawing(1)[:10].mean() < 0.7 * picture[:10].mean()
    assert np.abs(cat.drawing(1)[middle] - picture[middle]).mean() < 8


def test_the_map_and_the_answer_can_be_saved(cat, downloads):
    cat.one("#save-json").click()
    file = cat.until(lambda: whole(downloads, "cat.285.json"))
    record = json.loads(file.read_text())
    assert record["picture"]["name"] == "cat.jpg"
    assert [method["name"] for method in record["methods"]] == ["gradient", "global_feedback"]
    assert record["methods"][1]["boxes"]
    drawn = cat.drawing(1)
    cat.all(".save-png")[1].click()
    file = cat.until(lambda: whole(downloads, "cat.285.global_feedback.png"))
    assert np.array_equal(np.asarray(Image.open(file).convert("RGB")), drawn)


def test_the_steps_show_how_the_gates_close(cat):
    assert not cat.one("#scrubber").is_displayed()  # it takes time, so it is asked for
    assert cat.one(".gates p").text.startswith("15 % of the gates are open")
    cat.one("#boxes").click()
    gradient, last = cat.drawing(0), cat.drawing(1)
    gates = cat.drawing(of=".inside:not([hidden]) .gates canvas")
    cat.one("#trajectory").click()
    cat.until(lambda: cat.one("#scrubber").is_displayed() and cat.one("#works[aria-busy=false]"))
    slider = cat.one("#step")
    assert cat.one("#scrubber output").text == "5 of 5"  # the result, and not the start
    assert np.array_equal(cat.drawing(1), last)
    slider.send_keys(Keys.HOME)
    assert cat.one("#scrubber output").text == "0 of 5"
    assert slider.get_attribute("aria-valuetext") == "step 0 of 5"
    assert cat.one(".gates p").text.startswith("100 % of the gates are open")
    first = cat.drawing(1)
    assert (first != last).any()
    assert np.array_equal(cat.drawing(0), gradient)  # has no steps
    shares = [100.0]
    for step in range(1, 6):
        slider.send_keys(Keys.ARROW_RIGHT)
        assert [circle.get_attribute("class") for circle in cat.all(".plot circle")].index("stop now") == step
        shares.append(float(cat.one(".gates p").text.split(" %")[0]))
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 6
    assert np.array_equal(cat.drawing(1), last)
    assert np.array_equal(cat.drawing(of=".inside:not([hidden]) .gates canvas"), gates)
    cat.slide("#steps", 12)
    assert not cat.one("#trajectory").is_enabled()
    cat.until(lambda: not cat.one("#scrubber").is_displayed() and cat.one("#works[aria-busy=false]"))


def test_settings_are_followed(cat):
    cat.slide("#steps", 2)
    cat.slide("#trace-weight", 0.5)
    cat.until(lambda: [made.text.startswith("2 steps · λ 0.5") for made in cat.all(".made")] == [False, True])
    cat.one("#methods input[value=gradient]").click()
    cat.answered(1, "Egyptian cat")
    assert cat.one("input[name=box]:checked").get_attribute("value") == "objects"
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
    assert "broken.jpg" in cat.one("#problem").text
    assert np.array_equal(cat.drawing(1), before)
    large = tmp_path / "large.png"
    large.write_bytes(bytes(20_000_001))
    cat.choose(large)
    assert "“large.png” is larger than 20 MB" in cat.one("#problem").text
    many = tmp_path / "many.png"
    Image.new("L", (10_000, 10_000)).save(many)
    cat.choose(many)
    cat.until(lambda: "more than 50 megapixels" in cat.one("#problem").text)
    assert "many.png" in cat.one("#problem").text
    assert np.array_equal(cat.drawing(1), before)
    cat.choose(SAMPLES / "coffee.jpg")
    cat.answered(2, "espresso")
    assert cat.one("#problem").text == ""


@pytest.mark.parametrize("pause", [0, 60, 150, 350])  # milliseconds: in each part of the answer before
def test_of_several_wishes_the_last_counts(page, pause):
    page.driver.execute_async_script(
        "const [pause, done] = arguments; const names = ['cat', 'rocket', 'cat', 'coffee'];"
        "names.forEach((name, place) => setTimeout(() => {"
        "  document.querySelector(`.sample[data-file='${name}.jpg']`).click();"
        "  if (place === names.length - 1) done();"
        "}, place * pause))",
        pause,
    )
    page.answered(2, "espresso")
    assert page.one("#class-name").text == "espresso"
    assert page.one("#predicted [aria-pressed=true]").text.startswith("espresso")
    assert len(page.all(".save-png")) == 2
    before = page.drawing(1)
    page.one("#methods input[value=feedback]").click()
    page.slide("#opacity", 79)
    page.one("#methods input[value=feedback]").click()
    page.slide("#opacity", 80)
    page.until(lambda: len(page.all(".save-png")) == 2)
    page.answered(2, "espresso")
    assert np.array_equal(page.drawing(1), before)


def test_the_request_on_the_page_can_be_sent_elsewhere(cat):
    cat.one("#against").send_keys("tabby")
    cat.answered(4, "Egyptian cat", "tabby")
    name, fields, methods = cat.driver.execute_async_script(
        "const done = arguments[0]; import('/state.js').then(({shownRequest}) => {"
        "  const {form, answer, name} = shownRequest();"
        "  done([name, Object.fromEntries([...form].map(([key, value]) => [key, value.name ?? value])),"
        "        answer.methods.map((row) => [row.name, row.class])]);"
        "})"
    )
    assert name == fields.pop("picture") == "cat.jpg"
    assert fields == {
        "model": "efficientnet_lite0", "class": "285", "against": "281", "methods": "gradient,global_feedback",
        "view": "whole", "steps": "5", "trace_weight": "1", "trajectory": "0", "box": "objects", "min_score": "0.2",
    }  # fmt: skip
    assert methods == [[method, index] for method in ("gradient", "global_feedback") for index in (285, 281)]


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
    cat.driver.execute_script("document.querySelector('#trajectory').click()")
    cat.until(lambda: cat.one("#scrubber").is_displayed() and cat.one("#works[aria-busy=false]"))
    reached = []
    for _ in range(60):
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
        names = (focused.get_attribute(name) for name in ("id", "class", "name", "value"))
        reached.append(next(filter(None, names), None))
    for wanted in (
        "file",
        "sample",
        "class",
        "query",
        "against",
        "view",
        "global_feedback",
        "box",
        "steps",
        "trace-weight",
        "trajectory",
        "threshold",
    ):
        assert wanted in reached
    for wanted in ("model", "opacity", "step", "boxes", "save-json", "save-png"):
        assert wanted in reached
    cat.all("#predicted button")[1].send_keys(Keys.ENTER)
    cat.answered(2, "tiger cat")
    assert cat.driver.switch_to.active_element.text.startswith("tiger cat")  # the focus stays where it was


def test_every_control_has_a_name(cat):
    nameless = cat.driver.execute_script(
        "return [...document.querySelectorAll('input, select, button, canvas')].filter((each) =>"
        " !each.closest('[aria-hidden]') && !(each.labels?.length || each.textContent.trim()"
        " || each.getAttribute('aria-label')))"
        ".map((each) => each.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize("width", [320, 375, 768])
def test_a_narrow_screen_is_wide_enough(cat, width):
    with cat.screen(width, 800):
        assert cat.driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert cat.one(".work > canvas").size["width"] > 0.8 * width or width == 768

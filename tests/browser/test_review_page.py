"""The contact sheet of labels in Chromium, opened from disk: filters, the large image, keyboard, names that attack."""

import pytest

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from chromium import NEEDS_CHROMIUM, chromium_driver
from label_checks import EVIL, label_set, review_set
from looktwice.export.review import write_review

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    write_review(review_set(folder), folder)
    write_review(review_set(folder), folder / "some", most=3)
    write_review(label_set(), folder / "empty")
    return folder


@pytest.fixture(scope="module")
def chromium():
    with chromium_driver(logs=("browser", "performance")) as driver:
        yield driver


@pytest.fixture
def page(chromium, folder):
    chromium.set_window_size(1400, 1000)
    chromium.get((folder / "review.html").as_uri())
    yield chromium
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def field(page, name):
    return page.find_element(By.CSS_SELECTOR, f"#filters [name={name}]")


def cards(page):
    return [card for card in page.find_elements(By.CSS_SELECTOR, ".card") if card.is_displayed()]


def shown(page):
    return [card.find_element(By.CSS_SELECTOR, ".name span").text[0] for card in cards(page)]


def told(page):
    return page.find_element(By.ID, "shown").text


def slide_to(page, score):
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    page.execute_script(script, field(page, "score"), score)


def until(page, happens):
    return WebDriverWait(page, 20, poll_frequency=0.05).until(lambda _: happens())


def test_it_loads_nothing_but_itself(page):
    sent = [
        entry["message"] for entry in page.get_log("performance") if 'Network.requestWillBeSent"' in entry["message"]
    ]
    assert sent
    assert not [message for message in sent if '"url":"http' in message]
    pictures = page.execute_script("return [...document.images].map(image => [image.complete, image.naturalWidth])")
    assert pictures == [[True, 100]] * 5


def test_all_images_at_first(page):
    assert shown(page) == ["d", "e", "c", "g", "b", "a"]
    assert told(page) == "6 of 6 images shown"
    assert page.find_element(By.ID, "summary").text == ("All 6 images, those in most doubt first. 1 image has no box.")
    assert page.find_element(By.ID, "boxes").text == "0.00: 6 of 6 boxes"
    assert "corrections stay in the annotation tool" in page.find_element(By.TAG_NAME, "header").text


def test_only_some_images(page, folder):
    page.get((folder / "some" / "review.html").as_uri())
    assert page.find_element(By.ID, "summary").text == (
        "3 of 6 images, those in most doubt first. 1 image has no box among all."
    )


def test_no_images(page, folder):
    page.get((folder / "empty" / "review.html").as_uri())
    assert page.find_element(By.ID, "summary").text == "There is no image."
    assert page.find_element(By.ID, "none").is_displayed()


def test_names_run_no_script(page):
    assert page.execute_script("return window.hacked") is None
    texts = [card.text for card in cards(page)]
    assert any("<script>window.hacked = 1" in text for text in texts)
    options = [option.text for option in Select(field(page, "class")).options]
    assert any(option.startswith(EVIL[:20]) for option in options)
    cards(page)[2].find_element(By.CSS_SELECTOR, ".open").click()
    assert page.execute_script("return window.hacked") is None
    assert "window.hacked" in page.find_element(By.ID, "large-name").text


def test_boxes_lie_where_they_were_found(page):
    last = cards(page)[-1]
    script = """const [card, selector] = arguments, stage = card.querySelector(".stage").getBoundingClientRect();
        return [...card.querySelectorAll(selector)].map(each => {
            const box = each.getBoundingClientRect();
            return [box.left - stage.left, box.top - stage.top, box.right - stage.left, box.bottom - stage.top]
                .map((side, axis) => side / (axis % 2 ? stage.height : stage.width)); });"""
    found = page.execute_script(script, last, "rect.over")
    assert found[1] == pytest.approx([0.1, 0.125, 0.6, 0.875], abs=0.02)  # the best box is drawn last
    assert found[0] == pytest.approx([0.7, 0.25, 0.9, 0.5], abs=0.02)
    assert [tag.text for tag in last.find_elements(By.CSS_SELECTOR, ".tag")] == ["0.30", "0.95"]
    assert page.execute_script(script, last, "img")[0] == pytest.approx([0, 0, 1, 1], abs=0.01)


def test_filters(page):
    Select(field(page, "class")).select_by_visible_text("dog")
    assert shown(page) == ["d", "b"]
    field(page, "bare").click()
    assert shown(page) == ["d"]
    assert told(page) == "1 of 6 images shown"
    page.find_element(By.CSS_SELECTOR, "#filters [type=reset]").click()
    until(page, lambda: told(page) == "6 of 6 images shown")
    Select(field(page, "kind")).select_by_value("given")
    assert shown(page) == ["c", "g", "a"]
    Select(field(page, "kind")).select_by_value("predicted")
    assert shown(page) == ["d", "e", "b"]
    Select(field(page, "class")).select_by_visible_text("cat")
    assert shown(page) == ["e"]
    Select(field(page, "kind")).select_by_value("")
    field(page, "name").send_keys("GONE")
    assert shown(page) == ["g"]
    field(page, "name").send_keys("x")
    assert shown(page) == []
    assert page.find_element(By.ID, "none").text == "No image fits these filters."


def test_boxes_below_a_score_fade(page):
    slide_to(page, 0.5)
    assert page.find_element(By.ID, "boxes").text == "0.50: 3 of 6 boxes"
    last = cards(page)[-1]
    assert [tag.text for tag in last.find_elements(By.CSS_SELECTOR, ".tag.faint")] == ["0.30"]
    assert len(last.find_elements(By.CSS_SELECTOR, "g.faint")) == 1
    last.find_element(By.CSS_SELECTOR, ".open").click()
    assert [tag.text for tag in page.find_elements(By.CSS_SELECTOR, "#large .faint.tag")] == ["cat 0.30"]
    slide_to(page, 0.99)
    assert len(page.find_elements(By.CSS_SELECTOR, "#large .faint.tag")) == 2


def test_a_picture_that_is_gone_has_its_reason(page):
    (gone,) = page.find_elements(By.CSS_SELECTOR, ".gone")
    assert gone.text == "it cannot be read any more (No such file or directory)"


def test_by_keyboard_alone(page):
    dialog = page.find_element(By.ID, "large")
    name = page.find_element(By.ID, "large-name")
    cards(page)[-2].find_element(By.CSS_SELECTOR, ".open").send_keys(Keys.ENTER)
    assert dialog.is_displayed()
    assert name.text == "b.png"
    keys = ActionChains(page)
    keys.send_keys(Keys.ARROW_RIGHT).perform()
    assert name.text == "a.png"
    assert page.find_element(By.ID, "large-notes").text == "a <b>note</b>"
    keys.send_keys(Keys.ARROW_RIGHT).perform()
    assert name.text == "a.png"  # the last one
    keys.send_keys(Keys.ESCAPE).perform()
    until(page, lambda: not dialog.is_displayed())
    # The view has gone a moment before the focus is back.
    until(page, lambda: page.switch_to.active_element.get_attribute("aria-label") == "Enlarge a.png")


def test_the_arrows_pass_over_images_that_are_filtered_out(page):
    Select(field(page, "class")).select_by_visible_text("dog")
    cards(page)[0].find_element(By.CSS_SELECTOR, ".open").click()
    page.find_element(By.CSS_SELECTOR, "[data-do=next]").click()
    assert page.find_element(By.ID, "large-name").text == "b.png"
    page.find_element(By.CSS_SELECTOR, "[data-do=previous]").click()
    assert page.find_element(By.ID, "large-name").text == "d.png"
    page.find_element(By.CSS_SELECTOR, "[data-do=close]").click()
    assert not page.find_element(By.ID, "large").is_displayed()


@pytest.mark.parametrize("allowed", [True, False])
def test_a_name_is_copied(page, allowed):
    # The page asks the browser's clipboard first. Where that is forbidden, it copies a selection.
    page.execute_script(
        """window.copied = [];
        Object.defineProperty(navigator, "clipboard", {value: {writeText: async (text) => {
            if (!arguments[0]) throw new Error("forbidden"); window.copied.push(text); }}});
        document.execCommand = () => window.copied.push(document.activeElement.value);""",
        allowed,
    )
    button = cards(page)[-1].find_element(By.CSS_SELECTOR, ".copy")
    button.click()
    until(page, lambda: button.text == "copied")
    assert page.execute_script("return window.copied") == ["a.png"]
    assert not page.find_elements(By.TAG_NAME, "textarea")
    until(page, lambda: button.text == "copy")


def test_every_control_has_a_name(page):
    def check(selector, least):
        controls = [each for each in page.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()]
        assert len(controls) >= least
        assert all(control.accessible_name for control in controls)

    check("select, input, button", 18)
    cards(page)[0].find_element(By.CSS_SELECTOR, ".open").click()
    check("dialog, dialog button", 5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page, scheme):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        colours = """const parts = (text) => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
            const light = (text) => parts(text).map(v => v / 255)
                .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
            const style = (selector) => getComputedStyle(document.querySelector(selector));
            const contrast = (text, ground) => { const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
                return (a + .05) / (b + .05); };
            return [[".text", ".card"], [".how", ".card"], ["header .quiet", "body"], ["#shown", "body"],
                [".gone", ".gone"], [".copy", ".copy"]].map(([text, ground]) =>
                contrast(style(text).color, style(ground).backgroundColor));"""
        assert min(page.execute_script(colours)) >= 4.5
        ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(248, 246, 241)", "dark": "rgb(25, 23, 21)"}[scheme]
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_narrow_screen(page):
    size = {"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.refresh()
        assert page.execute_script("return document.documentElement.scrollWidth") == 375
        beyond = """return [...document.querySelectorAll("body *")].filter(element =>
            element.getBoundingClientRect().right > 375.5 && !element.closest(".stage"))
            .map(element => element.outerHTML.slice(0, 80))"""
        assert page.execute_script(beyond) == []
        cards(page)[-1].find_element(By.CSS_SELECTOR, ".open").click()
        assert page.execute_script(beyond) == []
        assert page.execute_script("return document.documentElement.scrollWidth") == 375
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

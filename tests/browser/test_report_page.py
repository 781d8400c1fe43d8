"""The page of ``looktwice report`` in Chromium, opened from disk: filters, maps, the large view, keyboard, print.

What a reader sees is checked on a wide and a narrow screen, in light and in dark.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from chromium import NEEDS_CHROMIUM, chromium_driver
from looktwice.report.page import write_report
from report_runs import CLASSES, EVIL, half_older, make_data, make_grid_run, make_older, make_run

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    data = make_data(folder / "data")
    runs = [make_run(folder / "run", data), make_run(folder / "bare", data, maps=False, network="googlenet")]
    write_report(runs, folder / "report.html")
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def other_address(tmp_path_factory):
    """Enough images to compare methods, with faithfulness and doubts; squares; images without boxes; an older run."""
    folder = tmp_path_factory.mktemp("others")
    doubts = {"weights": "random", "doubts": ["it is doubtful what the scores are"]}
    many = make_run(folder / "many", make_data(folder / "70", images=70), maps=False, faithful=True, told=doubts)
    grid = make_grid_run(folder / "grid", make_data(folder / "four", classes=(*CLASSES, "cup")))
    boxless = make_run(folder / "boxless", make_data(folder / "none", boxed=False), maps=False, faithful=True)
    old = make_run(folder / "new", make_data(folder / "old-data"), maps=False)
    write_report([many, grid, boxless, make_older(old, folder / "old")], folder / "report.html")
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def chromium():
    with chromium_driver("--hide-scrollbars", logs=("browser", "performance")) as driver:
        yield driver


class Gallery:
    """The gallery of one run, as its reader uses it."""

    def __init__(self, driver, number):
        self.driver = driver
        self.element = driver.find_elements(By.CSS_SELECTOR, ".gallery")[number]

    def field(self, name):
        return self.element.find_element(By.CSS_SELECTOR, f"[name={name}]")

    def choose(self, name, value):
        Select(self.field(name)).select_by_value(value)

    def cards(self):
        return [card for card in self.element.find_elements(By.CSS_SELECTOR, ".card") if card.is_displayed()]

    def texts(self, selector):
        return [card.find_element(By.CSS_SELECTOR, selector).text for card in self.cards()]

    def gains(self):
        items = self.element.find_elements(By.CSS_SELECTOR, "li[data-card]")
        return [float(item.get_attribute("data-gain")) for item in items]

    def told(self):
        return self.element.find_element(By.CSS_SELECTOR, "output").text

    def open(self, card):
        """The button on a card."""
        return card.find_element(By.CSS_SELECTOR, ".open")

    def until(self, happens):
        return WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: happens())


@pytest.fixture
def page(chromium, address):
    chromium.set_window_size(1280, 1000)
    chromium.get(address)
    yield chromium
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


@pytest.fixture
def gallery(page):
    return Gallery(page, 0)


WIDE, NARROW = 1400, 375


@pytest.fixture(params=[(width, scheme) for width in (WIDE, NARROW) for scheme in ("light", "dark")], ids=str)
def screen(request, chromium):
    """Chromium with a screen of this width, for a reader who wants this colour scheme."""
    width, scheme = request.param
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == NARROW}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    yield chromium
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def width_of(driver):
    return driver.execute_script("return document.documentElement.clientWidth")  # without the scroll bar


def brightness(driver, selector, what):
    """The mean of red, green and blue of a colour, or of a mixed colour its lightness; 0 … 255."""
    colour = driver.find_element(By.CSS_SELECTOR, selector).value_of_css_property(what)
    if colour.startswith("oklab("):
        return 255 * float(colour.removeprefix("oklab(").split()[0])
    return sum(float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


def assert_nothing_reaches_out(driver):
    """No page that scrolls sideways, and no element beyond its right edge but in a box of its own."""
    width = width_of(driver)
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    beyond = f"""return [...document.querySelectorAll("body *")].filter(element =>
        element.getBoundingClientRect().right > {width} + 0.5 && !element.closest(".scroll, pre, svg"))
        .map(element => element.outerHTML.slice(0, 80))"""
    assert driver.execute_script(beyond) == []


def test_it_loads_nothing_but_itself(page, address):
    sent = [
        entry["message"] for entry in page.get_log("performance") if 'Network.requestWillBeSent"' in entry["message"]
    ]
    assert sent
    assert not [message for message in sent if '"url":"http' in message]
    pictures = page.execute_script("return [...document.images].filter(i => i.src).map(i => i.naturalWidth)")
    assert pictures
    assert min(pictures) > 0


def test_all_is_shown_at_first(gallery):
    assert gallery.told() == "10 of 10 shown"
    assert len(gallery.cards()) == 10


def test_the_method_changes_boxes_and_words(gallery):
    words, boxes = gallery.texts(".verdict"), [card.get_attribute("innerHTML") for card in gallery.cards()]
    gallery.choose("method", "gradient")
    assert gallery.texts(".verdict") != words
    assert [card.get_attribute("innerHTML") for card in gallery.cards()] != boxes
    assert gallery.texts(".verdict").count("miss") == 3  # in each third image


def test_the_class(gallery):
    gallery.field("class").send_keys("ESPR")
    assert set(gallery.texts("strong")) == {"espresso"}
    assert gallery.told() == f"{len(gallery.cards())} of 10 shown"
    gallery.field("class").clear()
    gallery.field("class").send_keys("<script>")
    assert set(gallery.texts("strong")) == {EVIL}
    gallery.field("class").send_keys("nowhere")
    assert gallery.cards() == []
    assert gallery.element.find_element(By.CSS_SELECTOR, ".empty").is_displayed()


def test_hit_or_miss(gallery):
    counts = {}
    for result in ("hit", "miss"):
        gallery.choose("result", result)
        assert set(gallery.texts(".verdict")) == {result}
        counts[result] = len(gallery.cards())
    assert sum(counts.values()) == 10


def test_disagreement(gallery):
    gallery.field("disagree").click()
    found = gallery.texts(".text")
    assert len(found) == 2
    assert all("1 of 3 methods hit" in text for text in found)


def test_filters_add_up_and_go_away(gallery):
    gallery.field("disagree").click()
    gallery.choose("result", "hit")
    assert gallery.told() == "1 of 10 shown"
    gallery.element.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    gallery.until(lambda: gallery.told() == "10 of 10 shown")


def test_order_by_gain_and_loss(gallery):
    mixed = gallery.gains()
    gallery.choose("order", "gain")
    assert gallery.gains() == sorted(mixed, reverse=True)
    gallery.choose("order", "loss")
    assert gallery.gains() == sorted(mixed)
    gallery.choose("order", "")
    assert gallery.gains() == mixed


def test_order_by_the_methods_iou(gallery):
    gallery.choose("order", "best")
    shown = [float(text.removeprefix("IoU ")) for text in gallery.texts(".iou")]
    assert shown == sorted(shown, reverse=True)
    gallery.choose("order", "worst")
    assert [float(text.removeprefix("IoU ")) for text in gallery.texts(".iou")] == sorted(shown)


@pytest.mark.parametrize("number", [0, 1], ids=["with saved maps", "without"])
def test_every_card_has_boxes_and_a_map_beside_the_picture(page, number):
    gallery = Gallery(page, number)
    for card in gallery.cards():
        seen, over = card.find_elements(By.CSS_SELECTOR, ".stage")
        heat = over.find_element(By.CSS_SELECTOR, ".heat")
        assert heat.is_displayed()
        assert page.execute_script("return arguments[0].naturalWidth", heat) > 0
        assert over.location["x"] >= seen.location["x"] + seen.size["width"]
        pictures = card.find_elements(By.CSS_SELECTOR, ".picture")
        assert len({picture.get_attribute("src") for picture in pictures}) == 1
        assert seen.find_elements(By.CSS_SELECTOR, ".truth rect")
        assert seen.find_elements(By.CSS_SELECTOR, ".found rect")


def test_a_right_box_looks_other_than_a_wrong_one(gallery):
    gallery.choose("method", "gradient")
    drawn = {"hit": set(), "miss": set()}
    for card in gallery.cards():
        (judged,) = card.find_elements(By.CSS_SELECTOR, ".found g:not(.other)")
        line = judged.find_element(By.CSS_SELECTOR, ".over")
        style = (line.value_of_css_property("stroke"), line.value_of_css_property("stroke-dasharray"))
        drawn[card.find_element(By.CSS_SELECTOR, ".verdict").text].add((judged.get_attribute("class"), style))
    assert {kind for kind, _ in drawn["hit"]} == {"right"}
    assert {kind for kind, _ in drawn["miss"]} == {"wrong"}
    assert len(drawn["hit"] | drawn["miss"]) == 2
    assert {dashes for _, (_, dashes) in drawn["hit"]} == {"none"}  # not by colour alone


def test_by_keyboard_alone(gallery):
    """Filter, go to a card, enlarge it, go on and back, close: the focus is where it was."""
    gallery.field("disagree").send_keys(Keys.SPACE)
    assert gallery.told() == "2 of 10 shown"
    gallery.field("disagree").send_keys(Keys.TAB)  # to the button that shows all
    ActionChains(gallery.driver).send_keys(Keys.TAB).perform()
    first, second = gallery.cards()
    assert gallery.driver.switch_to.active_element == gallery.open(first)
    large = Large(gallery.driver)
    keys = ActionChains(gallery.driver)
    keys.send_keys(Keys.ENTER).perform()
    assert large.is_open()
    assert large.name() == first.get_attribute("aria-label")
    assert large.place() == "1 of 2"
    keys.send_keys(Keys.ARROW_RIGHT).perform()
    assert (large.name(), large.place()) == (second.get_attribute("aria-label"), "2 of 2")
    keys.send_keys(Keys.ARROW_RIGHT).perform()
    assert large.place() == "1 of 2"
    keys.send_keys(Keys.ARROW_LEFT).perform()
    assert large.place() == "2 of 2"
    keys.send_keys(Keys.ESCAPE).perform()
    assert not large.is_open()
    # The view has gone a moment before the focus is back.
    gallery.until(lambda: gallery.driver.switch_to.active_element == gallery.open(second))
    keys.send_keys(Keys.SPACE).perform()
    assert large.is_open()


class Large:
    """The large view of a card."""

    def __init__(self, driver):
        self.driver, self.element = driver, driver.find_element(By.ID, "large")

    def is_open(self):
        return self.element.is_displayed()

    def name(self):
        return self.element.find_element(By.ID, "large-name").text

    def place(self):
        return self.element.find_element(By.ID, "large-place").text

    def rows(self):
        lines = self.element.find_elements(By.CSS_SELECTOR, "tbody tr")
        return [[cell.text for cell in line.find_elements(By.CSS_SELECTOR, "th, td")] for line in lines]

    def press(self, action):
        self.element.find_element(By.CSS_SELECTOR, f"[data-do={action}]").click()


def test_the_large_view(screen, address):
    screen.get(address)
    gallery, large = Gallery(screen, 0), Large(screen)
    assert not large.is_open()
    card = gallery.cards()[0]
    small = card.find_element(By.CSS_SELECTOR, ".stage").size["width"]
    screen.execute_script("arguments[0].scrollIntoView({block: 'center'})", card)
    gallery.open(card).click()
    assert large.is_open()
    stages = large.element.find_elements(By.CSS_SELECTOR, ".stage")
    assert len(stages) == 2
    assert all(stage.size["width"] > 1.5 * small for stage in stages)
    assert all(stage.find_elements(By.CSS_SELECTOR, "rect") for stage in stages)
    place = large.element.rect
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= width_of(screen)
    rows = large.rows()
    assert [row[0] for row in rows] == ["Gradient", "Local feedback", "Global feedback"]
    assert {row[1] for row in rows} <= {"hit", "miss"}
    shown = card.find_element(By.CSS_SELECTOR, ".iou").text
    assert f"IoU {rows[2][2]}" == shown
    assert_nothing_reaches_out(screen)
    large.press("close")
    assert not large.is_open()


def test_the_large_view_changes_the_method(gallery):
    large = Large(gallery.driver)
    gallery.open(gallery.cards()[0]).click()
    Select(large.element.find_element(By.ID, "large-method")).select_by_value("gradient")
    assert gallery.field("method").get_attribute("value") == "gradient"
    drawn = large.element.find_element(By.CSS_SELECTOR, ".found").get_attribute("innerHTML")
    large.press("close")
    assert gallery.cards()[0].find_element(By.CSS_SELECTOR, ".found").get_attribute("innerHTML") == drawn


def test_what_a_measure_is_stands_beside_its_name(screen, address):
    screen.get(address)
    head = screen.find_element(By.CSS_SELECTOR, ".explain")
    meaning = screen.find_element(By.ID, head.get_attribute("popovertarget"))
    assert head.get_attribute("title") == meaning.get_attribute("textContent")
    assert not meaning.is_displayed()
    head.send_keys(Keys.ENTER)
    assert meaning.is_displayed()
    assert meaning.text.startswith("Localization error, class predicted. Share of images")
    place = meaning.rect
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= width_of(screen)
    gap = min(
        abs(place["y"] - head.rect["y"] - head.rect["height"]), abs(head.rect["y"] - place["y"] - place["height"])
    )
    assert gap < 12
    ActionChains(screen).send_keys(Keys.ESCAPE).perform()
    assert not meaning.is_displayed()


def test_every_control_has_a_name(page):
    controls = page.find_elements(By.CSS_SELECTOR, "select, input, button, .card, .open, [role=region], [role=img]")
    assert len(controls) > 20
    assert all(control.accessible_name for control in controls if control.is_displayed())


def test_an_older_run_without_maps_says_so(screen, other_address):
    screen.get(other_address)
    gallery = Gallery(screen, 3)
    notes = screen.find_elements(By.CSS_SELECTOR, "#run-3 .note")
    assert any("kept no maps" in note.text for note in notes)
    assert not screen.find_elements(By.CSS_SELECTOR, "#run-0 .note")
    assert not [heat for heat in gallery.element.find_elements(By.CSS_SELECTOR, "img.heat") if heat.is_displayed()]
    assert gallery.cards()[0].find_element(By.CSS_SELECTOR, ".picture").is_displayed()


def test_cards_without_a_map_say_so_where_others_have_one(screen, tmp_path):
    """An older version began the run and this one finished it."""
    new = make_run(tmp_path / "new", make_data(tmp_path / "data"), maps=False)
    write_report([half_older(new, tmp_path / "old")], tmp_path / "report.html")
    screen.get((tmp_path / "report.html").as_uri())
    cards = Gallery(screen, 0).cards()
    told = ["No map is kept for this image and method." in card.text for card in cards]
    assert told == [not card.find_element(By.CSS_SELECTOR, ".heat").is_displayed() for card in cards]
    assert set(told) == {True, False}
    notes = screen.find_elements(By.CSS_SELECTOR, "#run-0 .note")
    assert notes[-1].text.startswith(f"{sum(told)} cards lack maps")


def test_what_has_no_number_comes_last(screen, other_address, tmp_path):
    page = Path(unquote(urlsplit(other_address).path)).read_text()
    before, mark, gallery = page.partition('data-run="2"')
    for _ in range(3):  # each method of the first card
        gallery = re.sub(r'"value": (?!null)[-\d.]+', '"value": null', gallery, count=1)
    gallery = re.sub(r' data-gain="[^"]*"', "", gallery, count=1)
    (tmp_path / "report.html").write_text(before + mark + gallery)
    screen.get((tmp_path / "report.html").as_uri())
    found = Gallery(screen, 2)
    without_number = found.texts(".id")[0]
    for order in ("best", "worst", "gain", "loss"):
        found.choose("order", order)
        assert found.texts(".id")[-1] == without_number


def test_frames_lie_inside_the_picture_and_keep_their_width(gallery):
    script = """return [...document.querySelectorAll('#run-0 .stage')].flatMap((stage) => {
        const { width, height } = stage.getBoundingClientRect();
        return [...stage.querySelectorAll('rect.under')].map((rect) => {
          const [x, y, across, down, line] = ['x', 'y', 'width', 'height', 'strokeWidth'].map(
            (name) => parseFloat(getComputedStyle(rect)[name]));
          const { x: left, y: top, width: wide, height: high } = rect.getBBox();
          const half = line / 2;
          return [left - half, top - half, width - left - wide - half, height - top - high - half, line];
        });
      });"""
    found = gallery.driver.execute_script(script)
    assert len(found) > 20
    for *gaps, line in found:
        assert min(gaps) >= -0.01
        assert line in (4, pytest.approx(2.6))


def test_squares_and_images_without_boxes_have_galleries(screen, other_address):
    screen.get(other_address)
    for number, count, title in ((1, 12, "share in the own quarter"), (2, 10, "insertion")):
        gallery = Gallery(screen, number)
        assert gallery.told() == f"{count} of {count} shown"
        assert all(text.startswith(f"{title} ") and text.endswith(" %") for text in gallery.texts(".iou"))
        assert not gallery.element.find_elements(By.CSS_SELECTOR, "[name=result], .found rect")
        assert all(heat.is_displayed() for heat in gallery.element.find_elements(By.CSS_SELECTOR, "img.heat"))
        gallery.choose("order", "worst")
        values = [float(text.split(" %")[0].rpartition(" ")[2]) for text in gallery.texts(".iou")]
        assert values == sorted(values)
        gallery.field("class").send_keys("espresso")
        assert 0 < len(gallery.cards()) < count
        screen.execute_script("arguments[0].scrollIntoView({block: 'center'})", gallery.cards()[0])
        gallery.open(gallery.cards()[0]).click()
        large = Large(screen)
        assert [row[0] for row in large.rows()] == ["Gradient", "Local feedback", "Global feedback"]
        assert large.rows()[2][1].endswith(" %")
        large.press("close")


def test_doubts_are_red_and_above_all_numbers(screen, other_address):
    screen.get(other_address)
    (doubts,) = screen.find_elements(By.CSS_SELECTOR, ".doubts")
    assert "weights are random" in doubts.text
    assert doubts.rect["y"] + doubts.rect["height"] <= screen.find_element(By.CSS_SELECTOR, "section").rect["y"]
    colour = doubts.value_of_css_property("color")
    red, green, blue = (float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    assert red > 1.5 * max(green, blue)


def test_the_best_is_marked_and_said(screen, other_address):
    screen.get(other_address)
    marked = screen.find_elements(By.CSS_SELECTOR, "#run-0 td.best")
    assert marked
    for cell in marked:
        assert cell.value_of_css_property("font-weight") == "700"
        assert "among the best" in cell.get_attribute("textContent")
    assert not screen.find_elements(By.CSS_SELECTOR, "#run-1 td.best, #run-2 td.best, #run-3 td.best")
    few = screen.find_elements(By.CSS_SELECTOR, ".few")
    assert [line.text.split(" are")[0] for line in few] == ["12 images", "10 images", "10 images"]


@pytest.mark.parametrize("which", ["address", "other_address"])
def test_it_fits_every_screen(screen, which, request):
    """The page does not scroll sideways. A table that does in its own box says so; on a wide screen none does."""
    screen.get(request.getfixturevalue(which))
    assert_nothing_reaches_out(screen)
    hidden = 0
    for box in screen.find_elements(By.CSS_SELECTOR, ".table > .scroll"):
        scrolls = screen.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth + 1", box)
        hint = box.find_element(By.XPATH, "following-sibling::*[1]")
        assert hint.is_displayed() == scrolls
        hidden += scrolls
    assert (hidden > 0) == (width_of(screen) == NARROW)
    letters = """return Math.min(...[...document.querySelectorAll("figure svg text")]
        .map(text => text.getBoundingClientRect().height))"""
    assert screen.execute_script(letters) >= 9


def test_its_colours_follow_the_reader(screen, address):
    screen.get(address)
    is_dark = screen.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert (brightness(screen, "body", "background-color") < 60) == is_dark
    for selector in ("body", "tbody th", ".quiet", ".verdict.hit", ".verdict.miss"):
        paper = brightness(screen, "body", "background-color")
        assert abs(brightness(screen, selector, "color") - paper) > 75, selector


@pytest.mark.parametrize("which", ["address", "other_address"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_on_paper(chromium, which, scheme, request):
    """As wide as an A4 page between its margins; always dark on white."""
    across = round((210 - 2 * 12) / 25.4 * 96)
    size = {"width": across, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        chromium.get(request.getfixturevalue(which))
        assert_nothing_reaches_out(chromium)
        beyond = f"""return [...document.querySelectorAll("table, td, th, .card, figure")].filter(element =>
            element.getBoundingClientRect().right > {across} + 0.5).map(element => element.outerHTML.slice(0, 80))"""
        assert chromium.execute_script(beyond) == []
        assert brightness(chromium, "body", "background-color") == 255
        assert brightness(chromium, "body", "color") < 60
        for absent in (".filters", ".manifest", ".hint"):
            assert not chromium.find_element(By.CSS_SELECTOR, absent).is_displayed()
        chromium.execute_cdp_cmd("Page.printToPDF", {})
        opened = chromium.find_elements(By.CSS_SELECTOR, ".glossary")
        assert all(details.get_attribute("open") for details in opened)  # what the measures are is printed too
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})

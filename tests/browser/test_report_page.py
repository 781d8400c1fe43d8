"""The page of ``looktwice report`` in Chromium, opened from disk: filters, maps, keyboard, a narrow screen."""

import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from looktwice.report.page import write_report  # noqa: E402
from report_runs import EVIL, make_data, make_run  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(None in (CHROMIUM, DRIVER), reason="chromium and chromium-driver are not installed"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    data = make_data(folder / "data")
    runs = [make_run(folder / "run", data), make_run(folder / "bare", data, maps=False, network="googlenet")]
    write_report(runs, folder / "report.html")
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = CHROMIUM  # named, since Selenium would ask its server on the net which to take
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


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

    def opacity(self, card):
        return float(card.find_element(By.CSS_SELECTOR, ".heat").value_of_css_property("opacity"))

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


def test_the_map_shows_when_pointed_at(gallery):
    first, second = gallery.cards()[:2]
    assert gallery.opacity(first) == 0
    ActionChains(gallery.driver).move_to_element(first).perform()
    gallery.until(lambda: gallery.opacity(first) == 1)
    assert gallery.opacity(second) == 0
    ActionChains(gallery.driver).move_to_element(second).perform()
    gallery.until(lambda: gallery.opacity(first) == 0)
    first.click()
    ActionChains(gallery.driver).move_to_element(second).perform()
    gallery.until(lambda: gallery.opacity(second) == 1)
    assert gallery.opacity(first) == 1  # a click keeps it


def test_by_keyboard_alone(gallery):
    gallery.field("disagree").send_keys(Keys.SPACE)
    assert gallery.told() == "2 of 10 shown"
    gallery.field("disagree").send_keys(Keys.TAB)  # to the button that shows all
    ActionChains(gallery.driver).send_keys(Keys.TAB).perform()
    active = gallery.driver.switch_to.active_element
    assert "card" in active.get_attribute("class")
    assert active == gallery.cards()[0]
    gallery.until(lambda: gallery.opacity(active) == 1)
    active.send_keys(Keys.ENTER, Keys.TAB)
    following = gallery.driver.switch_to.active_element
    assert following == gallery.cards()[1]
    gallery.until(lambda: gallery.opacity(following) == 1)
    assert gallery.opacity(active) == 1


def test_every_control_has_a_name(page):
    controls = page.find_elements(By.CSS_SELECTOR, "select, input, button, .card, [role=region], [role=img]")
    assert len(controls) > 20
    assert all(control.accessible_name for control in controls if control.is_displayed())


def test_a_run_without_maps_says_so(page):
    gallery = Gallery(page, 1)
    with_maps, without = (about.text for about in page.find_elements(By.CSS_SELECTOR, "h3[id^=gallery] + p"))
    assert "kept no maps" in without
    assert "kept no maps" not in with_maps
    assert gallery.element.find_elements(By.CSS_SELECTOR, ".found rect")
    assert not [heat for heat in gallery.element.find_elements(By.CSS_SELECTOR, "img.heat") if heat.is_displayed()]


def test_a_narrow_screen(page):
    size = {"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.refresh()
        assert page.execute_script("return document.documentElement.scrollWidth") == 375
        beyond = """return [...document.querySelectorAll("body *")].filter(element =>
            element.getBoundingClientRect().right > 375.5 && !element.closest(".scroll, pre, svg, .frame"))
            .map(element => element.outerHTML.slice(0, 80))"""
        assert page.execute_script(beyond) == []
        letters = """return Math.min(...[...document.querySelectorAll("figure svg text")]
            .map(text => text.getBoundingClientRect().height))"""
        assert page.execute_script(letters) >= 9
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

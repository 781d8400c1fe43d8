"""The page of ``looktwice serve`` on wide and narrow screens, light and dark, by keys alone."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_page import By, Keys, whole

pytestmark = pytest.mark.browser
SAMPLES = Path(__file__).parents[2] / "examples" / "images"


SCREENS = [(1400, 900, "light"), (1400, 900, "dark"), (375, 812, "light"), (375, 812, "dark")]


@pytest.fixture(params=SCREENS, ids=str)
def screen(request, page):
    """The page on one screen. At the end nothing may stick out of it."""
    width, height, scheme = request.param
    with page.screen(width, height, scheme):
        page.narrow = width < 800
        yield page
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width


def contrast(page, selector):
    """The contrast of a text with the page's paper (WCAG 2), and its colour (R, G, B)."""
    script = "return [getComputedStyle(document.querySelector(arguments[0])).color, getComputedStyle(document.body)"
    colours = page.driver.execute_script(f"{script}.backgroundColor]", selector)
    ink, paper = ([int(number) for number in re.findall(r"\d+", colour)[:3]] for colour in colours)

    def luminance(colour):
        parts = [part / 255 for part in colour]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted([luminance(ink), luminance(paper)])
    return (high + 0.05) / (low + 0.05), ink


def test_the_first_screen_says_what_comes_out_and_offers_pictures(screen):
    assert "maps and boxes show you where" in screen.one("#promise").text
    assert contrast(screen, "#promise")[0] > 7
    samples = screen.all(".sample")
    assert [sample.text for sample in samples] == [
        "Cat",
        "Coffee",
        "Cat and coffee",
        "Photographer",
        "Rocket",
        "Astronaut",
    ]
    for image in screen.all(".sample img"):
        assert screen.until(lambda image=image: int(image.get_property("naturalWidth"))) > 300
    assert samples[-1].rect["y"] + samples[-1].rect["height"] < screen.driver.execute_script("return innerHeight")
    screen.by_keys(samples[0])
    screen.answered(2, "Egyptian cat")
    assert screen.one("#doubts").get_attribute("textContent") == ""


@pytest.mark.parametrize("name", ["cat", "coffee", "cat-and-coffee", "photographer", "rocket", "astronaut"])
def test_every_sample_is_answered_by_one_click(page, name):
    page.one(f".sample[data-file='{name}.jpg']").click()
    page.until(lambda: page.said().startswith("2 maps of"))
    assert page.one("#problem").text == ""


def test_the_first_map_comes_soon_after_the_click(page):
    script = """const [name, done] = arguments; const begun = performance.now();
        new MutationObserver((_, seen) => {
          if (!document.querySelector(`.save-png`)) return; seen.disconnect(); done(performance.now() - begun);
        }).observe(document.querySelector("#works"), {childList: true, subtree: true});
        document.querySelector(`.sample[data-file="${name}.jpg"]`).click();"""
    seconds = []
    for _ in range(3):  # other work may slow down one of them
        page.driver.refresh()
        page.until(lambda: page.one("#limits").text)
        seconds.append(page.driver.execute_async_script(script, "coffee") / 1000)
        page.answered(2, "espresso")
    assert min(seconds) < 1.5


def test_the_picture_stands_beside_the_map_under_a_legend(screen):
    screen.by_keys(screen.one(".sample"))
    screen.answered(2, "Egyptian cat")
    bare = screen.drawing(of=".original canvas")
    assert bare.shape == screen.drawing(1).shape
    original, gradient, found = (figure.rect for figure in screen.all(".work"))
    if screen.narrow:
        assert original["y"] < gradient["y"] < found["y"]
    else:
        assert original["y"] == gradient["y"] == found["y"]
    assert original["width"] == gradient["width"] == found["width"]
    assert "low" in screen.one("#legend").text
    assert "White box: perhaps an object" in screen.one("#legend").text
    scale = screen.drawing(of="#scale")[0]
    assert scale[20, 2] > scale[20, 0]  # blue
    assert scale[-20, 0] > scale[-20, 2]  # red
    assert contrast(screen, "#legend")[0] > 4.5


def test_two_classes_stand_side_by_side(screen):
    screen.by_keys(screen.one(".sample[data-file='cat-and-coffee.jpg']"))
    screen.answered(2, "Egyptian cat")
    against = screen.one("#against")
    against.send_keys("espresso")
    screen.answered(4, "Egyptian cat", "espresso")
    assert screen.one("#class-name").text == "Egyptian cat against espresso"
    _, *figures = screen.all(".work")
    titles = [figure.find_element(By.CSS_SELECTOR, "h3").text.split("\n") for figure in figures]
    assert titles == [[name, of] for name in ("Gradient", "Global feedback") for of in ("Egyptian cat", "espresso")]
    for one, other in (figures[:2], figures[2:]):
        assert one.rect["y"] == other.rect["y"]
        assert one.rect["x"] + one.rect["width"] < other.rect["x"]
    cat, cup = screen.drawing(2).astype(float), screen.drawing(3).astype(float)
    bare = screen.drawing(of=".original canvas").astype(float)
    half = len(bare) // 2
    for maps, (more, less) in [
        (cat, (slice(None, half), slice(half, None))),
        (cup, (slice(half, None), slice(None, half))),
    ]:
        changed = np.abs(maps - bare)
        assert changed[more].mean() > 2 * changed[less].mean()
    against.send_keys(Keys.HOME)
    screen.answered(2, "Egyptian cat")


def test_a_doubt_is_red_under_the_title_and_in_the_picture(screen, downloads):
    screen.by_keys(screen.one(".sample"))
    screen.answered(2, "Egyptian cat")
    screen.one("#query").send_keys("espresso")
    screen.until(lambda: len(screen.all("#found button")) == 2)
    screen.by_keys(screen.all("#found button")[0])
    screen.answered(2, "espresso")
    assert "espresso is improbable" in screen.one("#doubts").text
    rate, (red, green, blue) = contrast(screen, "#doubts")
    assert rate > 4.5
    assert red > 1.5 * max(green, blue)
    title, doubt = screen.one("#class-name").rect, screen.one("#doubts").rect
    assert title["y"] < doubt["y"] < screen.one(".work").rect["y"]
    drawn = screen.drawing(1)
    (downloads / "cat.967.global_feedback.png").unlink(missing_ok=True)
    screen.by_keys(screen.all(".save-png")[1])
    file = screen.until(lambda: whole(downloads, "cat.967.global_feedback.png"))
    saved = np.asarray(Image.open(file).convert("RGB")).astype(int)
    assert np.array_equal(saved[: len(drawn)], drawn)
    below = saved[len(drawn) :]
    letters = (below[..., 0] > 150) & (below[..., 1] < 90)
    assert 0.01 < letters.mean() < 0.5
    assert (below[letters.argmax(0).max() :] >= 0).all()
    assert not letters[:, :4].any()
    assert not letters[:, -4:].any()  # no line is cut


def test_the_pictures_stay_in_sight_while_one_chooses(screen):
    screen.by_keys(screen.one(".sample"))
    screen.answered(2, "Egyptian cat")
    for selector in ("#predicted button", "#model", "#trajectory"):
        control = screen.one(selector)
        screen.driver.execute_script("arguments[0].focus()", control)
        inside = "const at = arguments[0].getBoundingClientRect(); return [at.top, at.bottom, innerHeight]"
        pictures = screen.all("#mini canvas") if screen.narrow else screen.all(".work > canvas")
        assert len(pictures) == 3
        for picture in pictures:
            top, bottom, height = screen.driver.execute_script(inside, picture)
            assert 0 <= top < bottom <= height
        hit = screen.driver.execute_script(
            "const at = arguments[0].getBoundingClientRect(); const seen = document.elementFromPoint("
            "at.left + at.width / 2, at.top + at.height / 2); const it = arguments[0];"
            "return it.contains(seen) || seen.contains(it)",
            control,
        )
        assert hit, selector


def test_all_is_done_by_keys_alone(screen):
    """From the first screen to a saved comparison, with Tab, Enter, Space and the arrows."""
    screen.tab_to(lambda at: at.get_attribute("data-file") == "cat-and-coffee.jpg")
    screen.press(Keys.ENTER)
    screen.answered(2, "Egyptian cat")
    screen.tab_to(lambda at: at.text.startswith("espresso"))
    screen.press(Keys.SPACE)
    screen.answered(2, "espresso")
    screen.tab_to(lambda at: at.get_attribute("id") == "against")
    screen.press("Eg")
    screen.answered(4, "espresso", "Egyptian cat")
    screen.tab_to(lambda at: at.get_attribute("name") == "view")
    screen.press(Keys.ARROW_DOWN)
    screen.until(lambda: "bright part" in screen.one(".original").text)
    screen.answered(4, "espresso", "Egyptian cat")
    before = screen.drawing(3)
    screen.tab_to(lambda at: at.get_attribute("id") == "opacity")
    screen.press(Keys.HOME)
    assert not np.array_equal(screen.drawing(3), before)


def test_a_map_that_waits_for_its_turn_says_so(page):
    page.one(".sample").click()
    page.until(lambda: len(page.all(".save-png")) == 1 or page.said().startswith("2 maps"))
    page.answered(2, "Egyptian cat")
    seen = page.driver.execute_async_script(
        "const done = arguments[0]; const seen = [];"
        "new MutationObserver((_, watch) => {"
        "  seen.push([...document.querySelectorAll('.work')].map((each) => each.className).join());"
        "  if (document.querySelectorAll('.save-png').length === 2) { watch.disconnect(); done(seen); }"
        "}).observe(document.querySelector('#works'), {childList: true});"
        "document.querySelector('.sample[data-file=\"rocket.jpg\"]').click();"
    )
    assert "work original,work,work pending" in seen

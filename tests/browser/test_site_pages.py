"""The pages of the site in Chromium: nothing is cut, at a desk and on a telephone, and no script complains."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chromium import NEEDS_CHROMIUM, chromium_driver

ROOT = Path(__file__).parents[2]
pytestmark = [
    *NEEDS_CHROMIUM,
    pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="needs the dependency group docs"),
]
PAGES = [path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]

CUT = """
const scrolls = each => each.closest('.table, .formula, pre, .highlight');
return [...document.querySelectorAll('.md-content *')]
  .filter(each => each.getBoundingClientRect().right > innerWidth + 1 && !scrolls(each))
  .map(each => each.tagName + ' ' + each.textContent.slice(0, 60));
"""
BOXES = "return [...document.querySelectorAll('.table, .formula')].map(each => [each.scrollWidth, each.clientWidth])"
MISSING = "return [...document.images].filter(each => each.offsetWidth && !each.naturalWidth).map(each => each.src)"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=True)
    return site


@pytest.fixture(scope="module")
def chromium():
    with chromium_driver() as driver:
        yield driver


def opened(chromium, site, page, width, scheme="light"):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    chromium.get((site / ("" if page == "index" else page) / "index.html").as_uri())


@pytest.mark.parametrize("width", [1400, 375])
@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_a_page_is_cut(chromium, site, page, width):
    opened(chromium, site, page, width)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    assert chromium.execute_script(CUT) == []
    assert chromium.execute_script(MISSING) == []
    if width == 1400:
        assert all(needed <= there + 1 for needed, there in chromium.execute_script(BOXES))  # nothing has to scroll
    errors = [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [entry for entry in errors if "file://" not in entry["message"]]  # a file has no search worker


def test_a_wide_table_is_reached_by_the_keyboard_and_shows_a_shadow(chromium, site):
    opened(chromium, site, "results", 375)
    told = """
    const box = [...document.querySelectorAll('.table')].find(each => each.scrollWidth > each.clientWidth + 50);
    box.focus();
    const first = box.querySelector('tbody td'), before = first.getBoundingClientRect().left;
    box.scrollLeft = 100;
    return [document.activeElement === box, getComputedStyle(box).backgroundImage.split('linear').length - 1,
            first.getBoundingClientRect().left - before];
    """
    assert chromium.execute_script(told) == [True, 4, 0]  # the row's name stays


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screenshot_is_that_of_the_reader_s_scheme(chromium, site, scheme):
    opened(chromium, site, "page", 1400)
    chromium.execute_script("localStorage.clear()")
    opened(chromium, site, "page", 1400, scheme)
    shown = chromium.execute_script(
        "return [...document.images].filter(each => each.offsetWidth && each.src.includes('/screens/'))"
        ".map(each => each.src)"
    )
    assert shown
    assert all(f"-{scheme}.webp" in address for address in shown)

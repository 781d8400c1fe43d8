"""Debian's Chromium, for tests of pages."""

import shutil
from contextlib import contextmanager

import pytest

webdriver = pytest.importorskip("selenium.webdriver")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(None in (CHROMIUM, DRIVER), reason="chromium and chromium-driver are not installed"),
]
"""The marks of a module whose tests drive it."""


@contextmanager
def chromium_driver(*arguments, logs=("browser",), downloads=None):
    """Chromium without a window. It keeps these logs, and saves files in the folder ``downloads``."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", *arguments):
        options.add_argument(argument)
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", dict.fromkeys(logs, "ALL"))
    options.binary_location = CHROMIUM  # named, since Selenium would ask its server on the net which to take
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()

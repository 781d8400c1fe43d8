"""The page of ``looktwice serve`` in Chromium, as its user meets it, for tests."""

import base64
import io
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from chromium import chromium_driver  # noqa: E402

PATIENCE = 90  # seconds; the machine may be busy


@contextmanager
def serving(*arguments):
    """The server's process, and the page's address."""
    command = [sys.executable, "-m", "looktwice", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server, server.stdout.readline().split()[1]
        finally:
            server.terminate()


@contextmanager
def browser(downloads):
    """Chromium, which saves files in a folder."""
    with chromium_driver(downloads=downloads) as driver:
        driver.set_window_size(1280, 1000)
        yield driver


def whole(downloads, name):
    """A download when it is there; its name appears before its last byte."""
    file = downloads / name
    return file if file.exists() and not list(downloads.glob("*.crdownload")) else None


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

    def answered(self, maps, *names):
        classes = " and ".join(f"“{name}”" for name in names)
        self.until(lambda: self.said() == f"{maps} map{'s' * (maps != 1)} of {classes}.")

    def boxes(self):
        """The boxes listed under the last figure, folded away as they are."""
        return self.until(lambda: self.all("#works ol"))[-1].get_attribute("textContent")

    def drawing(self, place=0, of=".work:not(.original) > canvas"):
        """What is painted on a map, or on another canvas: (H, W, 3)."""
        script = "return document.querySelectorAll(arguments[1])[arguments[0]].toDataURL()"
        uri = self.driver.execute_script(script, place, of)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))

    @contextmanager
    def screen(self, width, height, scheme="light"):
        """A screen of this size, and the colours that its user likes."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 800}
        wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def press(self, keys):
        webdriver.ActionChains(self.driver).send_keys(keys).perform()

    def by_keys(self, button):
        """Presses a button by the keyboard."""
        self.driver.execute_script("arguments[0].focus()", button)
        self.press(Keys.ENTER)

    def tab_to(self, is_it):
        """Goes to a control by the tabulator alone."""
        for _ in range(80):
            self.press(Keys.TAB)
            focused = self.driver.switch_to.active_element
            if focused.tag_name != "body" and is_it(focused):
                return
        raise AssertionError("the tabulator does not reach it")

    def slide(self, selector, value):
        """Sets a slider as a hand on it would."""
        self.driver.execute_script(
            "const [slider, value] = arguments; slider.value = value;"
            "for (const kind of ['input', 'change']) slider.dispatchEvent(new Event(kind, {bubbles: true}))",
            self.one(selector),
            value,
        )


def opened(driver, address):
    """The page when it is ready."""
    driver.get(address)
    page = Page(driver)
    page.until(lambda: page.one("#limits").text)
    return page

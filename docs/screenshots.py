"""Takes the docs' screenshots of `looktwice serve` and of a report, in Chromium, and the figures of two how-tos.

Screenshots are wide and narrow, light and dark. Figures are what a command of the how-to writes.

python docs/screenshots.py            writes docs/images/screens
python docs/screenshots.py FOLDER     writes FOLDER

It needs Debian's chromium and chromium-driver, and the dependency group browser. `make screenshots` installs them.
"""

import base64
import io
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

ROOT = Path(__file__).parents[1]
SCREENS = ROOT / "docs" / "images" / "screens"
SAMPLE = "cat-and-coffee"
SIZES = ((1400, 1000), (375, 812))
SCHEMES = ("light", "dark")
FIGURES = {
    "explain-classes": ("explain-a-decision", 0),
    "explain-gates": ("explain-a-decision", 1),
    "compare-methods": ("compare-methods", 0),
}
"""A how-to each, and which of its `looktwice compare` commands, from 0, makes the figure."""

WIDEST = 1400  # pixels of a figure
PATIENCE = 120  # seconds; the machine may be busy
QUIET = 1.5  # seconds without a change, after which a page has its answer


def main(folder: Path) -> None:
    """Writes every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (page, number) in FIGURES.items():
        save(figure(page, number), folder / f"{name}.webp")
    with TemporaryDirectory() as work, browser() as driver:
        report = make_report(Path(work))
        with served() as address:
            for width, height in SIZES:
                for scheme in SCHEMES:
                    look_as(driver, width, height, scheme)
                    name = f"{width}-{scheme}.webp"
                    driver.get(address)
                    settle(driver)
                    save(screen(driver), folder / f"page-start-{name}")
                    answer(driver)
                    save(screen(driver), folder / f"page-result-{name}")
                    driver.get(report)
                    settle(driver)
                    save(screen(driver), folder / f"report-{name}")
                    show_cards(driver)
                    save(screen(driver), folder / f"report-cards-{name}")


@contextmanager
def served() -> Iterator[str]:
    """The address of the page, with the embedded network."""
    command = [sys.executable, "-m", "looktwice", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield next(word for word in server.stdout.readline().split() if word.startswith("http"))
        finally:
            server.terminate()


def make_report(folder: Path) -> str:
    """The address of the report of a small run on the sample pictures."""
    for command in (
        [str(ROOT / "examples" / "own_data.py"), "own-data"],
        ["-m", "looktwice", "report", "own-data/run", "--output", "report.html"],
    ):
        subprocess.run([sys.executable, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    page = folder / "report.html"
    page.write_text(page.read_text().replace(f"{folder}/", ""))  # a temporary folder says nothing to a reader
    return page.as_uri()


@contextmanager
def browser() -> Iterator[Any]:
    """Debian's own Chromium. It is named, since Selenium would ask its server on the net which to take."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or ""
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def look_as(driver: Any, width: int, height: int, scheme: str) -> None:
    """A screen of this size whose user likes light or dark pages. Nothing moves."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def answer(driver: Any) -> None:
    """Asks for the map of the sample picture: by a click on it if the page shows it, else as a file."""
    shown = f"button img[src*='{SAMPLE}'], a img[src*='{SAMPLE}'], button[data-sample*='{SAMPLE}']"
    buttons = driver.find_elements(By.CSS_SELECTOR, shown)
    if buttons:
        driver.execute_script("arguments[0].click()", buttons[0])
    else:
        picture = ROOT / "examples" / "images" / f"{SAMPLE}.jpg"
        driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(picture))
    wait(
        lambda: driver.execute_script("return [...document.querySelectorAll('canvas')].some(each => each.offsetWidth)")
    )
    wait(lambda: not driver.find_elements(By.CSS_SELECTOR, "[aria-busy=true]"))
    settle(driver)
    driver.execute_script("document.querySelector('#stage, main').scrollIntoView()")


def show_cards(driver: Any) -> None:
    """Scrolls to the images of the report."""
    driver.execute_script("document.querySelector('.gallery, .cards, .card').scrollIntoView()")
    settle(driver)


def settle(driver: Any) -> None:
    """Waits until the page's text has not changed for a while, and its pictures are there."""
    last, since = "", time.monotonic()

    def still() -> bool:
        nonlocal last, since
        now = driver.execute_script(
            "return document.body.innerText + [...document.images].filter("
            "each => each.offsetWidth && each.loading != 'lazy' && !each.complete).length"
        )
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > QUIET

    wait(still)


def wait(happens: Callable[[], object]) -> None:
    """Waits until something happens; what is replaced meanwhile is asked again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if happens():
                return
        except WebDriverException:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the page gave no answer in {PATIENCE} seconds")


def screen(driver: Any) -> Image.Image:
    """What the browser shows."""
    data = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    return Image.open(io.BytesIO(base64.b64decode(data)))


def figure(page: str, number: int) -> Image.Image:
    """What a command of a how-to draws."""
    text = (ROOT / "docs" / "howto" / f"{page}.md").read_text()
    lines = re.sub(r"\\\n\s*", "", text)
    command = shlex.split(re.findall(r"^looktwice (compare .*)$", lines, re.MULTILINE)[number])
    with TemporaryDirectory() as folder:
        command[command.index("--output") + 1] = folder
        subprocess.run([sys.executable, "-m", "looktwice", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        (drawn,) = Path(folder).glob("compare-*.png")
        picture = Image.open(drawn).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    return picture


def save(picture: Image.Image, path: Path) -> None:
    """Writes a picture, and prints its size."""
    picture.convert("RGB").save(path, quality=80, method=6)
    sys.stdout.write(f"{path}  {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SCREENS)

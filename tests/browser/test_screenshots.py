"""The script that takes the docs' screenshots still finds its way through page and report."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium.webdriver")

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromium and chromium-driver are not installed"),
]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "docs" / "screenshots.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def taken(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("screens")
    script.main(folder)
    return {file.stem: np.asarray(Image.open(file).convert("RGB")) for file in folder.glob("*.webp")}


def test_every_picture_of_the_docs_is_taken_again(script, taken):
    screens = [f"{what}-{width}-{scheme}" for what in ("page-start", "page-result", "report", "report-cards")
               for width, _ in script.SIZES for scheme in script.SCHEMES]  # fmt: skip
    assert set(taken) == {*screens, *script.FIGURES}
    assert set(taken) == {file.stem for file in script.SCREENS.glob("*.webp")}


def test_no_picture_is_blank(script, taken):
    for name, picture in taken.items():
        shades = np.unique(picture.reshape(-1, 3) // 16, axis=0)
        assert len(shades) > 10, f"{name} has hardly a colour"
        assert picture.std() > 5, f"{name} is blank"
    for width, height in script.SIZES:
        assert taken[f"page-start-{width}-light"].shape == (height, width, 3)


def test_the_result_shows_maps_and_differs_from_the_first_screen(taken):
    for name in ("1400-light", "1400-dark", "375-light", "375-dark"):
        before, after = taken[f"page-start-{name}"], taken[f"page-result-{name}"]
        assert (before != after).any(-1).mean() > 0.2
        red, green, blue = (after[..., channel].astype(int) for channel in range(3))
        assert ((red - blue > 100) & (red - green > 60)).mean() > 0.01, f"{name} shows no map"


def test_dark_pages_are_dark(taken):
    for width in (1400, 375):
        assert taken[f"page-start-{width}-dark"].mean() < 90 < 180 < taken[f"page-start-{width}-light"].mean()

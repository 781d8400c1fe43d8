"""The page of ``looktwice serve`` with the embedded network, in Chromium. Tests of other pages have their own."""

import pytest


@pytest.fixture(scope="module")
def address():
    from serve_page import serving

    with serving() as (_, address):
        yield address


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(downloads):
    from serve_page import browser

    with browser(downloads) as driver:
        yield driver


@pytest.fixture
def page(chromium, address):
    """The page, just opened. At the end its console must be empty."""
    from serve_page import opened

    yield opened(chromium, address)
    assert chromium.get_log("browser") == []

"""The site builds strictly, loads nothing from elsewhere, draws formulas and tables, and publishes pages only."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
needs_docs = pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="needs the dependency group docs")


class Targets(HTMLParser):
    """What a page refers to, as (tag, address), and the names of its own places."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("href", "src") and value:
                self.found.append((tag, value))
            if key == "id" and value:
                self.names.add(value)


def broken_links(site: Path) -> Iterator[str]:
    pages = {file: Targets(file.read_text()) for file in site.rglob("*.html")}
    for file, page in pages.items():
        if file.name == "404.html":  # served at any address, so its links begin at the root
            continue
        for tag, address in page.found:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if tag != "a":  # what a reader clicks may lead anywhere; what a page loads may not
                    yield f"{file.relative_to(site)} loads {address}"
                continue
            place = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            place = place / "index.html" if place.is_dir() else place
            fragment = unquote(parts.fragment)
            known = place.exists() and (place.suffix != ".html" or not fragment or fragment in pages[place].names)
            if not known:
                yield f"{file.relative_to(site)} links to {address}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return site


@pytest.mark.slow
@needs_docs
def test_the_site_loads_nothing_from_elsewhere(site: Path):
    assert list(broken_links(site)) == []
    styles = "".join(file.read_text() for file in site.rglob("*.css"))
    assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", styles)
    assert not [file for file in site.rglob("*.html") if "--8" in file.read_text()]  # each include was found
    cli = (site / "reference" / "cli" / "index.html").read_text()
    assert "--tune-on" in cli
    assert 'id="attend"' in cli
    assert "attend_look" in (site / "reference" / "attention" / "index.html").read_text()


@pytest.mark.slow
@needs_docs
def test_the_site_publishes_pages_and_pictures_only(site: Path):
    """Scripts and lists of images are for the repository."""
    theirs = {"assets", "search"}  # the theme's
    published = [path.relative_to(site) for path in site.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in published if path.parts[0] not in theirs}
    assert kinds <= {".html", ".css", ".jpg", ".png", ".webp", ".xml", ".gz"}
    assert "docs/tuning-images.txt" in (site / "results" / "index.html").read_text()  # named, and no link


@pytest.mark.slow
@needs_docs
def test_every_formula_and_every_table_of_the_pages_is_drawn(site: Path):
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix("")
        drawn = (site / name / "index.html" if page.name != "index.md" else site / "index.html").read_text()
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
        assert drawn.count('<div class="formula"') == text.count("$$") // 2, name
        assert drawn.count('<math xmlns="http://www.w3.org/1998/Math/MathML"') == len(
            re.findall(r"\$\$.*?\$\$|\$[^$]+\$", text, re.DOTALL)
        ), name
        assert "arithmatex" not in drawn, name
        assert drawn.count("<table") == drawn.count('<table class="fit">') + drawn.count('class="highlighttable"'), name


@pytest.mark.slow
@needs_docs
def test_every_page_is_in_the_navigation(site: Path):
    nav = Targets((site / "index.html").read_text()).found
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert ("a", "." if name == "index" else f"{name}/") in nav, f"no way leads to {name}"


# Its hooks.


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def linked(hooks, markdown: str, page: str = "results.md") -> str:
    pathspec = pytest.importorskip("pathspec")
    config = {"docs_dir": str(DOCS), "exclude_docs": pathspec.PathSpec.from_lines("gitignore", ["*.py", "*.txt"])}
    return hooks.on_page_markdown(markdown, page=SimpleNamespace(file=SimpleNamespace(src_uri=page)), config=config)


def test_links_lead_to_pages_or_say_where_a_file_is(hooks):
    assert linked(hooks, "[a](method.md#x) [b](https://a.org) [c](#d)") == "[a](method.md#x) [b](https://a.org) [c](#d)"
    assert linked(hooks, "[its](tuning-images.txt)") == "`docs/tuning-images.txt` in the repository"
    assert linked(hooks, "[speed](../benchmarks/speed.py)") == "speed"
    assert linked(hooks, "[boxes](../src/looktwice/localization/boxes.py)") == "[boxes](reference/localization.md)"
    assert linked(hooks, "[m](../../src/looktwice/models/load.py)", "howto/a.md") == "[m](../reference/models.md)"
    assert linked(hooks, "![picture](images/four.jpg)") == "![picture](images/four.jpg)"


def test_a_formula_becomes_mathml_and_a_displayed_one_scrolls(hooks):
    pytest.importorskip("latex2mathml")
    inline = hooks.on_page_content(r'<p>a <span class="arithmatex">\(x &lt; \lambda\)</span> b</p>')
    assert re.fullmatch(r'<p>a <math [^>]*display="inline">.*&#x0003C;.*</math> b</p>', inline)
    shown = hooks.on_page_content('<div class="arithmatex">\\[\n\\frac{a}{b}\n\\]</div>')
    assert re.fullmatch(
        r'<div class="formula" tabindex="0" role="group"><math [^>]*display="block">.*</math></div>', shown
    )
    assert "<mfrac>" in shown


def test_a_table_scrolls_in_a_box_and_an_interval_stands_below_its_number(hooks):
    cells = "<tr><td>1.0 [0.5, 1.5]</td><td><strong>−2.7 [−5.3, −0.5]</strong></td><td>[a] 1</td></tr>"
    drawn = hooks.on_page_content(f"<table>{cells}</table>")
    assert drawn.startswith('<div class="table" tabindex="0" role="group"><table class="fit">')
    assert re.findall(r"<small>(.*?)</small>", drawn) == ["[0.5, 1.5]", "[−5.3, −0.5]"]
    assert re.sub(r"<[^>]+>", "", drawn) == re.sub(r"<[^>]+>", "", cells)


def test_a_screenshot_follows_the_reader_s_scheme(hooks):
    drawn = hooks.on_page_content('<img alt="a" src="../images/screens/page-1400-light.webp" width="9">')
    assert [address for _, address in Targets(drawn).found] == [
        "../images/screens/page-1400-light.webp#only-light",
        "../images/screens/page-1400-dark.webp#only-dark",
    ]
    assert drawn.count('alt="a"') == drawn.count('width="9"') == 2


def test_screenshots_are_small_and_have_both_schemes():
    files = sorted((DOCS / "images" / "screens").glob("*.webp"))
    assert files
    for file in files:
        assert file.stat().st_size < 150_000, file.name
        assert max(Image.open(file).size) <= 1400, file.name
        for scheme, other in (("light", "dark"), ("dark", "light")):
            assert not file.stem.endswith(scheme) or file.with_stem(file.stem.replace(scheme, other)).exists()

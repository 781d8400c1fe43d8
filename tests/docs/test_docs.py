"""What the documentation prints is true: examples, tour and notebook run, links lead somewhere, the site builds."""

import ast
import importlib.util
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
NOTEBOOK = ROOT / "examples" / "tour.ipynb"


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def python_of(page: Path) -> list[str]:
    """A page's own Python; what it includes from the examples stands in fences of another form, and runs by itself."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


# Examples.


def test_own_model_parts_the_cat_from_the_cup(capsys: pytest.CaptureFixture[str]):
    runpy.run_path(str(ROOT / "examples" / "own_model.py"), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    promised = re.search(r"```text\n(cat .*?)```", (DOCS / "howto" / "own-model.md").read_text(), re.DOTALL)
    assert promised is not None
    assert [line.split()[0] for line in printed] == ["cat", "cup"]
    for line, told in zip(printed, promised[1].splitlines(), strict=True):
        found, said = ([int(number) for number in re.findall(r"\d+", text)] for text in (line, told))
        assert found == pytest.approx(said, abs=4)  # what other versions of PyTorch and Pillow may move


def test_own_data_measures_four_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["own_data.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / "own_data.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.startswith("4 images, 0 of them failed")
    assert {"gradient", "global_feedback", "center_box"} <= set(re.findall(r"^\w+", printed, re.MULTILINE))
    assert (tmp_path / "run" / "summary.json").is_file()

    (block,) = python_of(DOCS / "howto" / "read-a-result.md")
    assert '"runs/own-data/rows"' in block
    names: dict = {}
    exec(block.replace('"runs/own-data/rows"', repr(str(tmp_path / "run" / "rows"))), names)
    assert len(names["rows"]) == 4 * 4  # pictures, and methods with the two baselines


@pytest.mark.data
@pytest.mark.skipif(not (ROOT.parent / "shared" / "ilsvrc-mini").is_dir(), reason="the images are not there")
def test_the_images_of_our_own_runs(tmp_path: Path):
    """Of 608 reported images 59 are left out, and what is left is a data set."""
    (block,) = python_of(DOCS / "reproduce.md")
    for said, meant in (
        ("ilsvrc-mini", ROOT.parent / "shared" / "ilsvrc-mini"),
        ("unseen", tmp_path / "unseen"),
        ("docs/tuning-images.txt", DOCS / "tuning-images.txt"),
    ):
        assert f'Path("{said}")' in block
        block = block.replace(f'Path("{said}")', f"Path({str(meant)!r})")
    names: dict = {}
    exec(block, names)
    assert len(names["reported"]) == 608
    assert len(names["left_out"]) == 59
    assert len(names["load_dataset"](tmp_path / "unseen", "ilsvrc").samples) == 941


def test_a_method_of_one_s_own_works_at_every_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page's blocks run from top to bottom, and its rows are found in a file."""
    from looktwice.attention.choice import choose_methods

    monkeypatch.chdir(ROOT)
    blocks = python_of(DOCS / "howto" / "own-method.md")
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["attention"].scores.shape == (1, 4)
    assert names["boxes"]
    assert [method.label.title for method in names["plan"].chosen] == ["Local feedback", "Sign feedback", "Occlusion"]
    network = names["looktwice"].load_model("squeezenet1_1", weights="random")
    found = names["looktwice"].attend(network.module, names["images"][..., :64, :64], 5, method=names["OCCLUSION"])
    assert found.maps.shape == (1, 64, 64)
    (tmp_path / "mine.py").write_text("\n".join(blocks[:2]))
    chosen = choose_methods({f"{tmp_path}/mine.py:{name}": {} for name in ("SIGN", "OCCLUSION")})
    assert [method.name for method in chosen] == ["SIGN", "OCCLUSION"]


def test_networks_by_name_are_made_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page's blocks run from top to bottom, without a connection."""
    for package in ("timm", "transformers"):
        pytest.importorskip(package)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in python_of(DOCS / "howto" / "named-networks.md"):
        exec(block, names)
    assert names["model"].classes == ("cat", "cup", "rocket")
    assert names["images"].shape == (1, 3, 96, 96)
    model = names["looktwice"].load_model("hf:out/my-network")
    assert model.classes == ("cat", "cup", "rocket")
    assert model.preprocessing == names["model"].preprocessing


def command_of(page: Path, start: str) -> list[str]:
    """The first command of a page's blocks that begins so, in words."""
    blocks = "\n".join(re.findall(r"```(?:sh)?\n(.*?)```", page.read_text(), re.DOTALL))
    return shlex.split(next(line for line in blocks.splitlines() if line.startswith(start)))[1:]


def test_the_first_example_of_readme_and_docs_labels_the_sample_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from looktwice.cli import run

    command = command_of(ROOT / "README.md", "looktwice label")
    assert command == command_of(DOCS / "index.md", "looktwice label")
    assert command == command_of(DOCS / "howto" / "label-data.md", "looktwice label")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["looktwice", *command, "--workers", "0"])
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 0
    made = {file.name for file in (tmp_path / "labels").iterdir()}
    assert {"coco.json", "yolo", "label-studio.json", "label-studio.xml", "review.html", "classes.json"} <= made
    assert "problems.txt" not in made
    images = json.loads((tmp_path / "labels" / "coco.json").read_text())["images"]
    assert len(images) == 6


def test_the_python_of_label_a_data_set_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (block,) = python_of(DOCS / "howto" / "label-data.md")
    exec(block, {})
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert {"coco.json", "labels.csv"} <= {file.name for file in (tmp_path / "labels-python").iterdir()}


@pytest.mark.slow
def test_other_tools_take_what_the_page_gives_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page's blocks run from top to bottom."""
    for package in ("captum", "quantus", "pytorch_grad_cam", "supervision"):
        pytest.importorskip(package)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in python_of(DOCS / "howto" / "other-tools.md"):
        exec(block, names)
    assert {"captum.png", "cam.png", "boxes.png"} <= {file.name for file in tmp_path.iterdir()}
    assert names["found"].shape == (1, 3, 224, 224)
    assert set(names["compared"]) == {"gradient", "global_feedback"}
    assert names["grayscale"].shape == (1, 224, 224)
    assert len(names["detections"]) == len(names["boxes"]) >= 1
    assert names["heat"].shape == names["found_at"].shape == (300, 451)


# Pages.


def test_the_tour_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(ROOT)
    blocks = python_of(DOCS / "tour.md")
    assert len(blocks) >= 5
    names: dict = {}
    for block in blocks:
        exec(block, names)
    printed = capsys.readouterr().out
    assert "right with a probability of" in printed
    assert "of the extent's energy" in printed


def test_the_first_look_is_the_readme_s():
    assert python_of(DOCS / "index.md") == python_of(ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_are_spelled_as_the_program_has_them(page: Path):
    from typer.main import get_command

    from looktwice.cli import app

    known = get_command(app).commands
    # A wrapped command is one line; comments and other programs' words are none of its options.
    text = re.sub(r"\\\n\s*", "", page.read_text())
    for name, rest in re.findall(
        r"^.*?\blooktwice ([a-z]+)\b([^\n#;`]*)",
        "\n".join(re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL)),
        re.MULTILINE,
    ):
        assert name in known, f"{page.name}: looktwice {name}"
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z][a-z-]*", rest)) <= options, f"{page.name}: looktwice {name}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        parts = urlsplit(target)
        if not parts.scheme and parts.path:
            assert (page.parent / unquote(parts.path)).exists(), f"{page_id(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_of_the_repository_that_a_page_names_exist(page: Path):
    named = re.findall(r"(?<![\w/.-])(?:benchmarks|docs|examples|src|tests)/[\w./-]+\.\w+", page.read_text())
    assert not [path for path in named if not (ROOT / path).exists()]


def test_included_parts_of_the_examples_exist():
    included = [(page, name) for page in PAGES for name in re.findall(r'--8<-- "([^"]+)"', page.read_text())]
    assert {name.partition(":")[0] for _, name in included} == {"examples/own_model.py", "examples/own_data.py"}
    for page, name in included:
        file, _, part = name.partition(":")
        marks = f"--8<-- [start:{part}]", f"--8<-- [end:{part}]"
        assert all(mark in (ROOT / file).read_text() for mark in marks), f"{page_id(page)} includes {name}"


# Notebook.


def cells() -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def shown_by(source: str, names: dict) -> object:
    """Runs a cell and returns what Jupyter would show: its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)


def test_the_notebook_is_kept_without_outputs():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells())


@pytest.mark.slow
def test_the_notebook_runs_offline_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the notebook reaches for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.chdir(NOTEBOOK.parent)
    names: dict = {}
    shown = [shown_by("".join(cell["source"]), names) for cell in cells()]
    pictures = [value for value in shown if isinstance(value, Image.Image)]
    assert len(pictures) == 4
    assert len({picture.tobytes() for picture in pictures}) == 4  # the cat's map is not the cup's


# Site.


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


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="needs the dependency group docs")
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path):
    site = tmp_path / "site"
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
    assert list(broken_links(site)) == []
    styles = "".join(file.read_text() for file in site.rglob("*.css"))
    assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", styles)
    assert not [file for file in site.rglob("*.html") if "--8" in file.read_text()]  # each include was found
    cli = (site / "reference" / "cli" / "index.html").read_text()
    assert "--tune-on" in cli
    assert 'id="attend"' in cli
    assert "attend_look" in (site / "reference" / "attention" / "index.html").read_text()

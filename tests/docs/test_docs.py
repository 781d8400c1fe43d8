"""What the documentation says is true: commands are spelled right, and links lead somewhere."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from pages import PAGES, ROOT, blocks_of, page_id

DOCS = ROOT / "docs"


def python_of(page: Path) -> list[str]:
    """A page's own Python; what it includes from the examples stands in fences of another form, and runs by itself."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.data
@pytest.mark.skipif(not (ROOT.parent / "shared" / "ilsvrc-mini").is_dir(), reason="the images are not there")
def test_the_images_of_our_own_runs(tmp_path: Path):
    """Of 608 reported images 59 are left out, and what is left is a data set."""
    (block,) = [block.text for block in blocks_of(DOCS / "reproduce.md") if block.language == "python"]
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


# Pages.


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
    assert not [path for path in named if not (ROOT / path).exists() and "NAME" not in path]


def test_included_parts_of_the_examples_exist():
    included = [(page, name) for page in PAGES for name in re.findall(r'--8<-- "([^"]+)"', page.read_text())]
    assert {name.partition(":")[0] for _, name in included} == {
        f"examples/{name}.py" for name in ("own_data", "own_method", "own_model", "other_inputs")
    }
    for page, name in included:
        file, _, part = name.partition(":")
        marks = f"--8<-- [start:{part}]", f"--8<-- [end:{part}]"
        assert all(mark in (ROOT / file).read_text() for mark in marks), f"{page_id(page)} includes {name}"

"""The files for people who carry on: they are well-formed, and what they name exists."""

import doctest
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

import looktwice

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "looktwice"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"
CITATION = ROOT / "CITATION.cff"
YAML = [*FORMS, WORKFLOW, HOOKS, CITATION]


def top_level(file: Path) -> list[str]:
    """The keys of a YAML file's first level."""
    return re.findall(r"^([a-z][a-z-]*):", file.read_text(), re.MULTILINE)


@pytest.mark.parametrize("file", YAML, ids=lambda file: file.name)
def test_yaml_is_well_formed(file: Path):
    for number, line in enumerate(file.read_text().splitlines(), 1):
        assert "\t" not in line, f"{file.name}:{number} has a tab"
        assert (len(line) - len(line.lstrip(" "))) % 2 == 0, f"{file.name}:{number} is indented by an odd number"
    assert len(set(top_level(file))) == len(top_level(file))
    if importlib.util.find_spec("yaml") is None:
        return
    import yaml

    content = yaml.safe_load(file.read_text())
    assert [str(key) for key in content if key is not True] == [key for key in top_level(file) if key != "on"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_an_issue_form_has_what_the_host_needs(form: Path):
    text = form.read_text()
    assert top_level(form) == ["name", "description", "body"]
    kinds = re.findall(r"^  - type: (\w+)$", text, re.MULTILINE)
    assert set(kinds) <= {"markdown", "textarea", "input", "checkboxes"}
    names = re.findall(r"^    id: (\w+)$", text, re.MULTILINE)
    assert len(set(names)) == len(names) == len(kinds) - kinds.count("markdown")
    assert "required: true" in text


def test_hosted_ci_runs_what_the_makefile_does():
    text = WORKFLOW.read_text()
    assert "run: .ci/run\n" in text
    assert re.search(r'python: \["3\.10", "3\.12", "3\.13"\]', text)
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert oldest is not None
    assert f'"{oldest[1]}"' in text


def test_the_hooks_are_the_tools_of_make_lint():
    linted = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert linted is not None
    tools = re.findall(r"\$\(BIN\)/(\w+ \w+)", linted[1])
    assert tools == re.findall(r"entry: \.venv/bin/(\w+ \w+)", HOOKS.read_text())
    assert HOOKS.read_text().count("language: system") == len(tools)


def test_the_citation_is_of_this_version():
    text = CITATION.read_text()
    assert re.search(r"^cff-version: 1\.2\.0$", text, re.MULTILINE)
    assert re.findall(r"^version: (.+)$", text, re.MULTILINE) == [looktwice.__version__]
    assert {"message", "title", "authors", "license", "references"} <= set(top_level(CITATION))
    assert "http" not in text  # an address that is cited would have to stay


# Contributing.


def layers() -> list[set[str]]:
    """The import contract's floors, from top to bottom."""
    found = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return [set(line.split(" | ")) for line in re.findall(r'"(.+)"', found[1])]


def test_contributing_names_every_wing():
    rows = "".join(re.findall(r"^\| `.*\n", CONTRIBUTING, re.MULTILINE))
    named = set(re.findall(r"`([a-z_]+)(?:/|\.py)`", rows))
    wings = {entry.stem for entry in SOURCE.iterdir() if entry.is_dir() or entry.suffix == ".py"}
    assert named == {name for name in wings if not name.startswith("__")}


def test_contributing_draws_the_floors_of_the_import_contract():
    (drawn,) = re.findall(r"```text\n(.*?)```", CONTRIBUTING, re.DOTALL)
    assert [set(line.split()) for line in drawn.splitlines()] == [floor for floor in layers() if floor != {"__main__"}]


def test_what_contributing_names_exists():
    # A section about a part that is still to come is marked until then.
    text = "\n## ".join(section for section in CONTRIBUTING.split("\n## ") if "<!-- TODO" not in section)
    named = re.findall(r"`((?:src|tests|docs|benchmarks|examples|\.ci|\.github)/[^`\s]*)`", text)
    assert len(named) >= 8
    for path in named:
        if "NAME" not in path:
            assert (ROOT / path).exists(), path
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / target).exists(), target
    for command in re.findall(r"`?\bmake ([a-z-]+)", text):
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
    for table, file in re.findall(r"`([A-Z]+)` in `(src/[^`]+)`", text):
        assert re.search(rf"^{table}\b", (ROOT / file).read_text(), re.MULTILINE), f"{table} in {file}"


# Source.


def with_examples() -> list[str]:
    """Modules whose docstrings show what a call gives."""
    files = [file for file in SOURCE.rglob("*.py") if ">>> " in file.read_text()]
    return sorted(".".join(file.relative_to(SOURCE.parent).with_suffix("").parts) for file in files)


@pytest.mark.parametrize("module", with_examples())
def test_the_examples_in_docstrings_are_true(module: str):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried
    assert not failed

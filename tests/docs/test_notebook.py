"""The notebook runs from top to bottom without a connection, and what it keeps is what it shows."""

import importlib.util
import re
from pathlib import Path

import pytest

from pages import assert_alike

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "tour.ipynb"
OFFLINE = """
import socket
def only_processes_of_this_machine(self, address, connect=socket.socket.connect):
    assert self.family == socket.AF_UNIX, f"the notebook reaches for {address}"
    return connect(self, address)
socket.socket.connect = only_processes_of_this_machine
"""

needs_tools = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("nbclient", "ipykernel")),
    reason="needs the dependency group docs",
)


def read():
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell):
    """What a cell shows in words."""
    return "".join(output.get("text") or output["data"].get("text/plain", "") for output in cell.outputs)


def pictures_of(notebook):
    shown = [output.get("data", {}) for cell in code(notebook) for output in cell.outputs]
    return [data["image/jpeg"] for data in shown if "image/jpeg" in data]


def test_the_notebook_is_kept_with_what_it_shows_and_small():
    notebook = read()
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    assert all(cell.outputs for cell in code(notebook))
    assert not [output for cell in code(notebook) for output in cell.outputs if output.output_type == "error"]
    assert NOTEBOOK.stat().st_size < 400_000


def test_nothing_in_the_notebook_tells_of_the_machine_that_ran_it():
    text = NOTEBOOK.read_text()
    assert not re.search(r"/home/|/work/|/tmp/|/root/|\"version\"|iopub", text)
    assert not [output for cell in code(read()) for output in cell.outputs if output.get("name") == "stderr"]


def test_the_pictures_of_the_notebook_differ():
    """The cat's map is not the cup's, and each is a JPEG."""
    pictures = pictures_of(read())
    assert len(pictures) == len(set(pictures)) == 5
    assert all(picture.startswith("/9j/") for picture in pictures)


def test_files_that_the_notebook_names_exist():
    words = "".join(cell.source for cell in read().cells if cell.cell_type == "markdown")
    named = re.findall(r"`((?:docs|examples)/[\w./-]+)`", words)
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.slow
@needs_tools
def test_the_notebook_runs_offline_and_shows_what_it_keeps(monkeypatch):
    spec = importlib.util.spec_from_file_location("execute_tour", ROOT / "examples" / "execute_tour.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    kept, notebook = read(), read()
    first = code(notebook)[0]
    first.source = OFFLINE + first.source
    ran = tool.execute(notebook)
    for old, new in zip(code(kept), code(ran), strict=True):
        assert_alike(text_of(old), text_of(new), old.source)
    pictures = pictures_of(ran)
    assert len(pictures) == len(set(pictures)) == len(pictures_of(kept))

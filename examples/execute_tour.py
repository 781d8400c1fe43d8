"""Runs the notebook ``tour.ipynb`` from top to bottom, and keeps what it shows in the file.

``make notebook`` does this. It needs the dependency group ``docs``.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).with_name("tour.ipynb")


def execute(notebook: NotebookNode) -> NotebookNode:
    """Runs all cells, in a Python of their own. The first one that fails raises ``CellExecutionError``."""
    run = NotebookClient(
        notebook, kernel_name="python3", timeout=300, record_timing=False,
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )  # fmt: skip
    executed = run.execute()
    executed.metadata["language_info"] = {"name": "python"}  # the version of this Python tells nobody anything
    return executed


if __name__ == "__main__":
    nbformat.write(execute(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)

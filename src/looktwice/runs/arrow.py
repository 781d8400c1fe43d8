"""pyarrow, which is an extra."""

from importlib import import_module
from typing import Any

from looktwice.errors import MissingExtraError


def arrow(part: str = "") -> Any:
    """The package pyarrow, or a part of it, such as "compute" or "parquet".

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        whole = import_module("pyarrow")
        return import_module(f"pyarrow.{part}") if part else whole
    except ImportError as error:
        raise MissingExtraError("evaluation writes Parquet files: pip install 'looktwice[evaluate]'") from error

"""The maps that a run keeps on disk."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from looktwice.atomic_files import write_atomically
from looktwice.errors import RunError


def read_maps(run: Path, index: int) -> dict[str, NDArray[Any]]:
    """The maps that a run saved of a chunk, and whose they are; nothing where it saved none.

    Raises:
        RunError: the file is damaged.
    """
    path = _maps_path(run, index)
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, BadZipFile) as error:
        raise RunError(f"{path} cannot be read ({error}); evaluate into another folder to have it again") from error


def write_maps(run: Path, index: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """As ``read_maps`` gives them."""
    buffer = BytesIO()
    np.savez(buffer, **cast(Any, arrays))
    write_atomically(_maps_path(run, index), buffer.getvalue())


def _maps_path(run: Path, index: int) -> Path:
    return run / "maps" / f"part-{index:06d}.npz"

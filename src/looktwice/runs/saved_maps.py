"""The maps that a run keeps on disk, if it is asked to."""

from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from looktwice.atomic_files import write_atomically
from looktwice.errors import RunError

WHOSE = ("sample", "target", "rank")
"""The arrays of a file that say, row for row, what its maps are of; all other arrays are maps."""


def read_maps(run: Path, index: int, only: Collection[tuple[str, int]] | None = None) -> dict[str, NDArray[Any]]:
    """The maps that a run saved of a chunk; an empty dict if it saved none.

    Args:
        run: the run's folder.
        index: the number of the chunk.
        only: (sample, target) of the maps that are wanted; if there are none of them, no map is read.

    Returns:
        By method the maps (M, H, W) in half precision, and by each name of ``WHOSE`` what they are of (M,).

    Raises:
        RunError: the file is damaged.
    """
    path = _maps_path(run, index)
    try:
        with np.load(path) as arrays:
            if not set(WHOSE) <= set(arrays.files):
                raise ValueError(f"it has no arrays {', '.join(WHOSE)}")
            if only is None:
                return dict(arrays)
            whose = zip(arrays["sample"].tolist(), arrays["target"].tolist(), strict=True)
            rows = [row for row, key in enumerate(whose) if key in only]
            return {name: arrays[name][rows] for name in arrays.files} if rows else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, IndexError, BadZipFile) as error:
        raise RunError(f"{path} cannot be read ({error}); evaluate into another folder to have it again") from error


def write_maps(run: Path, index: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes the maps of a chunk, as ``read_maps`` gives them."""
    buffer = BytesIO()
    np.savez(buffer, **cast(Any, arrays))
    write_atomically(_maps_path(run, index), buffer.getvalue())


def _maps_path(run: Path, index: int) -> Path:
    return run / "maps" / f"part-{index:06d}.npz"

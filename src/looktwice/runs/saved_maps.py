"""The maps that a run keeps on disk, if it is asked to."""

from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from looktwice.atomic_files import write_atomically
from looktwice.errors import RunError, one_line
from looktwice.runs.folder import read_manifest, writing_into

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
        RunError: the file is damaged, or its maps are of another run.
    """
    path = _maps_path(run, index)
    manifest = read_manifest(run)
    try:
        with np.load(path) as arrays:
            identity = arrays.zip.comment.decode() or None
            if identity != manifest.part_identity and not manifest.run.save.maps:
                return {}  # left by another run in this folder
            found = _chosen(arrays, only)
    except FileNotFoundError:
        return {}
    except Exception as error:  # broken bytes make NumPy and zipfile raise nearly anything
        raise _unreadable(path, one_line(error)) from error
    if identity != manifest.part_identity:
        raise _unreadable(path, "its maps are of another evaluation")
    return found


def _chosen(arrays: Mapping[str, NDArray[Any]], only: Collection[tuple[str, int]] | None) -> dict[str, NDArray[Any]]:
    if not set(WHOSE) <= set(arrays):
        raise ValueError(f"it has no arrays {', '.join(WHOSE)}")
    whose = list(zip(arrays["sample"].tolist(), arrays["target"].tolist(), strict=True))
    rows = [row for row, key in enumerate(whose) if only is None or key in only]
    if only is not None and not rows:
        return {}
    found = dict(arrays)
    for name, values in found.items():
        if len(values) != len(whose) or values.ndim != (1 if name in WHOSE else 3):
            raise ValueError(f"{name} has the shape {values.shape}, and there are {len(whose)} maps")
    return found if only is None else {name: values[rows] for name, values in found.items()}


def _unreadable(path: Path, why: str) -> RunError:
    return RunError(f"{path} cannot be read ({why}); evaluate into another folder to have it again")


def write_maps(run: Path, index: int, arrays: Mapping[str, NDArray[Any]], identity: str) -> None:
    """Writes the maps of a chunk, as ``read_maps`` gives them.

    Args:
        run: the run's folder.
        index: the number of the chunk.
        arrays: the maps, and what they are of.
        identity: of the run.

    Raises:
        RunError: the folder holds this run no more; or the file cannot be written.
    """
    buffer = BytesIO()
    np.savez(buffer, **cast(Any, arrays))
    with writing_into(run, identity) as manifest:
        with ZipFile(buffer, "a") as archive:  # an .npz file is a zip archive, and NumPy leaves its comment to us
            archive.comment = (manifest.part_identity or "").encode()
        write_atomically(_maps_path(run, index), buffer.getvalue())


def _maps_path(run: Path, index: int) -> Path:
    return run / "maps" / f"part-{index:06d}.npz"

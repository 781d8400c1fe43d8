"""Files with weights: their format, the state dicts in them, and their size. No code in them is run."""

import argparse
import pathlib
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from looktwice.errors import ModelError, one_line

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pth.tar")
"""How files with weights are usually called. A file with another name is read if its content is one of these kinds."""


MOST_TIMES = 8
"""A packed file may take this many times the network's memory: weights, their average and an optimizer's state."""


MOST_BYTES = 16 * 2**20
"""And this much besides."""


@dataclass(frozen=True)
class StateDict:
    """Weights by name, as they stand in a file.

    Attributes:
        entry: where in the file: "" for the file itself, else "state_dict" or "checkpoint.model".
        tensors: the weights. Their names are the file's.
    """

    entry: str
    tensors: Mapping[str, Tensor]


def read_state_dicts(file: Path, *, network_bytes: int | None = None) -> list[StateDict]:
    """All state dicts in a file: alone, or as entries of a checkpoint. Averaged weights (EMA) come first.

    Args:
        file: of any name; its content says which kind it is.
        network_bytes: size of the network that the weights are for. A packed file that takes far more is refused before
            it is unpacked.

    Raises:
        ModelError: the file is missing, of another kind, damaged or too large, or it holds no state dict.
    """
    content = _content(file, network_bytes)
    found = sorted(_state_dicts(content, ""), key=lambda each: "ema" not in re.split(r"[._]", each.entry))
    if not found:
        keys = isinstance(content, dict) and content and not any(isinstance(key, str) for key in content)
        seen = f"its keys are {type(next(iter(content))).__name__}, not names" if keys else "nothing in it is a tensor"
        raise ModelError(
            f"{file}: holds no state dict ({seen}); where it was made, save torch.save(model.state_dict(), FILE)"
        )
    return found


def _content(file: Path, network_bytes: int | None) -> Any:
    """Whatever a file holds."""
    if not file.is_file():
        if not file.name.endswith(SUFFIXES):
            raise _of_another_kind(file)
        raise ModelError(f"{file}: no such file; check the path of the weights")
    try:
        with file.open("rb") as opened:
            head = opened.read(16)
        for start, (kind, remedy) in OTHERS.items():
            if head.startswith(start):
                raise ModelError(f"{file}: is {kind}, not weights; {remedy}")
        read = _reader(head)
        if read is None and not file.name.endswith(SUFFIXES):
            raise _of_another_kind(file)
        if head.startswith(_ZIP):
            _check_size(file, network_bytes)
        return (read or _read_pickle)(file)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    except ModelError:
        raise
    except Exception as error:  # for broken bytes the readers raise nearly anything: KeyError, UnpicklingError …
        raise ModelError(
            f"{file}: damaged, or holds other Python objects than tensors{_named_object(error)}; these are not loaded, "
            "since that could run code; where it was made, save torch.save(model.state_dict(), FILE) or a "
            ".safetensors file"
        ) from error


def _of_another_kind(file: Path) -> ModelError:
    kinds = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
    return ModelError(f"weights {str(file)!r}: 'default', 'random' or a {kinds} file is needed")


OTHERS = {
    b"version https://": ("a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    b"<": ("a web page", "fetch the file itself"),
    b"\x89HDF": ("an HDF5 file, as Keras has them", "PyTorch's weights are needed"),
    b"\x1f\x8b": ("packed with gzip", "unpack it first"),
    b"BZh": ("packed with bzip2", "unpack it first"),
    b"\xfd7zXZ": ("packed with xz", "unpack it first"),
    b"7z\xbc\xaf": ("packed with 7-Zip", "unpack it first"),
}
"""How files begin that are often given for weights: what they are, and the remedy."""

_ZIP = b"PK\x03\x04"


def _reader(head: bytes) -> Callable[[Path], Any] | None:
    """What reads a file that begins so; ``None`` if it is of no kind that is known here."""
    if head.startswith(_ZIP) or head.startswith(b"\x80"):  # torch.save, since version 1.6 and before
        return _read_pickle
    if len(head) > 8 and head[8:9] == b"{":  # eight bytes of length, then JSON
        return load_file
    return None


def _read_pickle(file: Path) -> Any:
    """The content of a file that ``torch.save`` wrote."""
    with warnings.catch_warnings(), torch.serialization.safe_globals(_INERT), file.open("rb") as opened:
        warnings.simplefilter("ignore")  # of deprecated kinds of tensors, which are refused later
        return torch.load(opened, "cpu", weights_only=True)  # by its name, torch would take it for another kind


_INERT: list[Any] = [
    argparse.Namespace,
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    (np.dtype, "numpy.dtype"),
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "bool")),
    *((np.float64().__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What training programs save beside the weights: options, paths and scores. To make one runs no code of the file."""


def _check_size(file: Path, network_bytes: int | None) -> None:
    """Refuses a packed file whose directory says that it takes far more memory than the network."""
    taken = sum(record.file_size for record in zipfile.ZipFile(file).infolist())
    if network_bytes is None or taken <= max(2 * file.stat().st_size, MOST_TIMES * network_bytes + MOST_BYTES):
        return
    raise ModelError(
        f"{file}: takes {taken / 1e6:,.0f} MB when it is unpacked, and the network {network_bytes / 1e6:,.1f} MB; "
        "where it was made, save torch.save(model.state_dict(), FILE)"
    )


def _named_object(error: Exception) -> str:
    """The kind of object that was not read, if the error names it."""
    named = re.search(r"Unsupported (?:global|class|operand)[^\n]*?(?:GLOBAL )?([A-Za-z_][\w.]+\.\w+)", one_line(error))
    return f" ({named[1]})" if named else ""


def _state_dicts(content: Any, entry: str, depth: int = 3) -> Iterator[StateDict]:
    """Every mapping of names to tensors, the outermost first. Optimizers' states have numbers for names."""
    if not isinstance(content, Mapping) or depth == 0:
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield StateDict(entry, tensors)
    for key, value in named.items():
        yield from _state_dicts(value, f"{entry}.{key}".lstrip("."), depth - 1)

"""Files of networks from the Hugging Face Hub or a web address, or from the cache of an earlier download."""

import contextlib
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from looktwice.defaults import DEFAULT_MODEL
from looktwice.errors import ModelError, cut, one_line

CONFIGURATION = ("config.json", "preprocessor_config.json", "processor_config.json")
"""Files of a repository that say how the network is built and how its images are preprocessed."""


SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
"""Weights that hold nothing but tensors: in one file, or in several with an index."""


PICKLED_WEIGHTS = "pytorch_model.bin"
"""The older file of weights. It is read as plain tensors only (``weights_only``)."""

_PATIENCE = 10.0
"""Seconds that the Hub has for its first answer. It is asked once, because its own client tries for a minute."""

_REMEDY = f"offline, pass weights=FILE (.safetensors, .pth …) or weights='random', or use {DEFAULT_MODEL}"


def fetch_repository(repository: str, *, weights: bool, remedy: str = _REMEDY) -> Path:
    """The folder with a repository's configuration and weights. Without a connection it comes from the cache.

    No other file is fetched, so no code is.

    Args:
        repository: ``owner/name`` on the Hub, or ``owner/name@revision``.
        weights: whether the weights are needed, too.
        remedy: how the error ends.

    Raises:
        ModelError: no such repository, no connection, or a download that fails.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    place, _, revision = repository.partition("@")
    chosen = revision or None
    try:
        info = HfApi().model_info(place, revision=chosen, timeout=_PATIENCE)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelError(
            f"{repository}: the Hugging Face Hub has no such repository, or it is private; check the name on "
            "huggingface.co/models, or log in with hf auth login"
        ) from error
    except Exception as error:  # httpx, requests and the hub's own errors, by version
        with contextlib.suppress(Exception):
            return Path(snapshot_download(place, revision=chosen, local_files_only=True))
        raise _not_fetched(repository, f"https://huggingface.co/{place}", error, remedy) from error
    wanted = [*CONFIGURATION, *(_weights_among({each.rfilename for each in info.siblings or ()}) if weights else ())]
    try:
        with _progress_on_terminals_only():
            return Path(snapshot_download(place, revision=chosen, allow_patterns=wanted))
    except Exception as error:  # likewise, and full disks
        raise _not_fetched(repository, f"https://huggingface.co/{place}", error, remedy) from error


def fetch_address(address: str, name: str) -> Path:
    """The file at a web address, from PyTorch's cache if it is there.

    Args:
        address: of the file; a hash in its name is checked.
        name: of the network, for the error.

    Raises:
        ModelError: the file cannot be fetched.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(address).path).name
    if file.exists():
        return file
    found = torch.hub.HASH_REGEX.search(file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        terminal = sys.stderr.isatty()
        torch.hub.download_url_to_file(address, str(file), found[1] if found else None, progress=terminal)
    except Exception as error:  # OSError, HTTPException, a wrong hash
        raise _not_fetched(name, address, error, _REMEDY) from error
    return file


def weights_file(folder: Path) -> Path | None:
    """The file of weights in a folder, the safe one first; ``None`` if it has none in a single file."""
    files = (folder / SAFE_WEIGHTS[0], folder / PICKLED_WEIGHTS)
    return next((file for file in files if file.is_file()), None)


def _weights_among(files: set[str]) -> tuple[str, ...]:
    safe = any(name.endswith(".safetensors") for name in files)
    return SAFE_WEIGHTS if safe else (PICKLED_WEIGHTS,)


def _not_fetched(name: str, address: str, error: Exception, remedy: str) -> ModelError:
    reason = cut(one_line(error), most=200)
    return ModelError(f"{name} could not be fetched from {address} ({reason}); {remedy}")


@contextlib.contextmanager
def _progress_on_terminals_only() -> Iterator[None]:
    bars: Any = import_module("huggingface_hub.utils")
    hidden = not sys.stderr.isatty() and not bars.are_progress_bars_disabled()
    if hidden:
        bars.disable_progress_bars()
    try:
        yield
    finally:
        if hidden:
            bars.enable_progress_bars()

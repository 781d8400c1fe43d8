"""Methods of other packages, computed by these packages: pytorch-grad-cam (Gildenblat et al.) and captum.

The extra ``peers`` installs both. Each function takes a frozen network, images (N, C, H, W) and the class of each
image. Class activation maps are made from the network's last feature maps, as their authors do.
"""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from looktwice.errors import MissingExtraError, ModelError
from looktwice.gating.frozen import FrozenNetwork
from looktwice.gating.geometry import Kind, measured_parts


def grad_cam(network: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """The positive part of the feature maps, weighted by their mean gradients (Selvaraju et al. 2017) → (N, H, W).

    If a network ends in pooling and one linear layer, this is the positive part of CAM (Zhou et al. 2016).
    """
    return _activation_map("GradCAM", network, images, targets)


def grad_cam_plus_plus(network: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """Grad-CAM that weights pixels before it averages gradients (Chattopadhyay et al. 2018) → (N, H, W)."""
    return _activation_map("GradCAMPlusPlus", network, images, targets)


def layer_cam(network: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """Feature maps weighted pixel by pixel by their positive gradients (Jiang et al. 2021) → (N, H, W)."""
    return _activation_map("LayerCAM", network, images, targets)


def integrated_gradients(network: FrozenNetwork, images: Tensor, targets: Tensor, *, steps: int = 20) -> Tensor:
    """Gradients on the straight way from the mean colour to the image (Sundararajan et al. 2017) → (N, C, H, W).

    Args:
        network: the classifier.
        images: normalised as it was trained, so that 0 is the mean colour.
        targets: class of each image.
        steps: points on the way, a forward and backward pass each.
    """
    attribution = _package("captum.attr").IntegratedGradients(network)
    found: Tensor = attribution.attribute(images, target=targets, n_steps=steps, internal_batch_size=len(images))
    return found.detach()


def guided_grad_cam(network: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """Guided backpropagation times Grad-CAM (Selvaraju et al. 2017) → (N, C, H, W).

    captum guides ``nn.ReLU`` modules only. If a network calls ``F.relu``, the gradient stays as it is.
    """
    attribution = _package("captum.attr").GuidedGradCam(network, last_feature_maps(network, images, ["channels"])[0])
    image = images.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
        found: Tensor = attribution.attribute(image, target=targets, interpolate_mode="bilinear")
    return found.detach()


def last_feature_maps(
    network: FrozenNetwork, images: Tensor, kinds: Sequence[Kind] = ("channels", "channels_last")
) -> tuple[nn.Module, Kind]:
    """The last module that is called once and returns maps of the image, and how they lie: channels first or last.

    Raises:
        ModelError: there is none.
    """
    with torch.no_grad():
        classes = network(images).shape[1]
    for output in reversed(measured_parts(network, images)):
        if output.channels is not None and output.channels != classes and output.kind in kinds:
            return output.part, output.kind
    raise ModelError("no module of this network returns maps of the image; a class activation map needs some")


def _activation_map(name: str, network: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    grad_cam_package = _package("pytorch_grad_cam")
    wanted = [grad_cam_package.utils.model_targets.ClassifierOutputTarget(target) for target in targets.tolist()]
    part, kind = last_feature_maps(network, images)
    transform = None if kind == "channels" else lambda maps: maps.permute(0, 3, 1, 2)
    with getattr(grad_cam_package, name)(network, [part], reshape_transform=transform) as method:
        maps = method(images.clone().requires_grad_(), wanted)
    return torch.as_tensor(maps, device=images.device, dtype=images.dtype)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingExtraError(
            f"this method is {package}'s, which is missing: pip install 'looktwice[peers]'"
        ) from error

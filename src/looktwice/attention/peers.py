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
from looktwice.gating.calls import ActivationCall
from looktwice.gating.frozen import FrozenNetwork
from looktwice.gating.geometry import PartOutput, measured_parts
from looktwice.gating.memo import Memo
from looktwice.gating.places import Kind, Place


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

    captum guides ``nn.ReLU`` modules only. If a network calls ``F.relu`` or has other activations, the gradient stays
    as it is; ``caution_on_guiding`` says so.

    Raises:
        ModelError: the network's last feature maps are tokens or have channels last, which captum does not read.
    """
    package = _package("captum.attr")
    part, place = last_feature_maps(network, images)
    if place.kind != "channels":
        raise ModelError(
            "Guided Grad-CAM needs feature maps with channels first, and the last ones of this network are "
            f"{'tokens' if place.kind == 'tokens' else 'maps with channels last'}; take grad_cam or guided_backprop"
        )
    attribution = package.GuidedGradCam(network, part)
    image = images.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
        found: Tensor = attribution.attribute(image, target=targets, interpolate_mode="bilinear")
    return found.detach()


def caution_on_guiding(network: FrozenNetwork, calls: Sequence[ActivationCall]) -> str | None:
    """What a reader of Guided Grad-CAM must know of a network that has other activations than ``nn.ReLU``."""
    if not any(isinstance(part, nn.ReLU) for part in network.modules()):
        return "captum guides nn.ReLU modules, and this network has none; the map is the plain gradient times Grad-CAM"
    others = sorted({call.activation for call in calls} - {"relu"})
    if others:
        return f"captum guides nn.ReLU modules only; gradients pass this network's {', '.join(others)} unguided"
    return None


def last_feature_maps(
    network: FrozenNetwork, images: Tensor, kinds: Sequence[Kind] = ("channels", "channels_last", "tokens")
) -> tuple[nn.Module, Place]:
    """The last module that is called once and returns maps of the image, and how they lie. It is remembered.

    Of tokens, it is the last module as wide as the network's last tokens from whose own tokens a class score is
    derived. In the last block of a vision transformer, that is the norm before the attention: after it, the score
    depends on the class token alone. A linear layer of tokens makes queries, keys or values, so it is passed over.

    Raises:
        ModelError: there is none.
    """
    known = _LAST.of(network.module, network.looks)
    key = (tuple(images.shape[1:]), images.dtype, images.device, tuple(kinds))
    if key not in known:
        output = _last_output(network, images, kinds)
        known[key] = output.part, output.place
    return known[key]


_LAST: Memo[tuple[nn.Module, Place]] = Memo()


def _last_output(network: FrozenNetwork, images: Tensor, kinds: Sequence[Kind]) -> PartOutput:
    with torch.no_grad():
        classes = network(images).shape[1]
    found = [
        output
        for output in reversed(measured_parts(network, images))
        if output.channels is not None and output.channels != classes and output.place.kind in kinds
    ]
    if not found:
        raise ModelError("no module of this network returns maps of the image; a class activation map needs some")
    last = found[0]
    if last.place.kind != "tokens":
        return last
    alike = [output for output in found if (output.place, output.channels) == (last.place, last.channels)]
    reached = _parts_with_gradient(network, images, alike)
    read = [output for output in alike if output.part in reached and not isinstance(output.part, nn.Linear)]
    return read[0] if read else last  # without a gradient, as with a head of zeros, every map is zero


def _parts_with_gradient(network: FrozenNetwork, images: Tensor, outputs: Sequence[PartOutput]) -> set[nn.Module]:
    """The parts from whose tokens of the image the class scores have a gradient."""
    seen: dict[nn.Module, Tensor] = {}

    def keep(part: nn.Module, _: object, output: Tensor) -> None:
        seen[part] = output

    handles = [output.part.register_forward_hook(keep) for output in outputs]
    try:
        scores = network(images.clone().requires_grad_())
        gradients = torch.autograd.grad(scores.amax(1).sum(), list(seen.values()), allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    place = outputs[0].place
    pairs = zip(seen, gradients, strict=True)
    return {part for part, gradient in pairs if gradient is not None and place.gated_part(gradient).any()}


def _activation_map(name: str, network: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    grad_cam_package = _package("pytorch_grad_cam")
    wanted = [grad_cam_package.utils.model_targets.ClassifierOutputTarget(target) for target in targets.tolist()]
    part, place = last_feature_maps(network, images)

    def as_maps(output: Tensor) -> Tensor:
        maps = place.to_grid(place.gated_part(output))
        return maps.to(torch.promote_types(maps.dtype, torch.float32))  # NumPy has no bfloat16

    with getattr(grad_cam_package, name)(network, [part], reshape_transform=as_maps) as method:
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

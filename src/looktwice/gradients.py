"""The class gradient at the image: plain (Simonyan et al. 2013), guided (Springenberg et al. 2014), through gates."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from looktwice.errors import ModelError
from looktwice.gating import Network, Saturation, gated_scores

NO_GATES: Mapping[int, Tensor] = MappingProxyType({})


def class_gradient(
    network: Network,
    images: Tensor,
    targets: Tensor,
    *,
    gates: Mapping[int, Tensor] = NO_GATES,
    calls: int | None = None,
    guided: bool = False,
    saturation: Saturation = "exact",
) -> tuple[Tensor, Tensor]:
    """G_k(z) = ∂S_k/∂I at the gates z (Fu et al. 2017, Eq. 2): images (N, C, H, W) → (N, C, H, W), and S_k (N,).

    Without gates and guidance it is the vanilla gradient, guided without gates it is guided backpropagation, guided
    through feedback's gates it is the attention of FB and GP.

    Args:
        network: images → scores (N, K), in evaluation mode.
        images: (N, C, H, W), normalised as the network was trained.
        targets: class k of each image, int64 (N,).
        gates: ReLU call index → gate (N, ...).
        guided: cut negative gradients at every ReLU.
        saturation: gradient above an upper clamp.
        calls: how many ReLU calls the first pass made; ``None`` leaves it unchecked.

    Raises:
        ModelError: the forward pass cuts the gradient off, the gradient overflows, or the ReLU calls changed.
    """
    leaf = images.detach().requires_grad_()
    scores = gated_scores(network, leaf, gates, guided=guided, saturation=saturation, calls=calls)
    chosen = scores.gather(1, targets[:, None]).squeeze(1)
    gradient = torch.autograd.grad(chosen.sum(), leaf, allow_unused=True)[0] if chosen.requires_grad else None
    if gradient is None:
        raise ModelError("no gradient reaches the images from the class scores; the forward pass must not detach")
    if not gradient.isfinite().all():
        raise ModelError(
            "the class gradient is not finite; pass the model and the images as float64, or take fewer steps"
        )
    return gradient, chosen.detach()

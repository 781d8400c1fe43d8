"""The class gradient at the image: plain (Simonyan et al. 2013), guided (Springenberg et al. 2014), through gates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from looktwice.errors import FINITE_REMEDY, ModelError
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import NO_GATES, ActivationCall, Guidance, Network
from looktwice.gating.passes import gated_scores


@dataclass(frozen=True)
class ClassGradient:
    """One backward pass of a class score.

    Attributes:
        image: ∂S_k/∂I (N, C, H, W).
        scores: S_k (N,).
    """

    image: Tensor
    scores: Tensor


def class_gradient(
    network: Network,
    images: Tensor,
    targets: Tensor,
    *,
    gates: Mapping[int, Tensor] = NO_GATES,
    calls: Sequence[ActivationCall] | None = None,
    guided: Guidance = "none",
    saturation: Saturation = "exact",
) -> ClassGradient:
    """G_k(z) = ∂S_k/∂I at the gates z (Fu et al. 2017, Eq. 2).

    Without gates and guidance it is the vanilla gradient. Guided and without gates it is guided backpropagation. Guided
    and with feedback's gates it is the paper's attention.

    Args:
        network: images → scores (N, K), in evaluation mode.
        images: (N, C, H, W), normalised as the network was trained.
        targets: class k of each image, int64 (N,).
        gates: call index → gate (N, ...).
        guided: where negative gradients are cut.
        saturation: gradient above an upper clamp.
        calls: those of the first pass; see ``gated_scores``.

    Raises:
        ModelError: the forward pass cuts the gradient off, the gradient overflows, or the activation calls changed.
    """
    leaf = images.detach().requires_grad_()
    scores = gated_scores(network, leaf, gates, guided=guided, saturation=saturation, calls=calls)
    chosen = scores.gather(1, targets[:, None]).squeeze(1)
    if not chosen.requires_grad:
        raise ModelError("no gradient reaches the images from the class scores; the forward pass must not detach")
    (image,) = torch.autograd.grad(chosen.sum(), leaf, allow_unused=True)
    if image is None:
        raise ModelError("no gradient reaches the images from the class scores; the forward pass must not detach")
    if not image.isfinite().all():
        raise ModelError(f"the class gradient is not finite; {FINITE_REMEDY}, or take fewer steps")
    return ClassGradient(image, chosen.detach())

"""From class evidence or a class gradient to one map an image."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from looktwice.attention.affinity import PROPAGATION_POWER
from looktwice.attention.finishing import unit_maximum
from looktwice.errors import FINITE_REMEDY, ModelError
from looktwice.gating.calls import ActivationCall, Layers, select_layers
from looktwice.options import check_choice

Channels = Literal["max", "sum"]
"""How a gradient's input channels become one map: their largest magnitude (Simonyan et al. 2013) or their sum."""


Source = Literal["gradient", "evidence"]
"""What the map shows. ``gradient``: the magnitude of the gradient at the image (Fu et al. 2017, Eq. 2). ``evidence``:
the positive class evidence that the gates let through, z ⊙ [x ⊙ ∂S_k/∂y]₊, where x ⊙ ∂S_k/∂y is taken while all gates
are open (LayerCAM, Jiang et al. 2021). If the gates raise another objective, it takes the place of S_k."""


Scales = Literal["coarsest", "all"]
"""Whose evidence the map shows. ``coarsest``: that of the coarsest layers with gates. They see the object's telling
part, and not where it ends. ``all``: that of all maps at a stride of about 4 pixels or more, as the geometric mean over
the resolutions."""


def kept_evidence(
    calls: Sequence[ActivationCall], evidence: Mapping[int, Tensor], gates: Mapping[int, Tensor], shown: Layers
) -> list[Tensor]:
    """The positive evidence that gates let through, of the layers to be shown: one (N, C, h, w) a layer.

    Raises:
        ModelError: the evidence is not finite.
    """
    layers = select_layers([calls[index] for index in evidence], shown)
    sums = [evidence[index].sum(dtype=torch.double) for index in layers]  # no sum of finite numbers overflows there
    if not torch.stack(sums).isfinite().all():
        raise ModelError(f"the class evidence is not finite; {FINITE_REMEDY}")
    positive = {index: evidence[index].clamp_min(0) for index in layers}
    kept = {index: gates[index] * found if index in gates else found for index, found in positive.items()}
    return [calls[index].to_grid(found) for index, found in kept.items()]


def class_evidence(
    calls: Sequence[ActivationCall],
    evidence: Mapping[int, Tensor],
    gates: Mapping[int, Tensor],
    *,
    size: tuple[int, int],
) -> Tensor:
    """Where more speaks for the class than against it, on the coarsest maps with gates: (N, H, W) in [0, 1].

    A neuron's evidence e = x ⊙ ∂S_k/∂y has a sign. In a layer,

        c = [ Σ_channels z ⊙ [e]₊ − κ Σ_channels [−e]₊ ]₊,

    so what the gates keep has to outweigh, at the same place, what speaks against the class. The sum over channels is
    cut, not its parts. The finer layers know edges and textures; only the coarsest know the class well enough for this.

    Many layers have more evidence against the class than gates keep for it, and nothing would be left. There κ scales
    the evidence against down to the same sum over the map: κ = min(1, Σ z ⊙ [e]₊ / Σ [−e]₊). Then c is where the
    evidence for the class has a larger share of its sum than the evidence against. Each layer is scaled to maximum 1,
    and the layers are averaged. The map is zero where the gates keep nothing.

    Args:
        calls: the network's activation calls.
        evidence: signed, of every neuron of the gated calls (N, ...), while all gates are open; others are left out.
        gates: z after the last step, (N, ...) in [0, 1] by call index.
        size: (H, W) of the map.
    """
    layers = []
    for index in select_layers([calls[index] for index in gates], "coarsest"):
        signed, z = calls[index].to_grid(evidence[index]), calls[index].to_grid(gates[index])
        kept = (z * signed.clamp_min(0)).sum(1)
        against = signed.clamp_max(0).sum(1).neg()
        kept, against = unit_maximum(torch.stack([kept, against], 1)).unbind(1)  # no sum underflows
        balance = kept.sum((1, 2)) / against.sum((1, 2)).clamp_min(torch.finfo(against.dtype).tiny)
        outweighing = unit_maximum((kept - balance.clamp_max(1)[:, None, None] * against).clamp_min(0))
        layers.append(F.interpolate(outweighing[:, None], size=size, mode="bilinear", align_corners=False)[:, 0])
    return unit_maximum(torch.stack(layers).mean(0))


def evidence_map(evidence: Sequence[Tensor], *, size: tuple[int, int]) -> Tensor:
    """Positive class evidence of several layers as one map with maximum 1: (N, C, h, w) each → (N, H, W) in [0, 1].

    Each layer is summed over its channels and scaled to maximum 1. Layers of one resolution are averaged, so a
    resolution with many layers counts no more than another. The map is the geometric mean of the resolutions at the
    image's size: the object has evidence at all scales, an edge of another object only at the finest. A resolution
    without any evidence in an image is left out for that image.

    Args:
        evidence: one tensor a layer, not negative.
        size: (H, W) of the map.
    """
    resolutions: dict[tuple[int, int], list[Tensor]] = {}
    for layer in evidence:
        resolutions.setdefault((layer.shape[-2], layer.shape[-1]), []).append(unit_maximum(layer.sum(1)))
    means = [unit_maximum(torch.stack(layers).mean(0)) for layers in resolutions.values()]
    scales = torch.stack(
        [F.interpolate(mean[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] for mean in means]
    )
    present = scales.flatten(2).amax(2)[..., None, None] > 0
    weights = present / present.sum(0).clamp_min(1)
    return unit_maximum(scales.pow(weights).prod(0) * present.any(0))  # 0⁰ = 1 leaves an absent one out


def propagation_power(evidence: Sequence[Tensor]) -> float:
    """The power to which an evidence map is raised before it is propagated.

    The geometric mean of several resolutions is flatter than each of them, so it is squared. The layers of a vision
    transformer have one resolution. Its evidence squared would be so peaked that boxes at the default threshold held a
    part of the object: on tuning images of ViT-Tiny, 57 % of the boxes were wrong at 0.2, and 31 % without the square.

    Args:
        evidence: as for ``evidence_map``.
    """
    return PROPAGATION_POWER if len({layer.shape[-2:] for layer in evidence}) > 1 else 1


def attention_map(gradients: Tensor, *, channels: Channels = "max") -> Tensor:
    """Magnitude of a gradient over its channels, with maximum 1: (N, C, H, W) → (N, H, W) in [0, 1].

    Args:
        gradients: signed class gradients at the image.
        channels: largest or summed magnitude.

    Raises:
        OptionError: an unknown ``channels``.
    """
    check_choice("channels", channels, Channels)
    magnitude = unit_maximum(gradients.abs())
    return unit_maximum(magnitude.amax(1) if channels == "max" else magnitude.sum(1))

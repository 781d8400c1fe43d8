"""Which places of an image look alike to the network, and an attention map carried over among them.

A class speaks through its most telling parts; the box is asked for the whole. What belongs to the same thing has much
the same features there, whether or not they speak for the class (self-correlation, Pan et al. 2021). So every place
takes the mean of the attention of those that look like it (non-local means, Buades et al. 2005): an average over the
whole image, where a blur's is over its neighbourhood.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from looktwice.errors import ModelError
from looktwice.gating import Network, ReluCall, visit

PLACES = 28 * 28
"""How many places are wanted: at 224×224 a stride of 8, where features know textures and parts, and edges are kept."""


@dataclass(frozen=True)
class Affinity:
    """How much alike the places of a grid are.

    Attributes:
        weights: (N, P, P), not negative, each row's sum 1: what each place takes of the others.
        grid: (h, w) with P = h · w places, row by row.
    """

    weights: Tensor
    grid: tuple[int, int]


def affinity(network: Network, images: Tensor, calls: Sequence[ReluCall]) -> Affinity:
    """Squared cosine similarity of the centred features, where it is positive; images (N, C, H, W).

    Features are the outputs of the ReLU calls whose maps have the number of places nearest to ``PLACES``, each less its
    mean over the image: without that all are alike, since activations are not negative. The similarity is the mean over
    those calls.

    Raises:
        ModelError: no ReLU call has a map.
    """
    grid, chosen = _calls_of_a_grid(calls)
    count, places = len(images), math.prod(grid)
    precision = torch.promote_types(images.dtype, torch.float32)
    cosines = torch.zeros(count, places, places, dtype=precision, device=images.device)

    def compare(index: int, output: Tensor) -> None:
        if index in chosen:
            with torch.autocast(images.device.type, enabled=False):
                features = output.flatten(2).to(precision)
                unit = F.normalize(features - features.mean(2, keepdim=True), dim=1)
                cosines.baddbmm_(unit.mT, unit)

    visit(network, images, max(chosen), compare)
    weights = cosines.div_(len(chosen)).clamp_min_(0).square_()
    weights.diagonal(dim1=1, dim2=2).fill_(1)  # so too where nothing varies
    return Affinity(weights / weights.sum(2, keepdim=True), grid)


def carry_over(maps: Tensor, alike: Affinity) -> Tensor:
    """A map's energy, carried over to all that looks like it: the mean of the places that do: (N, H, W) → (N, H, W).

    Args:
        maps: not negative. Their energy, the squares, is carried over: weak attention is spread widely as it is.
        alike: of the same images.
    """
    energy = unit_maximum(maps).square()
    of_places = F.adaptive_avg_pool2d(energy[:, None], alike.grid).flatten(2).mT
    carried = (alike.weights.to(maps.dtype) @ of_places).view(-1, 1, *alike.grid)
    return F.interpolate(carried, size=maps.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def unit_maximum(maps: Tensor) -> Tensor:
    """Each of the maps (N, ...) divided by its maximum; a zero map stays zero."""
    top = maps.amax(tuple(range(1, maps.ndim)), keepdim=True)
    return maps / torch.where(top > 0, top, torch.ones_like(top))


def _calls_of_a_grid(calls: Sequence[ReluCall]) -> tuple[tuple[int, int], list[int]]:
    grids = {(call.shape[-2], call.shape[-1]) for call in calls if call.is_map}
    if not grids:
        raise ModelError("no ReLU call of this network has a map, so its places cannot be compared; spread=False")
    nearest = min(sorted(grids), key=lambda grid: abs(math.log(math.prod(grid) / PLACES)))
    return nearest, [call.index for call in calls if call.is_map and call.shape[-2:] == nearest]

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

from looktwice.attention.finishing import unit_maximum
from looktwice.gating.calls import ActivationCall

GRID_CELLS = 28 * 28
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

    def of(self, images: slice | Sequence[int]) -> "Affinity":
        """That of some of the images."""
        return Affinity(self.weights[images], self.grid)


class Features:
    """Collects the outputs of the activation calls whose grid is nearest to ``GRID_CELLS`` cells."""

    def __init__(self) -> None:
        self._grid: tuple[int, int] | None = None
        self._seen: list[Tensor] = []

    def look(self, call: ActivationCall, output: Tensor) -> None:
        """Takes another call's output (N, ...). A copy is kept until a call with a nearer grid comes."""
        grid = call.grid
        if grid is None:
            return
        if self._grid is None or _distance(grid) < _distance(self._grid):
            self._grid, self._seen = grid, []
        if grid == self._grid:
            self._seen.append(call.to_grid(output).clone())

    def affinity(self) -> Affinity | None:
        """Squared cosine similarity of the centred features, where it is positive; ``None`` where no call has a map.

        Features are centred by their mean over the image: without that all are alike, since activations are not
        negative. The similarity is the mean over the calls.
        """
        if self._grid is None:
            return None
        (count, device), places = (len(self._seen[0]), self._seen[0].device), math.prod(self._grid)
        precision = torch.promote_types(self._seen[0].dtype, torch.float32)
        cosines = torch.zeros(count, places, places, dtype=precision, device=device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            for output in self._seen:
                features = output.flatten(2).to(precision)
                unit = F.normalize(features - features.mean(2, keepdim=True), dim=1)
                cosines.baddbmm_(unit.mT, unit)
            weights = cosines.div_(len(self._seen)).clamp_min_(0).square_()
            weights.diagonal(dim1=1, dim2=2).fill_(1)  # so too where nothing varies
            return Affinity(weights.div_(weights.sum(2, keepdim=True)), self._grid)


def propagate_map(maps: Tensor, alike: Affinity) -> Tensor:
    """A map's energy, carried over to all that looks like it: the mean of the places that do: (N, H, W) → (N, H, W).

    Args:
        maps: not negative. Their energy, the squares, is carried over: weak attention is widespread as it is.
        alike: of the same images.
    """
    energy = unit_maximum(maps).square()
    of_places = F.adaptive_avg_pool2d(energy[:, None], alike.grid).flatten(2).mT
    carried = (alike.weights.to(maps.dtype) @ of_places).view(-1, 1, *alike.grid)
    return F.interpolate(carried, size=maps.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _distance(grid: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """From ``GRID_CELLS``; of two as near the coarser is nearer."""
    return abs(math.log(math.prod(grid) / GRID_CELLS)), grid

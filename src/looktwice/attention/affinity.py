"""Which places of an image look alike to the network, and how attention is propagated among them.

A class shows in its most telling parts, but a box has to hold the whole object. Parts of one object have similar
features, whether or not they speak for the class (self-correlation, Pan et al. 2021). So every place takes the mean
attention of the places that look like it (non-local means, Buades et al. 2005). A blur averages over a neighbourhood;
this averages over the whole image.
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
"""How many places are wanted: a stride of 8 at 224×224. There, features know textures and parts, and edges are kept."""


PROPAGATION_POWER = 2
"""The power to which attention is raised before it is propagated, because weak attention is widespread."""


@dataclass(frozen=True)
class Affinity:
    """How much alike the places of a grid are.

    Attributes:
        weights: (N, P, P), not negative, each row sums to 1: how much each place takes from each other place.
        grid: (h, w) with P = h · w places, row by row.
    """

    weights: Tensor
    grid: tuple[int, int]

    def of(self, images: slice | Sequence[int]) -> "Affinity":
        """The affinity of some of the images, by their places in the batch."""
        return Affinity(self.weights[images], self.grid)


class Features:
    """Collects the outputs of the activation calls whose grid is nearest to ``GRID_CELLS`` cells.

    They are compared when somebody asks, after the first ascent has given back the memory of its first pass.
    """

    def __init__(self, known: Affinity | None = None) -> None:
        self._grid: tuple[int, int] | None = None
        self._seen: list[Tensor] = []
        self._known = known

    def look(self, call: ActivationCall, output: Tensor) -> None:
        """Takes another call's output (N, ...). A copy is kept until a call with a nearer grid comes."""
        grid = call.grid
        if grid is None:
            return
        if self._grid is None or _distance(grid) < _distance(self._grid):
            self._grid, self._seen = grid, []
        if grid == self._grid:
            self._seen.append(_pooled(call.to_grid(call.gated_part(output.detach()))))

    def affinity(self) -> Affinity | None:
        """Squared cosine similarity of the centred features where it is positive; ``None`` if no call has a grid.

        Features are centred by their mean over the image. Without that all places look alike, because activations are
        not negative. The similarity is the mean over the calls.
        """
        if self._known is None and self._seen:
            self._known, self._seen = self._compared(), []
        return self._known

    def of(self, images: slice | Sequence[int]) -> "Features":
        """The features of some of the images, by their places in the batch. They are compared now."""
        affinity = self.affinity()
        return Features(None if affinity is None else affinity.of(images))

    def _compared(self) -> Affinity:
        count, _, rows, columns = self._seen[0].shape
        device, places = self._seen[0].device, rows * columns
        precision = torch.promote_types(self._seen[0].dtype, torch.float32)
        cosines = torch.zeros(count, places, places, dtype=precision, device=device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            for output in self._seen:
                features = output.flatten(2).to(precision)
                unit = F.normalize(features - features.mean(2, keepdim=True), dim=1)
                cosines.baddbmm_(unit.mT, unit)
            weights = cosines.div_(len(self._seen)).clamp_min_(0).square_()
            weights.diagonal(dim1=1, dim2=2).fill_(1)  # a place without any variation still looks like itself
            return Affinity(weights.div_(weights.sum(2, keepdim=True)), (rows, columns))


def propagate_map(maps: Tensor, alike: Affinity, *, power: float = PROPAGATION_POWER) -> Tensor:
    """Every place takes the mean attention, raised to a power, of the places that look like it: (N, H, W) → (N, H, W).

    Args:
        maps: not negative.
        alike: the affinity of the same images.
        power: to which attention is raised first.
    """
    raised = unit_maximum(maps).pow(power)
    of_places = F.adaptive_avg_pool2d(raised[:, None], alike.grid).flatten(2).mT
    carried = (alike.weights.to(maps.dtype) @ of_places).view(-1, 1, *alike.grid)
    return F.interpolate(carried, size=maps.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _pooled(maps: Tensor) -> Tensor:
    """A copy of maps (N, C, h, w), pooled to about ``GRID_CELLS`` cells where there are more than twice as many.

    Comparing all pairs of cells takes memory that grows with the square of their number.
    """
    rows, columns = maps.shape[-2:]
    if rows * columns <= 2 * GRID_CELLS:
        return maps.clone()
    factor = (GRID_CELLS / (rows * columns)) ** 0.5
    return F.adaptive_avg_pool2d(maps, (max(1, round(rows * factor)), max(1, round(columns * factor))))


def _distance(grid: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """How far a grid is from ``GRID_CELLS`` cells. If two are equally far, the coarser one is nearer."""
    return abs(math.log(math.prod(grid) / GRID_CELLS)), grid

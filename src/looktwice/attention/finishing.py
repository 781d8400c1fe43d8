"""What every map goes through at last: scaled, blurred, and given the meaning of its values."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from looktwice.errors import OptionError
from looktwice.options import check_choice

Values = Literal["maximum", "cumulative"]
"""What a map's values are shares of: its maximum, or its energy (Σ of squares): then a pixel says how much of it lies
on the pixels that are attended to no more than it. So a threshold t keeps the pixels that hold 1 - t of the energy,
fewer on a small object than on a large one, where a share of the maximum depends on a single pixel."""


def finish_map(maps: Tensor, *, values: Values, blur: float) -> Tensor:
    """What every method's map goes through at last: (N, H, W), not negative → (N, H, W) in [0, 1], maximum 1.

    Args:
        maps: as they come.
        values: what the values are shares of.
        blur: σ of a Gaussian as a share of the shorter side of the map; 0 leaves it as it is.

    Raises:
        OptionError: unknown ``values``, or ``blur`` outside [0, 0.5].
    """
    check_finish(values, blur)
    heat = unit_maximum(maps)  # before the blur: a gradient of 1e-30 must not underflow in it
    sigma = blur * min(heat.shape[-2:])
    if sigma > 0:
        with torch.autocast(heat.device.type, enabled=False):
            heat = unit_maximum(_gaussian_blur(heat, sigma))
    return cumulative_shares(heat) if values == "cumulative" else heat


def cumulative_shares(maps: Tensor) -> Tensor:
    """Each pixel's value as a share of the map's energy: (N, H, W), not negative → (N, H, W) in [0, 1].

    The share is Σ of the squares of all pixels that have no larger value, so equal pixels stay equal, the order stays
    as it is and the maximum becomes 1; a zero map stays zero.
    """
    flat = maps.flatten(1)
    ascending = flat.sort(1).values
    held = ascending.square().cumsum(1)
    total = held[:, -1:]
    last = torch.searchsorted(ascending, flat.contiguous(), right=True) - 1
    shares = held.gather(1, last) / torch.where(total > 0, total, torch.ones_like(total))
    return shares.view_as(maps)


def check_finish(values: str, blur: float) -> None:
    """Refuses unknown ``values`` and a σ outside [0, 0.5] of the map's shorter side."""
    check_choice("values", values, Values)
    if not 0 <= blur <= 0.5:
        raise OptionError(f"blur is {blur}; a share of the shorter side in [0, 0.5] is needed")


def _gaussian_blur(heat: Tensor, sigma: float) -> Tensor:
    """A separable Gaussian cut off at 3σ, zero outside the map and renormalised there: (N, H, W) → (N, H, W)."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=heat.device, dtype=heat.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)

    def along_rows_then_columns(x: Tensor) -> Tensor:
        x = F.conv2d(x[:, None], kernel.view(1, 1, 1, -1), padding=(0, radius))
        return F.conv2d(x, kernel.view(1, 1, -1, 1), padding=(radius, 0))[:, 0]

    return along_rows_then_columns(heat) / along_rows_then_columns(torch.ones_like(heat[:1]))


def unit_maximum(maps: Tensor) -> Tensor:
    """Each of the maps (N, ...) divided by its maximum; a zero map stays zero."""
    top = maps.amax(tuple(range(1, maps.ndim)), keepdim=True)
    return maps / torch.where(top > 0, top, torch.ones_like(top))

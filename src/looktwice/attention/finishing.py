"""The last steps of every map: it is blurred, scaled, and its values get their meaning."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from looktwice.errors import OptionError
from looktwice.options import check_choice

Values = Literal["maximum", "cumulative"]
"""What a map's values say. ``maximum``: the share of the map's maximum. ``cumulative``: the share of the map's squared
sum that lies on pixels no brighter than this one. So a threshold t keeps the pixels that hold 1 - t of the squared sum:
few on a small object, many on a large one. A share of the maximum depends on a single pixel."""


def finish_map(maps: Tensor, *, values: Values, blur: float) -> Tensor:
    """The last steps of every method's map: (N, H, W), not negative → (N, H, W) in [0, 1], maximum 1.

    Args:
        maps: maps in any scale.
        values: what the values say.
        blur: σ of a Gaussian, as a share of the map's shorter side; 0 is no blur.

    Raises:
        OptionError: unknown ``values``, or ``blur`` outside [0, 0.5].
    """
    check_finish(values, blur)
    heat = unit_maximum(maps)  # before the blur, where a gradient of 1e-30 would underflow
    sigma = blur * min(heat.shape[-2:])
    if sigma > 0:
        with torch.autocast(heat.device.type, enabled=False):
            heat = unit_maximum(gaussian_blur(heat, sigma))
    return cumulative_shares(heat) if values == "cumulative" else heat


def cumulative_shares(maps: Tensor) -> Tensor:
    """The share of a map's squared sum on pixels no brighter than each: (N, H, W), not negative → (N, H, W) in [0, 1].

    Equal pixels stay equal and the order of the pixels stays. The maximum becomes 1. A zero map stays zero.
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


def gaussian_blur(heat: Tensor, sigma: float) -> Tensor:
    """A separable Gaussian cut off at 3σ, zero outside the map and renormalised there: (N, H, W) → (N, H, W).

    Args:
        heat: maps, or the channels of images.
        sigma: in pixels, above 0.
    """
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=heat.device, dtype=heat.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)

    def along_rows_then_columns(x: Tensor) -> Tensor:
        x = F.conv2d(x[:, None], kernel.view(1, 1, 1, -1), padding=(0, radius))
        return F.conv2d(x, kernel.view(1, 1, -1, 1), padding=(radius, 0))[:, 0]

    return along_rows_then_columns(heat) / along_rows_then_columns(torch.ones_like(heat[:1]))


def unit_maximum(maps: Tensor) -> Tensor:
    """Divides each of the maps (N, ...) by its maximum; a zero map stays zero."""
    top = maps.amax(tuple(range(1, maps.ndim)), keepdim=True)
    return maps / torch.where(top > 0, top, torch.ones_like(top))

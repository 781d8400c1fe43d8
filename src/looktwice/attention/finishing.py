"""The last steps of every map: it is blurred, scaled, and its values get their meaning."""

import math
from typing import Literal

import numpy as np
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
    order = _ascending_order(flat)
    ascending = flat.gather(1, order)
    held = ascending.square().cumsum(1)
    total = held[:, -1:]
    is_last = F.pad(ascending[:, 1:] > ascending[:, :-1], (0, 1), value=True)  # of the pixels that are equal
    held_by_all = torch.where(is_last, held, torch.inf).flip(1).cummin(1).values.flip(1)
    shares = held_by_all / torch.where(total > 0, total, torch.ones_like(total))
    return torch.empty_like(flat).scatter_(1, order, shares).view_as(maps)


def _ascending_order(rows: Tensor) -> Tensor:
    """The order of each row's values, the least first. NumPy sorts on a CPU, in a fifth of the time."""
    if rows.device.type != "cpu":
        return rows.argsort(1)
    known_to_numpy = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
    return torch.from_numpy(np.argsort(known_to_numpy.numpy(), axis=1))


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
    found = heat.to(torch.promote_types(heat.dtype, torch.float32))  # many small numbers add up
    for axis in (1, 2):
        inside = torch.ones_like(found[:1].narrow(3 - axis, 0, 1))
        found = _weighted_sums(found, sigma, axis) / _weighted_sums(inside, sigma, axis)
    return found.to(heat.dtype)


def _weighted_sums(maps: Tensor, sigma: float, axis: int) -> Tensor:
    """Maps (N, H, W) summed along an axis with the weights of a Gaussian; outside they are zero.

    Each place is summed in the same order, so that places with equal surroundings stay equal to the last bit. The
    shares of ``cumulative_shares`` depend on it.
    """
    radius, size = max(1, round(3 * sigma)), maps.shape[axis]
    padded = F.pad(maps, (radius, radius) if axis == 2 else (0, 0, radius, radius))
    sums = maps.clone()
    for offset in range(1, radius + 1):
        pairs = padded.narrow(axis, radius - offset, size) + padded.narrow(axis, radius + offset, size)
        sums += pairs.mul_(math.exp(-0.5 * (offset / sigma) ** 2))
    return sums


def unit_maximum(maps: Tensor) -> Tensor:
    """Divides each of the maps (N, ...) by its maximum; a zero map stays zero."""
    top = maps.amax(tuple(range(1, maps.ndim)), keepdim=True)
    return maps / torch.where(top > 0, top, torch.ones_like(top))

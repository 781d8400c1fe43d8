"""The power iteration of ``leading_pair`` as one kernel for a GPU.

A channel's gates are a few hundred numbers. They are read once and stay in registers for all iterations. Written as
sums of products, each iteration reads and writes them all.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_PLACES = 64 * 64
"""The largest matrix, with rows and columns filled up to powers of two, that fits the registers."""

PLACES_PER_BLOCK = 2048
"""How many numbers a block of threads holds, where several small matrices share it."""


def fits(z: Tensor) -> bool:
    """Whether gates (N, C, H, W) can be computed here."""
    return z.ndim == 4 and z.dtype == torch.float32 and _padded(z.shape[2]) * _padded(z.shape[3]) <= MOST_PLACES


def power_iteration(z: Tensor, shifts: Sequence[float], unsettled: float) -> tuple[Tensor, Tensor, Tensor]:
    """u (N, C, H, 1), γ vᵀ (N, C, 1, W) and which matrices have not settled (N, C), as ``leading_pair`` finds them.

    Args:
        z: gates (N, C, H, W) that ``fits`` accepts.
        shifts: of each iteration after the first, in units of γ₁².
        unsettled: the largest ‖z zᵀu - γ²u‖ / γ² of a singular pair.
    """
    images, channels, rows, columns = z.shape
    u, gamma_v = z.new_empty((images, channels, rows, 1)), z.new_empty((images, channels, 1, columns))
    are_unsettled = torch.empty((images, channels), dtype=torch.bool, device=z.device)
    height, width = _padded(rows), _padded(columns)
    at_once = max(1, min(_padded(channels), PLACES_PER_BLOCK // (height * width)))
    _power_iteration[(images * triton.cdiv(channels, at_once),)](
        z,
        _on_device(tuple(shifts), z.device),
        u,
        gamma_v,
        are_unsettled,
        channels,
        rows,
        columns,
        *z.stride(),
        unsettled,
        torch.finfo(z.dtype).tiny,
        len(shifts),
        at_once,
        height,
        width,
    )
    return u, gamma_v, are_unsettled


@lru_cache(maxsize=8)
def _on_device(shifts: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(shifts, dtype=torch.float32, device=device)


def _padded(size: int) -> int:
    return int(triton.next_power_of_2(size))


@triton.jit  # type: ignore[untyped-decorator]
def _power_iteration(  # type: ignore[no-untyped-def]
    z_ptr,
    shifts_ptr,
    u_ptr,
    v_ptr,
    unsettled_ptr,
    channels,
    rows,
    columns,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    unsettled,
    tiny,
    SHIFTS: tl.constexpr,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
):
    """A block of threads takes C matrices, filled up with zeros to H×W."""
    blocks = tl.cdiv(channels, C)
    image, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    c, h, w = block * C + tl.arange(0, C), tl.arange(0, H), tl.arange(0, W)
    there = (c[:, None, None] < channels) & (h[None, :, None] < rows) & (w[None, None, :] < columns)
    cell = c[:, None, None] * stride_c + h[None, :, None] * stride_h + w[None, None, :] * stride_w
    z = tl.load(z_ptr + image.to(tl.int64) * stride_n + cell, mask=there, other=0.0)
    u = tl.sum(z, 2)
    u = u / tl.maximum(tl.max(u, 1), tiny)[:, None]
    zzt_u = tl.sum(z * tl.sum(z * u[:, :, None], 1)[:, None, :], 2)
    gamma_squared = tl.maximum(tl.sum(u * zzt_u, 1) / tl.maximum(tl.sum(u * u, 1), tiny), tiny)[:, None]
    u = zzt_u / gamma_squared
    for number in tl.static_range(SHIFTS):
        zzt_u = tl.sum(z * tl.sum(z * u[:, :, None], 1)[:, None, :], 2)
        u = zzt_u / gamma_squared - tl.load(shifts_ptr + number) * u
    u = u / tl.maximum(tl.sqrt(tl.sum(u * u, 1)), tiny)[:, None]
    v = tl.sum(z * u[:, :, None], 1)
    length = tl.sum(v * v, 1)
    residual = tl.sum(z * v[:, None, :], 2) - u * length[:, None]
    is_unsettled = tl.sum(residual * residual, 1) > (unsettled * length) * (unsettled * length)
    matrix = image.to(tl.int64) * channels + c
    tl.store(u_ptr + matrix[:, None] * rows + h[None, :], u, mask=(c[:, None] < channels) & (h[None, :] < rows))
    tl.store(v_ptr + matrix[:, None] * columns + w[None, :], v, mask=(c[:, None] < channels) & (w[None, :] < columns))
    tl.store(unsettled_ptr + matrix, is_unsettled, mask=c < channels)

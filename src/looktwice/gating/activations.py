"""How activations are recognised, and what stands in their place when they are gated."""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

Saturation = Literal["exact", "pass"]
"""Gradient above an upper clamp (ReLU6): ``exact`` is 0, as the function has it; ``pass`` lets it through."""


class _GatedActivation(torch.autograd.Function):
    """y = x ⊙ z with x = clamp(pre, 0, cap): ∂S/∂pre = z ⊙ ∂S/∂y where the ReLU is active, ∂S/∂z = x ⊙ ∂S/∂y.

    ``guided`` cuts negative gradients as well (Springenberg et al. 2014), on the way down only: ∂S/∂z is not cut.
    ``probe`` changes nothing on the way up; what comes back to it is the positive evidence Σ_c [x ⊙ ∂S/∂y]₊.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pre: Tensor,
        z: Tensor | None,
        probe: Tensor | None,  # noqa: ARG004 - nothing reads it
        cap: float | None,
        guided: bool,
        saturation: Saturation,
        inplace: bool,
    ) -> Tensor:
        ctx.cap = None if saturation == "pass" else cap
        ctx.guided = guided
        if inplace:
            ctx.mark_dirty(pre)
        if z is None:
            y = x = _clamped(pre, cap, inplace)
        else:
            x = _clamped(pre, cap, False)
            y = torch.mul(x, z.to(x.dtype), out=pre if inplace else None)
        ctx.save_for_backward(x, z)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, z = ctx.saved_tensors
        dz = (x * dy).to(z.dtype) if z is not None and ctx.needs_input_grad[1] else None
        d_probe = (x * dy).clamp_min_(0).sum(1, keepdim=True) if ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[0]:
            return None, dz, d_probe, None, None, None, None
        aten = torch.ops.aten  # one pass each: PyTorch's own derivatives
        dx = aten.threshold_backward(dy, x, 0) if ctx.cap is None else aten.hardtanh_backward(dy, x, 0, ctx.cap)
        if ctx.guided:
            dx.clamp_min_(0)
        if z is not None:
            dx.mul_(z.to(dx.dtype))
        return dx, dz, d_probe, None, None, None, None


def _clamped(pre: Tensor, cap: float | None, inplace: bool) -> Tensor:
    if cap is None:
        return F.relu(pre, inplace)
    return pre.clamp_(0, cap) if inplace else pre.clamp(0, cap)


def gated_activation(
    pre: Tensor,
    z: Tensor | None,
    probe: Tensor | None,
    cap: float | None,
    guided: bool,
    saturation: Saturation,
    inplace: bool,
) -> Tensor:
    """A ReLU with a gate after it, a probe, or neither."""
    return cast(Tensor, _GatedActivation.apply(pre, z, probe, cap, guided, saturation, inplace))


def _hardtanh_bounds(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float, float]:
    low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
    high = args[2] if len(args) > 2 else kwargs.get("max_val", 1.0)
    return float(low), float(high)


# Every way to call a ReLU that a TorchFunctionMode meets: the position of its ``inplace`` flag, or True / False where
# the name says so. ``nn.ReLU``, ``nn.ReLU6`` and ``nn.Hardtanh`` come here through the functional form.
_RELU: dict[Callable[..., Any], int | bool] = {
    F.relu: 1,
    F.relu_: True,
    torch.relu: False,
    torch.relu_: True,
    Tensor.relu: False,
    Tensor.relu_: True,
}


_RELU6: dict[Callable[..., Any], int | bool] = {F.relu6: 1}


_HARDTANH: dict[Callable[..., Any], int | bool] = {F.hardtanh: 3, F.hardtanh_: True}


def read_call(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[float | None, bool] | None:
    """The upper clamp (None: unbounded) and whether the call is in place; None when this is no ReLU."""
    for table, clamp in ((_RELU, None), (_RELU6, 6.0), (_HARDTANH, None)):
        if func not in table:
            continue
        cap = clamp
        if table is _HARDTANH:
            low, cap = _hardtanh_bounds(args, kwargs)
            if low != 0:
                return None
        where = table[func]
        if isinstance(where, bool):
            return cap, where
        return cap, bool(args[where] if len(args) > where else kwargs.get("inplace", False))
    return None

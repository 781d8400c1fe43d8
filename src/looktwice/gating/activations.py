"""The table of activations: how a call of each is recognised, what it computes, and its derivative.

An activation's row is all that a gate needs to know of it: y = a(pre) ⊙ z.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

Saturation = Literal["exact", "pass"]
"""Gradient above an upper clamp (ReLU6): ``exact`` is 0, as the function has it; ``pass`` lets it through."""


@dataclass(frozen=True)
class Activation:
    """One activation function a.

    Attributes:
        name: what it is called.
        apply: pre-activation and whether to work in place → x = a(pre).
        derivative: ∂S/∂x and x → ∂S/∂pre, a new tensor. It needs the output alone, so the input is not kept.
        passing: ``derivative`` with ``saturation="pass"``.
    """

    name: str
    apply: Callable[[Tensor, bool], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]
    passing: Callable[[Tensor, Tensor], Tensor]


def _clamp(cap: float, pre: Tensor, inplace: bool) -> Tensor:
    return pre.clamp_(0, cap) if inplace else pre.clamp(0, cap)


def _relu_derivative(dx: Tensor, x: Tensor) -> Tensor:
    return cast(Tensor, torch.ops.aten.threshold_backward(dx, x, 0))  # PyTorch's own: one pass over the memory


def _clamp_derivative(cap: float, dx: Tensor, x: Tensor) -> Tensor:
    return cast(Tensor, torch.ops.aten.hardtanh_backward(dx, x, 0, cap))


RELU = Activation("relu", F.relu, _relu_derivative, _relu_derivative)


@lru_cache(maxsize=64)
def clamped(name: str, cap: float) -> Activation:
    """A ReLU with an upper clamp."""
    return Activation(name, partial(_clamp, cap), partial(_clamp_derivative, cap), _relu_derivative)


def _hardtanh(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Activation | None:
    """A clamp to [0, max_val]; ``None`` with another lower end, which is no ReLU."""
    low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
    high = args[2] if len(args) > 2 else kwargs.get("max_val", 1.0)
    return clamped("hardtanh", float(high)) if float(low) == 0 else None


@dataclass(frozen=True)
class ActivationRow:
    """A row of the table.

    Attributes:
        functions: every function that calls it: the place of its ``inplace`` argument, or True or False for a function
            that is always or never in place. Modules such as ``nn.ReLU`` arrive here through the functional form,
            exported programs through the operators of ``aten``.
        of_call: a call's arguments → the activation, or ``None`` where this call cannot be gated.
    """

    functions: Mapping[Callable[..., Any], int | bool]
    of_call: Callable[[tuple[Any, ...], Mapping[str, Any]], Activation | None]


ACTIVATIONS: tuple[ActivationRow, ...] = (
    ActivationRow(
        {
            F.relu: 1,
            F.relu_: True,
            torch.relu: False,
            torch.relu_: True,
            Tensor.relu: False,
            Tensor.relu_: True,
            torch.ops.aten.relu.default: False,
            torch.ops.aten.relu_.default: True,
        },
        lambda *_: RELU,
    ),
    ActivationRow({F.relu6: 1}, lambda *_: clamped("relu6", 6.0)),
    ActivationRow(
        {
            F.hardtanh: 3,
            F.hardtanh_: True,
            torch.ops.aten.hardtanh.default: False,
            torch.ops.aten.hardtanh_.default: True,
        },
        _hardtanh,
    ),
)
"""Every activation that can carry gates."""

_ROW_OF: Mapping[Callable[..., Any], ActivationRow] = MappingProxyType(
    {function: row for row in ACTIVATIONS for function in row.functions}
)


def read_call(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Activation, bool] | None:
    """The activation that a function call is, and whether it is in place; ``None`` if it is none of the table."""
    row = _ROW_OF.get(func)
    activation = None if row is None else row.of_call(args, kwargs)
    if row is None or activation is None:
        return None
    where = row.functions[func]
    if isinstance(where, bool):
        return activation, where
    return activation, bool(args[where] if len(args) > where else kwargs.get("inplace", False))


class _GatedActivation(torch.autograd.Function):
    """y = x ⊙ z with x = a(pre): ∂S/∂pre = a′ ⊙ z ⊙ ∂S/∂y and ∂S/∂z = x ⊙ ∂S/∂y.

    ``guided`` also cuts negative gradients on the way down (Springenberg et al. 2014); ∂S/∂z is never cut.
    ``probe`` changes nothing on the way up. Its gradient is the positive evidence Σ_c [x ⊙ ∂S/∂y]₊.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pre: Tensor,
        z: Tensor | None,
        probe: Tensor | None,
        activation: Activation,
        guided: bool,
        saturation: Saturation,
        inplace: bool,
        channel_axis: int,
    ) -> Tensor:
        ctx.channel_axis = channel_axis
        ctx.derivative = activation.passing if saturation == "pass" else activation.derivative
        ctx.guided = guided
        ctx.precision = next((other.dtype for other in (z, probe) if other is not None), pre.dtype)
        if inplace:
            ctx.mark_dirty(pre)
        if z is None:
            y = x = activation.apply(pre, inplace)
        else:
            x = activation.apply(pre, False)
            y = torch.mul(x, z.to(x.dtype), out=pre if inplace else None)
        ctx.save_for_backward(x, z)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, z = ctx.saved_tensors
        dz = d_probe = None
        if ctx.needs_input_grad[1]:
            dz = x.to(ctx.precision) * dy.to(ctx.precision)
        if ctx.needs_input_grad[2]:
            positive = (x.to(ctx.precision) * dy.to(ctx.precision)).clamp_min_(0)
            d_probe = positive.sum(ctx.channel_axis, keepdim=True)
        if not ctx.needs_input_grad[0]:
            return None, dz, d_probe, None, None, None, None, None
        dx = ctx.derivative(dy, x)
        if ctx.guided:
            dx.clamp_min_(0)
        if z is not None:
            dx.mul_(z.to(dx.dtype))
        return dx, dz, d_probe, None, None, None, None, None


def gated_activation(
    pre: Tensor,
    z: Tensor | None,
    probe: Tensor | None,
    activation: Activation,
    guided: bool,
    saturation: Saturation,
    inplace: bool,
    channel_axis: int = 1,
) -> Tensor:
    """An activation with a gate after it, with a probe, with both, or with neither."""
    return cast(Tensor, _GatedActivation.apply(pre, z, probe, activation, guided, saturation, inplace, channel_axis))

"""The table of activations: how a call of each is recognised, what it computes, and its derivative.

An activation's row is all that a gate needs to know of it: y = a(pre) ⊙ z.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from looktwice.gating.places import NOWHERE, Place

Saturation = Literal["exact", "pass"]
"""Gradient above an upper clamp (ReLU6): ``exact`` is 0, as the function has it; ``pass`` lets it through."""


@dataclass(frozen=True)
class Activation:
    """One activation function a.

    Attributes:
        name: what it is called.
        apply: pre-activation and whether to work in place → x = a(pre).
        derivative: ∂S/∂x and x → ∂S/∂pre, a new tensor. It needs the output alone, so the input is not kept. ``None``:
            autograd derives ``apply``.
        passing: ``derivative`` with ``saturation="pass"``.
        halved: the axis along which the output has half the input's size, as a gated linear unit's has; else ``None``.
    """

    name: str
    apply: Callable[[Tensor, bool], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor] | None = None
    passing: Callable[[Tensor, Tensor], Tensor] | None = None
    halved: int | None = None

    def shape(self, pre: Tensor) -> tuple[int, ...]:
        """The shape of its output."""
        axis = None if self.halved is None else self.halved % pre.ndim
        return tuple(size // 2 if place == axis else size for place, size in enumerate(pre.shape))


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


Call = Callable[[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], "Activation | None"]
"""A function and its arguments → the activation, or ``None`` where this call cannot be gated."""


def _functions(name: str, inplace: int | bool = False) -> Mapping[Callable[..., Any], int | bool]:
    """Every function that calls an activation, by its name: of ``torch``, of its tensors, and operators of ``aten``.

    Args:
        name: what it is called, such as ``silu``. With ``_`` after it, the function works in place.
        inplace: the place of the argument ``inplace`` of the function in ``torch.nn.functional``, if it has one.
    """
    found: dict[Callable[..., Any], int | bool] = {}
    for each, is_inplace in ((name, False), (f"{name}_", True)):
        found |= {getattr(home, each): is_inplace for home in _HOMES if hasattr(home, each)}
        operators = getattr(torch.ops.aten, each, None)
        if operators is not None:
            found |= {operators: is_inplace, operators.default: is_inplace}
    # Last, since some functions of F are those of torch.
    written_out = getattr(F, name, None)
    return found if written_out is None or written_out in found else {**found, written_out: inplace}


def _twins(name: str) -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """For functions of an activation that work in place, those that do not, with the same arguments."""
    found = {
        getattr(home, f"{name}_"): getattr(home, name)
        for home in _HOMES
        if hasattr(home, f"{name}_") and hasattr(home, name)
    }
    ours, theirs = (getattr(torch.ops.aten, each, None) for each in (f"{name}_", name))
    return found if ours is None or theirs is None else {**found, ours: theirs, ours.default: theirs.default}


_HOMES = (torch, torch._C._nn, Tensor)
"""Where functions of activations are, besides ``torch.nn.functional`` and the operators of ``aten``."""

_INPUT = ("input", "self")
"""The name of an activation's first argument: of functions, of operators."""


def input_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """What an activation is called with."""
    return cast(Tensor, args[0] if args else next(kwargs[name] for name in _INPUT if name in kwargs))


def _derived(name: str, functions: Mapping[Callable[..., Any], int | bool]) -> Call:
    """A function's call → the activation with the call's own arguments, which autograd derives."""
    twins = _twins(name)

    def of_call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Activation:
        where = functions[func]
        function = twins[func] if where is True else func
        skipped = None if isinstance(where, bool) else where
        further = [argument for number, argument in enumerate(args[1:], 1) if number != skipped]
        named = {key: value for key, value in kwargs.items() if key not in (*_INPUT, "inplace")}

        def apply(pre: Tensor, _: bool) -> Tensor:
            return cast(Tensor, function(pre, *further, **named))

        return Activation(name, apply)

    return of_call


def _glu(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Activation:
    """A gated linear unit: one half of the input, times the sigmoid of the other half."""
    axis = args[1] if len(args) > 1 else kwargs.get("dim", -1)
    return Activation("glu", lambda pre, _: cast(Tensor, func(pre, axis)), halved=axis)


def _hardtanh(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Activation | None:
    """A clamp to [0, max_val]; ``None`` with another lower end, which is no ReLU."""
    low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
    high = args[2] if len(args) > 2 else kwargs.get("max_val", 1.0)
    return clamped("hardtanh", float(high)) if float(low) == 0 else None


def _threshold(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Activation | None:
    """A ReLU, if all that is not above 0 becomes 0."""
    threshold = args[1] if len(args) > 1 else kwargs["threshold"]
    value = args[2] if len(args) > 2 else kwargs["value"]
    return RELU if float(threshold) == float(value) == 0 else None


@dataclass(frozen=True)
class ActivationRow:
    """A row of the table.

    Attributes:
        functions: every function that calls it: the place of its ``inplace`` argument, or True or False for a function
            that is always or never in place. Modules such as ``nn.ReLU`` arrive here through the functional form,
            exported programs through the operators of ``aten``.
        of_call: a function and its arguments → the activation, or ``None`` where this call cannot be gated.
    """

    functions: Mapping[Callable[..., Any], int | bool]
    of_call: Call


def _row(name: str, inplace: int | bool = False, of_call: Call | None = None) -> ActivationRow:
    """The row of an activation whose functions have this name. Without ``of_call``, autograd derives it."""
    functions = _functions(name, inplace)
    return ActivationRow(functions, _derived(name, functions) if of_call is None else of_call)


ACTIVATIONS: tuple[ActivationRow, ...] = (
    _row("relu", 1, lambda *_: RELU),
    _row("threshold", 3, _threshold),
    _row("relu6", 1, lambda *_: clamped("relu6", 6.0)),
    _row("hardtanh", 3, _hardtanh),
    _row("leaky_relu", 2),
    _row("rrelu", 4),
    _row("prelu"),
    _row("elu", 2),
    _row("selu", 1),
    _row("celu", 2),
    _row("gelu"),
    _row("silu", 1),
    _row("mish", 1),
    _row("hardswish", 1),
    _row("softplus"),
    _row("glu", of_call=_glu),
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
    activation = None if row is None else row.of_call(func, args, kwargs)
    if row is None or activation is None:
        return None
    where = row.functions[func]
    if isinstance(where, bool):
        return activation, where
    return activation, bool(args[where] if len(args) > where else kwargs.get("inplace", False))


def _precision(z: Tensor | None, probe: Tensor | None, x: Tensor) -> torch.dtype:
    """The type of the gradients of a gate and a probe: their own, or that of x without them."""
    return next((other.dtype for other in (z, probe) if other is not None), x.dtype)


def _gate_gradients(ctx: Any, x: Tensor, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of a gate, x ⊙ ∂S/∂y, and of a probe, Σ_c [x ⊙ ∂S/∂y]₊, as far as they are needed."""
    dz = d_probe = None
    if ctx.needs_input_grad[1]:
        dz = x.to(ctx.precision) * dy.to(ctx.precision)
    if ctx.needs_input_grad[2]:
        positive = (x.to(ctx.precision) * dy.to(ctx.precision)).clamp_min_(0)
        d_probe = positive.sum(ctx.channel_axis, keepdim=True)
    return dz, d_probe


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
        ctx.precision = _precision(z, probe, pre)
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
        dz, d_probe = _gate_gradients(ctx, x, dy)
        if not ctx.needs_input_grad[0]:
            return None, dz, d_probe, None, None, None, None, None
        dx = ctx.derivative(dy, x)
        if ctx.guided:
            dx.clamp_min_(0)
        if z is not None:
            dx.mul_(z.to(dx.dtype))
        return dx, dz, d_probe, None, None, None, None, None


class _GatedOutput(torch.autograd.Function):
    """y = x ⊙ z, ∂S/∂x = z ⊙ ∂S/∂y and ∂S/∂z = x ⊙ ∂S/∂y, for an x that autograd derives. Else as above."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        z: Tensor | None,
        probe: Tensor | None,
        guided: bool,
        channel_axis: int,
    ) -> Tensor:
        ctx.guided, ctx.channel_axis = guided, channel_axis
        ctx.precision = _precision(z, probe, x)
        ctx.save_for_backward(x, z)
        return x.clone() if z is None else x * z.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, z = ctx.saved_tensors
        dz, d_probe = _gate_gradients(ctx, x, dy)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy.clamp_min(0) if ctx.guided else dy
            dx = dx if z is None else dx * z.to(dx.dtype)
        return dx, dz, d_probe, None, None


def _gated_output(x: Tensor, z: Tensor | None, probe: Tensor | None, guided: bool, place: Place) -> Tensor:
    """An activation's output with a gate after it. Tokens that are not of the image pass ungated, but guided."""
    if place.prefix:
        guided_all = _gated_output(x, None, None, guided, NOWHERE)
        gated = _gated_output(place.gated_part(guided_all), z, probe, False, replace(place, prefix=0))
        return torch.cat([guided_all[:, : place.prefix], gated], 1)
    if z is None and probe is None and not guided:
        return x
    return cast(Tensor, _GatedOutput.apply(x, z, probe, guided, place.channel_axis))


def gated_activation(
    pre: Tensor,
    z: Tensor | None,
    probe: Tensor | None,
    activation: Activation,
    guided: bool,
    saturation: Saturation,
    inplace: bool,
    place: Place = NOWHERE,
) -> Tensor:
    """An activation with a gate after it, with a probe, with both, or with neither.

    Args:
        pre: what the activation is called with.
        z: its gate, of the shape of the output's part that lies in the image.
        probe: a tensor whose gradient becomes the positive evidence.
        activation: the function.
        guided: whether negative gradients at the output are cut.
        saturation: gradient above an upper clamp.
        inplace: whether the result is written on ``pre``, as the network wants it.
        place: how the output lies in the image.
    """
    if activation.derivative is not None and not place.prefix:
        applied = _GatedActivation.apply(pre, z, probe, activation, guided, saturation, inplace, place.channel_axis)
        return cast(Tensor, applied)
    # In place, a copy of the input stays for autograd.
    own = pre.clone() if inplace else pre
    if activation.derivative is None:
        x = activation.apply(own, False)
    else:
        x = cast(Tensor, _GatedActivation.apply(own, None, None, activation, False, saturation, False, 1))
    output = _gated_output(x, z, probe, guided, place)
    return pre.copy_(output) if inplace else output

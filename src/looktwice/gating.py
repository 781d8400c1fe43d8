"""See, gate or re-rule every ReLU *call* of a network, in call order, without touching the network.

torchvision's GoogLeNet has no ``nn.ReLU`` (it calls ``F.relu``), its ResNet runs one in-place module three times a
block: so a gate belongs to a call, not to a module. A ``TorchFunctionMode`` sees every such call in eager and fx-traced
models; it sees nothing inside TorchScript, which is therefore refused.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from looktwice.classifier import FrozenNetwork
from looktwice.errors import ModelError, OptionError

Network = Callable[[Tensor], Tensor]
"""A classifier: images (N, C, H, W) → class scores (N, K)."""

Saturation = Literal["exact", "pass"]
"""Gradient above an upper clamp (ReLU6): ``exact`` is 0, as the function has it; ``pass`` lets it through."""

Guidance = Literal["none", "below", "all"]
"""Where negative gradients are cut as well (Springenberg et al. 2014): at no ReLU, at all, or ``below`` the last stage.

``below`` spares the ReLUs of the last stage (maps at a stride of about 32 pixels, 7×7 at 224×224) and those behind
linear layers. There the sign of a gradient tells one class from another; cut everywhere, all classes look the same.
"""

LAST_STRIDE = 24
"""Least stride of the last stage: half-way from 16 to 32, since maps of odd sides miss the powers of two a little."""

NO_GATES: Mapping[int, Tensor] = MappingProxyType({})
"""Every call stays a plain ReLU."""


@dataclass(frozen=True)
class ReluCall:
    """One ReLU call of a forward pass.

    Attributes:
        index: its place in call order.
        shape: its output's, without the batch.
        cap: its upper clamp; ``None`` for a plain ReLU.
        stride: image pixels per pixel of its map, on the shorter side; 0 for a vector.
        layout: how its output lies in memory; gates that lie alike are multiplied faster.
    """

    index: int
    shape: tuple[int, ...]
    cap: float | None = None
    stride: float = field(default=0.0, compare=False)
    layout: torch.memory_format = field(default=torch.contiguous_format, compare=False)

    @property
    def is_map(self) -> bool:
        """Whether the output is a stack of channels (C, H, W), not a vector behind a linear layer."""
        return len(self.shape) == 3


Layers = Sequence[int] | Callable[[ReluCall], bool] | Literal["fine", "coarse", "coarsest"] | None
"""Which calls: all (``None``), call indices (negative ones count from the end), a predicate, or maps by their stride.

``"coarsest"``: the maps of the last stage, at a stride of about 32 pixels or more (7×7 at 224×224). ``"coarse"``: about
16 or more; their neurons stand for parts of objects. ``"fine"``: about 4 or more, all but the stem's. Where no map is
that coarse, the network's coarsest.
"""

LEAST_STRIDE = {"fine": 3, "coarse": 12, "coarsest": LAST_STRIDE}
"""Half-way to the next finer power of two, as ``LAST_STRIDE``."""


class _GatedRelu(torch.autograd.Function):
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


def _gated_relu(
    pre: Tensor,
    z: Tensor | None,
    probe: Tensor | None,
    cap: float | None,
    guided: bool,
    saturation: Saturation,
    inplace: bool,
) -> Tensor:
    return cast(Tensor, _GatedRelu.apply(pre, z, probe, cap, guided, saturation, inplace))


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


def _read_call(
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


Rule = Callable[[int, Tensor, float | None, bool], Tensor]
"""What a ReLU call returns: its index, its input, its upper clamp and whether it is in place → its output."""


class _ReluMode(TorchFunctionMode):
    """Hands every ReLU call made inside the ``with`` to a rule and returns its answer."""

    def __init__(self, rule: Rule):
        super().__init__()
        self.rule = rule
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        call = _read_call(func, args, kwargs)
        if call is None:
            return func(*args, **kwargs)
        index, self.calls = self.calls, self.calls + 1
        return self.rule(index, args[0] if args else kwargs["input"], *call)


class Prefix:
    """What a network computes before its first gated call: the same in every step, so done once and played back.

    The first pass notes every torch function up to that call with what it returned, and keeps a copy of what functions
    behind it take of that (few maps). Later passes get copies of those, and in place of all else a *meta* tensor of the
    same shape. So nothing can be computed unnoticed from what is no longer there: an operation that a
    ``TorchFunctionMode`` does not see would fail on it, and then the pass is made in full.

    Attributes:
        first: the first gated call.
        usable: whether passes can be played back; ``None`` before the first.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.usable: bool | None = None
        self._returned: list[tuple[Callable[..., Any], Any]] = []
        self._kept: list[Tensor] = []
        self._handed_out: dict[int, Tensor] = {}
        self._next = 0

    def note(self, returned: list[tuple[Callable[..., Any], Any]], kept: list[Tensor], *, apart: bool) -> None:
        """What the first pass found; ``apart``: none of what is kept shares memory, as copies would not."""
        self._returned, self._kept, self.usable = returned, kept, apart

    @classmethod
    def joined(cls, parts: Sequence["Prefix"]) -> "Prefix":
        """A batch's, from those of its parts; noted anew in the next pass where it does not follow from them.

        What depends on the batch's size must show in the parts, so these must not all have the same.
        """
        if len(parts) == 1:
            return parts[0]
        whole = cls(parts[0].first)
        with suppress(_ApartError):
            if not all(part.usable for part in parts):
                raise _ApartError
            returned = [_joined(values) for values in zip(*(part._returned for part in parts), strict=True)]
            kept = [_joined_kept(tensors) for tensors in zip(*(part._kept for part in parts), strict=True)]
            whole.note(returned, kept, apart=True)
        return whole

    def begin(self) -> None:
        """Another pass: fresh copies, since what follows may write on them."""
        self._next = 0
        self._handed_out = {}

    def play(self, func: Callable[..., Any]) -> Any:
        """What the next function returned when it was noted.

        Raises:
            LookupError: another function was called there.
        """
        expected, value = self._returned[self._next] if self._next < len(self._returned) else (None, None)
        if expected != func:  # a method of a C type is another object each time, though an equal one
            raise LookupError("the network's functions are not those of the first pass")
        self._next += 1
        return tree_map_only(_Noted, self._hand_out, value)

    def _hand_out(self, noted: "_Noted") -> Tensor:
        if noted.number is None:
            return torch.empty(noted.shape, dtype=noted.dtype, device="meta")
        if noted.number not in self._handed_out:
            self._handed_out[noted.number] = self._kept[noted.number].clone()
        return self._handed_out[noted.number]


class _Noted:
    """A tensor that was returned, not kept alive; ``number`` is its place among the kept."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)
        self.shape, self.dtype = tensor.shape, tensor.dtype
        self.number: int | None = None


class _ApartError(Exception):
    """The parts of a batch do not tell what the whole would return."""


def _joined(values: Sequence[Any]) -> Any:
    """What a function, or its like on each part of a batch, returns for the whole."""
    leaves, structures = zip(*(tree_flatten(value) for value in values), strict=True)
    if any(structure != structures[0] for structure in structures):
        raise _ApartError
    return tree_unflatten([_joined_leaf(found) for found in zip(*leaves, strict=True)], structures[0])


def _joined_leaf(found: Sequence[Any]) -> Any:
    if all(isinstance(leaf, _Noted) for leaf in found):
        if any((leaf.number, leaf.dtype) != (found[0].number, found[0].dtype) for leaf in found):
            raise _ApartError
        noted = copy(found[0])
        noted.shape = _joined_shape([leaf.shape for leaf in found])
        return noted
    if any(leaf is not found[0] and leaf != found[0] for leaf in found):
        raise _ApartError
    return found[0]


def _joined_shape(shapes: Sequence[torch.Size]) -> torch.Size:
    """The sum of the first sizes where the shapes differ in nothing else; the shape itself where they are the same."""
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    if any(shape[1:] != shapes[0][1:] for shape in shapes):
        raise _ApartError
    return torch.Size([sum(shape[0] for shape in shapes), *shapes[0][1:]])


def _joined_kept(tensors: Sequence[Tensor]) -> Tensor:
    if _joined_shape([tensor.shape for tensor in tensors]) != tensors[0].shape:
        return torch.cat(list(tensors))
    if any(not torch.equal(tensor, tensors[0]) for tensor in tensors):
        raise _ApartError
    return tensors[0]


class _PrefixMode(_ReluMode):
    """As ``_ReluMode``, and knows whether the first gated call of a prefix has come."""

    def __init__(self, rule: Rule, prefix: Prefix):
        super().__init__(rule)
        self.prefix = prefix
        self.past = False

    def reaches(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bool:
        """Whether ``func``, the next function, is the first gated call or comes behind it."""
        at_first = self.calls == self.prefix.first and _read_call(func, args, kwargs or {}) is not None
        self.past = self.past or at_first
        return self.past


class _NotingMode(_PrefixMode):
    """Notes what every function before the first gated call returns, and keeps what those behind it take of that."""

    def __init__(self, rule: Rule, prefix: Prefix):
        super().__init__(rule, prefix)
        self.returned: list[tuple[Callable[..., Any], Any]] = []
        self.kept: list[Tensor] = []
        self.places: set[int] = set()
        self._noted: dict[int, list[_Noted]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.reaches(func, args, kwargs):
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, Tensor):
                    self._keep(leaf)
            return super().__torch_function__(func, types, args, kwargs)
        value = super().__torch_function__(func, types, args, kwargs)
        self.returned.append((func, tree_map_only(Tensor, self._note, value)))
        return value

    def _note(self, tensor: Tensor) -> _Noted:
        noted = _Noted(tensor)
        self._noted.setdefault(id(tensor), []).append(noted)
        return noted

    def _keep(self, tensor: Tensor) -> None:
        """A copy, before the function that takes it for the first time can write on it."""
        leaves = [leaf for leaf in self._noted.get(id(tensor), []) if leaf.tensor() is tensor]
        if leaves and leaves[0].number is None:
            for leaf in leaves:
                leaf.number = len(self.kept)
            self.kept.append(tensor.detach().clone())
            self.places.add(tensor.untyped_storage().data_ptr())


class _PlayingMode(_PrefixMode):
    """What comes before the first gated call is played back."""

    def __init__(self, rule: Rule, prefix: Prefix):
        super().__init__(rule, prefix)
        prefix.begin()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.reaches(func, args, kwargs):
            return super().__torch_function__(func, types, args, kwargs)
        self.calls += _read_call(func, args, kwargs or {}) is not None
        return self.prefix.play(func)


def _stride(images: Tensor, pre: Tensor) -> float:
    return min(images.shape[-2:]) / min(pre.shape[-2:]) if pre.ndim == 4 else 0.0


def _layout(pre: Tensor) -> torch.memory_format:
    channels_last = pre.ndim == 4 and not pre.is_contiguous() and pre.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def relu_calls(
    network: Network, images: Tensor, look: Callable[[Tensor], None] | None = None
) -> tuple[list[ReluCall], Tensor]:
    """One plain forward pass: every ReLU call in order, and the class scores (N, K).

    Args:
        network: images (N, C, H, W) → scores (N, K), in evaluation mode.
        images: (N, C, H, W).
        look: is shown the output (N, ...) of each call, which the network may write on afterwards.

    Raises:
        ModelError: the network makes no ReLU call that can be gated.
    """
    calls: list[ReluCall] = []

    def see(index: int, pre: Tensor, cap: float | None, inplace: bool) -> Tensor:
        calls.append(ReluCall(index, tuple(pre.shape[1:]), cap, _stride(images, pre), _layout(pre)))
        output = _gated_relu(pre, None, None, cap, False, "exact", inplace)
        if look is not None:
            look(output)
        return output

    try:
        with torch.no_grad(), _ReluMode(see):
            scores = network(images)
    except RuntimeError as error:
        if not (isinstance(network, FrozenNetwork) and network.takes_back_layout(error)):
            raise
        return relu_calls(network, images, look)
    if not calls:
        raise ModelError(
            "no ReLU call was seen in the forward pass, so there is nothing to gate; "
            "the network needs ReLU or ReLU6 activations called in eager mode (not GELU/SiLU, not TorchScript)"
        )
    return calls, scores


def select_layers(calls: Sequence[ReluCall], layers: Layers) -> list[int]:
    """The indices of the calls that carry gates, ascending.

    Raises:
        OptionError: an index outside the network's calls, or a choice that leaves none.
    """
    if layers is None:
        return [call.index for call in calls]
    if isinstance(layers, str):
        if layers not in LEAST_STRIDE:
            raise OptionError(
                f"layers is {layers!r}; 'fine', 'coarse', 'coarsest', call indices, a predicate or None is needed"
            )
        least = min(LEAST_STRIDE[layers], max(call.stride for call in calls))
        chosen = {call.index for call in calls if call.is_map and call.stride >= least}
    elif callable(layers):
        chosen = {call.index for call in calls if layers(call)}
    else:
        outside = [index for index in layers if not -len(calls) <= index < len(calls)]
        if outside:
            raise OptionError(
                f"layers: no ReLU call {outside[0]}; this network makes {len(calls)} (0 … {len(calls) - 1})"
            )
        chosen = {index % len(calls) for index in layers}
    if not chosen:
        raise OptionError(f"layers: the choice leaves none of the network's {len(calls)} ReLU calls")
    return sorted(chosen)


def gated_scores(
    network: Network,
    images: Tensor,
    gates: Mapping[int, Tensor],
    *,
    probes: Mapping[int, Tensor] = NO_GATES,
    guided: Guidance = "none",
    saturation: Saturation = "exact",
    calls: int | None = None,
    prefix: Prefix | None = None,
) -> Tensor:
    """Scores (N, K) with y = x ⊙ z behind every ReLU call that ``gates`` names; the others stay plain ReLUs.

    Args:
        network: images (N, C, H, W) → scores (N, K), in evaluation mode.
        images: (N, C, H, W).
        gates: call index → gate of that call's shape (N, ...).
        probes: call index → a tensor (N, 1, H, W) that is not read. As the gradient of the scores with respect to it
            comes what the call's map brings, Σ_c [x ⊙ ∂S/∂y]₊, without a gate and its gradient for every channel.
        guided: where negative gradients are cut as well.
        saturation: gradient above an upper clamp.
        calls: how many ReLU calls the first pass made; ``None`` leaves it unchecked.
        prefix: of the same network and images, when no gradient to the images is wanted: it notes what comes before the
            first gated call in its first pass, and that is not computed again in those that follow.

    Raises:
        OptionError: an unknown ``guided`` or ``saturation``.
        ModelError: a gated call is missing in this pass, its shape is not its gate's, or the calls' number changed.
    """
    if guided not in get_args(Guidance):
        raise OptionError(f"guided is {guided!r}; one of {', '.join(get_args(Guidance))} is needed")
    if saturation not in get_args(Saturation):
        raise OptionError(f"saturation is {saturation!r}; one of {', '.join(get_args(Saturation))} is needed")
    rule = _rule(images, gates, probes, guided, saturation)
    mode = _mode(rule, prefix)
    try:
        with mode:
            scores = network(images)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        if not isinstance(mode, _PlayingMode):
            raise
        mode.prefix.usable = False
        return gated_scores(network, images, gates, probes=probes, guided=guided, saturation=saturation, calls=calls)
    if isinstance(mode, _NotingMode):
        mode.prefix.note(mode.returned, mode.kept, apart=len(mode.places) == len(mode.kept))
    first = max(gates, default=-1) + 1 if calls is None else calls
    if mode.calls < first or (calls is not None and mode.calls > first):
        raise _changed(f"made {mode.calls} ReLU calls in this pass and {'at least ' * (calls is None)}{first}")
    return scores


def _mode(rule: Rule, prefix: Prefix | None) -> _ReluMode:
    if prefix is None or prefix.usable is False:
        return _ReluMode(rule)
    return _NotingMode(rule, prefix) if prefix.usable is None else _PlayingMode(rule, prefix)


def _rule(
    images: Tensor,
    gates: Mapping[int, Tensor],
    probes: Mapping[int, Tensor],
    guided: Guidance,
    saturation: Saturation,
) -> Rule:
    """Gates and probes behind the calls that have them, negative gradients cut where they are to be."""

    def rule(index: int, pre: Tensor, cap: float | None, inplace: bool) -> Tensor:
        z, probe = gates.get(index), probes.get(index)
        for ours, theirs in ((z, pre.shape), (probe, (len(pre), 1, *pre.shape[2:]))):
            if ours is not None and ours.shape != theirs:
                raise ModelError(
                    f"ReLU call {index} has shape {tuple(theirs)} in this pass and had {tuple(ours.shape)} in the "
                    "first; the network's control flow must not change between passes"
                )
        cut = guided == "all" or (guided == "below" and 0 < _stride(images, pre) < LAST_STRIDE)
        return _gated_relu(pre, z, probe, cap, cut, saturation, inplace)

    return rule


def _changed(how: str) -> ModelError:
    return ModelError(f"the network {how} in the first; its control flow must not change between passes")

"""Modes that see every activation call, and the cache of what comes before the first gated one."""

import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from looktwice.gating.activations import Activation, read_call

CallRule = Callable[[int, Tensor, Activation, bool], Tensor]
"""What an activation call returns: its index, its input, its activation and whether it is in place → its output."""


class ActivationMode(TorchFunctionMode):
    """Hands every activation call made inside the ``with`` to a rule and returns its answer."""

    def __init__(self, rule: CallRule):
        super().__init__()
        self.rule = rule
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        call = read_call(func, args, kwargs)
        if call is None:
            return func(*args, **kwargs)
        index, self.calls = self.calls, self.calls + 1
        return self.rule(index, args[0] if args else kwargs["input"], *call)


class PrefixCache:
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
    def joined(cls, parts: Sequence["PrefixCache"]) -> "PrefixCache":
        """A batch's, from those of its parts; noted anew in the next pass where it does not follow from them.

        What depends on the batch's size must show in the parts, so these must not all have the same.
        """
        if len(parts) == 1:
            return parts[0]
        whole = cls(parts[0].first)
        with suppress(_NotJoinableError):
            if not all(part.usable for part in parts):
                raise _NotJoinableError
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
        return tree_map_only(_TensorRef, self._hand_out, value)

    def _hand_out(self, noted: "_TensorRef") -> Tensor:
        if noted.number is None:
            return torch.empty(noted.shape, dtype=noted.dtype, device="meta")
        if noted.number not in self._handed_out:
            self._handed_out[noted.number] = self._kept[noted.number].clone()
        return self._handed_out[noted.number]


class _TensorRef:
    """A tensor that was returned, not kept alive; ``number`` is its place among the kept."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)
        self.shape, self.dtype = tensor.shape, tensor.dtype
        self.number: int | None = None


class _NotJoinableError(Exception):
    """The parts of a batch do not tell what the whole would return."""


def _joined(values: Sequence[Any]) -> Any:
    """What a function, or its like on each part of a batch, returns for the whole."""
    leaves, structures = zip(*(tree_flatten(value) for value in values), strict=True)
    if any(structure != structures[0] for structure in structures):
        raise _NotJoinableError
    return tree_unflatten([_joined_leaf(found) for found in zip(*leaves, strict=True)], structures[0])


def _joined_leaf(found: Sequence[Any]) -> Any:
    if all(isinstance(leaf, _TensorRef) for leaf in found):
        if any((leaf.number, leaf.dtype) != (found[0].number, found[0].dtype) for leaf in found):
            raise _NotJoinableError
        noted = copy(found[0])
        noted.shape = _joined_shape([leaf.shape for leaf in found])
        return noted
    if any(leaf is not found[0] and leaf != found[0] for leaf in found):
        raise _NotJoinableError
    return found[0]


def _joined_shape(shapes: Sequence[torch.Size]) -> torch.Size:
    """The sum of the first sizes where the shapes differ in nothing else; the shape itself where they are the same."""
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    if any(shape[1:] != shapes[0][1:] for shape in shapes):
        raise _NotJoinableError
    return torch.Size([sum(shape[0] for shape in shapes), *shapes[0][1:]])


def _joined_kept(tensors: Sequence[Tensor]) -> Tensor:
    if _joined_shape([tensor.shape for tensor in tensors]) != tensors[0].shape:
        return torch.cat(list(tensors))
    if any(not torch.equal(tensor, tensors[0]) for tensor in tensors):
        raise _NotJoinableError
    return tensors[0]


class _PrefixCacheMode(ActivationMode):
    """As ``_ReluMode``, and knows whether the first gated call of a prefix has come."""

    def __init__(self, rule: CallRule, prefix: PrefixCache):
        super().__init__(rule)
        self.prefix = prefix
        self.past = False

    def reaches(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bool:
        """Whether ``func``, the next function, is the first gated call or comes behind it."""
        at_first = self.calls == self.prefix.first and read_call(func, args, kwargs or {}) is not None
        self.past = self.past or at_first
        return self.past


class RecordingMode(_PrefixCacheMode):
    """Notes what every function before the first gated call returns, and keeps what those behind it take of that."""

    def __init__(self, rule: CallRule, prefix: PrefixCache):
        super().__init__(rule, prefix)
        self.returned: list[tuple[Callable[..., Any], Any]] = []
        self.kept: list[Tensor] = []
        self.places: set[int] = set()
        self._noted: dict[int, list[_TensorRef]] = {}

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

    def _note(self, tensor: Tensor) -> _TensorRef:
        noted = _TensorRef(tensor)
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


class ReplayingMode(_PrefixCacheMode):
    """What comes before the first gated call is played back."""

    def __init__(self, rule: CallRule, prefix: PrefixCache):
        super().__init__(rule, prefix)
        prefix.begin()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.reaches(func, args, kwargs):
            return super().__torch_function__(func, types, args, kwargs)
        self.calls += read_call(func, args, kwargs or {}) is not None
        return self.prefix.play(func)

"""Modes that see every activation call, and a cache of what a network computes before its first gated call.

An ascent makes the same pass again and again with other gates. What comes before the first gate does not change. So it
is recorded once and replayed.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from looktwice.errors import ModelError
from looktwice.gating.activations import Activation, input_of, read_call
from looktwice.gating.convolutions import CONVOLUTIONS, SHARES_MEMORY, Convolutions
from looktwice.gating.tensors import tensors_in

CallRule = Callable[[int, Tensor, Activation, bool], Tensor]
"""What an activation call returns: its index, its input, its activation and whether it is in place → its output."""


class ActivationMode(TorchFunctionMode):
    """Gives every activation call inside the ``with`` to a rule, and returns the rule's answer to the network.

    Convolutions are computed by ``convolutions``, if there are any; all other functions are as they are.
    """

    def __init__(self, rule: CallRule, convolutions: Convolutions | None = None):
        super().__init__()
        self.rule = rule
        self.convolutions = convolutions
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        call = read_call(func, args, kwargs)
        if call is None:
            if self.convolutions is not None:
                if func in CONVOLUTIONS:
                    return self.convolutions.convolve(func, *args, **kwargs)
                if func in SHARES_MEMORY:
                    self.convolutions.leave(tensors_in(args))
            return func(*args, **kwargs)
        if torch._C._are_functorch_transforms_active():
            raise ModelError(
                f"the network calls {call[0].name} inside torch.vmap or torch.func, where no gate can stand; call it "
                "on the whole batch"
            )
        index, self.calls = self.calls, self.calls + 1
        return self.rule(index, input_of(args, kwargs), *call)


class PrefixCache:
    """What a network computes before its first gated call. It is the same in every step, so it is computed once.

    The first pass records every torch function before that call, with what it returned. It keeps copies of the few
    tensors that later functions take. In a later pass, the same functions return copies of the kept tensors. All other
    tensors come back as *meta* tensors of the same shape. An operation that no ``TorchFunctionMode`` sees fails on a
    meta tensor; then the pass is made in full. So nothing is ever computed from data that is not there.

    Attributes:
        first: the index of the first gated call.
        usable: whether passes can be replayed; ``None`` before the first pass.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.usable: bool | None = None
        self._returned: list[_Returned] = []
        self._kept: list[Tensor] = []
        self._handed_out: dict[int, Tensor] = {}
        self._refs: list[_TensorRef] = []
        self._next = 0

    def note(self, returned: "Sequence[_Returned]", kept: list[Tensor], *, apart: bool) -> None:
        """Takes what the first pass found. ``apart``: the kept tensors share no memory, so copies will do."""
        leaves = tree_leaves([each.value for each in returned])
        self._returned, self._kept = list(returned), kept
        self.usable = apart and not any(isinstance(leaf, _MEMORY) for leaf in leaves)
        self._refs = [leaf for leaf in leaves if isinstance(leaf, _TensorRef)]

    @classmethod
    def joined(cls, parts: Sequence["PrefixCache"]) -> "PrefixCache":
        """The cache of a whole batch from the caches of its parts.

        Where the parts do not tell it, the cache comes back empty, and the next pass records it. The parts must not all
        have the same size: only then a value that depends on the batch's size shows.
        """
        if len(parts) == 1:
            return parts[0]
        whole = cls(parts[0].first)
        with suppress(_NotJoinableError):
            if not all(part.usable for part in parts):
                raise _NotJoinableError
            returned = [_joined(functions) for functions in zip(*(part._returned for part in parts), strict=True)]
            kept = [_joined_kept(tensors) for tensors in zip(*(part._kept for part in parts), strict=True)]
            whole.note(returned, kept, apart=True)
            whole._refs = [ref for part in parts for ref in part._refs]
        return whole

    @property
    def leaks(self) -> bool:
        """Whether a recorded tensor is still alive, because the network or a hook keeps it somewhere.

        A replay would put a meta tensor there. It can be asked once the recording pass and its gradients are done.
        """
        return any(ref.tensor() is not None for ref in self._refs)

    def begin(self) -> None:
        """Begins another pass. It gets fresh copies, because the network may write on them."""
        self._next = 0
        self._handed_out = {}

    @property
    def is_over(self) -> bool:
        """Whether this pass has come to the first gated call."""
        return self._next == len(self._returned)

    def play(self, func: Callable[..., Any]) -> tuple[Any, bool]:
        """What the next function returned when it was recorded, and whether it is an activation call.

        Raises:
            LookupError: another function was called there.
        """
        noted = self._returned[self._next]
        if noted.func != func:  # not "is": a method of a C type is a new, equal object each time
            raise LookupError("the network's functions are not those of the first pass")
        self._next += 1
        if isinstance(noted.value, _TensorRef):
            return self._hand_out(noted.value), noted.is_call
        return tree_map_only(_TensorRef, self._hand_out, noted.value), noted.is_call

    def _hand_out(self, noted: "_TensorRef") -> Tensor:
        if noted.number is None:
            return noted.stand_in()
        if noted.number not in self._handed_out:
            self._handed_out[noted.number] = self._kept[noted.number].clone()
        return self._handed_out[noted.number]


@dataclass(frozen=True)
class _Returned:
    """A function before the first gated call, what it returned, and whether it is an activation call."""

    func: Callable[..., Any]
    value: Any
    is_call: bool


_MEMORY = (np.ndarray, torch.UntypedStorage, torch.TypedStorage)
"""Other holders of a tensor's memory. The network may write on it through them, and no copy of the tensor has that."""


class _TensorRef:
    """A returned tensor that is not kept alive. ``number`` is its place among the kept copies, if it has one."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)
        self.shape, self.dtype = tensor.shape, tensor.dtype
        self.number: int | None = None
        self._stand_in: Tensor | None = None

    def stand_in(self) -> Tensor:
        """A tensor of the same shape without numbers, another one each time, because the network may set a mark on it.

        To detach one costs a sixth of making one.
        """
        if self._stand_in is None:
            self._stand_in = torch.empty(self.shape, dtype=self.dtype, device="meta")
        return self._stand_in.detach()


class _NotJoinableError(Exception):
    """The parts of a batch do not tell what the whole would return."""


def _joined(functions: Sequence[_Returned]) -> _Returned:
    """What a function returns for a whole batch, from what it returned for each part."""
    leaves, structures = zip(*(tree_flatten(each.value) for each in functions), strict=True)
    if any(structure != structures[0] for structure in structures):
        raise _NotJoinableError
    value = tree_unflatten([_joined_leaf(found) for found in zip(*leaves, strict=True)], structures[0])
    return replace(functions[0], value=value)


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
    """Equal shapes stay. Shapes that differ only in the first size get the sum of the first sizes."""
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


class RecordingMode(ActivationMode):
    """Records what every function before the first gated call returns, and keeps what later functions take."""

    def __init__(self, rule: CallRule, convolutions: Convolutions | None, prefix: PrefixCache):
        super().__init__(rule, convolutions)
        self.prefix = prefix
        self.returned: list[_Returned] = []
        self.kept: list[Tensor] = []
        self.places: set[int] = set()
        self._noted: dict[int, list[_TensorRef]] = {}
        self._is_past = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        calls = self.calls
        if not self._is_past:
            self._is_past = calls == self.prefix.first and read_call(func, args, kwargs or {}) is not None
        if self._is_past:
            for tensor in tensors_in((args, kwargs)):
                self._keep(tensor)
            return super().__torch_function__(func, types, args, kwargs)
        value = super().__torch_function__(func, types, args, kwargs)
        self.returned.append(_Returned(func, tree_map_only(Tensor, self._note, value), self.calls > calls))
        return value

    def _note(self, tensor: Tensor) -> _TensorRef:
        noted = _TensorRef(tensor)
        self._noted.setdefault(id(tensor), []).append(noted)
        return noted

    def _keep(self, tensor: Tensor) -> None:
        """Copies a tensor before the first function that takes it can write on it."""
        leaves = [leaf for leaf in self._noted.get(id(tensor), []) if leaf.tensor() is tensor]
        if leaves and leaves[0].number is None:
            for leaf in leaves:
                leaf.number = len(self.kept)
            self.kept.append(tensor.detach().clone())
            self.places.add(tensor.untyped_storage().data_ptr())


class ReplayingMode(ActivationMode):
    """Replays what comes before the first gated call."""

    def __init__(self, rule: CallRule, convolutions: Convolutions | None, prefix: PrefixCache):
        super().__init__(rule, convolutions)
        self.prefix = prefix
        self._is_past = False
        prefix.begin()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._is_past:
            return super().__torch_function__(func, types, args, kwargs)
        if not self.prefix.is_over:
            value, is_call = self.prefix.play(func)
            self.calls += is_call
            return value
        if read_call(func, args, kwargs or {}) is None:
            raise LookupError("the network's functions are not those of the first pass")
        self._is_past = True
        return super().__torch_function__(func, types, args, kwargs)

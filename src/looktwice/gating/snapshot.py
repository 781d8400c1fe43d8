"""All that a pass may change in a network, and how it is put back."""

from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from looktwice.gating.memo import Memo

_STEADY: Memo[bool] = Memo()
"""Networks whose passes were seen to leave their weights alone. Their weights need no further copy."""


def snapshot(module: nn.Module, looks: object) -> Callable[[], None]:
    """Copies the state of a network: flags, weights, buffers, and attributes.

    Lists, dictionaries, sets and objects of the network's own package are copied all the way down.

    Weights are copied and compared the first time only, and again when the network has changed. Hardly any network
    writes on them in a forward pass; layers that initialise themselves from their first batch do.

    Args:
        module: the network.
        looks: what it looks like now (``looks_of``).

    Returns:
        a function that puts everything back in place.
    """
    parts, own_weights = list(module.modules()), list(module.parameters())
    walk = _Walk(frozenset(map(_package, parts)) - {"torch"})
    for part in parts:
        walk.visit(vars(part))
    flags = [(weight, weight.requires_grad) for weight in own_weights]
    weights: list[tuple[Tensor, Tensor]] = []
    steady = _STEADY.of(module, looks)
    if not steady:
        with suppress(torch.OutOfMemoryError), torch.no_grad():  # without memory they go unwatched
            stored = [weight for weight in own_weights if not weight.is_meta]
            weights = [(weight, weight.detach().clone()) for weight in stored]

    def restore() -> None:
        with torch.inference_mode(False), torch.no_grad():
            walk.restore()
            changed = [(weight, value) for weight, value in weights if not torch.equal(weight, value)]
            for weight, value in changed:
                weight.copy_(value)
        for weight, flag in flags:
            weight.requires_grad_(flag)
        if not changed:
            steady["weights"] = True

    return restore


def _package(value: object) -> str:
    return type(value).__module__.partition(".")[0]


_PLAIN = frozenset((bool, int, float, complex, str, bytes, type(None)))
"""Values without anything inside that could change."""

_CONTAINERS = frozenset((dict, OrderedDict, set, list, deque))
"""Most attributes of a network are empty ones of these."""


class _Walk:
    """Goes all the way down through attributes, and keeps what puts each value back.

    A tensor gets its numbers again, a container its items. Objects of the packages that the network's parts come from,
    ``own``, are put back like dictionaries. A network has thousands of empty containers, so they share one restorer.
    """

    def __init__(self, own: frozenset[str]) -> None:
        self._own = own
        self._seen: set[int] = set()
        self._empty: list[Any] = []
        self._restorers: list[Callable[[], None]] = []

    def restore(self) -> None:
        """Puts everything back in place."""
        for container in self._empty:
            if len(container):
                container.clear()
        for restorer in self._restorers:
            restorer()

    def visit(self, value: Any) -> None:
        """Keeps a value and all that is inside."""
        kind = type(value)
        if kind in _PLAIN:
            return
        if kind in _CONTAINERS and not value:
            self._empty.append(value)
        elif id(value) not in self._seen:
            self._seen.add(id(value))
            self._visit_further(value)

    def _visit_further(self, value: Any) -> None:
        if isinstance(value, Tensor):
            if not isinstance(value, nn.Parameter):
                self._restorers += _tensor_restorers(value)
        elif isinstance(value, (dict, set, list, deque, tuple)):
            self._visit_container(value)
        elif not isinstance(value, (nn.Module, type)) and hasattr(value, "__dict__") and _package(value) in self._own:
            self.visit(vars(value))

    def _visit_container(self, value: Any) -> None:
        if isinstance(value, tuple):
            items = value
        elif not len(value):  # of a class that is derived from one of them
            self._empty.append(value)
            return
        elif isinstance(value, (dict, set)):
            kept = dict(value) if isinstance(value, dict) else set(value)
            self._restorers.append(_refill(value, kept, value.update))
            items = tuple(value.values()) if isinstance(value, dict) else ()
        else:
            items = tuple(value)
            self._restorers.append(_refill(value, items, value.extend))
        for item in items:
            self.visit(item)


def _refill(container: Any, items: Any, fill: Callable[[Any], None]) -> Callable[[], None]:
    def restore() -> None:
        if not _holds(container, items):
            container.clear()
            fill(items)

    return restore


def _holds(container: Any, items: Any) -> bool:
    """Whether a container has these very items, in their order; a dictionary, these keys and values."""
    if len(container) != len(items) or not all(map(is_, container, items)):
        return False
    return not isinstance(container, dict) or all(map(is_, container.values(), items.values()))


def _tensor_restorers(tensor: Tensor) -> list[Callable[[], None]]:
    if tensor.is_inference():
        return []  # it cannot be written on outside inference mode
    version, value = tensor._version, tensor.detach().clone()

    def restore() -> None:
        if tensor._version != version or not _is_same(tensor, value):
            tensor.copy_(value)

    return [restore]


def _is_same(tensor: Tensor, value: Tensor) -> bool:
    """Whether a tensor has its numbers still. Writing through ``Tensor.data`` does not count as a new version."""
    return tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized or torch.equal(tensor, value)

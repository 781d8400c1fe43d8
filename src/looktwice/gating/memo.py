"""What was found out about a network, remembered as long as the network looks the same."""

from collections import OrderedDict
from types import FunctionType
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

Known = TypeVar("Known")


class Memo(Generic[Known]):
    """Something known of each network. It is forgotten when the network's parts, attributes or numbers change."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[nn.Module, tuple[object, dict[Any, Known]]] = WeakKeyDictionary()

    def of(self, module: nn.Module, looks: object) -> dict[Any, Known]:
        """What is known of a network that looks like this (``looks_of``), to be read and added to."""
        held = self._known.get(module)
        if held is None or held[0] != looks:
            held = self._known[module] = looks, {}
        return held[1]


def looks_of(module: nn.Module) -> object:
    """What a network looks like now: its parts, their attributes and the versions of their tensors.

    Two looks are equal if nothing was changed between them, except through ``Tensor.data``. Training mode and whether
    weights take gradients do not count, because ``frozen`` sets them.

    A part or function that is gone equals no other, even if the other one has its place in memory and so its ``id``.
    """
    return [(id(part), ref(part), _marks(part)) for part in module.modules()]


_PLAIN = frozenset((bool, int, float, str, type(None)))
"""What is compared as it is."""


def _marks(part: nn.Module) -> list[object]:
    """A mark of every attribute that is not an empty container. A network has thousands of those."""
    return [
        (name, value if type(value) in _PLAIN else _mark(value))
        for name, value in vars(part).items()
        if name != "training" and not (type(value) in (dict, OrderedDict) and not value)
    ]


def _mark(value: object) -> object:
    """A value as it is compared: tensors by their version, containers by their items, other objects by identity."""
    if isinstance(value, dict):
        return [(str(key), _mark_inside(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [_mark_inside(item) for item in value]
    return _mark_inside(value)


def _mark_inside(value: object) -> object:
    if isinstance(value, Tensor):
        return id(value), 0 if value.is_inference() else value._version
    if type(value) in _PLAIN:
        return value
    return ref(value) if isinstance(value, FunctionType) else (id(value), type(value))

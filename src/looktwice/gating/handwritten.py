"""Activations that a network writes out in its own code, such as x · sigmoid(x). No gate can stand there.

They are noticed, so that a map of a network that is gated in part does not go out without a word.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_PRODUCTS = frozenset(("mul", "rmul", "imul", "multiply", "div", "truediv", "true_divide", "divide"))
_CELLWISE = _PRODUCTS | frozenset(
    (
        "add",
        "radd",
        "iadd",
        "sub",
        "rsub",
        "isub",
        "neg",
        "pow",
        "square",
        "clone",
        "to",
        "_to_copy",
        "log1p",
        "where",
        "reciprocal",
    )
)
"""Functions that compute each value from one value of each tensor."""

_SQUASHING = frozenset(("sigmoid", "expit", "tanh", "erf", "exp", "hardsigmoid", "softplus"))
_CLAMPS = frozenset(("clamp", "clip", "clamp_min"))


@dataclass(frozen=True)
class _Origin:
    """From which tensor another one was computed value by value, and whether it was squashed on the way."""

    tensor: weakref.ref[Tensor]
    is_squashed: bool


class HandwrittenMode(TorchFunctionMode):
    """Counts the activations that are written out inside the ``with``.

    They are the product of a tensor with its own squashed values, as in GELU, SiLU, Mish and Hardswish, and the clamp
    at 0, which is a ReLU. What TorchScript computes is not seen.

    Args:
        images: how many images the pass has. Other tensors, such as weights, do not count.

    Attributes:
        found: how many there are.
    """

    def __init__(self, images: int) -> None:
        super().__init__()
        self.found = 0
        self._images = images
        self._origins: dict[int, tuple[weakref.ref[Tensor], _Origin]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").partition(".")[0]
        name = name if name == "_to_copy" else name.strip("_")
        if name not in _CELLWISE and name not in _SQUASHING and name not in _CLAMPS:
            return func(*args, **kwargs)
        taken = [
            each
            for each in (*args, *kwargs.values())
            if isinstance(each, Tensor) and each.ndim > 0 and each.is_floating_point()
        ]
        origins = [self._origin_of(each) for each in taken]
        made = func(*args, **kwargs)
        if isinstance(made, Tensor) and origins:
            self._note(name, origins, made, _bounds(args, kwargs) if name in _CLAMPS else None)
        return made

    def forget(self, made: Tensor) -> None:
        """Takes a tensor as it is: the output of an activation that carries its gate."""
        self._origins.pop(id(made), None)

    def _note(self, name: str, origins: list[_Origin], made: Tensor, bounds: tuple[object, object] | None) -> None:
        self._origins.pop(id(made), None)  # it may have been written on
        is_of_images = made.ndim > 2 and len(made) == self._images and made.is_floating_point()
        if bounds is not None and bounds[1] is None:
            self.found += is_of_images and bounds[0] == 0
            return
        source = origins[0].tensor()
        if source is None or any(origin.tensor() is not source for origin in origins):
            return
        squashed = {origin.is_squashed for origin in origins}
        if name in _PRODUCTS and len(origins) > 1 and len(squashed) > 1:
            self.found += is_of_images
            return
        is_squashed = bounds is not None or name in _SQUASHING or True in squashed
        if made is not source:
            self._origins[id(made)] = weakref.ref(made), _Origin(weakref.ref(source), is_squashed)

    def _origin_of(self, tensor: Tensor) -> _Origin:
        reference, origin = self._origins.get(id(tensor), (None, None))
        known = reference is not None and reference() is tensor
        return origin if known and origin is not None else _Origin(weakref.ref(tensor), False)


def _bounds(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[object, object]:
    """The lower and the upper bound of a clamp."""
    given = [*args[1:], None, None]
    low, high = kwargs.get("min", given[0]), kwargs.get("max", given[1])
    return (low.item() if isinstance(low, Tensor) and low.numel() == 1 else low), high

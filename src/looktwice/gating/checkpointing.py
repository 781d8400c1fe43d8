"""Gradient checkpointing switched off in one thread.

A checkpoint computes its part of the network a second time on the way back. There, gates and recorded functions would
be met again, in another order. Memory is no reason for checkpoints here, because weights take no gradients.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils import checkpoint

_STATE = threading.local()
_LOCK = threading.Lock()
_REPLACED: dict[str, Any] = {}
_USERS = 0


@contextmanager
def without_checkpointing() -> Iterator[None]:
    """Inside the ``with``, this thread's checkpoints compute their function once, as if they were not there.

    ``torch.utils.checkpoint.checkpoint`` is imported by name in many places, so it cannot be replaced. What it calls is
    looked up at every call, and is replaced as long as any thread is inside. Other threads pass through.
    """
    _count(+1)
    _STATE.depth = getattr(_STATE, "depth", 0) + 1
    try:
        yield
    finally:
        _STATE.depth -= 1
        _count(-1)


def _count(change: int) -> None:
    global _USERS  # noqa: PLW0603 - there is one torch.utils.checkpoint in a process
    with _LOCK:
        _USERS += change
        if _USERS and not _REPLACED:
            for name in _WHOLE if hasattr(checkpoint, "_checkpoint_impl") else _PARTS:
                _REPLACED[name] = getattr(checkpoint, name)
                setattr(checkpoint, name, _SWITCHES[name](_REPLACED[name]))
        elif not _USERS:
            for name in list(_REPLACED):
                setattr(checkpoint, name, _REPLACED.pop(name))


def _is_off() -> bool:
    return getattr(_STATE, "depth", 0) > 0


def _implementation(entry: Callable[..., Any]) -> Callable[..., Any]:
    def switch(function: Any, args: Any, kwargs: Any, **choices: Any) -> Any:
        return function(*args, **kwargs) if _is_off() else entry(function, args, kwargs, **choices)

    return switch


def _reentrant(entry: Any) -> Any:
    class Switch(entry):  # type: ignore[misc]
        @classmethod
        def apply(cls, function: Any, preserve: Any, *args: Any) -> Any:
            return function(*args) if _is_off() else entry.apply(function, preserve, *args)

    return Switch


def _generator(entry: Callable[..., Any]) -> Callable[..., Any]:
    def switch(*args: Any, **choices: Any) -> Any:
        return iter([None]) if _is_off() else entry(*args, **choices)

    return switch


_WHOLE = ("_checkpoint_impl",)
"""All of a checkpoint, in newer versions of PyTorch."""

_PARTS = ("CheckpointFunction", "_checkpoint_without_reentrant_generator")
"""Its two kinds, in older versions."""

_SWITCHES: dict[str, Callable[[Any], Any]] = {
    "_checkpoint_impl": _implementation,
    "CheckpointFunction": _reentrant,
    "_checkpoint_without_reentrant_generator": _generator,
}

"""Convolutions in full single precision on a GPU.

By default PyTorch lets cuDNN round the factors of a convolution to ten bits (TF32). A trained network does not mind.
But gates climb on small differences, step after step, and each choice of algorithm rounds in another way. On an H100,
a first pass in other parts of the batch gave other maps: 55 % of ResNet-50's boxes stayed, and 33 % of
MobileNetV3-Small's. Without TF32, 99 and 93 % stayed.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.Lock()
_RESTORE: list[Callable[[], None]] = []
_USERS = 0


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside the ``with``, convolutions do not use TF32. What was chosen before comes back when all threads are out."""
    _count(+1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _USERS  # noqa: PLW0603 - there is one choice in a process
    with _LOCK:
        if not _USERS:
            _RESTORE.append(_without_tf32())
        _USERS += change
        if not _USERS:
            _RESTORE.pop()()


def _without_tf32() -> Callable[[], None]:
    """Switches TF32 off, and returns what puts the choice back."""
    cudnn = torch.backends.cudnn
    if torch.backends.flags_frozen():  # type: ignore[no-untyped-call]  # by disable_global_flags: then no choice can be changed
        return lambda: None
    try:
        allowed = cudnn.allow_tf32
    except RuntimeError:  # convolutions and recurrent layers were chosen apart, which only newer versions can
        before = cudnn.conv.fp32_precision  # type: ignore[attr-defined]
        cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        return lambda: setattr(cudnn.conv, "fp32_precision", before)  # type: ignore[attr-defined]
    cudnn.allow_tf32 = False
    return lambda: setattr(cudnn, "allow_tf32", allowed)

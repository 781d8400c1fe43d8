"""Convolutions in full single precision on a GPU.

By default PyTorch lets cuDNN round the factors of a convolution to ten bits (TF32). A trained network does not mind.
But gates climb on small differences, step after step, and each choice of algorithm rounds in another way. On an H100,
a first pass in other parts of the batch gave other maps: 55 % of ResNet-50's boxes stayed, and 33 % of
MobileNetV3-Small's. Without TF32, 99 and 93 % stayed.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_LOCK = threading.Lock()
_RESTORE: list[Callable[[], None]] = []
_USERS = 0


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside the ``with``, convolutions do not use TF32. What was chosen before comes back when all threads are out.

    Where nothing can be on a GPU yet, no choice is touched.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield
        return
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
        return _in_full(cudnn.conv)  # type: ignore[attr-defined]
    if not allowed:
        return lambda: None
    cudnn.allow_tf32 = False
    # In newer versions that means: as is chosen for all of cuDNN, or for all backends. These may allow it still.
    parts = [getattr(cudnn, name) for name in ("conv", "rnn") if hasattr(cudnn, name)]
    apart = [_in_full(part) for part in parts]

    def restore() -> None:
        cudnn.allow_tf32 = True
        for put_back in apart:
            put_back()

    return restore


def _in_full(part: Any) -> Callable[[], None]:
    """Switches TF32 off for convolutions or recurrent layers, and returns what puts the choice back.

    A choice for all comes back as that, so that the part follows if it is changed later.
    """
    if part.fp32_precision != "tf32":
        return lambda: None
    part.fp32_precision = "ieee"

    def restore() -> None:
        part.fp32_precision = "none"  # as is chosen for all
        if part.fp32_precision != "tf32":
            part.fp32_precision = "tf32"

    return restore

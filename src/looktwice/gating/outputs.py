"""What a network's scores are: logits, or probabilities already."""

import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Output = Literal["logits", "logit", "probabilities", "log_probabilities", "sigmoids"]
"""``logits``: any numbers, one a class. ``logit``: a single one. ``probabilities``: they add up to 1.
``log_probabilities``: their logarithms. ``sigmoids``: a probability for each class by itself."""

_SOFTMAX: Mapping[Callable[..., Any], Output] = MappingProxyType(
    {
        **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax, torch.ops.aten.softmax.int), "probabilities"),
        **dict.fromkeys(
            (F.log_softmax, torch.log_softmax, Tensor.log_softmax, torch.ops.aten.log_softmax.int), "log_probabilities"
        ),
        **dict.fromkeys(
            (F.sigmoid, torch.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, torch.ops.aten.sigmoid.default), "sigmoids"
        ),
    }
)


class OutputMode(TorchFunctionMode):
    """Remembers which function made each probability inside the ``with``."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[tuple[weakref.ref[Tensor], Output]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _SOFTMAX and isinstance(made, Tensor):
            self._made.append((weakref.ref(made), _SOFTMAX[func]))
        return made

    def kind_of(self, scores: Tensor) -> Output:
        """What the scores (N, K) are: by the function that made them, else by their values."""
        for reference, kind in reversed(self._made):
            if reference() is scores:
                return kind
        if scores.shape[1] == 1:
            return "logit"
        sums = scores.detach().double().sum(1)
        if bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            return "probabilities"
        return "logits"


def as_probabilities(scores: Tensor, kind: Output) -> Tensor:
    """Scores (N, K) → the probability of each class in double precision, on the CPU: (N, K) in [0, 1]."""
    values = scores.detach().double().cpu()
    if kind in ("probabilities", "sigmoids"):
        return values
    if kind == "log_probabilities":
        return values.exp()
    if kind == "logit":
        return values.sigmoid()
    logits = values.numpy()
    # NumPy and torch round differently. Rows of runs have NumPy's numbers, and must not change.
    with np.errstate(invalid="ignore"):  # infinite scores become NaN, which whoever shows them has to check
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return torch.from_numpy(powers / powers.sum(axis=1, keepdims=True))

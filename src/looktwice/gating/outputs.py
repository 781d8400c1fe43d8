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
from torch.utils._pytree import tree_leaves

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
            (
                F.sigmoid,
                torch.sigmoid,
                torch.sigmoid_,
                torch.special.expit,
                Tensor.sigmoid,
                Tensor.sigmoid_,
                torch.ops.aten.sigmoid.default,
            ),
            "sigmoids",
        ),
        F.logsigmoid: "log_probabilities",
    }
)

_KEEPING = frozenset(
    """
    cat clamp clamp_ clamp_max clamp_min clip clone contiguous detach double flatten float getitem hstack index_select
    mean narrow permute reshape select split squeeze stack t to transpose type type_as unbind unsqueeze view view_as
    """.split()  # noqa: SIM905 - one word after the other is easier to read
)
"""Functions whose answer is of the kind of what they take: they choose, order, bound or average probabilities."""


class OutputMode(TorchFunctionMode):
    """Remembers which function made each probability inside the ``with``."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, tuple[weakref.ref[Tensor], Output]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        kind = _SOFTMAX.get(func) or self._kept_kind(func, (args, kwargs))
        if kind is not None:
            tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
            self._made |= {id(tensor): (weakref.ref(tensor), kind) for tensor in tensors}
        return made

    def _kept_kind(self, func: Callable[..., Any], taken: object) -> Output | None:
        """The kind of what a function takes, if its answer is of that kind."""
        if getattr(func, "__name__", "").strip("_").partition(".")[0] not in _KEEPING:
            return None
        kinds = {self._known_kind(leaf) for leaf in tree_leaves(taken) if isinstance(leaf, Tensor)}
        return kinds.pop() if len(kinds) == 1 else None

    def _known_kind(self, tensor: Tensor) -> Output | None:
        reference, kind = self._made.get(id(tensor), (None, None))
        return kind if reference is not None and reference() is tensor else None

    def kind_of(self, scores: Tensor) -> Output:
        """What the scores (N, K) are: by the function that made them, else by their values."""
        kind = self._known_kind(scores)
        if kind is not None:
            return kind
        if scores.shape[1] == 1:
            return "logit"
        sums = scores.detach().double().sum(1)
        rounding = max(1e-3, torch.finfo(scores.dtype).eps)
        if bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=rounding):
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

"""What a network's scores are: logits, or probabilities already. A user may declare it; else it is recognised."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from looktwice.errors import ModelError, OptionError
from looktwice.gating.tensors import tensors_in
from looktwice.options import check_choice

OutputKind = Literal[
    "logits",
    "multilabel_logits",
    "logit",
    "binary_logit",
    "probabilities",
    "binary_probability",
    "log_probabilities",
    "sigmoids",
]
"""What class scores are, and so how they become probabilities.

- ``logits``: any numbers, one for each class. Their softmax is the probabilities.
- ``multilabel_logits``: any numbers. The sigmoid of each is its class's probability; an image may have several classes.
- ``logit``: one number for one class. Its sigmoid is the probability.
- ``binary_logit``: one number s for two classes: class 1 has the score s, class 0 has −s.
- ``probabilities``: they add up to 1.
- ``binary_probability``: one probability p for two classes: class 1 has the score p, class 0 has 1 − p.
- ``log_probabilities``: the logarithms of probabilities.
- ``sigmoids``: a probability for each class by itself.
"""

BINARY: Mapping[OutputKind, OutputKind] = MappingProxyType({"logit": "binary_logit", "sigmoids": "binary_probability"})
"""What a single score of a kind is if it speaks of two classes."""


@dataclass(frozen=True)
class NetworkOutput:
    """What a user declares of a network's output. What is left out is recognised.

    Attributes:
        kind: what the class scores are.
        scores: the entry of the output that is the class scores. It is a key of a dictionary, an attribute, or a number
            in a tuple, with dots between if it is nested: ``"heads.main"``.

    Raises:
        OptionError: an unknown kind, or an entry that is no name or number.

    >>> NetworkOutput("multilabel_logits", scores="heads.main").kind
    'multilabel_logits'
    """

    kind: OutputKind | None = None
    scores: str | int | None = None

    def __post_init__(self) -> None:
        if self.kind is not None:
            check_choice("the kind of output", self.kind, OutputKind)
        place = self.scores
        is_name = isinstance(place, str) and place != ""
        if not (place is None or is_name or (isinstance(place, int) and not isinstance(place, bool) and place >= 0)):
            raise OptionError(f"scores is {place!r}; the name of an entry or its number from 0 is needed")

    def over(self, other: "NetworkOutput") -> "NetworkOutput":
        """What is declared here, and else what the other declares."""
        return NetworkOutput(self.kind or other.kind, other.scores if self.scores is None else self.scores)

    def of_classes(self, scores: Tensor) -> Tensor:
        """The network's scores (N, K) → one for each class. A single score of two classes gives (N, 2).

        Raises:
            ModelError: there are more scores than the kind has.
        """
        if self.kind in ("logit", *BINARY.values()) and scores.shape[1] != 1:
            raise ModelError(
                f"the network returned {scores.shape[1]} scores for an image, and {self.kind} is one; for a score of "
                "each class take logits, multilabel_logits, probabilities or sigmoids"
            )
        if self.kind == "binary_logit":
            return torch.cat([-scores, scores], 1)
        return torch.cat([1 - scores, scores], 1) if self.kind == "binary_probability" else scores

    def check(self, scores: Tensor) -> None:
        """Checks that scores can be of the declared kind. NaN and infinite ones are not looked at here.

        Raises:
            ModelError: they are no probabilities, or no logarithms of some.
        """
        least = {"probabilities": 0.0, "binary_probability": 0.0, "sigmoids": 0.0, "log_probabilities": -torch.inf}
        if self.kind not in least:
            return
        low, high = least[self.kind], 0.0 if self.kind == "log_probabilities" else 1.0
        rounding = max(1e-3, torch.finfo(scores.dtype).eps)
        outside = scores[(scores < low - rounding) | (scores > high + rounding)]
        if len(outside):
            needed = f"at most {high:g}" if low < high - 1 else f"in {low:g} … {high:g}"
            raise ModelError(
                f"the network has the score {float(outside[0]):.4g}, and {self.kind} are {needed}; declare another "
                "kind of output, such as logits or multilabel_logits"
            )


RECOGNISED = NetworkOutput()
"""Nothing is declared."""

_SOFTMAX: Mapping[Callable[..., Any], OutputKind] = MappingProxyType(
    {
        **dict.fromkeys(
            (F.softmax, F.softmin, torch.softmax, torch.special.softmax, Tensor.softmax, torch.ops.aten.softmax.int),
            "probabilities",
        ),
        **dict.fromkeys(
            (
                F.log_softmax,
                torch.log_softmax,
                torch.special.log_softmax,
                Tensor.log_softmax,
                torch.ops.aten.log_softmax.int,
                F.logsigmoid,
                torch.ops.aten.log_sigmoid.default,
            ),
            "log_probabilities",
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
                F.hardsigmoid,
                torch.ops.aten.hardsigmoid.default,
            ),
            "sigmoids",
        ),
    }
)

_KEEPING = frozenset(
    """
    cat clamp clamp_ clamp_max clamp_min clip clone contiguous detach double flatten float getitem hstack index_select
    mean narrow permute reshape select split squeeze stack t to transpose type type_as unbind unsqueeze view view_as
    """.split()  # noqa: SIM905 - one word after the other is easier to read
)
"""Functions whose answer is of the kind of what they take: they choose, order, bound or average probabilities."""

_TURNING: Mapping[tuple[str, OutputKind], OutputKind] = MappingProxyType(
    {
        ("exp", "log_probabilities"): "sigmoids",
        ("log", "probabilities"): "log_probabilities",
        ("log", "sigmoids"): "log_probabilities",
    }
)
"""Functions that turn scores of one kind into scores of another."""

_LINEAR = frozenset(
    """
    addmm baddbmm batch_norm bilinear bmm conv1d conv2d conv3d convolution einsum layer_norm linear matmul mm rmatmul
    """.split()  # noqa: SIM905
)
"""Functions whose answer may be any numbers. If these lie between 0 and 1, that is chance."""

_KEEPING_LINEAR = (
    _KEEPING | frozenset("adaptive_avg_pool2d add avg_pool2d div dropout mul neg radd relu rmul sub truediv".split())  # noqa: SIM905
) - frozenset("clamp clamp_max clamp_min clip".split())  # noqa: SIM905
"""Functions that leave such numbers what they are. Bounds are set to make probabilities, so they do not."""


class OutputMode(TorchFunctionMode):
    """Remembers which function made each probability inside the ``with``, and which numbers are those of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, tuple[weakref.ref[Tensor], OutputKind]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        kind = _SOFTMAX.get(func) or self._followed_kind(func, args, kwargs)
        if kind is not None:
            self._made |= {id(tensor): (weakref.ref(tensor), kind) for tensor in tensors_in(made)}
        return made

    def _followed_kind(self, func: Callable[..., Any], *taken: object) -> OutputKind | None:
        """The kind of a function's answer, if that follows from the kind of what it takes."""
        name = getattr(func, "__name__", "").strip("_").partition(".")[0]
        if name in _LINEAR:
            return "logits"
        if name not in _KEEPING_LINEAR and name not in _KEEPING and name not in ("exp", "log"):
            return None
        kinds = {self._known_kind(tensor) for tensor in tensors_in(taken)}
        if "logits" in kinds:
            return "logits" if name in _KEEPING_LINEAR and kinds <= {"logits", None} else None
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is None or name in _KEEPING:
            return kind
        return _TURNING.get((name, kind))

    def _known_kind(self, tensor: Tensor) -> OutputKind | None:
        reference, kind = self._made.get(id(tensor), (None, None))
        return kind if reference is not None and reference() is tensor else None

    def kind_of(self, scores: Tensor) -> OutputKind:
        """What the scores (N, K) are: by the function that made them, else by their values."""
        kind = self._known_kind(scores)
        if kind not in (None, "logits"):
            return kind
        if scores.shape[1] == 1:
            return "logit"
        sums = scores.detach().double().sum(1)
        rounding = max(1e-3, torch.finfo(scores.dtype).eps)
        if bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=rounding):
            return "probabilities"
        return "logits"

    def doubts(self, scores: Tensor) -> tuple[str, ...]:
        """What to say if scores count as logits, but may be probabilities that a formula of the network's own made."""
        if self._known_kind(scores) is not None or self.kind_of(scores) not in ("logits", "logit"):
            return ()
        is_constant = scores.numel() > 1 and bool((scores == scores.flatten()[0]).all())
        if is_constant or not bool(((scores >= 0) & (scores <= 1)).all()):
            return ()
        return (
            "all scores lie between 0 and 1, and they count as logits; if they are probabilities, declare it: "
            'NetworkOutput("sigmoids"), or --output-kind sigmoids',
        )


def as_probabilities(scores: Tensor, kind: OutputKind) -> Tensor:
    """Scores (N, K) → the probability of each class in double precision, on the CPU: (N, K) in [0, 1]."""
    values = scores.detach().double().cpu()
    if kind in ("probabilities", "binary_probability", "sigmoids"):
        return values
    if kind == "log_probabilities":
        return values.exp()
    if kind in ("multilabel_logits", "logit", "binary_logit"):
        return values.sigmoid()
    logits = values.numpy()
    # NumPy and torch round differently. Rows of runs have NumPy's numbers, and must not change.
    with np.errstate(invalid="ignore"):  # infinite scores become NaN, which whoever shows them has to check
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return torch.from_numpy(powers / powers.sum(axis=1, keepdims=True))

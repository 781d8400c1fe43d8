"""Activation calls: what is known of each, and which of them carry gates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from looktwice.errors import OptionError

Network = Callable[[Tensor], Tensor]
"""A classifier: images (N, C, H, W) → class scores (N, K)."""


Guidance = Literal["none", "below", "all"]
"""Where negative gradients are cut as well (Springenberg et al. 2014): at no ReLU, at all, or ``below`` the last stage.

``below`` spares the ReLUs of the last stage (maps at a stride of about 32 pixels, 7×7 at 224×224) and those behind
linear layers. There the sign of a gradient tells one class from another; cut everywhere, all classes look the same.
"""


LAST_STRIDE = 24
"""Least stride of the last stage: half-way from 16 to 32, since maps of odd sides miss the powers of two a little."""


NO_GATES: Mapping[int, Tensor] = MappingProxyType({})
"""Every call stays a plain ReLU."""


@dataclass(frozen=True)
class ActivationCall:
    """One ReLU call of a forward pass.

    Attributes:
        index: its place in call order.
        shape: its output's, without the batch.
        cap: its upper clamp; ``None`` for a plain ReLU.
        stride: image pixels per pixel of its map, on the shorter side; 0 for a vector.
        layout: how its output lies in memory; gates that lie alike are multiplied faster.
    """

    index: int
    shape: tuple[int, ...]
    cap: float | None = None
    stride: float = field(default=0.0, compare=False)
    layout: torch.memory_format = field(default=torch.contiguous_format, compare=False)

    @property
    def is_map(self) -> bool:
        """Whether the output is a stack of channels (C, H, W), not a vector behind a linear layer."""
        return len(self.shape) == 3


Layers = Sequence[int] | Callable[[ActivationCall], bool] | Literal["fine", "coarse", "coarsest"] | None
"""Which calls: all (``None``), call indices (negative ones count from the end), a predicate, or maps by their stride.

``"coarsest"``: the maps of the last stage, at a stride of about 32 pixels or more (7×7 at 224×224). ``"coarse"``: about
16 or more; their neurons stand for parts of objects. ``"fine"``: about 4 or more, all but the stem's. Where no map is
that coarse, the network's coarsest.
"""


LEAST_STRIDE = {"fine": 3, "coarse": 12, "coarsest": LAST_STRIDE}
"""Half-way to the next finer power of two, as ``LAST_STRIDE``."""


def stride_of(images: Tensor, pre: Tensor) -> float:
    """Image pixels per pixel of an activation's map; 0 for a vector."""
    return min(images.shape[-2:]) / min(pre.shape[-2:]) if pre.ndim == 4 else 0.0


def memory_layout(pre: Tensor) -> torch.memory_format:
    """How a tensor lies in memory."""
    channels_last = pre.ndim == 4 and not pre.is_contiguous() and pre.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def select_layers(calls: Sequence[ActivationCall], layers: Layers) -> list[int]:
    """The indices of the calls that carry gates, ascending.

    Raises:
        OptionError: an index outside the network's calls, or a choice that leaves none.
    """
    if layers is None:
        return [call.index for call in calls]
    if isinstance(layers, str):
        if layers not in LEAST_STRIDE:
            raise OptionError(
                f"layers is {layers!r}; 'fine', 'coarse', 'coarsest', call indices, a predicate or None is needed"
            )
        least = min(LEAST_STRIDE[layers], max(call.stride for call in calls))
        chosen = {call.index for call in calls if call.is_map and call.stride >= least}
    elif callable(layers):
        chosen = {call.index for call in calls if layers(call)}
    else:
        outside = [index for index in layers if not -len(calls) <= index < len(calls)]
        if outside:
            raise OptionError(
                f"layers: no ReLU call {outside[0]}; this network makes {len(calls)} (0 … {len(calls) - 1})"
            )
        chosen = {index % len(calls) for index in layers}
    if not chosen:
        raise OptionError(f"layers: the choice leaves none of the network's {len(calls)} ReLU calls")
    return sorted(chosen)

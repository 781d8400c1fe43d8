"""Activation calls: what is known of each, and which of them carry gates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from looktwice.errors import ModelError, OptionError
from looktwice.gating.places import UNMEASURED, Kind, Place, place_of_shape

Network = Callable[[Tensor], Tensor]
"""A classifier: images (N, C, H, W) → class scores (N, K)."""


Guidance = Literal["none", "below", "all"]
"""Where negative gradients are cut (Springenberg et al. 2014): at no activation, at all, or ``below`` the last stage.

``below`` spares the activations of the last stage (maps at a stride of about 32 pixels, 7×7 at 224×224) and those after
linear layers. There, the sign of a gradient tells one class from another. Cut there too, all classes look the same.
"""


LAST_STRIDE = 24
"""Least stride of the last stage: half-way from 16 to 32, since maps of odd sides miss powers of two by a little."""


NO_GATES: Mapping[int, Tensor] = MappingProxyType({})
"""Every activation stays as it is."""


NO_ACTIVATIONS = (
    "no activation that can be gated was seen in the forward pass; the network needs ReLU, GELU, SiLU or the like, "
    "called in eager mode by PyTorch's own functions or modules (not in TorchScript)"
)
"""What is wrong with a network without a call, for messages."""


@dataclass(frozen=True)
class ActivationCall:
    """One activation call of a forward pass. Only this class knows how an output's axes relate to the image.

    Attributes:
        index: its number in call order.
        shape: its output's, without the batch.
        activation: the name of its activation, such as ``relu6``.
        place: how its axes relate to the image; see ``geometry``. If it is not measured, its shape decides.
        stride: image pixels per cell of its grid, on the shorter side; 0 without a grid.
        layout: how its output lies in memory; gates that lie alike are multiplied faster.
    """

    index: int
    shape: tuple[int, ...]
    activation: str = "relu"
    place: Place = UNMEASURED
    stride: float = field(default=0.0, compare=False)
    layout: torch.memory_format = field(default=torch.contiguous_format, compare=False)

    def __post_init__(self) -> None:
        if self.place is UNMEASURED:
            object.__setattr__(self, "place", place_of_shape(self.shape))

    @classmethod
    def of_output(
        cls, index: int, activation: str, images: Tensor, output: Tensor, place: Place = UNMEASURED
    ) -> "ActivationCall":
        """What an output (N, ...) says of its call, for images (N, C, H, W)."""
        shape = tuple(output.shape[1:])
        call = cls(index, shape, activation, place, layout=_memory_layout(output))
        return call if call.grid is None else replace(call, stride=min(images.shape[-2:]) / min(call.grid))

    @property
    def kind(self) -> Kind:
        """How its output lies."""
        return self.place.kind

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of its maps; ``None`` if it has none."""
        return self.place.grid

    @property
    def gate_shape(self) -> tuple[int, ...]:
        """The shape of its gates, without the batch: its output's, less the tokens that are not of the image."""
        return self.place.gate_shape((1, *self.shape))[1:]

    def probe_shape(self, images: int) -> tuple[int, ...]:
        """The shape of its probe for ``images`` images: that of its gates, with a single channel."""
        return self.place.probe_shape((images, *self.shape))

    def gated_part(self, output: Tensor) -> Tensor:
        """The part of an output (N, ...) that lies in the image."""
        return self.place.gated_part(output)

    def to_grid(self, values: Tensor) -> Tensor:
        """Values that lie like its gates (N, ...) → one map a channel (N, C, rows, columns).

        Raises:
            ValueError: the call has no grid.
        """
        if self.grid is None:
            raise ValueError(f"call {self.index} has no grid; its output has the shape {self.shape}")
        return self.place.to_grid(values)

    def from_grid(self, maps: Tensor) -> Tensor:
        """The inverse of ``to_grid``: (N, C, rows, columns) → (N, ...)."""
        return self.place.from_grid(maps)


Layers = Sequence[int] | Callable[[ActivationCall], bool] | Literal["fine", "coarse", "coarsest"] | None
"""Which calls: all (``None``), call indices (negative ones count from the end), a predicate, or maps by their stride.

``"coarsest"``: the maps of the last stage, at a stride of about 32 pixels or more (7×7 at 224×224). ``"coarse"``: about
16 or more; their neurons stand for parts of objects. ``"fine"``: about 4 or more, all but the stem's. If no map is that
coarse, the network's coarsest maps are taken.
"""


LEAST_STRIDE = {"fine": 3, "coarse": 12, "coarsest": LAST_STRIDE}
"""Half-way to the next finer power of two, like ``LAST_STRIDE``."""


def _memory_layout(output: Tensor) -> torch.memory_format:
    across = output.ndim == 4 and not output.is_contiguous() and output.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if across else torch.contiguous_format


def is_below_last_stage(call: ActivationCall) -> bool:
    """Whether the call has maps finer than those of the last stage."""
    return call.grid is not None and call.stride < LAST_STRIDE


def select_layers(calls: Sequence[ActivationCall], layers: Layers) -> list[int]:
    """The indices of the calls that carry gates, ascending.

    Raises:
        OptionError: an index outside the network's calls, a call that cannot carry gates, or a choice that leaves none.
        ModelError: there are no calls, or none has a grid.
    """
    if not calls:
        raise ModelError(NO_ACTIVATIONS)
    if layers is None:
        chosen = {call.index for call in calls if call.kind != "other"}
    elif isinstance(layers, str):
        chosen = _by_stride(calls, layers)
    elif callable(layers):
        chosen = {call.index for call in calls if layers(call) and call.kind != "other"}
    else:
        chosen = _by_index(calls, layers)
    if not chosen and all(call.kind == "other" for call in calls):
        raise _nothing_like_the_image(calls)
    if not chosen:
        raise OptionError(f"layers: the choice leaves none of the network's {len(calls)} activation calls")
    return sorted(chosen)


def _nothing_like_the_image(calls: Sequence[ActivationCall]) -> ModelError:
    return ModelError(
        f"none of the network's {len(calls)} activations that can be gated lies like the image; it may pad, flip, "
        "turn or cut the image itself (do that before), have tokens in another order than class tokens and then row by "
        "row, or have no maps there (take a method without gates)"
    )


def _by_stride(calls: Sequence[ActivationCall], layers: str) -> set[int]:
    if layers not in LEAST_STRIDE:
        raise OptionError(
            f"layers is {layers!r}; 'fine', 'coarse', 'coarsest', call indices, a predicate or None is needed"
        )
    maps = [call for call in calls if call.grid is not None]
    if not maps:
        raise _nothing_like_the_image(calls)
    least = min(LEAST_STRIDE[layers], max(call.stride for call in maps))
    return {call.index for call in maps if call.stride >= least}


def _by_index(calls: Sequence[ActivationCall], layers: Sequence[int]) -> set[int]:
    outside = [index for index in layers if not -len(calls) <= index < len(calls)]
    if outside:
        raise OptionError(
            f"layers: no activation call {outside[0]}; this network makes {len(calls)} (0 … {len(calls) - 1})"
        )
    chosen = {index % len(calls) for index in layers}
    unplaced = [index for index in sorted(chosen) if calls[index].kind == "other"]
    if unplaced:
        raise OptionError(
            f"layers: activation call {unplaced[0]} has the shape {calls[unplaced[0]].shape}, which has no known place "
            "in the image, so it carries no gates; choose another"
        )
    return chosen

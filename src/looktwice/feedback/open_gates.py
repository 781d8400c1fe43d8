"""Where an ascent starts: all gates open, and probes where only evidence is wanted."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from looktwice.gating.calls import ActivationCall


def open_gates(calls: Sequence[ActivationCall], layers: Sequence[int], images: Tensor) -> dict[int, Tensor]:
    """z = 1 at each of the given calls: call index → (N, ...) on the images' device, in single precision or better.

    All of them are one number in memory, since a first pass needs no more. They cannot be written on.
    """
    dtype = torch.promote_types(images.dtype, torch.float32)  # a step is too small for half precision
    one = images.new_ones((), dtype=dtype)
    return {index: one.expand(len(images), *calls[index].gate_shape) for index in layers}


def probes_for(calls: Sequence[ActivationCall], layers: Collection[int], images: Tensor) -> dict[int, Tensor]:
    """A probe for the evidence of each of the given calls: call index → (N, 1, ...). Its values do not count."""
    dtype = torch.promote_types(images.dtype, torch.float32)
    return {index: images.new_zeros(calls[index].probe_shape(len(images)), dtype=dtype) for index in sorted(layers)}

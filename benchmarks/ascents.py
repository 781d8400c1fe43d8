"""Other ways up ℓ(z) than the default's, for the search: what was tried, and is not in the package.

Each is an ``optimise`` of a row of ``looktwice.attention.METHODS``, in the units of the default: gradients per mean
magnitude of the layer, λ per √(HW).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from looktwice.attention.methods import MAP_OPTIONS, METHODS
from looktwice.feedback import Feedback, ascend, layer_units, open_gates, probes_for
from looktwice.feedback.trace_norm import trace_gradient
from looktwice.gating import ActivationCall, Layers, Network, Saturation, select_layers

State = dict[str, Any]
"""What one layer carries from step to step."""

Move = Callable[[State, Tensor, Tensor, float, float], Tensor]
"""State of the layer, z, gradient in its unit, step size α and λ → the new z, before clipping."""


def optimiser(move: Move, *, start: float = 1.0) -> Callable[..., Feedback]:
    """An ``optimise`` that makes this move in every layer, from gates of one value."""

    def optimise(
        network: Network,
        calls: Sequence[ActivationCall],
        images: Tensor,
        targets: Tensor,
        watched: Collection[int] = (),
        *,
        trace_weight: float = 1.0,
        steps: int = 5,
        step_size: float = 0.2,
        layers: Layers = "coarse",
        saturation: Saturation = "pass",
    ) -> Feedback:
        states: dict[int, State] = {}

        def step(gates: Mapping[int, Tensor], gradients: Mapping[int, Tensor]) -> dict[int, Tensor]:
            moved = {}
            for index, z in gates.items():
                state = states.setdefault(index, {"step": -1})
                state["step"] += 1
                gradient = gradients[index] / layer_units({0: gradients[index]}, "mean")[0]
                moved[index] = move(state, z, gradient, step_size, trace_weight)
            return moved

        gates = open_gates(calls, select_layers(calls, layers), images)
        gates = {index: start * z for index, z in gates.items()}
        probes = probes_for(calls, set(watched) - set(gates), images)
        return ascend(
            network, images, targets, gates, step, steps=steps, probes=probes, saturation=saturation, calls=calls
        )

    return optimise


def direction(z: Tensor, gradient: Tensor, trace_weight: float, smoothing: float = 0.04) -> Tensor:
    """∂ℓ/∂z as the default has it: rank 1 is major, the rest has γ′ = 0."""
    size = z.shape[-2] * z.shape[-1]
    penalty = trace_gradient(z, smoothing=smoothing * size, minor="suppress", rank=1, solver="fast")
    return gradient - trace_weight * size**0.5 * penalty


def plain(state: State, z: Tensor, gradient: Tensor, step_size: float, trace_weight: float) -> Tensor:  # noqa: ARG001
    """The default's step, to check the others' frame by."""
    return z + step_size * direction(z, gradient, trace_weight)


def proximal(state: State, z: Tensor, gradient: Tensor, step_size: float, trace_weight: float) -> Tensor:  # noqa: ARG001
    """A gradient step on S_k, then soft thresholds of the singular values: the proximal step of λ‖z‖_*."""
    U, gamma, Vh = torch.linalg.svd(z + step_size * gradient, full_matrices=False)
    less = step_size * trace_weight * (z.shape[-2] * z.shape[-1]) ** 0.5
    return (U * (gamma - less).clamp_min(0)[..., None, :]) @ Vh


def momentum(state: State, z: Tensor, gradient: Tensor, step_size: float, trace_weight: float) -> Tensor:
    """Half of each step's direction is the last one's (heavy ball)."""
    now = direction(z, gradient, trace_weight)
    state["last"] = now if "last" not in state else 0.5 * state["last"] + 0.5 * now
    return z + step_size * state["last"]


def decreasing(state: State, z: Tensor, gradient: Tensor, step_size: float, trace_weight: float) -> Tensor:
    """Steps of 2α, α, 2α/3 …"""
    return z + 2 * step_size / (state["step"] + 1) * direction(z, gradient, trace_weight)


def scheduled(
    state: State, z: Tensor, gradient: Tensor, step_size: float, trace_weight: float, *, factors: Sequence[float]
) -> Tensor:
    """μ times a factor of its own in each step; the last one stays."""
    factor = factors[min(state["step"], len(factors) - 1)]
    return z + step_size * direction(z, gradient, trace_weight, 0.04 * factor)


ASCENTS: dict[str, Callable[..., Feedback]] = {
    "the same, in the frame of the next rows": optimiser(plain),
    "proximal steps (soft thresholds)": optimiser(proximal),
    "momentum": optimiser(momentum),
    "decreasing steps": optimiser(decreasing),
    "μ falls (×16, 8, 4, 2, 1)": optimiser(partial(scheduled, factors=(16, 8, 4, 2, 1))),
    "μ rises (×1, 2, 4, 8, 16)": optimiser(partial(scheduled, factors=(1, 2, 4, 8, 16))),
    "gates start half open": optimiser(plain, start=0.5),
}

OPTIONS = {
    name: value
    for name, value in METHODS["global_feedback"].options.items()
    if name in {"trace_weight", "steps", "step_size", "layers", *MAP_OPTIONS}
}
"""What a row with such an ``optimise`` takes."""

"""Global perception feedback (Fu, Wu, Dong, He 2017): optimise the gates of a frozen classifier for one class.

At every activation output x stands a gate z of the same shape: y = x ⊙ z, 0 ≤ z ≤ 1, first all ones. For one image I
and one class k

    maximise   ℓ(z) = S_k(I, z) - λ Σ_{layer l, channel c} ‖z^{l,c}‖_*                                     (Eq. 4)

by gradient ascent, z projected to [0, 1] after every step:

    ∂ℓ/∂z = ∂S_k/∂z - λ g⁻¹z                                                          (Eqs. 9, 10; ``trace_norm``)
    z ← clip(z + α ∂ℓ/∂z, 0, 1)                                                                           (Eq. 12)

λ = 0 is the local feedback of Cao et al. (2015). The trace norm makes a channel's gates low-rank: isolated gates close,
coherent regions survive. ∂S_k/∂z = x ⊙ ∂S_k/∂y does not contain z itself, so a closed gate can open again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from looktwice.errors import OptionError
from looktwice.feedback.ascent import Feedback, Objective, ascend
from looktwice.feedback.open_gates import open_gates, probes_for
from looktwice.feedback.open_pass import OpenPass
from looktwice.feedback.trace_norm import TraceNorm
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import ActivationCall, Guidance, Layers, Network, select_layers
from looktwice.options import check_choice

GradientScale = Literal["none", "mean", "max"]
"""Unit of ∂S_k/∂z in a layer, per image: none (the printed paper), its mean magnitude or its maximum magnitude there.

∂S_k/∂z differs by orders of magnitude between layers, because its sum over a layer is about S_k. So one λ and one α
need a unit. With a unit, the penalty of an H×W channel has its own unit too: μ counts in units of HW, which is γ² of an
all-open gate, and g⁻¹z counts √(HW) times. So the penalty is 1/√(1 + μ) at an all-open gate and z/√μ on a suppressed
part, whatever the size. A step of α takes a suppressed part off without overshooting while αλ ≤ √μ.
"""

GATES_PER_THREAD = 2**17
"""Gates penalised per call on the CPU, for each thread (half a megabyte). Small layers share a call, and a call fits
the cores' own caches."""

GATES_PER_LAUNCH = 2**26
"""The same on an accelerator (256 MB), for the power iteration. There each call costs some launches, whatever its size.
A decomposition takes no more than on the CPU: cuSOLVER's batched one fails on very many matrices at once."""


def feedback(
    network: Network,
    calls: Sequence[ActivationCall],
    images: Tensor,
    targets: Tensor,
    watched: Sequence[int] = (),
    *,
    trace_norm: TraceNorm = TraceNorm(),
    steps: int = 10,
    step_size: float = 0.1,
    gradient_scale: GradientScale = "mean",
    fixed_scale: bool = False,
    objective: Objective = "score",
    guided_gates: Guidance = "none",
    layers: Layers = None,
    saturation: Saturation = "exact",
    opened: OpenPass | None = None,
) -> Feedback:
    """Projected gradient ascent on ℓ(z) (Fu et al. 2017, Eqs. 4, 9-12); images (N, C, H, W), targets (N,).

    Args:
        network: images → scores (N, K), in evaluation mode.
        calls: the network's activation calls on these images.
        images: normalised as the network was trained; each is optimised for itself.
        targets: class k of each image, int64.
        watched: calls whose evidence is wanted. Those that ``layers`` leaves out carry no gates.
        trace_norm: the penalty. Gates of a vector (after a linear layer) have no rank and no penalty.
        steps: T ≥ 0 updates, a forward and backward pass each.
        step_size: α > 0, the largest change of a gate per unit of gradient.
        gradient_scale: unit of the gradient in a layer; ``"none"`` is the printed paper.
        fixed_scale: measure that unit in the first pass only. Then the ascent fades as the objective has less to gain
            (log probability), and gates that nothing holds open close.
        objective: what the gates raise in place of S_k.
        guided_gates: where negative gradients are cut on the way down to the gates too. The printed paper cuts them in
            the last pass only. With it, a gate closes for what its own neuron does, not for what an inhibited neuron
            above it does; and the score cannot be raised by switching inhibition off.
        layers: which calls carry gates.
        saturation: gradient above an upper clamp (ReLU6).
        opened: a pass of the same images with open gates; if it fits, the ascent begins with it.

    Raises:
        OptionError: a choice outside its range.
        ModelError: the network's activation calls change between passes.
    """
    check_ascent_options(steps, step_size, gradient_scale, objective)
    gates = open_gates(calls, select_layers(calls, layers), images)
    units: dict[int, Tensor] = {}

    def step(gates: Mapping[int, Tensor], dS_dz: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        """z + α ∂ℓ/∂z (Eq. 12) for every layer, before the projection."""
        moved: Mapping[int, Tensor] = {}
        if trace_norm.weight:
            moved = _penalised(calls, gates, trace_norm, step_size, in_units=gradient_scale != "none")
        if not units or not fixed_scale:
            units.update(layer_units({index: dS_dz[index] for index in gates}, gradient_scale))
        return {
            index: (moved[index] if index in moved else z.clone()).addcdiv_(dS_dz[index], units[index], value=step_size)
            for index, z in gates.items()
        }

    return ascend(
        network,
        images,
        targets,
        gates,
        step,
        steps=steps,
        objective=objective,
        probes=probes_for(calls, set(watched) - set(gates), images),
        guided=guided_gates,
        saturation=saturation,
        calls=calls,
        opened=opened,
    )


def feedback_from_options(
    network: Network,
    calls: Sequence[ActivationCall],
    images: Tensor,
    targets: Tensor,
    watched: Sequence[int] = (),
    *,
    trace_weight: float = TraceNorm.weight,
    **options: Any,
) -> Feedback:
    """``feedback`` with the trace norm's options among the others, as ``attend`` and the command line name them."""
    names = ("smoothing", "minor", "minor_share", "rank", "solver")
    trace_norm = TraceNorm(trace_weight, **{name: options.pop(name) for name in names if name in options})
    return feedback(network, calls, images, targets, watched, trace_norm=trace_norm, **options)


def layer_units(gradients: Mapping[int, Tensor], scale: GradientScale) -> dict[int, Tensor]:
    """Each layer's gradient (N, ...) → its unit (N, 1, ...): mean or largest magnitude per image, or 1 where that is 0.

    All layers are compared with 0 at once, because on a GPU each small operation costs as much as a large one.
    """
    if scale == "none" or not gradients:
        return {index: gradient.new_ones([1] * gradient.ndim) for index, gradient in gradients.items()}
    found = torch.stack([_magnitude(gradient, scale) for gradient in gradients.values()])
    units = torch.where(found > 0, found, 1).unbind()
    return {
        index: unit.view(-1, *[1] * (gradient.ndim - 1))
        for (index, gradient), unit in zip(gradients.items(), units, strict=True)
    }


def _magnitude(gradient: Tensor, scale: GradientScale) -> Tensor:
    magnitude, axes = gradient.abs(), tuple(range(1, gradient.ndim))
    return magnitude.mean(axes) if scale == "mean" else magnitude.amax(axes)


def check_ascent_options(steps: int, step_size: float, gradient_scale: str, objective: str) -> None:
    """Refuses options outside their range, naming the argument."""
    if steps < 0:
        raise OptionError(f"steps is {steps}; 0 or more are needed")
    if not step_size > 0:
        raise OptionError(f"step_size is {step_size}; α must be positive")
    check_choice("gradient_scale", gradient_scale, GradientScale)
    check_choice("objective", objective, Objective)


def _penalised(
    calls: Sequence[ActivationCall],
    gates: Mapping[int, Tensor],
    trace_norm: TraceNorm,
    step_size: float,
    *,
    in_units: bool,
) -> dict[int, Tensor]:
    """z - αλ g⁻¹z (Eqs. 10, 12) for every call with a grid. Calls of one size are computed together."""
    maps = {index: calls[index].to_grid(z) for index, z in gates.items() if calls[index].grid is not None}
    moved: dict[int, Tensor] = {}
    most = _most_gates(maps, trace_norm)
    for group in _of_one_size(maps, most):
        channels = [maps[index].shape[1] for index in group]
        z = _joined([maps[index] for index in group])
        after = _penalised_maps(z, trace_norm, step_size, most, in_units=in_units)
        moved |= zip(group, torch.split(after, channels, 1), strict=True)
    return {index: calls[index].from_grid(z) for index, z in moved.items()}


def _joined(maps: Sequence[Tensor]) -> Tensor:
    """Channels of several calls (N, C, H, W) as one tensor, in the memory layout of the first.

    The tokens of a single image look contiguous to ``torch.cat``, and the power iteration takes twice as long then.
    """
    if len(maps) == 1:
        return maps[0]
    if maps[0].stride(1) == 1:
        return torch.cat([each.movedim(1, -1) for each in maps], -1).movedim(-1, 1)
    return torch.cat(list(maps), 1)


def _penalised_maps(z: Tensor, trace_norm: TraceNorm, step_size: float, most: int, *, in_units: bool) -> Tensor:
    """The same for channels of one size, (N, C, H, W), in calls of ``most`` gates or of a single image."""
    z = trace_norm.truncated(z)
    all_open = z.shape[-2] * z.shape[-1] if in_units else 1  # γ² of an all-open gate
    alpha = step_size * trace_norm.weight * all_open**0.5
    moved = torch.empty_like(z)
    images_at_once = max(1, most // z[0].numel())
    for some, out in zip(torch.split(z, images_at_once), torch.split(moved, images_at_once), strict=True):
        torch.sub(some, trace_norm.gradient(some, all_open), alpha=alpha, out=out)
    return moved


def _of_one_size(maps: Mapping[int, Tensor], most: int) -> list[list[int]]:
    """The calls in groups of one grid, each with at most ``most`` gates or a single call."""
    groups: list[list[int]] = []
    last: dict[tuple[int, ...], tuple[list[int], int]] = {}
    for index, z in maps.items():
        group, held = last.get(z.shape[2:], ([], most))
        if held + z.numel() > most:
            group, held = [], 0
            groups.append(group)
        group.append(index)
        last[z.shape[2:]] = group, held + z.numel()
    return groups


def _most_gates(maps: Mapping[int, Tensor], trace_norm: TraceNorm) -> int:
    """How many gates are penalised per call."""
    on_cpu = all(z.device.type == "cpu" for z in maps.values())
    return (
        GATES_PER_LAUNCH if trace_norm.takes_leading_pair and not on_cpu else GATES_PER_THREAD * torch.get_num_threads()
    )

"""Global perception feedback (Fu, Wu, Dong, He 2017): optimise the gates of a frozen classifier for one class.

Behind every ReLU output x stands a gate z of the same shape: y = x ⊙ z, 0 ≤ z ≤ 1, first all ones. For one image I
and one class k

    maximise   ℓ(z) = S_k(I, z) - λ Σ_{layer l, channel c} ‖z^{l,c}‖_*                                     (Eq. 4)

by z ← clip(z + α ∂ℓ/∂z, 0, 1) with ∂ℓ/∂z = ∂S_k/∂z - λ g⁻¹z  (Eqs. 9-12, see ``spectral``). λ = 0 is the local
feedback of Cao et al. (2015). The trace norm makes a channel's gates low-rank: isolated gates close, coherent regions
survive. Because ∂S_k/∂z = x ⊙ ∂S_k/∂y does not see z itself, a closed gate can open again.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from looktwice.errors import OptionError
from looktwice.feedback.ascent import Feedback, Objective, ascend, open_gates, probes_for
from looktwice.feedback.trace_norm import Minor, Solver, check_spectral_options, trace_gradient, truncate
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import ActivationCall, Guidance, Layers, Network, select_layers

GradientScale = Literal["none", "mean", "max"]
"""Unit of ∂S_k/∂z in a layer, per image: none (the printed paper), its mean or its maximum magnitude there.

∂S_k/∂z differs by orders of magnitude between layers (its sum over a layer is about S_k), so one λ and one α need it.
With a unit, the penalty of an H×W channel is measured in its own: μ in units of HW, which is γ² of an all-open gate,
and g⁻¹z times √(HW). So it is 1/√(1 + μ) at an all-open gate and z/√μ on a suppressed part, whatever the size,
and a step of α takes a suppressed part off without overshooting it while αλ ≤ √μ.
"""


GATES_PER_CALL = 2**19
"""So many gates at most, two megabytes, are penalised at once: few calls for small layers, and all in the cache."""


def feedback(
    network: Network,
    calls: Sequence[ActivationCall],
    images: Tensor,
    targets: Tensor,
    watched: Sequence[int] = (),
    *,
    trace_weight: float,
    steps: int = 10,
    step_size: float = 0.1,
    smoothing: float = 1.0,
    minor: Minor = "suppress",
    minor_share: float = 0.1,
    rank: int | None = None,
    solver: Solver = "fast",
    gradient_scale: GradientScale = "mean",
    fixed_scale: bool = False,
    objective: Objective = "score",
    guided_gates: Guidance = "none",
    layers: Layers = None,
    saturation: Saturation = "exact",
) -> Feedback:
    """Projected gradient ascent on ℓ(z) (Fu et al. 2017, Eqs. 4, 9-12); images (N, C, H, W), targets (N,).

    Args:
        network: images → scores (N, K), in evaluation mode.
        calls: the network's ReLU calls on these images.
        images: normalised as the network was trained; each is optimised for itself.
        targets: class k of each image, int64.
        watched: calls whose evidence is wanted; those among them that ``layers`` leaves out carry no gates.
        trace_weight: λ ≥ 0; 0 is local feedback. Vector gates (behind a linear layer) have no rank and no penalty.
        steps: T ≥ 0 updates, a forward and backward pass each.
        step_size: α > 0, the largest change of a gate per unit of gradient.
        smoothing: μ > 0, in units of a squared singular value; beside a unit of the gradient, of an all-open gate's.
        minor: reading of "get rid of the minor constituent of γ"; see ``spectral``.
        minor_share: share of the energy Σγ² that is minor.
        rank: how many leading singular values are major, instead of ``minor_share``.
        solver: ``"svd"`` is the slow reference.
        gradient_scale: unit of the gradient in a layer; ``"none"`` is the printed paper.
        fixed_scale: measure that unit in the first pass only. Then the ascent fades as the objective has less to gain
            (log probability), and what is left closes the gates that nothing holds open.
        objective: what the gates raise in place of S_k.
        guided_gates: where negative gradients are cut on the way down to the gates too; the printed paper does so only
            in the last pass. A gate then closes for what its neuron does itself, not for what an inhibited
            neuron above it does, and the score cannot be driven up by switching inhibition off.
        layers: which calls carry gates.
        saturation: gradient above an upper clamp (ReLU6).

    Raises:
        OptionError: a choice outside its range.
        ModelError: the network's ReLU calls change between passes.
    """
    check_ascent_options(steps, step_size, trace_weight, gradient_scale, objective)
    check_spectral_options(smoothing, minor, minor_share, rank, solver)

    units: dict[int, Tensor] = {}

    def penalised(z: Tensor) -> Tensor:
        """z - αλ g⁻¹z of channels of one size, (N, C, H, W)."""
        if minor == "project":
            z = truncate(z, minor_share, rank, solver)
        all_open = 1 if gradient_scale == "none" else z.shape[-2] * z.shape[-1]  # γ² of such a gate
        moved = torch.empty_like(z)
        images_at_once = max(1, GATES_PER_CALL // z[0].numel())
        for some, out in zip(torch.split(z, images_at_once), torch.split(moved, images_at_once), strict=True):
            penalty = trace_gradient(
                some,
                smoothing=smoothing * all_open,
                minor="keep" if minor == "project" else minor,
                minor_share=minor_share,
                rank=rank,
                solver=solver,
            )
            torch.sub(some, penalty, alpha=step_size * trace_weight * all_open**0.5, out=out)
        return moved

    def step(gates: Mapping[int, Tensor], dS_dz: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        moved = dict(gates)
        for group in _of_one_size(gates) if trace_weight else []:
            channels = [gates[index].shape[1] for index in group]
            z = torch.cat([gates[index] for index in group], 1) if len(group) > 1 else gates[group[0]]
            moved |= zip(group, torch.split(penalised(z), channels, 1), strict=True)
        for index, z in moved.items():
            if index not in units or not fixed_scale:
                units[index] = layer_unit(dS_dz[index], gradient_scale)
            moved[index] = torch.addcdiv(z, dS_dz[index], units[index], value=step_size)
        return moved

    gates = open_gates(calls, select_layers(calls, layers), images)
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
        calls=len(calls),
    )


def _of_one_size(gates: Mapping[int, Tensor]) -> list[list[int]]:
    """The calls with channels (H, W), in groups of one size with at most ``GATES_PER_CALL`` gates, or of one call."""
    groups: list[list[int]] = []
    last: dict[tuple[int, ...], tuple[list[int], int]] = {}
    for index, z in gates.items():
        if z.ndim != 4:
            continue
        group, held = last.get(z.shape[2:], ([], GATES_PER_CALL))
        if held + z.numel() > GATES_PER_CALL:
            group, held = [], 0
            groups.append(group)
        group.append(index)
        last[z.shape[2:]] = group, held + z.numel()
    return groups


def layer_unit(gradient: Tensor, scale: GradientScale) -> Tensor:
    """A layer's gradient (N, ...) → its unit (N, 1, ...): the mean or largest magnitude of each image; 1 for 0."""
    if scale == "none":
        return gradient.new_ones([1] * gradient.ndim)
    magnitude, axes = gradient.abs(), tuple(range(1, gradient.ndim))
    unit = magnitude.mean(axes, keepdim=True) if scale == "mean" else magnitude.amax(axes, keepdim=True)
    return torch.where(unit > 0, unit, torch.ones_like(unit))


def check_ascent_options(
    steps: int, step_size: float, trace_weight: float, gradient_scale: str, objective: str
) -> None:
    """Refuses options outside their range, naming the argument."""
    if steps < 0:
        raise OptionError(f"steps is {steps}; 0 or more are needed")
    if not step_size > 0:
        raise OptionError(f"step_size is {step_size}; α must be positive")
    if not trace_weight >= 0:
        raise OptionError(f"trace_weight is {trace_weight}; λ must not be negative (0 is local feedback)")
    if gradient_scale not in get_args(GradientScale):
        raise OptionError(
            f"gradient_scale is {gradient_scale!r}; one of {', '.join(get_args(GradientScale))} is needed"
        )
    if objective not in get_args(Objective):
        raise OptionError(f"objective is {objective!r}; one of {', '.join(get_args(Objective))} is needed")

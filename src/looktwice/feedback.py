"""Global perception feedback (Fu, Wu, Dong, He 2017): optimise the gates of a frozen classifier for one class.

Behind every ReLU output x stands a gate z of the same shape: y = x ⊙ z, 0 ≤ z ≤ 1, first all ones. For one image I
and one class k

    maximise   ℓ(z) = S_k(I, z) - λ Σ_{layer l, channel c} ‖z^{l,c}‖_*                                     (Eq. 4)

by z ← clip(z + α ∂ℓ/∂z, 0, 1) with ∂ℓ/∂z = ∂S_k/∂z - λ g⁻¹z  (Eqs. 9-12, see ``spectral``). λ = 0 is the local
feedback of Cao et al. (2015). The trace norm makes a channel's gates low-rank: isolated gates close, coherent regions
survive. Because ∂S_k/∂z = x ⊙ ∂S_k/∂y does not see z itself, a closed gate can open again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from looktwice.errors import ModelError, OptionError
from looktwice.gating import (
    NO_GATES,
    Guidance,
    Layers,
    Network,
    Prefix,
    ReluCall,
    Saturation,
    gated_scores,
    select_layers,
)
from looktwice.spectral import Minor, Solver, check_spectral_options, trace_gradient, truncate

GradientScale = Literal["none", "mean", "max"]
"""Unit of ∂S_k/∂z in a layer, per image: none (the printed paper), its mean or its maximum magnitude there.

∂S_k/∂z differs by orders of magnitude between layers (its sum over a layer is about S_k), so one λ and one α need it.
With a unit, the penalty of an H×W channel is measured in its own: μ in units of HW, which is γ² of an all-open gate,
and g⁻¹z times √(HW). So it is 1/√(1 + μ) at an all-open gate and z/√μ on a suppressed part, whatever the size,
and a step of α takes a suppressed part off without overshooting it while αλ ≤ √μ.
"""

Objective = Literal["score", "contrast", "log_probability"]
"""What the gates raise: S_k, the logit (the paper); S_k less the mean of the strongest five other scores, so that what
speaks for the rivals as well gains nothing; or log softmax(S)_k, with nothing to gain once k is certain."""

RIVALS = 5

Step = Callable[[Mapping[int, Tensor], Mapping[int, Tensor]], Mapping[int, Tensor]]
"""An update: gates z and gradients ∂S_k/∂z by call index, (N, ...) each → the new gates, before clipping."""

TOGETHER = 2**19
"""So many gates at most, two megabytes, are penalised at once: few calls for small layers, and all in the cache."""


@dataclass(frozen=True)
class Feedback:
    """Where the gates ended.

    Attributes:
        gates: ReLU call index → z (N, ...) in [0, 1].
        scores: S_k before each step and after the last, (N, steps + 1).
        evidence: ReLU call index → what each neuron brings while all gates are open, x ⊙ ∂/∂y of the objective in the
            first pass: signed and of every neuron (N, ...) for gated calls, the positive part summed over the channels
            (N, 1, ...) for those that were ``watched``.
        closed: (image, call index) of every layer whose last gates would all have closed; its gates were kept as
            they stood before that step, because no score or gradient passes a closed layer.
    """

    gates: dict[int, Tensor]
    scores: Tensor
    closed: tuple[tuple[int, int], ...]
    evidence: Mapping[int, Tensor] = field(default_factory=dict)


def feedback(
    network: Network,
    calls: Sequence[ReluCall],
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
    _check_options(steps, step_size, trace_weight, gradient_scale, objective)
    check_spectral_options(smoothing, minor, minor_share, rank, solver)

    units: dict[int, Tensor] = {}

    def penalised(z: Tensor) -> Tensor:
        """z - αλ g⁻¹z of channels of one size, (N, C, H, W)."""
        if minor == "project":
            z = truncate(z, minor_share, rank, solver)
        all_open = 1 if gradient_scale == "none" else z.shape[-2] * z.shape[-1]  # γ² of such a gate
        moved = torch.empty_like(z)
        images_at_once = max(1, TOGETHER // z[0].numel())
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


def closed_form_feedback(
    network: Network,
    calls: Sequence[ReluCall],
    images: Tensor,
    targets: Tensor,
    watched: Sequence[int] = (),
    *,
    steps: int = 10,
    layers: Layers = None,
    saturation: Saturation = "exact",
) -> Feedback:
    """Local feedback as its authors coded it: z = 1[∂S_k/∂y ⊙ x > 0], repeated (Cao et al. 2015).

    Layer by layer Cao et al. pose a linear programme in z (their Eq. 5); its optimum is a corner, reached at once.
    """
    _check_options(steps, 1.0, 0.0, "none", "score")
    gates = open_gates(calls, select_layers(calls, layers), images)
    return ascend(
        network,
        images,
        targets,
        gates,
        lambda gates, dS_dz: {index: (dS_dz[index] > 0).to(z.dtype) for index, z in gates.items()},
        steps=steps,
        probes=probes_for(calls, set(watched) - set(gates), images),
        saturation=saturation,
        calls=len(calls),
    )


def ascend(
    network: Network,
    images: Tensor,
    targets: Tensor,
    gates: dict[int, Tensor],
    step: Step,
    *,
    steps: int,
    probes: Mapping[int, Tensor] = NO_GATES,
    objective: Objective = "score",
    guided: Guidance = "none",
    saturation: Saturation,
    calls: int | None = None,
) -> Feedback:
    """``steps`` times: pass forward and back to the gates, step every layer, clip to [0, 1]; then once forward.

    The first pass goes on down to the ``probes``, for the evidence of calls without gates; where maps are that large,
    it is made in parts of the batch, so that it needs no more memory than the others.
    """
    scored = partial(gated_scores, network, guided=guided, saturation=saturation, calls=calls)

    def passed(
        prefix: Prefix, part: slice = slice(None), probed: Mapping[int, Tensor] = NO_GATES
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """S_k of each image of a part of the batch, and the gradients at its probes and gates."""
        leaves = {index: leaf[part].detach().requires_grad_() for index, leaf in {**probed, **gates}.items()}
        at_gates, at_probes = ({index: leaves[index] for index in which} for which in (gates, probed))
        scores = scored(images[part], at_gates, probes=at_probes, prefix=prefix)
        if not scores.requires_grad:
            raise ModelError("no gradient reaches the gates from the class scores; the forward pass must not detach")
        found = torch.autograd.grad(
            _raised(scores, targets[part], objective).sum(),
            list(leaves.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        return _of_targets(scores.detach(), targets[part]), dict(zip(leaves, found, strict=True))

    def passed_in_parts() -> tuple[Prefix, Tensor, dict[int, Tensor]]:
        """The first pass, down to the probes."""
        gradients = {index: torch.empty_like(leaf) for index, leaf in {**probes, **gates}.items()}
        prefixes, scores = [], []
        for part in _parts(len(images)):
            prefixes.append(Prefix(min(gates)))
            of_part, found = passed(prefixes[-1], part, probes)
            scores.append(of_part)
            for index, gradient in found.items():
                gradients[index][part] = gradient
        return Prefix.joined(prefixes), torch.cat(scores), gradients

    if probes:
        prefix, scores, gradients = passed_in_parts()
    else:
        prefix = Prefix(min(gates))
        scores, gradients = passed(prefix)
    evidence, trajectory = gradients, [scores]
    closed: set[tuple[int, int]] = set()
    for left in reversed(range(steps)):
        with torch.no_grad():
            for index, after in step(gates, gradients).items():
                gates[index], alive = _keep_alive(gates[index], after.clamp_(0, 1))
                closed = {(image, layer) for image, layer in closed if layer != index or not alive[image]}
                closed |= {(int(image), index) for image in (~alive).nonzero().flatten()}
        if left:
            scores, gradients = passed(prefix)
        else:
            with torch.no_grad():
                scores = _of_targets(scored(images, gates, prefix=prefix), targets)
        trajectory.append(scores)
    return Feedback(gates, torch.stack(trajectory, 1), tuple(sorted(closed)), dict(sorted(evidence.items())))


def _parts(count: int) -> list[slice]:
    """About thirds of a batch; never all of one size, from which ``Prefix.joined`` could tell nothing."""
    size = next((size for size in (count // 3 + 1, count // 2 + 1) if count % size), count)
    return [slice(start, start + size) for start in range(0, count, size)]


def _raised(scores: Tensor, targets: Tensor, objective: Objective) -> Tensor:
    """What is raised for each image: scores (N, K), targets (N,) → (N,)."""
    if objective == "log_probability":
        return _of_targets(scores.log_softmax(1), targets)
    own = _of_targets(scores, targets)
    rivals = min(RIVALS, scores.shape[1] - 1)
    if objective == "score" or not rivals:
        return own
    others = scores.scatter(1, targets[:, None], -torch.inf)
    return own - others.topk(rivals, 1).values.mean(1)


def _of_targets(scores: Tensor, targets: Tensor) -> Tensor:
    return scores.gather(1, targets[:, None]).squeeze(1)


def open_gates(calls: Sequence[ReluCall], layers: Sequence[int], images: Tensor) -> dict[int, Tensor]:
    """z = 1 behind each of the given calls: call index → (N, ...) on the images' device, in their dtype."""
    return {
        index: images.new_ones((len(images), *calls[index].shape)).contiguous(memory_format=calls[index].layout)
        for index in layers
    }


def probes_for(calls: Sequence[ReluCall], layers: Collection[int], images: Tensor) -> dict[int, Tensor]:
    """Of each of the given calls a probe for its evidence: call index → (N, 1, ...); its values do not count."""
    return {index: images.new_zeros((len(images), 1, *calls[index].shape[1:])) for index in sorted(layers)}


def _of_one_size(gates: Mapping[int, Tensor]) -> list[list[int]]:
    """The calls with channels (H, W), in groups of one size with at most ``TOGETHER`` gates, or of one call."""
    groups: list[list[int]] = []
    last: dict[tuple[int, ...], tuple[list[int], int]] = {}
    for index, z in gates.items():
        if z.ndim != 4:
            continue
        group, held = last.get(z.shape[2:], ([], TOGETHER))
        if held + z.numel() > TOGETHER:
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


def _keep_alive(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The new gates, or the old ones for an image where all would close or one is NaN; and which took."""
    alive = after.amax(tuple(range(1, after.ndim)), keepdim=True) > 0  # the maximum with a NaN is NaN
    return after if alive.all() else torch.where(alive, after, before), alive.flatten()


def _check_options(steps: int, step_size: float, trace_weight: float, gradient_scale: str, objective: str) -> None:
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

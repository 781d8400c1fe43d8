"""Projected gradient ascent on gates: passes, steps, clipping."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from looktwice.errors import ModelError
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import NO_GATES, ActivationCall, Guidance, Network
from looktwice.gating.passes import gated_scores
from looktwice.gating.replay import PrefixCache

Objective = Literal["score", "contrast", "log_probability"]
"""What the gates raise: S_k, the logit (the paper); S_k less the mean of the strongest five other scores, so that what
speaks for the rivals as well gains nothing; or log softmax(S)_k, with nothing to gain once k is certain."""


RIVALS = 5


Step = Callable[[Mapping[int, Tensor], Mapping[int, Tensor]], Mapping[int, Tensor]]
"""An update: gates z and gradients ∂S_k/∂z by call index, (N, ...) each → the new gates, before clipping."""


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
        prefix: PrefixCache, part: slice = slice(None), probed: Mapping[int, Tensor] = NO_GATES
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

    def passed_in_parts() -> tuple[PrefixCache, Tensor, dict[int, Tensor]]:
        """The first pass, down to the probes."""
        gradients = {index: torch.empty_like(leaf) for index, leaf in {**probes, **gates}.items()}
        prefixes, scores = [], []
        for part in _parts(len(images)):
            prefixes.append(PrefixCache(min(gates)))
            of_part, found = passed(prefixes[-1], part, probes)
            scores.append(of_part)
            for index, gradient in found.items():
                gradients[index][part] = gradient
        return PrefixCache.joined(prefixes), torch.cat(scores), gradients

    if probes:
        prefix, scores, gradients = passed_in_parts()
    else:
        prefix = PrefixCache(min(gates))
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
    """About thirds of a batch; never all of one size, from which ``PrefixCache.joined`` could tell nothing."""
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


def open_gates(calls: Sequence[ActivationCall], layers: Sequence[int], images: Tensor) -> dict[int, Tensor]:
    """z = 1 behind each of the given calls: call index → (N, ...) on the images' device, in their dtype."""
    return {
        index: images.new_ones((len(images), *calls[index].shape)).contiguous(memory_format=calls[index].layout)
        for index in layers
    }


def probes_for(calls: Sequence[ActivationCall], layers: Collection[int], images: Tensor) -> dict[int, Tensor]:
    """Of each of the given calls a probe for its evidence: call index → (N, 1, ...); its values do not count."""
    return {index: images.new_zeros((len(images), 1, *calls[index].shape[1:])) for index in sorted(layers)}


def _keep_alive(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The new gates, or the old ones for an image where all would close or one is NaN; and which took."""
    alive = after.amax(tuple(range(1, after.ndim)), keepdim=True) > 0  # the maximum with a NaN is NaN
    return after if alive.all() else torch.where(alive, after, before), alive.flatten()

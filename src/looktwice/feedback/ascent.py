"""Projected gradient ascent on gates: pass forward and back, step every layer, clip to [0, 1].

What a step does is its caller's: the paper's step is in ``global_feedback``, Cao's in ``closed_form``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from looktwice.errors import LooktwiceError, ModelError, OptionError
from looktwice.feedback.open_gates import open_gates, probes_for
from looktwice.feedback.open_pass import OpenPass
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import NO_GATES, ActivationCall, Guidance, Network, select_layers
from looktwice.gating.memory import is_out_of_memory
from looktwice.gating.passes import gated_scores
from looktwice.gating.replay import PrefixCache

Objective = Literal["score", "contrast", "log_probability"]
"""What the gates raise. ``score`` is S_k, the logit (the paper). ``contrast`` is S_k less the mean of the five
strongest other scores: what also speaks for the rivals gains nothing. ``log_probability`` is log softmax(S)_k: there is
nothing to gain once k is certain."""

RIVALS = 5
"""How many other scores ``contrast`` takes."""

Step = Callable[[Mapping[int, Tensor], Mapping[int, Tensor]], Mapping[int, Tensor]]
"""An update: gates z and gradients ∂S_k/∂z by call index, (N, ...) each → the new gates, before clipping."""


@dataclass(frozen=True)
class Feedback:
    """Where the gates ended.

    Attributes:
        gates: call index → z (N, ...) in [0, 1].
        scores: S_k before each step and after the last, (N, steps + 1).
        closed: (image, call index) of every layer whose gates would all have closed in the last step. Its gates were
            kept as they stood before that step, because no score or gradient passes a closed layer.
        evidence: call index → what each neuron brings while all gates are open, x ⊙ ∂/∂y of the objective in the first
            pass. For gated calls it is signed and of every neuron (N, ...). For ``watched`` calls it is the positive
            part, summed over the channels (N, 1, ...).
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
    calls: Sequence[ActivationCall] | None = None,
    opened: OpenPass | None = None,
) -> Feedback:
    """``steps`` times: pass forward and back to the gates, step every layer, clip to [0, 1]; then once forward.

    Args:
        network: images (N, C, H, W) → scores (N, K).
        images: each is optimised for itself.
        targets: class k of each image, int64 (N,).
        gates: where the ascent starts; they are replaced as it climbs, and lie in memory like their layer's output.
        step: the update.
        steps: how many, from 0.
        probes: for the evidence of calls without gates. The first pass goes down to them.
        objective: what the gates raise.
        guided: where negative gradients are cut on the way down to the gates.
        saturation: gradient above an upper clamp.
        calls: those of the first pass; see ``gated_scores``.
        opened: a pass of the same images with open gates; if it fits, the ascent begins with it.

    Raises:
        ModelError: no gradient reaches the gates, or the network's calls change between passes.
    """
    passes = _Passes(network, images, targets, objective, guided, saturation, calls)
    prefix, scores, gradients = passes.first(gates, probes, opened)
    evidence, trajectory = gradients, [scores]
    gates.update({index: torch.empty_like(gradients[index]).copy_(z) for index, z in gates.items()})
    closed: set[tuple[int, int]] = set()
    for left in reversed(range(steps)):
        with torch.no_grad():
            stepped = {index: z.clamp_(0, 1) for index, z in step(gates, gradients).items()}
            closed = {(image, index) for image, index in closed if index not in stepped} | _closed(stepped)
            for image, index in closed:
                if index in stepped:
                    stepped[index][image] = gates[index][image]
            gates.update(stepped)
        if left:
            scores, gradients = passes.down(gates, prefix)
        else:
            scores = passes.up(gates, prefix)
        trajectory.append(scores)
    return Feedback(gates, torch.stack(trajectory, 1), tuple(sorted(closed)), dict(sorted(evidence.items())))


def open_evidence(
    network: Network,
    calls: Sequence[ActivationCall],
    images: Tensor,
    targets: Tensor,
    watched: Sequence[int],
    *,
    guided: Guidance,
    saturation: Saturation,
) -> Feedback:
    """The class evidence while all gates are open: one pass and no step, so no gates come back.

    Args:
        network: images (N, C, H, W) → scores (N, K).
        calls: the network's activation calls on these images.
        images: (N, C, H, W).
        targets: class k of each image, int64 (N,).
        watched: the calls whose evidence is wanted, besides those of the coarsest maps.
        guided: where negative gradients are cut.
        saturation: gradient above an upper clamp.
    """
    gates = open_gates(calls, select_layers(calls, "coarsest"), images)
    probes = probes_for(calls, set(watched) - set(gates), images)
    passes = _Passes(network, images, targets, "score", guided, saturation, calls)
    _, scores, evidence = passes.first(gates, probes)
    return Feedback({}, scores[:, None], (), dict(sorted(evidence.items())))


@dataclass(frozen=True)
class _Passes:
    """The passes of one ascent: network, images and classes stay, gates change."""

    network: Network
    images: Tensor
    targets: Tensor
    objective: Objective
    guided: Guidance
    saturation: Saturation
    calls: Sequence[ActivationCall] | None

    def first(
        self, gates: Mapping[int, Tensor], probes: Mapping[int, Tensor], opened: OpenPass | None = None
    ) -> tuple[PrefixCache, Tensor, dict[int, Tensor]]:
        """The first pass, down to the probes: the cache for the passes to come, S_k (N,), and all gradients.

        The forward pass may have been made before, with the look at the images. Else, with probes, it is made in parts
        of the batch: maps that probes reach are large, and so it needs no more memory than the others.
        """
        taken = None if opened is None else opened.take(self.images, gates, probes, self.guided, self.saturation)
        if taken is not None:
            prefix, scores, leaves = taken
            return prefix, *self._back(scores, leaves, gates, slice(None))
        if probes and len(self.images) > 1:
            try:
                return self._first_in_parts(gates, probes)
            except LooktwiceError:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                # A network may take only batches of its own size. Any other error comes again below.
        prefix = PrefixCache(min(gates))
        return prefix, *self.down(gates, prefix, probes)

    def _first_in_parts(
        self, gates: Mapping[int, Tensor], probes: Mapping[int, Tensor]
    ) -> tuple[PrefixCache, Tensor, dict[int, Tensor]]:
        prefixes, scores, gradients = [], [], []
        for part in _parts(len(self.images)):
            prefixes.append(PrefixCache(min(gates)))
            of_part, found = self.down(gates, prefixes[-1], probes, part)
            scores.append(of_part)
            gradients.append(found)
        whole = {index: torch.cat([found.pop(index) for found in gradients]) for index in list(gradients[0])}
        return PrefixCache.joined(prefixes), torch.cat(scores), whole

    def down(
        self,
        gates: Mapping[int, Tensor],
        prefix: PrefixCache,
        probes: Mapping[int, Tensor] = NO_GATES,
        part: slice = slice(None),
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Forward and back, for a part of the batch: S_k of each image, and the gradients at its probes and gates."""
        leaves = {index: leaf[part].detach().requires_grad_() for index, leaf in {**probes, **gates}.items()}
        at_gates, at_probes = ({index: leaves[index] for index in which} for which in (gates, probes))
        scores = self._scores(self.images[part], at_gates, at_probes, prefix)
        return self._back(scores, leaves, gates, part)

    def _back(
        self, scores: Tensor, leaves: Mapping[int, Tensor], gates: Mapping[int, Tensor], part: slice
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """From scores (N, K), back to the leaves: S_k of each image, and the gradients at its probes and gates."""
        if not scores.requires_grad:
            raise ModelError("no gradient reaches the gates from the class scores; the forward pass must not detach")
        found = torch.autograd.grad(
            _raised(scores, self.targets[part], self.objective).sum(), list(leaves.values()), allow_unused=True
        )
        unreached = [index for index, gradient in zip(leaves, found, strict=True) if gradient is None]
        if unreached:
            at_gates = {index: leaves[index] for index in gates}
            self._check_unreached(unreached, at_gates, scores.detach(), part)
        gradients = {
            index: torch.zeros_like(leaf) if gradient is None else gradient
            for (index, leaf), gradient in zip(leaves.items(), found, strict=True)
        }
        return _of_targets(scores.detach(), self.targets[part]), gradients

    def _check_unreached(
        self, unreached: Sequence[int], gates: Mapping[int, Tensor], scores: Tensor, part: slice
    ) -> None:
        """Refuses a network that cuts gradients off. A gate without a gradient must not matter for the scores either.

        Raises:
            ModelError: closing such gates changes the scores.
        """
        closed = {index: torch.zeros_like(z) if index in unreached else z for index, z in gates.items()}
        with torch.no_grad():
            without = self._scores(self.images[part], closed, NO_GATES, None)
        if not torch.allclose(without, scores):
            raise ModelError(
                f"no gradient reaches the gates of activation call {unreached[0]} from the class scores, though they "
                "depend on it; the forward pass must not detach, nor run parts of the network under no_grad"
            )

    def up(self, gates: Mapping[int, Tensor], prefix: PrefixCache) -> Tensor:
        """Forward alone: S_k (N,)."""
        with torch.no_grad():
            return _of_targets(self._scores(self.images, gates, NO_GATES, prefix), self.targets)

    def _scores(
        self, images: Tensor, gates: Mapping[int, Tensor], probes: Mapping[int, Tensor], prefix: PrefixCache | None
    ) -> Tensor:
        return gated_scores(
            self.network,
            images,
            gates,
            probes=probes,
            prefix=prefix,
            guided=self.guided,
            saturation=self.saturation,
            calls=self.calls,
        )


def _parts(count: int) -> list[slice]:
    """About thirds of a batch, never all of one size: ``PrefixCache.joined`` could tell nothing from that."""
    size = next((size for size in (count // 3 + 1, count // 2 + 1) if count % size), count)
    return [slice(start, start + size) for start in range(0, count, size)]


def _raised(scores: Tensor, targets: Tensor, objective: Objective) -> Tensor:
    """What is raised for each image: scores (N, K), targets (N,) → (N,)."""
    if objective == "log_probability":
        if scores.shape[1] == 1:
            raise OptionError(
                "objective is 'log_probability', which compares classes; with a single score take 'score'"
            )
        return _of_targets(scores.log_softmax(1), targets)
    own = _of_targets(scores, targets)
    rivals = min(RIVALS, scores.shape[1] - 1)
    if objective == "score" or not rivals:
        return own
    others = scores.scatter(1, targets[:, None], -torch.inf)
    return own - others.topk(rivals, 1).values.mean(1)


def _of_targets(scores: Tensor, targets: Tensor) -> Tensor:
    return scores.gather(1, targets[:, None]).squeeze(1)


def _closed(gates: Mapping[int, Tensor]) -> set[tuple[int, int]]:
    """(image, call index) of the layers whose gates are all closed, or hold a NaN."""
    if not gates:
        return set()
    tops = torch.stack([z.amax(tuple(range(1, z.ndim))) for z in gates.values()])  # the maximum with a NaN is NaN
    layers = list(gates)
    return {(image, layers[row]) for row, image in (~(tops > 0)).nonzero().tolist()}

"""From a method and a batch of images to attention maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from looktwice.attention.affinity import Affinity, Features, propagate_map
from looktwice.attention.evidence import Channels, Scales, Source, attention_map, evidence_map, kept_evidence
from looktwice.attention.finishing import Values, check_finish, finish_map
from looktwice.attention.peers import Peer
from looktwice.errors import ModelError
from looktwice.feedback.ascent import Feedback
from looktwice.feedback.class_gradient import class_gradient
from looktwice.feedback.global_feedback import feedback
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import ActivationCall, Guidance, Layers, Network, select_layers
from looktwice.gating.frozen import FrozenNetwork
from looktwice.gating.passes import activation_calls
from looktwice.options import check_choice


@dataclass(frozen=True)
class Attention:
    """What the network attends to for one class of each image.

    Attributes:
        maps: (N, H, W) in [0, 1], each with maximum 1; all zero where no gradient reaches the image.
        gradients: G_k (N, C, H, W), signed, per unit of the normalised image; (N, 0) where the map needed none.
        gates: one tensor (N, ...) in [0, 1] per gated ReLU call, in call order; empty without feedback.
        layers: the gated calls, in the same order.
        scores: S_k at the start and after every step, (N, steps + 1).
        targets: class k of each image, int64 (N,).
        closed: (image, ReLU call) of layers that the last step would have closed altogether; see ``Feedback``.
    """

    maps: Tensor
    gradients: Tensor
    gates: tuple[Tensor, ...]
    layers: tuple[ActivationCall, ...]
    scores: Tensor
    targets: Tensor
    closed: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FirstPass:
    """What methods and classes have in common: a plain forward pass.

    Attributes:
        calls: the network's ReLU calls on images of this size.
        scores: (N, K).
        alike: which places look alike, where that was asked for and the network has maps.
    """

    calls: list[ActivationCall]
    scores: Tensor
    alike: Affinity | None

    def of(self, images: slice | Sequence[int]) -> "FirstPass":
        """That of some of the images."""
        return FirstPass(self.calls, self.scores[images], None if self.alike is None else self.alike.of(images))


def first_pass(network: FrozenNetwork, images: Tensor, *, compare: bool) -> FirstPass:
    """A plain forward pass of images (N, C, H, W); ``compare``: for a method that propagates its map.

    Raises:
        ModelError: the network makes no ReLU call that can be gated.
    """
    features = Features()
    calls, scores = activation_calls(network, images, features.look if compare else None)
    return FirstPass(calls, scores, features.affinity())


def peer_attention(
    network: FrozenNetwork,
    first: FirstPass,
    images: Tensor,
    targets: Tensor,
    peer: Peer,
    *,
    propagate: bool = False,
    values: Values = "maximum",
    blur: float = 0.0,
    **options: Any,
) -> Attention:
    """The attention of another package's method."""
    check_finish(values, blur)
    found = peer(network, images, targets, **options)
    maps = attention_map(found) if found.ndim == 4 else found
    maps = _finished(first, maps, propagate=propagate, values=values, blur=blur)
    none = images.new_empty((len(images), 0))
    return Attention(maps.to(images.dtype), found if found.ndim == 4 else none, (), (), none, targets, ())


def own_attention(
    network: Network,
    first: FirstPass,
    images: Tensor,
    targets: Tensor,
    optimise: Callable[..., Feedback] | None,
    *,
    guided: Guidance = "all",
    saturation: Saturation = "exact",
    source: Source = "gradient",
    scales: Scales = "coarsest",
    propagate: bool = False,
    values: Values = "maximum",
    channels: Channels = "max",
    blur: float = 0.045,
    **options: Any,
) -> Attention:
    """The attention of one of our methods."""
    check_choice("source", source, Source)
    check_choice("scales", scales, Scales)
    check_finish(values, blur)
    at_image = images.new_empty((len(images), 0))
    found = Feedback({}, at_image, ())
    calls = first.calls
    shown: Layers = "fine" if scales == "all" else "coarsest"
    seen = source == "evidence" and (scales == "all" or optimise is None)
    watched = select_layers(calls, shown) if seen else []
    if optimise is not None:
        found = optimise(network, calls, images, targets, watched, saturation=saturation, **options)
    elif source == "evidence":  # without gates: those of a pass without a step are open
        found = feedback(
            network,
            calls,
            images,
            targets,
            watched,
            trace_weight=0,
            steps=0,
            layers="coarsest",
            guided_gates=guided,
            saturation=saturation,
        )
        found = replace(found, gates={})
    scores = found.scores
    if source == "gradient":
        gradient = class_gradient(
            network,
            images,
            targets,
            gates=found.gates,
            guided=guided,
            saturation=saturation,
            calls=len(calls),
        )
        at_image = gradient.image
        scores = gradient.scores[:, None] if optimise is None else scores
        maps = attention_map(at_image, channels=channels)
    else:
        kept = kept_evidence(calls, found.evidence, found.gates, shown)
        maps = evidence_map(kept, size=(images.shape[-2], images.shape[-1]))
    maps = _finished(first, maps, propagate=propagate, values=values, blur=blur)
    return Attention(
        maps=maps.to(images.dtype),
        gradients=at_image,
        gates=tuple(found.gates.values()),
        layers=tuple(calls[index] for index in found.gates),
        scores=scores.to(images.dtype),
        targets=targets,
        closed=found.closed,
    )


def _finished(first: FirstPass, maps: Tensor, *, propagate: bool, values: Values, blur: float) -> Tensor:
    if propagate:
        if first.alike is None:
            raise ModelError(
                "no ReLU call of this network has a map, so its places cannot be compared; propagate=False"
            )
        maps = propagate_map(maps, first.alike)
    return finish_map(maps, values=values, blur=blur)

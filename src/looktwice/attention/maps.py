"""From a method and a look at images to attention maps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from looktwice.attention.affinity import PROPAGATION_POWER, propagate_map
from looktwice.attention.evidence import (
    Channels,
    Scales,
    Source,
    attention_map,
    class_evidence,
    evidence_map,
    kept_evidence,
    propagation_power,
)
from looktwice.attention.finishing import Values, check_finish, finish_map, unit_maximum
from looktwice.attention.look import Look, Opening
from looktwice.attention.methods import Attribute, Method, Optimise
from looktwice.errors import FINITE_REMEDY, LooktwiceError, ModelError, OptionError
from looktwice.feedback.ascent import Feedback, open_evidence
from looktwice.feedback.class_gradient import class_gradient
from looktwice.feedback.global_feedback import feedback_from_options
from looktwice.feedback.open_pass import OpenLayers
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import NO_ACTIVATIONS, ActivationCall, Guidance, Layers, select_layers
from looktwice.gating.frozen import FrozenNetwork, gradients_checked
from looktwice.options import check_choice


@dataclass(frozen=True)
class Attention:
    """What the network attends to for one class of each image.

    Attributes:
        maps: what speaks for the class: (N, H, W) in [0, 1], each with maximum 1; all zero where no gradient reaches
            the image.
        extents: how far what is attended to reaches, for boxes: (N, H, W) as ``maps``. Of most methods they are the
            maps. ``global_feedback`` shows in its maps what is the class's own, which is less than the whole object.
        gradients: G_k (N, C, H, W), signed, per unit of the normalised image; (N, 0) where the map needed none.
        gates: one tensor (N, ...) in [0, 1] per gated call, in call order; empty without feedback.
        layers: the gated calls, in the same order.
        scores: S_k at the start and after every step, (N, steps + 1).
        targets: class k of each image, int64 (N,).
        closed: (image, call index) of layers that the last step would have closed altogether; see ``Feedback``.
        activations: how many activation calls the network makes, with gates or without.
        notes: what a reader must know: the image it is about, or ``None`` for all, and one line.
    """

    maps: Tensor
    extents: Tensor
    gradients: Tensor
    gates: tuple[Tensor, ...]
    layers: tuple[ActivationCall, ...]
    scores: Tensor
    targets: Tensor
    closed: tuple[tuple[int, int], ...]
    activations: int = 0
    notes: tuple[tuple[int | None, str], ...] = ()


@dataclass(frozen=True)
class FinishOptions:
    """What every map goes through at last; see ``finishing`` and ``affinity``.

    Raises:
        OptionError: unknown ``values``, or a ``blur`` outside its range.
    """

    propagate: bool
    values: Values
    blur: float

    def __post_init__(self) -> None:
        check_finish(self.values, self.blur)


@dataclass(frozen=True)
class MapOptions:
    """How our own methods make a map.

    Attributes:
        guided: where negative gradients are cut in the last pass.
        saturation: gradient above an upper clamp (ReLU6).
        source: whether the map shows a gradient or evidence.
        scales: whose evidence the map shows.
        channels: how a gradient's input channels become one map.
        class_power: with gates and evidence, the map that is shown is the extent times this power of the class's own
            evidence; see ``class_evidence``. 0 shows the extent itself.

    Raises:
        OptionError: an unknown ``source`` or ``scales``, or a negative ``class_power``.
    """

    guided: Guidance
    saturation: Saturation
    source: Source
    scales: Scales
    channels: Channels
    class_power: float

    def __post_init__(self) -> None:
        check_choice("source", self.source, Source)
        check_choice("scales", self.scales, Scales)
        if self.class_power < 0:
            raise OptionError(f"class_power is {self.class_power}; 0 or more is needed (0 shows the extent itself)")

    @property
    def shown(self) -> Layers:
        """The layers whose evidence the map shows."""
        return "fine" if self.scales == "all" else "coarsest"


@dataclass(frozen=True)
class _ClassesOwn:
    """The class's own evidence (N, H, W), and its power in the map that is shown."""

    evidence: Tensor
    power: float


def opening_of(row: Method, options: Mapping[str, Any]) -> Opening | None:
    """What the first pass of a method carries, so that the look at the images can carry it already.

    Args:
        row: the method.
        options: all of the method's.

    Returns:
        ``None`` if the method does not begin with a plain pass.
    """
    return partial(_open_layers, options) if row.optimise is feedback_from_options else None


def _open_layers(options: Mapping[str, Any], calls: Sequence[ActivationCall]) -> OpenLayers | None:
    with suppress(LooktwiceError):  # the method itself says what is wrong
        shows_all = options["source"] == "evidence" and options["scales"] == "all"
        return OpenLayers(
            gated=select_layers(calls, options.get("layers")),
            watched=select_layers(calls, "fine") if shows_all else (),
            guided=options.get("guided_gates", "none"),
            saturation=options["saturation"],
        )
    return None


def method_attention(row: Method, look: Look, targets: Tensor, options: Mapping[str, Any]) -> Attention:
    """The attention of a method for one class of each image.

    Args:
        row: the method.
        look: the network and N images.
        targets: the class of each image, int64 (N,).
        options: all of the method's.
    """
    if row.optimise is None and options.get("guided", "none") != "none" and not look.calls:
        raise ModelError(f"{row.label.title} cuts gradients at activations, and {NO_ACTIVATIONS}")
    own = dict(options)
    finish = FinishOptions(**{field.name: own.pop(field.name) for field in fields(FinishOptions)})
    if row.attribute is not None:
        attention = _attributed(row.attribute, look, targets, finish, own)
        caution = row.caution(look.network, look.calls) if row.caution is not None else None
        return replace(attention, notes=((None, caution), *attention.notes)) if caution else attention
    choices = MapOptions(**{field.name: own.pop(field.name) for field in fields(MapOptions)})
    attention = _own_attention(row, look, targets, choices, finish, own)
    if look.handwritten and (row.has_gates or choices.guided != "none"):
        return replace(attention, notes=(*attention.notes, (None, _handwritten(look))))
    return attention


def _handwritten(look: Look) -> str:
    return (
        f"the network writes out {look.handwritten} of its activations in its own code (x · sigmoid(x), a clamp at 0), "
        f"so only the other {len(look.calls)} are gated or guided; call F.silu, F.gelu, F.relu … there"
    )


def _own_attention(
    row: Method, look: Look, targets: Tensor, choices: MapOptions, finish: FinishOptions, own: Mapping[str, Any]
) -> Attention:
    """The attention of one of our own methods."""
    found = _feedback(row.optimise, look, targets, choices, own)
    if choices.source == "evidence":
        kept = kept_evidence(look.calls, found.evidence, found.gates, choices.shown)
        size = (look.images.shape[-2], look.images.shape[-1])
        power = propagation_power(kept) if choices.scales == "all" else PROPAGATION_POWER
        heat, classes_own = evidence_map(kept, size=size), None
        if choices.class_power and any(look.calls[index].grid is not None for index in found.gates):
            of_class = class_evidence(look.calls, found.evidence, found.gates, size=size)
            classes_own = _ClassesOwn(of_class, choices.class_power)
        return _attention(look, targets, finish, heat, found, classes_own=classes_own, power=power)
    gradient = class_gradient(
        look.network,
        look.images,
        targets,
        gates=found.gates,
        guided=choices.guided,
        saturation=choices.saturation,
        calls=look.calls,
    )
    if row.optimise is None:
        found = Feedback({}, gradient.scores[:, None], ())
    heat = attention_map(gradient.image, channels=choices.channels)
    return _attention(look, targets, finish, heat, found, gradient.image)


def _attributed(
    attribute: Attribute, look: Look, targets: Tensor, finish: FinishOptions, options: Mapping[str, Any]
) -> Attention:
    """The attention of a function that makes the map, or an attribution, by itself."""
    network, images = _in_single_precision(look)
    with gradients_checked(network):  # it may be another network than the one that is frozen
        found = attribute(network, images, targets, **options)
    if len(found) != len(look.images):
        raise ModelError(
            f"the method returned {len(found)} maps for {len(look.images)} images; it cannot be used on a network that "
            "folds frames or crops into the batch"
        )
    if not found.isfinite().all():
        raise ModelError(f"the method's map is not finite; {FINITE_REMEDY}")
    without = Feedback({}, look.images.new_empty((len(look.images), 0)), ())
    if found.ndim == 4:
        return _attention(look, targets, finish, attention_map(found), without, found)
    return _attention(look, targets, finish, found, without)


def _in_single_precision(look: Look) -> tuple[FrozenNetwork, Tensor]:
    """The network and images for another package, which may not take half precision: then a copy in single
    precision.
    """
    if look.images.dtype not in (torch.float16, torch.bfloat16):
        return look.network, look.images
    return FrozenNetwork(deepcopy(look.network.module).float(), look.network.output), look.images.float()


def _feedback(
    optimise: Optimise | None, look: Look, targets: Tensor, choices: MapOptions, options: Mapping[str, Any]
) -> Feedback:
    """Gates and evidence, as far as the map needs them."""
    needed = choices.source == "evidence" and (choices.scales == "all" or optimise is None)
    watched = select_layers(look.calls, choices.shown) if needed else []
    if optimise is feedback_from_options:
        options = {**options, "opened": look.opened}
    if optimise is not None:
        return optimise(
            look.network, look.calls, look.images, targets, watched, saturation=choices.saturation, **options
        )
    if choices.source == "gradient":
        return Feedback({}, look.images.new_empty((len(look.images), 0)), ())
    return open_evidence(
        look.network,
        look.calls,
        look.images,
        targets,
        watched,
        guided=choices.guided,
        saturation=choices.saturation,
    )


def _attention(
    look: Look,
    targets: Tensor,
    finish: FinishOptions,
    maps: Tensor,
    found: Feedback,
    gradients: Tensor | None = None,
    *,
    classes_own: _ClassesOwn | None = None,
    power: float = PROPAGATION_POWER,
) -> Attention:
    """The finished maps (N, H, W), and what led to them."""
    if finish.propagate and look.affinity is None:
        raise ModelError("no activation of this network has a map, so places cannot be compared; pass propagate=False")

    def propagated(heat: Tensor) -> Tensor:
        heat = heat.to(torch.promote_types(heat.dtype, torch.float32))
        return propagate_map(heat, look.affinity, power=power) if finish.propagate and look.affinity else heat

    def finished(heat: Tensor) -> Tensor:
        return finish_map(heat, values=finish.values, blur=finish.blur).to(look.images.dtype)

    reach = propagated(maps)
    extents = maps = finished(reach)
    notes: list[tuple[int | None, str]] = [*((None, note) for note in look.notes), *_notes_on_gates(look.calls, found)]
    if classes_own is not None:
        own = unit_maximum(propagated(classes_own.evidence))
        without = own.amax((1, 2), keepdim=True) == 0
        maps = finished(unit_maximum(reach) * torch.where(without, 1, own.pow(classes_own.power)))
        notes += _notes_on_own(without.flatten() & (reach.amax((1, 2)) > 0))
    return Attention(
        maps=maps,
        extents=extents,
        gradients=look.images.new_empty((len(maps), 0)) if gradients is None else gradients,
        gates=tuple(found.gates.values()),
        layers=tuple(look.calls[index] for index in found.gates),
        scores=found.scores.to(look.images.dtype),
        targets=targets,
        closed=found.closed,
        activations=len(look.calls),
        notes=(*notes, *_notes_on_maps(maps)),
    )


def _notes_on_gates(calls: Sequence[ActivationCall], found: Feedback) -> Iterator[tuple[None, str]]:
    """Whether much of the network could not be gated."""
    unplaced = [call for call in calls if call.kind == "other"]
    if found.gates and 2 * len(unplaced) > len(calls):
        yield (
            None,
            f"{len(unplaced)} of the network's {len(calls)} activations carry no gates, because they do not lie like "
            "the image (squeezes, attention); the map shows what passes the others",
        )


def _notes_on_own(without: Tensor) -> Iterator[tuple[int, str]]:
    """Which images (N,) have no evidence of the class's own, though finer layers have some."""
    for image in without.nonzero().flatten().tolist():
        yield (
            image,
            "nothing on the coarsest maps with gates speaks for the class, only finer layers do; so the map is not the "
            "class's own, but shows how far what is attended to reaches",
        )


def _notes_on_maps(maps: Tensor) -> Iterator[tuple[int, str]]:
    """Which maps (N, H, W) show nothing."""
    for image, (low, high) in enumerate(zip(maps.amin((1, 2)).tolist(), maps.amax((1, 2)).tolist(), strict=True)):
        if high == 0:
            yield image, "the map is zero everywhere: nothing in the image speaks for the class"
        elif low == high:
            yield image, "the map is the same everywhere, so it shows no place"

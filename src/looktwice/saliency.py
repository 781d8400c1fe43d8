"""From a class gradient to an attention map; the table of methods; the front door ``attend``."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from looktwice import peers
from looktwice.affinity import Affinity, Features, carry_over, unit_maximum
from looktwice.classifier import FrozenNetwork, Targets, check_images, frozen, resolve_targets
from looktwice.errors import ModelError, OptionError
from looktwice.feedback import Feedback, closed_form_feedback, feedback
from looktwice.gating import Guidance, Layers, Network, ReluCall, Saturation, relu_calls, select_layers
from looktwice.gradients import class_gradient
from looktwice.options import check_known

Channels = Literal["max", "sum"]
"""How a gradient's input channels become one map: their largest magnitude (Simonyan et al. 2013) or their sum."""

Source = Literal["gradient", "evidence"]
"""What the map shows: the magnitude of the gradient at the image (Fu et al. 2017, Eq. 2), or the class evidence in the
coarsest layers, x ⊙ ∂S_k/∂y in the open network where it is positive (LayerCAM, Jiang et al. 2021), as far as the gates
let it through: z ⊙ [x ⊙ ∂S_k/∂y]₊. What the gates were raised for stands for S_k, where that is not the score."""

Scales = Literal["coarsest", "all"]
"""Whose evidence the map shows: the coarsest layers' (of those with gates), which see the object's telling part and not
where it ends; or that of all maps at a stride of about 4 pixels or more, as the geometric mean of the resolutions."""

Values = Literal["maximum", "energy"]
"""What a map's values are shares of: its maximum, or its energy (Σ of squares): then a pixel says how much of it lies
on the pixels that are attended to no more than it. So a threshold t keeps the pixels that hold 1 - t of the energy,
fewer on a small object than on a large one, where a share of the maximum depends on a single pixel."""


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
    layers: tuple[ReluCall, ...]
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

    calls: list[ReluCall]
    scores: Tensor
    alike: Affinity | None

    def of(self, images: slice | Sequence[int]) -> "FirstPass":
        """That of some of the images."""
        return FirstPass(self.calls, self.scores[images], None if self.alike is None else self.alike.of(images))


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    One of ours has ``guided`` (its last pass) and perhaps ``optimise`` (how its gates are found); a ``peer`` is another
    package's, and has neither.
    """

    summary: str
    source: str
    guided: Guidance = "none"
    optimise: Callable[..., Feedback] | None = None
    defaults: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    peer: peers.Peer | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keyword options that ``attend`` takes for this method, with their defaults."""
        steps: list[Callable[..., Any] | None] = [self.optimise, _attend]
        if self.peer is not None:
            steps = [self.peer, _attend_as_peer]
        parameters = [p for step in steps if step is not None for p in signature(step).parameters.values()]
        own = {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
        fixed = dict(self.defaults) if self.peer is not None else {"guided": self.guided} | dict(self.defaults)
        return {
            name: fixed.get(name, default)
            for name, default in own.items()
            if default is not Parameter.empty or name in fixed
        }


def _row(
    summary: str,
    source: str,
    optimise: Callable[..., Feedback] | None = None,
    /,
    *,
    guided: Guidance = "all",
    **defaults: Any,
) -> Method:
    return Method(summary, source, guided, optimise, MappingProxyType(defaults))


def _peer(summary: str, source: str, peer: peers.Peer, /, **defaults: Any) -> Method:
    return Method(summary, source, defaults=MappingProxyType(defaults), peer=peer)


_MAP: Mapping[str, Any] = {"values": "energy", "blur": 0.02}
"""How a map is finished, the same for every method of ours, so that they differ in what they see alone."""

_FEEDBACK: Mapping[str, Any] = {
    "guided": "below",
    "layers": "coarse",
    "saturation": "pass",
    "steps": 5,
    "step_size": 0.2,
    "source": "evidence",
    **_MAP,
}
"""What makes feedback sound on any network; see docs/method.md."""

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "gradient": _row("class gradient at the image (GT)", "Simonyan et al. 2013", guided="none", **_MAP),
        "guided_backprop": _row("gradient without negative parts at any ReLU (GB)", "Springenberg et al. 2014", **_MAP),
        "feedback": _row(
            "gates optimised for the class score alone (FB)",
            "Cao et al. 2015",
            feedback,
            trace_weight=0.0,
            **_FEEDBACK,
        ),
        "feedback_closed_form": _row(
            "gates set to 1[x ∂S/∂y > 0], repeated, on every layer", "Cao et al. 2015", closed_form_feedback
        ),
        "global_feedback": _row(
            "gates optimised for the class score less their trace norm (GP)",
            "Fu et al. 2017",
            feedback,
            trace_weight=1.0,
            smoothing=0.04,
            minor="suppress",
            rank=1,
            scales="all",
            spread=True,
            **_FEEDBACK,
        ),
        "global_feedback_paper": _row(
            "GP with the printed update: one step size and λ for all layers, raw gradients",
            "Fu et al. 2017, Eqs. 9-12",
            feedback,
            trace_weight=0.01,
            step_size=0.1,
            smoothing=1.0,
            minor="suppress",
            gradient_scale="none",
        ),
        "grad_cam": _peer("Grad-CAM of the last feature maps", "Selvaraju et al. 2017", peers.grad_cam),
        "grad_cam_plus_plus": _peer("Grad-CAM++", "Chattopadhyay et al. 2018", peers.grad_cam_plus_plus),
        "layer_cam": _peer("LayerCAM of the last feature maps", "Jiang et al. 2021", peers.layer_cam),
        "integrated_gradients": _peer(
            "integrated gradients from the mean colour",
            "Sundararajan et al. 2017",
            peers.integrated_gradients,
            blur=0.045,
        ),
        "guided_grad_cam": _peer("Guided Grad-CAM", "Selvaraju et al. 2017", peers.guided_grad_cam, blur=0.045),
    }
)


def attend(
    model: nn.Module,
    images: Tensor,
    targets: Targets = None,
    *,
    method: str | Method = "global_feedback",
    **options: Any,
) -> Attention:
    """A class's attention map for each image: images (N, C, H, W) → maps (N, H, W) and what led to them.

    Args:
        model: a trained classifier with ReLUs, as it is; it is left as found. Its output may be (N, K) scores, an
            object with ``.logits``, or a tuple or dict that begins with the scores.
        images: normalised as the model was trained, on the model's device. The result stays there, in their dtype. A
            batch that does not fit the device's memory is split and goes on.
        targets: one class for all images, one each, or ``None``: the prediction, fixed before the first step.
        method: a name of ``METHODS``, or a row of your own: one of these with another ``optimise``, say.
        **options: the method's own (``METHODS[method].options`` lists them with their defaults) and, for all,
            ``spread`` (whether the map is carried over to what looks alike to the network, see ``affinity``),
            ``values`` (what a map's values are shares of) and ``blur`` (σ of a Gaussian over the map, as a share of
            its shorter side; 0 is none).

    Raises:
        InputError: images or targets that cannot be used.
        OptionError: an unknown method or option, or a value outside its range.
        ModelError: no ReLU call to gate, a TorchScript model, control flow that changes between passes, no memory for
            a single image.
    """
    chosen = resolve_options(method, options)
    images = check_images(images)
    with frozen(model) as network:
        first = first_pass(network, images, compare=chosen["spread"])
        wanted = resolve_targets(targets, first.scores)

        def look(part: slice) -> Attention:
            return attend_frozen(network, first.of(part), images[part], wanted[part], method, chosen)

        return _in_parts(look, 0, len(images))


def _in_parts(look: Callable[[slice], Attention], start: int, stop: int) -> Attention:
    """A batch's attention, or that of its halves where it does not fit the device's memory."""
    found = None
    with suppress(torch.OutOfMemoryError):  # behind it what the pass held is free again
        found = look(slice(start, stop))
    if found is not None:
        return found
    if stop - start == 1:
        raise ModelError(
            "the device's memory is too small for one image; take a smaller network, image or another device"
        )
    middle = (start + stop) // 2
    return _joined(_in_parts(look, start, middle), _in_parts(look, middle, stop))


def _joined(first: Attention, second: Attention) -> Attention:
    """Two batches as one."""
    return Attention(
        maps=torch.cat([first.maps, second.maps]),
        gradients=torch.cat([first.gradients, second.gradients]),
        gates=tuple(torch.cat(pair) for pair in zip(first.gates, second.gates, strict=True)),
        layers=first.layers,
        scores=torch.cat([first.scores, second.scores]),
        targets=torch.cat([first.targets, second.targets]),
        closed=first.closed + tuple((image + len(first.maps), layer) for image, layer in second.closed),
    )


def _row_of(method: str | Method) -> Method:
    if isinstance(method, Method):
        return method
    check_known("method", method, METHODS)
    return METHODS[method]


def resolve_options(method: str | Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """A method's options, those left out as their defaults.

    Raises:
        OptionError: an unknown method or option.
    """
    defaults = _row_of(method).options
    for name in options:
        check_known(f"option for {method if isinstance(method, str) else method.summary}", name, defaults)
    return defaults | dict(options)


def first_pass(network: FrozenNetwork, images: Tensor, *, compare: bool) -> FirstPass:
    """A plain forward pass of images (N, C, H, W); ``compare``: a method is going to carry its map over (``spread``).

    Raises:
        ModelError: the network makes no ReLU call that can be gated.
    """
    features = Features()
    calls, scores = relu_calls(network, images, features.look if compare else None)
    return FirstPass(calls, scores, features.affinity())


def attend_frozen(
    network: FrozenNetwork,
    first: FirstPass,
    images: Tensor,
    targets: Tensor,
    method: str | Method,
    options: Mapping[str, Any],
) -> Attention:
    """``attend`` where the first forward pass is made already.

    Args:
        network: as ``classifier.frozen`` gives it.
        first: of these images.
        images: (N, C, H, W), checked.
        targets: class k of each, int64 (N,).
        method: a name of ``METHODS``, or such a row.
        options: all of the method's (``resolve_options``).
    """
    row = _row_of(method)
    if row.peer is not None:
        return _attend_as_peer(network, first, images, targets, row.peer, **options)
    return _attend(network, first, images, targets, row.optimise, **options)


def _attend_as_peer(
    network: FrozenNetwork,
    first: FirstPass,
    images: Tensor,
    targets: Tensor,
    peer: peers.Peer,
    *,
    spread: bool = False,
    values: Values = "maximum",
    blur: float = 0.0,
    **options: Any,
) -> Attention:
    check_finish(values, blur)
    found = peer(network, images, targets, **options)
    maps = attention_map(found) if found.ndim == 4 else found
    maps = _finished(first, maps, spread=spread, values=values, blur=blur)
    none = images.new_empty((len(images), 0))
    return Attention(maps.to(images.dtype), found if found.ndim == 4 else none, (), (), none, targets, ())


def _attend(
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
    spread: bool = False,
    values: Values = "maximum",
    channels: Channels = "max",
    blur: float = 0.045,
    **options: Any,
) -> Attention:
    _check_choice("source", source, Source)
    _check_choice("scales", scales, Scales)
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
        kept = _kept_evidence(calls, found.evidence, found.gates, shown)
        maps = evidence_map(kept, size=(images.shape[-2], images.shape[-1]))
    maps = _finished(first, maps, spread=spread, values=values, blur=blur)
    return Attention(
        maps=maps.to(images.dtype),
        gradients=at_image,
        gates=tuple(found.gates.values()),
        layers=tuple(calls[index] for index in found.gates),
        scores=scores.to(images.dtype),
        targets=targets,
        closed=found.closed,
    )


def _finished(first: FirstPass, maps: Tensor, *, spread: bool, values: Values, blur: float) -> Tensor:
    if spread:
        if first.alike is None:
            raise ModelError("no ReLU call of this network has a map, so its places cannot be compared; spread=False")
        maps = carry_over(maps, first.alike)
    return finish_map(maps, values=values, blur=blur)


def _check_choice(name: str, value: str, known: Any) -> None:
    if value not in get_args(known):
        raise OptionError(f"{name} is {value!r}; one of {', '.join(get_args(known))} is needed")


def _kept_evidence(
    calls: Sequence[ReluCall], evidence: Mapping[int, Tensor], gates: Mapping[int, Tensor], shown: Layers
) -> list[Tensor]:
    """Of the layers to be shown among those that have any: the positive evidence, as far as gates let it through."""
    layers = select_layers([calls[index] for index in evidence], shown)
    if not all(evidence[index].isfinite().all() for index in layers):
        raise ModelError("the class evidence is not finite; pass the model and the images as float64")
    positive = {index: evidence[index].clamp_min(0) for index in layers}
    return [gates[index] * brought if index in gates else brought for index, brought in positive.items()]


def evidence_map(evidence: Sequence[Tensor], *, size: tuple[int, int]) -> Tensor:
    """Positive class evidence of several layers as one map with maximum 1: (N, C, h, w) each → (N, H, W) in [0, 1].

    Each layer is summed over its channels and scaled to maximum 1; layers of one resolution are averaged, so that a
    resolution does not count for its number of layers. The map is the geometric mean of the resolutions at the image's
    size: what is attended to brings evidence at all scales, an edge of another object only at the finest. A resolution
    without any evidence in an image is left out there.

    Args:
        evidence: one tensor of not negative values a layer.
        size: (H, W) of the map.
    """
    resolutions: dict[tuple[int, int], list[Tensor]] = {}
    for layer in evidence:
        resolutions.setdefault((layer.shape[-2], layer.shape[-1]), []).append(unit_maximum(layer.sum(1)))
    means = [unit_maximum(torch.stack(layers).mean(0)) for layers in resolutions.values()]
    scales = torch.stack(
        [F.interpolate(mean[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] for mean in means]
    )
    present = scales.flatten(2).amax(2)[..., None, None] > 0
    weights = present / present.sum(0).clamp_min(1)
    return unit_maximum(scales.pow(weights).prod(0) * present.any(0))  # 0⁰ = 1 leaves an absent one out


def attention_map(gradients: Tensor, *, channels: Channels = "max") -> Tensor:
    """Magnitude of a gradient over its channels, with maximum 1: (N, C, H, W) → (N, H, W) in [0, 1].

    Args:
        gradients: signed class gradients at the image.
        channels: largest or summed magnitude.

    Raises:
        OptionError: an unknown ``channels``.
    """
    _check_choice("channels", channels, Channels)
    magnitude = unit_maximum(gradients.abs())
    return unit_maximum(magnitude.amax(1) if channels == "max" else magnitude.sum(1))


def finish_map(maps: Tensor, *, values: Values, blur: float) -> Tensor:
    """What every method's map goes through at last: (N, H, W), not negative → (N, H, W) in [0, 1], maximum 1.

    Args:
        maps: as they come.
        values: what the values are shares of.
        blur: σ of a Gaussian as a share of the shorter side of the map; 0 leaves it as it is.

    Raises:
        OptionError: unknown ``values``, or ``blur`` outside [0, 0.5].
    """
    check_finish(values, blur)
    heat = unit_maximum(maps)  # before the blur: a gradient of 1e-30 must not underflow in it
    sigma = blur * min(heat.shape[-2:])
    if sigma > 0:
        with torch.autocast(heat.device.type, enabled=False):
            heat = unit_maximum(_gaussian_blur(heat, sigma))
    return energy_shares(heat) if values == "energy" else heat


def energy_shares(maps: Tensor) -> Tensor:
    """Each pixel's value as a share of the map's energy: (N, H, W), not negative → (N, H, W) in [0, 1].

    The share is Σ of the squares of all pixels that have no larger value, so equal pixels stay equal, the order stays
    as it is and the maximum becomes 1; a zero map stays zero.
    """
    flat = maps.flatten(1)
    ascending = flat.sort(1).values
    held = ascending.square().cumsum(1)
    total = held[:, -1:]
    last = torch.searchsorted(ascending, flat.contiguous(), right=True) - 1
    shares = held.gather(1, last) / torch.where(total > 0, total, torch.ones_like(total))
    return shares.view_as(maps)


def check_finish(values: str, blur: float) -> None:
    """Refuses unknown ``values`` and a σ outside [0, 0.5] of the map's shorter side."""
    _check_choice("values", values, Values)
    if not 0 <= blur <= 0.5:
        raise OptionError(f"blur is {blur}; a share of the shorter side in [0, 0.5] is needed")


def _gaussian_blur(heat: Tensor, sigma: float) -> Tensor:
    """A separable Gaussian cut off at 3σ, zero outside the map and renormalised there: (N, H, W) → (N, H, W)."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=heat.device, dtype=heat.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)

    def along_rows_then_columns(x: Tensor) -> Tensor:
        x = F.conv2d(x[:, None], kernel.view(1, 1, 1, -1), padding=(0, radius))
        return F.conv2d(x, kernel.view(1, 1, -1, 1), padding=(radius, 0))[:, 0]

    return along_rows_then_columns(heat) / along_rows_then_columns(torch.ones_like(heat[:1]))

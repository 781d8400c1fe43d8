"""The front door: a class's attention map for each image."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from looktwice.attention.maps import Attention, FirstPass, first_pass, own_attention, peer_attention
from looktwice.attention.methods import Method, method_row, resolve_options
from looktwice.errors import ModelError
from looktwice.gating.frozen import FrozenNetwork, Targets, check_images, frozen, resolve_targets


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
            ``propagate`` (whether the map is carried over to what looks alike to the network, see ``affinity``),
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
        first = first_pass(network, images, compare=chosen["propagate"])
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
    row = method_row(method)
    if row.peer is not None:
        return peer_attention(network, first, images, targets, row.peer, **options)
    return own_attention(network, first, images, targets, row.optimise, **options)

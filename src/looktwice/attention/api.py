"""The front door: a class's attention map for each image."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from looktwice.attention.choice import ChosenMethod
from looktwice.attention.look import Look, look_at
from looktwice.attention.maps import Attention, method_attention, opening_of
from looktwice.attention.methods import Method, find_method, resolve_options
from looktwice.defaults import DEFAULT_METHOD
from looktwice.errors import LooktwiceWarning, ModelError
from looktwice.gating.frozen import Targets, one_for_each, resolve_targets
from looktwice.gating.memory import is_out_of_memory
from looktwice.gating.outputs import RECOGNISED, NetworkOutput


def attend(
    model: nn.Module,
    images: Tensor,
    targets: Targets = None,
    *,
    method: str | Method = DEFAULT_METHOD,
    output: NetworkOutput = RECOGNISED,
    **options: Any,
) -> Attention:
    """A class's attention map for each image: images (N, C, H, W) → maps (N, H, W) and what led to them.

    Args:
        model: a trained classifier with ReLUs, as it is; it is left as found. Its output may be (N, K) scores, (N,) for
            a single score, an object with ``.logits``, a tuple that begins with the scores, or a dict with them as
            ``"logits"``. For any other, ``output`` names the entry.
        images: normalised as the model was trained, on the model's device. The result stays there, in their dtype. A
            batch that does not fit the device's memory is split and goes on.
        targets: one class for all images, one each, or ``None``: the prediction, fixed before the first step. A single
            image may have several: then there is a map for each of them, and all share one plain pass.
        method: a name of ``METHODS``, a row of your own, or where it is: ``path/to/file.py:NAME``.
        output: what you declare of the network's output: which entry of it is the class scores, and of what kind they
            are. ``NetworkOutput(scores="heads.main")`` names an entry.
        **options: the method's own. ``METHODS[method].options`` lists them with their defaults. All methods take three:
            ``propagate``, whether the map is carried over to places that look alike to the network (see ``affinity``).
            ``values``, what a map's values are shares of. And ``blur``, the σ of a Gaussian over the map, as a share of
            its shorter side; 0 is none.

    Raises:
        InputError: images or targets that cannot be used.
        OptionError: an unknown method or option, or a value outside its range.
        ModelError: no activation to gate, a TorchScript model, control flow that changes between passes, no memory
            for a single image, no class scores in the output.

    Warns:
        LooktwiceWarning: a map that shows nothing, a network most of whose activations carry no gates, or a tuple of
            several tensors that may all be class scores.

    Example:
        >>> import torch, looktwice
        >>> model = looktwice.load_model("squeezenet1_1", weights="random")
        >>> found = looktwice.attend(model.module, torch.rand(2, 3, 64, 64), 7)
        >>> found.maps.shape, found.targets.tolist()
        (torch.Size([2, 64, 64]), [7, 7])
    """
    chosen = resolve_options(method, options)
    opening = opening_of(find_method(method), chosen)
    count = len(images) if isinstance(images, Tensor) and images.ndim == 4 else 1  # the look refuses all others

    def attend_part(part: slice) -> Attention:
        some, wanted = images, targets
        if part != slice(0, count):
            some, wanted = images[part], None if targets is None else one_for_each(targets, count)[part]
        with look_at(model, some, propagate=chosen["propagate"], output=output, opening=opening) as look:
            rounds = _rounds(wanted, look.scores)
            return reduce(_joined, (attend_in_parts(look, one_each, method, chosen) for one_each in rounds))

    attention = _in_parts(attend_part, 0, count)
    what = "image" if len(attention.maps) == count else "target"
    for place, note in attention.notes:
        warnings.warn(note if place is None else f"{what} {place}: {note}", LooktwiceWarning, stacklevel=2)
    return attention


def _rounds(targets: Targets, scores: Tensor) -> list[Tensor]:
    """The classes to attend to, one after the other: for each the class of every image, int64 (N,).

    Only a single image has several. They do not share a batch, so that no map depends on the others.
    """
    if len(scores) > 1:
        return [resolve_targets(targets, scores)]
    shape = getattr(targets, "shape", (len(targets),) if isinstance(targets, Sequence) else ())
    return [one[None] for one in resolve_targets(targets, scores.expand(max(1, prod(shape)), -1))]


def look_for(
    model: nn.Module, images: Tensor, methods: Sequence[ChosenMethod], *, output: NetworkOutput = RECOGNISED
) -> AbstractContextManager[Look]:
    """``look_at`` for some methods: one plain pass that has what all of them need, and that the first one begins with.

    Args:
        model: the classifier.
        images: (N, C, H, W), normalised as the model was trained.
        methods: one or more, the one that attends first before the others.
        output: what is declared of the network's output.

    Raises:
        InputError: images that cannot be used.
        ModelError: as ``look_at``.
    """
    first, propagate = methods[0], any(method.options["propagate"] for method in methods)
    opening = opening_of(first.method, first.options)
    return look_at(model, images, propagate=propagate, output=output, opening=opening)


def attend_look(look: Look, targets: Tensor, method: str | Method, options: Mapping[str, Any]) -> Attention:
    """``attend`` after the plain forward pass: one pass serves several methods and classes.

    Args:
        look: the network and the images, inside ``look_at``'s ``with``.
        targets: the class of each image, int64 (N,), on the images' device.
        method: as ``attend`` takes it.
        options: all of the method's options, as ``resolve_options`` gives them.

    Raises:
        OptionError: a value outside its range.
        ModelError: the method cannot be used on this network.
    """
    return method_attention(find_method(method), look, targets, options)


def attend_in_parts(look: Look, targets: Tensor, method: str | Method, options: Mapping[str, Any]) -> Attention:
    """As ``attend_look``; a batch that does not fit the device's memory is split in halves and goes on.

    Raises:
        ModelError: a single image does not fit.
    """

    def attend_part(part: slice) -> Attention:
        return attend_look(look.some(part), targets[part], method, options)

    return _in_parts(attend_part, 0, len(look.images))


def _in_parts(attend_part: Callable[[slice], Attention], start: int, stop: int) -> Attention:
    try:
        return attend_part(slice(start, stop))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Here, after the exception, what the pass held is free again.
    if stop - start == 1:
        raise ModelError(
            "the device's memory is too small for one image; take a smaller network, image or another device"
        )
    middle = (start + stop) // 2
    return _joined(_in_parts(attend_part, start, middle), _in_parts(attend_part, middle, stop))


def _joined(first: Attention, second: Attention) -> Attention:
    """Two batches as one."""
    return Attention(
        maps=torch.cat([first.maps, second.maps]),
        extents=torch.cat([first.extents, second.extents]),
        gradients=torch.cat([first.gradients, second.gradients]),
        gates=tuple(torch.cat(pair) for pair in zip(first.gates, second.gates, strict=True)),
        layers=first.layers,
        scores=torch.cat([first.scores, second.scores]),
        targets=torch.cat([first.targets, second.targets]),
        closed=first.closed + tuple((image + len(first.maps), layer) for image, layer in second.closed),
        activations=first.activations,
        notes=first.notes + tuple((image + len(first.maps), text) for image, text in second.notes if image is not None),
    )

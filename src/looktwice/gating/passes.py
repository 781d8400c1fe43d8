"""Passes that see or gate every activation *call* of a network, in call order, without touching the network.

A gate belongs to a call and not to a module: torchvision's GoogLeNet has no ``nn.ReLU``, because it calls ``F.relu``,
and its ResNet runs one in-place module three times a block. A ``TorchFunctionMode`` sees every such call in eager and
fx-traced models. It sees nothing inside TorchScript, so TorchScript is refused.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from looktwice.errors import ModelError
from looktwice.gating.activations import Activation, Saturation, gated_activation
from looktwice.gating.calls import NO_GATES, ActivationCall, Guidance, Network, is_below_last_stage
from looktwice.gating.convolutions import Convolutions
from looktwice.gating.frozen import FrozenNetwork
from looktwice.gating.memory import is_out_of_memory
from looktwice.gating.places import NOWHERE, UNMEASURED, Place
from looktwice.gating.replay import ActivationMode, CallRule, PrefixCache, RecordingMode, ReplayingMode
from looktwice.options import check_choice


def activation_calls(
    network: Network,
    images: Tensor,
    look: Callable[[ActivationCall, Tensor], None] | None = None,
    places: Sequence[Place] | None = None,
) -> tuple[list[ActivationCall], Tensor]:
    """One plain forward pass: every activation call in order, and the class scores (N, K).

    Args:
        network: images (N, C, H, W) → scores (N, K), in evaluation mode.
        images: (N, C, H, W).
        look: gets each call and its output (N, ...), which the network may write on afterwards.
        places: how each call's output lies, as ``measured_places`` gives it; without them, its shape decides.

    Raises:
        ModelError: the network makes another number of calls than was measured.
    """
    calls: list[ActivationCall] = []

    def see(index: int, pre: Tensor, activation: Activation, inplace: bool) -> Tensor:
        place = places[index] if places is not None and index < len(places) else UNMEASURED
        if pre.shape[:1] != images.shape[:1]:
            place = NOWHERE  # weights, say, that happened to be as many as the probes
        output = gated_activation(pre, None, None, activation, False, "exact", inplace)
        calls.append(ActivationCall.of_output(index, activation.name, images, output, place))
        if look is not None:
            look(calls[-1], output)
        return output

    try:
        with torch.no_grad(), ActivationMode(see, _convolutions(network)):
            scores = network(images)
    except RuntimeError as error:
        if not (isinstance(network, FrozenNetwork) and network.takes_back_layout(error)):
            raise
        return activation_calls(network, images, look, places)
    if places is not None and len(calls) != len(places):
        raise _changed(f"made {len(calls)} activation calls in this pass and {len(places)}")
    return calls, scores


def gated_scores(
    network: Network,
    images: Tensor,
    gates: Mapping[int, Tensor],
    *,
    probes: Mapping[int, Tensor] = NO_GATES,
    guided: Guidance = "none",
    saturation: Saturation = "exact",
    calls: Sequence[ActivationCall] | None = None,
    prefix: PrefixCache | None = None,
    look: Callable[[ActivationCall, Tensor], None] | None = None,
) -> Tensor:
    """Scores (N, K) with y = x ⊙ z at every activation call that ``gates`` names; the others stay as they are.

    Args:
        network: images (N, C, H, W) → scores (N, K), in evaluation mode.
        images: (N, C, H, W).
        gates: call index → gate of that call's shape (N, ...).
        probes: call index → a tensor (N, 1, H, W) whose values do not count. The gradient of the scores with respect to
            it is the call's positive evidence Σ_c [x ⊙ ∂S/∂y]₊. So no gate for every channel is needed to get it.
        guided: where negative gradients are cut as well.
        saturation: gradient above an upper clamp.
        calls: those of the first pass. Without them, their number is not checked, and shapes say how outputs lie.
        prefix: the cache of this network and these images, for passes that need no gradient to the images. In its first
            pass it records what comes before the first gated call. Later passes do not compute that again.
        look: gets each call and its output (N, ...), which the network may write on afterwards.

    Raises:
        OptionError: an unknown ``guided`` or ``saturation``.
        ModelError: a gated call is missing in this pass, its shape is not its gate's, or the calls' number changed.
    """
    check_choice("guided", guided, Guidance)
    check_choice("saturation", saturation, Saturation)
    rule = _rule(images, gates, probes, calls, guided, saturation, look)
    mode = _mode(rule, _convolutions(network), prefix)
    try:
        with mode:
            scores = network(images)
    except Exception as error:
        if is_out_of_memory(error) or not isinstance(mode, ReplayingMode):
            raise
        mode.prefix.usable = False
        return gated_scores(network, images, gates, probes=probes, guided=guided, saturation=saturation, calls=calls)
    if isinstance(mode, RecordingMode):
        mode.prefix.note(mode.returned, mode.kept, apart=len(mode.places) == len(mode.kept))
    first = max(gates, default=-1) + 1 if calls is None else len(calls)
    if mode.calls < first or (calls is not None and mode.calls > first):
        raise _changed(f"made {mode.calls} activation calls in this pass and {'at least ' * (calls is None)}{first}")
    return scores


def _convolutions(network: Network) -> Convolutions | None:
    return network.convolutions if isinstance(network, FrozenNetwork) else None


def _mode(rule: CallRule, convolutions: Convolutions | None, prefix: PrefixCache | None) -> ActivationMode:
    if prefix is not None and prefix.usable and prefix.leaks:
        prefix.usable = False
    if prefix is None or prefix.usable is False:
        return ActivationMode(rule, convolutions)
    kind = RecordingMode if prefix.usable is None else ReplayingMode
    return kind(rule, convolutions, prefix)


def _rule(
    images: Tensor,
    gates: Mapping[int, Tensor],
    probes: Mapping[int, Tensor],
    calls: Sequence[ActivationCall] | None,
    guided: Guidance,
    saturation: Saturation,
    look: Callable[[ActivationCall, Tensor], None] | None,
) -> CallRule:
    """Gates and probes after the calls that have them, and negative gradients cut where they are to be."""

    def rule(index: int, pre: Tensor, activation: Activation, inplace: bool) -> Tensor:
        z, probe = gates.get(index), probes.get(index)
        if calls is not None and index < len(calls):
            call = calls[index]
        else:
            output = pre.new_empty(()).expand(activation.shape(pre))
            call = ActivationCall.of_output(index, activation.name, images, output)
        place = call.place
        for ours, shape_of in ((z, place.gate_shape), (probe, place.probe_shape)):
            if ours is not None and ours.shape != (theirs := shape_of(activation.shape(pre))):
                raise ModelError(
                    f"activation call {index} has shape {tuple(theirs)} in this pass and had {tuple(ours.shape)} in "
                    "the first; the network's control flow must not change between passes"
                )
        cut = guided == "all" or (guided == "below" and is_below_last_stage(call))
        output = gated_activation(pre, z, probe, activation, cut, saturation, inplace, place)
        if look is not None:
            if tuple(output.shape[1:]) != call.shape:
                raise _changed(f"has the shape {tuple(output.shape[1:])} at activation call {index} and {call.shape}")
            look(call, output)
        return output

    return rule


def _changed(how: str) -> ModelError:
    return ModelError(f"the network {how} in the first; its control flow must not change between passes")

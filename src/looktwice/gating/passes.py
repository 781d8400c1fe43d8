"""See, gate or re-rule every ReLU *call* of a network, in call order, without touching the network.

torchvision's GoogLeNet has no ``nn.ReLU`` (it calls ``F.relu``), its ResNet runs one in-place module three times a
block: so a gate belongs to a call, not to a module. A ``TorchFunctionMode`` sees every such call in eager and fx-traced
models; it sees nothing inside TorchScript, which is therefore refused.
"""

from collections.abc import Callable, Mapping
from typing import get_args

import torch
from torch import Tensor

from looktwice.errors import ModelError, OptionError
from looktwice.gating.activations import Saturation, gated_activation
from looktwice.gating.calls import LAST_STRIDE, NO_GATES, ActivationCall, Guidance, Network, memory_layout, stride_of
from looktwice.gating.frozen import FrozenNetwork
from looktwice.gating.replay import ActivationMode, CallRule, PrefixCache, RecordingMode, ReplayingMode


def activation_calls(
    network: Network, images: Tensor, look: Callable[[Tensor], None] | None = None
) -> tuple[list[ActivationCall], Tensor]:
    """One plain forward pass: every ReLU call in order, and the class scores (N, K).

    Args:
        network: images (N, C, H, W) → scores (N, K), in evaluation mode.
        images: (N, C, H, W).
        look: is shown the output (N, ...) of each call, which the network may write on afterwards.

    Raises:
        ModelError: the network makes no ReLU call that can be gated.
    """
    calls: list[ActivationCall] = []

    def see(index: int, pre: Tensor, cap: float | None, inplace: bool) -> Tensor:
        calls.append(ActivationCall(index, tuple(pre.shape[1:]), cap, stride_of(images, pre), memory_layout(pre)))
        output = gated_activation(pre, None, None, cap, False, "exact", inplace)
        if look is not None:
            look(output)
        return output

    try:
        with torch.no_grad(), ActivationMode(see):
            scores = network(images)
    except RuntimeError as error:
        if not (isinstance(network, FrozenNetwork) and network.takes_back_layout(error)):
            raise
        return activation_calls(network, images, look)
    if not calls:
        raise ModelError(
            "no ReLU call was seen in the forward pass, so there is nothing to gate; "
            "the network needs ReLU or ReLU6 activations called in eager mode (not GELU/SiLU, not TorchScript)"
        )
    return calls, scores


def gated_scores(
    network: Network,
    images: Tensor,
    gates: Mapping[int, Tensor],
    *,
    probes: Mapping[int, Tensor] = NO_GATES,
    guided: Guidance = "none",
    saturation: Saturation = "exact",
    calls: int | None = None,
    prefix: PrefixCache | None = None,
) -> Tensor:
    """Scores (N, K) with y = x ⊙ z behind every ReLU call that ``gates`` names; the others stay plain ReLUs.

    Args:
        network: images (N, C, H, W) → scores (N, K), in evaluation mode.
        images: (N, C, H, W).
        gates: call index → gate of that call's shape (N, ...).
        probes: call index → a tensor (N, 1, H, W) that is not read. As the gradient of the scores with respect to it
            comes what the call's map brings, Σ_c [x ⊙ ∂S/∂y]₊, without a gate and its gradient for every channel.
        guided: where negative gradients are cut as well.
        saturation: gradient above an upper clamp.
        calls: how many ReLU calls the first pass made; ``None`` leaves it unchecked.
        prefix: of the same network and images, when no gradient to the images is wanted: it notes what comes before the
            first gated call in its first pass, and that is not computed again in those that follow.

    Raises:
        OptionError: an unknown ``guided`` or ``saturation``.
        ModelError: a gated call is missing in this pass, its shape is not its gate's, or the calls' number changed.
    """
    if guided not in get_args(Guidance):
        raise OptionError(f"guided is {guided!r}; one of {', '.join(get_args(Guidance))} is needed")
    if saturation not in get_args(Saturation):
        raise OptionError(f"saturation is {saturation!r}; one of {', '.join(get_args(Saturation))} is needed")
    rule = _rule(images, gates, probes, guided, saturation)
    mode = _mode(rule, prefix)
    try:
        with mode:
            scores = network(images)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        if not isinstance(mode, ReplayingMode):
            raise
        mode.prefix.usable = False
        return gated_scores(network, images, gates, probes=probes, guided=guided, saturation=saturation, calls=calls)
    if isinstance(mode, RecordingMode):
        mode.prefix.note(mode.returned, mode.kept, apart=len(mode.places) == len(mode.kept))
    first = max(gates, default=-1) + 1 if calls is None else calls
    if mode.calls < first or (calls is not None and mode.calls > first):
        raise _changed(f"made {mode.calls} ReLU calls in this pass and {'at least ' * (calls is None)}{first}")
    return scores


def _mode(rule: CallRule, prefix: PrefixCache | None) -> ActivationMode:
    if prefix is None or prefix.usable is False:
        return ActivationMode(rule)
    return RecordingMode(rule, prefix) if prefix.usable is None else ReplayingMode(rule, prefix)


def _rule(
    images: Tensor,
    gates: Mapping[int, Tensor],
    probes: Mapping[int, Tensor],
    guided: Guidance,
    saturation: Saturation,
) -> CallRule:
    """Gates and probes behind the calls that have them, negative gradients cut where they are to be."""

    def rule(index: int, pre: Tensor, cap: float | None, inplace: bool) -> Tensor:
        z, probe = gates.get(index), probes.get(index)
        for ours, theirs in ((z, pre.shape), (probe, (len(pre), 1, *pre.shape[2:]))):
            if ours is not None and ours.shape != theirs:
                raise ModelError(
                    f"ReLU call {index} has shape {tuple(theirs)} in this pass and had {tuple(ours.shape)} in the "
                    "first; the network's control flow must not change between passes"
                )
        cut = guided == "all" or (guided == "below" and 0 < stride_of(images, pre) < LAST_STRIDE)
        return gated_activation(pre, z, probe, cap, cut, saturation, inplace)

    return rule


def _changed(how: str) -> ModelError:
    return ModelError(f"the network {how} in the first; its control flow must not change between passes")

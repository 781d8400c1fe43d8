"""A plain pass that is the first pass of an ascent too.

An ascent begins with open gates, and what passes them is what passes the bare network. So the pass that looks at the
images can carry the gates already. Then only its way back is left to go, once the class is known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from looktwice.feedback.open_gates import open_gates, probes_for
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import ActivationCall, Guidance, Network
from looktwice.gating.passes import gated_scores
from looktwice.gating.replay import PrefixCache


@dataclass(frozen=True)
class OpenLayers:
    """What an ascent's first pass carries.

    Attributes:
        gated: the calls with gates.
        watched: the calls with probes; those that carry gates need none.
        guided: where negative gradients are cut.
        saturation: gradient above an upper clamp.
    """

    gated: Sequence[int]
    watched: Sequence[int]
    guided: Guidance
    saturation: Saturation


class OpenPass:
    """A pass of the images with open gates. One ascent may go its way back; then its memory is free again.

    Attributes:
        calls: the activation calls.
        scores: the class scores (N, K), without a gradient.
    """

    def __init__(
        self,
        network: Network,
        images: Tensor,
        layers: OpenLayers,
        calls: Sequence[ActivationCall],
        look: Callable[[ActivationCall, Tensor], None],
    ) -> None:
        """Makes the pass; ``look`` gets each call and its output (N, ...)."""
        gates = open_gates(calls, layers.gated, images)
        probes = probes_for(calls, set(layers.watched) - set(gates), images)
        self._images, self._layers = images, layers
        self.calls = calls
        self._leaves = {index: leaf.detach().requires_grad_() for index, leaf in {**probes, **gates}.items()}
        prefix = PrefixCache(min(gates))
        scores = gated_scores(
            network,
            images,
            {index: self._leaves[index] for index in gates},
            probes={index: self._leaves[index] for index in probes},
            guided=layers.guided,
            saturation=layers.saturation,
            calls=calls,
            prefix=prefix,
            look=look,
        )
        self._held: tuple[PrefixCache, Tensor] | None = prefix, scores
        self.scores = scores.detach()

    def take(
        self,
        images: Tensor,
        gates: Mapping[int, Tensor],
        probes: Mapping[int, Tensor],
        guided: Guidance,
        saturation: Saturation,
    ) -> tuple[PrefixCache, Tensor, dict[int, Tensor]] | None:
        """What an ascent needs of the pass; then it is released.

        Returns:
            what was computed before the first gate, the scores (N, K) with their gradient, and the leaves they depend
            on: probes and gates by call index. ``None`` if the pass was taken or released before, or is not the one
            that these arguments describe.
        """
        held, leaves = self._held, self._leaves
        self.release()
        is_it = (
            images is self._images
            and (tuple(probes), tuple(gates)) == self._indices(leaves)
            and (guided, saturation) == (self._layers.guided, self._layers.saturation)
            and all(bool((z == 1).all()) for z in gates.values())
        )
        return (*held, leaves) if held is not None and is_it else None

    def release(self) -> None:
        """Frees the memory. No ascent can begin with the pass any more."""
        self._held, self._leaves = None, {}

    def _indices(self, leaves: Mapping[int, Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        gated = set(self._layers.gated)
        return tuple(index for index in leaves if index not in gated), tuple(
            index for index in leaves if index in gated
        )

"""One look at a batch of images: a plain forward pass that all methods and classes share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from torch import Tensor, nn

from looktwice.attention.affinity import Affinity, Features
from looktwice.gating.calls import ActivationCall
from looktwice.gating.frozen import FrozenNetwork, check_images, frozen
from looktwice.gating.geometry import check_independence, measured_places
from looktwice.gating.handwritten import HandwrittenMode
from looktwice.gating.memo import Memo
from looktwice.gating.outputs import RECOGNISED, NetworkOutput, OutputKind, OutputMode, as_probabilities
from looktwice.gating.passes import activation_calls


@dataclass(frozen=True)
class Look:
    """A frozen network and a batch of images after a plain forward pass. It is valid inside ``look_at``'s ``with``.

    Attributes:
        network: images (N, C, H, W) → scores (N, K).
        images: (N, C, H, W), checked.
        calls: the network's activation calls on images of this size.
        scores: the class scores (N, K), as the network returns them. A single score that is declared to speak of two
            classes has become (N, 2).
        output: what these scores are: logits, or probabilities of some kind.
        affinity: which places of the images look alike to the network; ``None`` if no method needs it.
        notes: what is doubtful about the choice of the scores, a line each.
        doubts: what is doubtful about the probabilities, a line each.
        handwritten: how many activations the network writes out in its own code, where no gate can stand.
    """

    network: FrozenNetwork
    images: Tensor
    calls: Sequence[ActivationCall]
    scores: Tensor
    output: OutputKind
    affinity: Affinity | None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    handwritten: int = 0

    def probabilities(self) -> Tensor:
        """The network's own probability of each class, in double precision, on the CPU: (N, K) in [0, 1].

        The kind of output says how they come from the scores; see ``OutputKind``. Unless it is declared, they are the
        scores if the network ends in a softmax or in sigmoids, the sigmoid of a single score, and else the softmax of
        the scores.
        """
        return as_probabilities(self.scores, self.output)

    def some(self, images: slice | Sequence[int]) -> "Look":
        """The look at some of the images, by their places in the batch; a place may come twice."""
        affinity = None if self.affinity is None else self.affinity.of(images)
        return replace(self, images=self.images[images], scores=self.scores[images], affinity=affinity)


_HANDWRITTEN: Memo[int] = Memo()
"""How many activations a network writes out, by the size of its images."""


@contextmanager
def look_at(model: nn.Module, images: Tensor, *, propagate: bool, output: NetworkOutput = RECOGNISED) -> Iterator[Look]:
    """Freezes the model inside the ``with`` and makes one plain forward pass of the images.

    Args:
        model: the classifier; it is left as found.
        images: (N, C, H, W), normalised as the model was trained.
        propagate: whether a method is going to propagate its map. That needs the images' places compared.
        output: what is declared of the network's output.

    Raises:
        InputError: images that cannot be used.
        ModelError: the network's answer for an image depends on the others of its batch, or its output is not as
            declared.
    """
    images = check_images(images)
    with frozen(model, output) as network:
        places = measured_places(network, images)
        check_independence(network, images)
        features = Features()
        handwritten, size = _HANDWRITTEN.of(network.module, network.looks), tuple(images.shape[1:])
        counting = None if size in handwritten else HandwrittenMode(len(images))
        with OutputMode() as mode, counting or nullcontext():

            def look(call: ActivationCall, output: Tensor) -> None:
                if counting is not None:
                    counting.forget(output)
                if propagate:
                    features.look(call, output)

            calls, scores = activation_calls(network, images, look, places)
        if counting is not None:
            handwritten[size] = counting.found
        output.check(scores)
        kind, doubts = (mode.kind_of(scores), mode.doubts(scores)) if output.kind is None else (output.kind, ())
        yield Look(network, images, calls, scores, kind, features.affinity(), network.notes, doubts, handwritten[size])

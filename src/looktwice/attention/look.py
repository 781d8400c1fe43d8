"""One look at a batch of images: a plain forward pass that all methods and classes share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor, nn

from looktwice.attention.affinity import Affinity, Features
from looktwice.errors import LooktwiceError
from looktwice.feedback.open_pass import OpenLayers, OpenPass
from looktwice.gating.calls import ActivationCall
from looktwice.gating.frozen import FrozenNetwork, check_images, frozen
from looktwice.gating.geometry import check_independence, measured_places
from looktwice.gating.handwritten import HandwrittenMode
from looktwice.gating.memo import Memo
from looktwice.gating.outputs import RECOGNISED, NetworkOutput, OutputKind, OutputMode, as_probabilities
from looktwice.gating.passes import activation_calls
from looktwice.gating.places import Place


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
        features: what tells which places of the images look alike to the network; empty if no method needs it.
        notes: what is doubtful about the choice of the scores, a line each.
        doubts: what is doubtful about the probabilities, a line each.
        handwritten: how many activations the network writes out in its own code, where no gate can stand.
        opened: the pass itself, if it carries the open gates of an ascent.
    """

    network: FrozenNetwork
    images: Tensor
    calls: Sequence[ActivationCall]
    scores: Tensor
    output: OutputKind
    features: Features
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    handwritten: int = 0
    opened: OpenPass | None = None

    @property
    def affinity(self) -> Affinity | None:
        """Which places of the images look alike to the network; ``None`` if no method needs it."""
        return self.features.affinity()

    def probabilities(self) -> Tensor:
        """The network's own probability of each class, in double precision, on the CPU: (N, K) in [0, 1].

        The kind of output says how they come from the scores; see ``OutputKind``. Unless it is declared, they are the
        scores if the network ends in a softmax or in sigmoids, the sigmoid of a single score, and else the softmax of
        the scores.
        """
        return as_probabilities(self.scores, self.output)

    def some(self, images: slice | Sequence[int]) -> "Look":
        """The look at some of the images, by their places in the batch; a place may come twice.

        If these are not all of them, the pass with open gates is released: it is of no use, and its memory is large.
        """
        everyone = range(len(self.images))
        if list(everyone[images] if isinstance(images, slice) else images) == list(everyone):
            return self
        if self.opened is not None:
            self.opened.release()
        features = self.features.of(images)
        return replace(self, images=self.images[images], scores=self.scores[images], features=features, opened=None)


Opening = Callable[[Sequence[ActivationCall]], OpenLayers | None]
"""A network's activation calls → what the first pass of the method carries that comes first; see ``opening_of``."""

_SEEN: Memo[tuple[Sequence[ActivationCall], int]] = Memo()
"""The activation calls of a network, and how many activations it writes out, by the shape and kind of its images."""


@contextmanager
def look_at(
    model: nn.Module,
    images: Tensor,
    *,
    propagate: bool,
    output: NetworkOutput = RECOGNISED,
    opening: Opening | None = None,
) -> Iterator[Look]:
    """Freezes the model inside the ``with`` and makes one plain forward pass of the images.

    Args:
        model: the classifier; it is left as found.
        images: (N, C, H, W), normalised as the model was trained.
        propagate: whether a method is going to propagate its map. That needs the images' places compared.
        output: what is declared of the network's output.
        opening: what the first pass of a method carries. If it is given, the plain pass carries it too, and the first
            ascent begins with it. Until then, it takes about the memory of a class gradient.

    Raises:
        InputError: images that cannot be used.
        ModelError: the network's answer for an image depends on the others of its batch, or its output is not as
            declared.
    """
    images = check_images(images)
    with frozen(model, output) as network:
        places = measured_places(network, images)
        check_independence(network, images)
        opened, features = None, Features()
        calls: Sequence[ActivationCall]
        with OutputMode() as mode:
            if opening is not None:
                opened = _open_pass(network, images, places, opening, features.look if propagate else _ignore)
            if opened is None:
                features = Features()
                calls, scores = _plain_pass(network, images, places, features.look if propagate else _ignore)
            else:
                calls, scores = opened.calls, opened.scores
        output.check(scores)
        kind, doubts = (mode.kind_of(scores), mode.doubts(scores)) if output.kind is None else (output.kind, ())
        _, handwritten = _SEEN.of(network.module, network.looks)[_kind(images)]
        yield Look(network, images, calls, scores, kind, features, network.notes, doubts, handwritten, opened)


def _plain_pass(
    network: FrozenNetwork,
    images: Tensor,
    places: Sequence[Place],
    look: Callable[[ActivationCall, Tensor], None],
) -> tuple[list[ActivationCall], Tensor]:
    """The activation calls and the scores (N, K). Activations that are written out are counted in the first pass."""
    seen, kind = _SEEN.of(network.module, network.looks), _kind(images)
    if kind in seen:
        return activation_calls(network, images, look, places)
    with HandwrittenMode(len(images)) as counting:

        def see(call: ActivationCall, output: Tensor) -> None:
            counting.forget(output)
            look(call, output)

        calls, scores = activation_calls(network, images, see, places)
    seen[kind] = calls, counting.found
    return calls, scores


def _open_pass(
    network: FrozenNetwork,
    images: Tensor,
    places: Sequence[Place],
    opening: Opening,
    look: Callable[[ActivationCall, Tensor], None],
) -> OpenPass | None:
    """The plain pass with open gates. ``None`` if it cannot be made: a plain pass takes less memory."""
    seen, kind = _SEEN.of(network.module, network.looks), _kind(images)
    if is_new := kind not in seen:
        _plain_pass(network, images, places, _ignore)
    calls, _ = seen[kind]
    layers = opening(calls)
    if layers is None:
        return None
    try:
        return OpenPass(network, images, layers, calls, look)
    except LooktwiceError as error:
        if is_new and error.__cause__ is None:  # the network changed between two passes of this look
            raise
        return None
    except Exception:  # another method of this look may do without; any other error than a lack of memory comes again
        return None


def _kind(images: Tensor) -> tuple[object, ...]:
    """What a network's calls depend on, besides the network."""
    return images.shape, images.dtype, images.device


def _ignore(_call: ActivationCall, _output: Tensor) -> None:
    """Nothing is compared."""

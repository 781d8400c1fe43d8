"""One look at a batch of images: a plain forward pass that all methods and classes share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from looktwice.attention.affinity import Affinity, Features
from looktwice.gating.calls import ActivationCall
from looktwice.gating.frozen import FrozenNetwork, check_images, frozen
from looktwice.gating.geometry import check_independence, measured_kinds
from looktwice.gating.passes import activation_calls


@dataclass(frozen=True)
class Look:
    """A frozen network and a batch of images after a plain forward pass. It is valid inside ``look_at``'s ``with``.

    Attributes:
        network: images (N, C, H, W) → scores (N, K).
        images: (N, C, H, W), checked.
        calls: the network's activation calls on images of this size.
        scores: the class scores (N, K).
        affinity: which places of the images look alike to the network; ``None`` if no method needs it.
    """

    network: FrozenNetwork
    images: Tensor
    calls: Sequence[ActivationCall]
    scores: Tensor
    affinity: Affinity | None

    def probabilities(self) -> Tensor:
        """The softmax of the scores in double precision, on the CPU: (N, K) in [0, 1]."""
        scores = self.scores.detach().double().cpu().numpy()
        # NumPy and torch round differently. Rows of runs have NumPy's numbers, and must not change.
        with np.errstate(invalid="ignore"):  # infinite scores become NaN, which whoever shows them has to check
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            return torch.from_numpy(powers / powers.sum(axis=1, keepdims=True))

    def some(self, images: slice | Sequence[int]) -> "Look":
        """The look at some of the images, by their places in the batch; a place may come twice."""
        affinity = None if self.affinity is None else self.affinity.of(images)
        return Look(self.network, self.images[images], self.calls, self.scores[images], affinity)


@contextmanager
def look_at(model: nn.Module, images: Tensor, *, propagate: bool) -> Iterator[Look]:
    """Freezes the model inside the ``with`` and makes one plain forward pass of the images.

    Args:
        model: the classifier; it is left as found.
        images: (N, C, H, W), normalised as the model was trained.
        propagate: whether a method is going to propagate its map. That needs the images' places compared.

    Raises:
        InputError: images that cannot be used.
        ModelError: the network's answer for an image depends on the others of its batch.
    """
    images = check_images(images)
    with frozen(model) as network:
        kinds = measured_kinds(network, network.module, images)
        check_independence(network, network.module, images)
        features = Features()
        calls, scores = activation_calls(network, images, features.look if propagate else None, kinds)
        yield Look(network, images, calls, scores, features.affinity())

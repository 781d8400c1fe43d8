"""What a reader of a map must be warned of before anything else: the network did not learn, or does not know."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from looktwice.gating.outputs import OutputKind

UNSURE = 0.2
"""A network is not sure if its most probable class has less than this probability.

Of 392 ILSVRC images (docs/reproduce.md, the tuning part), 39 were below it with EfficientNet-Lite0, 72 with SqueezeNet
and 13 with ViT-Tiny. The class was right for 15 % of them, and for 72, 50 and 72 % of all images."""


NEAR_CHANCE = 1.2
"""With few classes, a probability is always high. So less than this many times that of a blind guess is unsure too."""


IMPROBABLE = 0.01
"""A class with less than this probability is probably not in the picture.

On the same images the labelled class was below it in 7 % with EfficientNet-Lite0, 15 % with SqueezeNet and 6 % with
ViT-Tiny: often enough to look, and rare enough to be told."""


EACH_BY_ITSELF = ("multilabel_logits", "logit", "sigmoids")
"""Kinds of output where each class has a probability of its own. There, less than a half means no."""


def doubts(
    probabilities: ArrayLike,
    class_index: int,
    class_names: Sequence[str],
    *,
    weights: str,
    output: OutputKind = "logits",
) -> tuple[str, ...]:
    """What to doubt about a map of a class, before looking at it: one line for each doubt, each a sentence.

    Args:
        probabilities: of each class of one image, (K,) in [0, 1], from the network as it is.
        class_index: the class that the map is of.
        class_names: K names.
        weights: where the network's weights are from, as ``Model.weights`` says.
        output: what the network's scores are; see ``OutputKind``.

    Returns:
        No line if there is nothing to doubt. The lines are about random weights, then a network that is not sure of
        any class, then a class that is improbable. A class is not called improbable where the network is unsure of all.

    >>> doubts([0.02, 0.9, 0.08], 1, ("cat", "cup", "rocket"), weights="default")
    ()
    >>> doubts([0.005, 0.9, 0.095], 0, ("cat", "cup", "rocket"), weights="default")
    ('cat is improbable (0.5 %): the network predicts cup (90.0 %). The map shows what would speak for cat.',)
    """
    known = np.asarray(probabilities, dtype=float)
    found = [_RANDOM] if weights == "random" else []
    if np.isfinite(known).all():
        found.extend(_of_probabilities(known, class_index, class_names, output))
    return tuple(found)


_RANDOM = "The weights are random: map, boxes and class mean nothing."


def _of_probabilities(known: np.ndarray, index: int, names: Sequence[str], output: OutputKind) -> list[str]:
    best = int(known.argmax())
    by_itself = output in EACH_BY_ITSELF
    if by_itself and known[best] < 0.5:
        return [f"The network finds none of its classes: {names[best]} is most probable, with {_percent(known[best])}."]
    if not by_itself and known[best] < max(UNSURE, NEAR_CHANCE / len(known)):
        return [f"The network is not sure: {names[best]} is most probable, with {_percent(known[best])}."]
    if known[index] < IMPROBABLE:
        first = f"{names[index]} is improbable ({_percent(known[index])}): the network predicts {names[best]} "
        return [f"{first}({_percent(known[best])}). The map shows what would speak for {names[index]}."]
    return []


def _percent(probability: float) -> str:
    """A probability in words, with the digit that titles of pictures have too."""
    return f"{100 * probability:.1f} %" if probability >= 0.0005 else "less than 0.1 %"

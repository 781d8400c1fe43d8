"""Localization of a label (ILSVRC CLS-LOC)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from looktwice.metrics.overlap import iou


@dataclass(frozen=True)
class Guess:
    """A label and where it is said to be: boxes (A, 4), half-open pixels of the original image.

    ILSVRC allows one box a guess; of several the best one counts, and a guess without a box is wrong.
    """

    label: int
    boxes: Sequence[Sequence[float]]


def top1_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], *, overlap: float = 0.5) -> bool:
    """Whether the first guess has the right label and overlaps any of that label's boxes by IoU ≥ ``overlap``.

    ``truths`` holds each label's boxes (B, 4). The top-1 localization error is the share of images without a hit.
    """
    return _top_hit(guesses[:1], truths, overlap)


def top5_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], *, overlap: float = 0.5) -> bool:
    """Whether any of the first five guesses is right, as ``top1_hit`` says; further guesses do not count."""
    return _top_hit(guesses[:5], truths, overlap)


def gt_known_hit(boxes: ArrayLike, truths: ArrayLike, *, overlap: float = 0.5) -> bool:
    """Whether a box (A, 4) found for the true label overlaps any of that label's boxes (B, 4) by IoU ≥ ``overlap``."""
    return bool((iou(boxes, truths) >= overlap).any())


def _top_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], overlap: float) -> bool:
    return any(
        gt_known_hit(guess.boxes, truths[guess.label], overlap=overlap) for guess in guesses if guess.label in truths
    )

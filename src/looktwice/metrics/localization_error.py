"""Localization errors (ILSVRC CLS-LOC): a guess is right if its class is right and a box of it lies on the object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.localization.sweep import GRID, grid_index
from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds, Undefined
from looktwice.metrics.max_box_acc import best_share
from looktwice.metrics.overlap import Floats, iou

HIT_IOU = 0.5
"""IoU at which a box is right. Single precision holds this number exactly, so it suits curves too."""


CAO_ENERGY = 0.95
"""Share of the energy in the box of Cao et al. (2015)."""


@dataclass(frozen=True)
class Guess:
    """A class, and boxes (A, 4) that say where it is, as half-open pixels of the original image.

    ILSVRC allows one box for each guess. Of several boxes the best one counts; a guess without a box is wrong.
    """

    label: int
    boxes: Sequence[Sequence[float]]


# ---- one image -----------------------------------------------------------------------------------------------------


def top1_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], *, overlap: float = HIT_IOU) -> bool:
    """Whether the first guess has the right class, and a box with IoU ≥ ``overlap`` with any box of that class.

    The top-1 localization error is the share of images without a hit.

    Args:
        guesses: the network's guesses, the most probable first.
        truths: the boxes (B, 4) of each class that the image shows.
        overlap: the IoU that is needed.

    >>> top1_hit([Guess(3, [(0, 0, 10, 6)]), Guess(4, [])], {3: [(0, 0, 10, 10)]})
    True
    """
    return _any_hit(guesses, truths, among=1, level=overlap)


def top5_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], *, overlap: float = HIT_IOU) -> bool:
    """Whether any of the first five guesses is right, as in ``top1_hit``; further guesses do not count."""
    return _any_hit(guesses, truths, among=5, level=overlap)


def gt_known_hit(boxes: ArrayLike, truths: ArrayLike, *, overlap: float = HIT_IOU) -> bool:
    """Whether any box (A, 4) has IoU ≥ ``overlap`` with any ground-truth box (B, 4) of the known class."""
    return bool(is_right(_best_iou(boxes, truths), overlap))


def _any_hit(guesses: Sequence[Guess], truths: Mapping[int, ArrayLike], *, among: int, level: float) -> bool:
    right = np.array([guess.label in truths for guess in guesses], dtype=np.bool_)
    best = [_best_iou(guess.boxes, truths.get(guess.label, ())) for guess in guesses]
    return bool(is_hit(np.arange(len(guesses)), right, np.array(best), among=among, level=level).any())


def _best_iou(boxes: ArrayLike, truths: ArrayLike) -> float:
    """The best IoU of any box with any other; -1 where there is no pair, since 0 might be enough."""
    return float(iou(boxes, truths).max(initial=-1.0))


# ---- many maps -----------------------------------------------------------------------------------------------------


def is_right(overlap: ArrayLike, level: float = HIT_IOU) -> NDArray[np.bool_]:
    """Which boxes are right, by their IoU with the object (…)."""
    return np.asarray(np.asarray(overlap) >= level)


def is_hit(
    place: NDArray[np.int64], right: NDArray[np.bool_], overlap: ArrayLike, *, among: int, level: float = HIT_IOU
) -> NDArray[np.bool_]:
    """Which guesses are hits, from each guess's place, whether its class is right, and its best IoU (all of one shape).

    Args:
        place: the place of the guess, from 0.
        right: whether the guessed class is a label of the image.
        overlap: the IoU of the guess's best box with the object.
        among: how many guesses count.
        level: the IoU that is needed.
    """
    return np.asarray((place < among) & right & is_right(overlap, level))


def top1_loc_errors(maps: JudgedMaps, at: Thresholds) -> Sample:
    """For each image with boxes whether the network's first guess is no hit."""
    return _missed(maps, maps.overlap_at(at.box), among=1)


def top5_loc_errors(maps: JudgedMaps, at: Thresholds) -> Sample:
    """For each image with boxes whether none of the network's first five guesses is a hit."""
    return _missed(maps, maps.overlap_at(at.box), among=5)


def energy_box_loc_errors(maps: JudgedMaps, _: Thresholds) -> Sample:
    """As ``top1_loc_errors``, with the box around 95 % of the energy (Cao et al. 2015)."""
    return _missed(maps, maps.energy_box[:, grid_index(CAO_ENERGY)], among=1)


def gt_known_loc_errors(maps: JudgedMaps, at: Thresholds) -> Sample:
    """For each map of a label whether its box is wrong; the network's guesses do not matter."""
    return Sample(~is_right(maps.overlap_at(at.box)[maps.first]))


def oracle_top1_loc_errors(maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """For each image with boxes whether its first guess is a hit, at every threshold; the best threshold counts."""
    if maps.curve is None:
        return Undefined("objects are drawn without a threshold, so there is no best one")
    hits = np.zeros((maps.images, 1, len(GRID)), dtype=np.bool_)
    own = maps.right & (maps.target_place == 0)  # at most one map of an image shows the first guess
    right = (maps.right & maps.boxed)[own, None]
    hits[maps.image[own], 0] = is_hit(maps.target_place[own, None], right, maps.curve[own], among=1)
    return Sample(hits[maps.image_boxed], statistic=_one_less_best_share)


def _one_less_best_share(shares: Floats) -> Floats:
    return 1 - best_share(shares)


def _missed(maps: JudgedMaps, overlap: NDArray[np.floating], *, among: int) -> Sample:
    hits = is_hit(maps.target_place, maps.right & maps.boxed, overlap, among=among)
    return Sample((maps.per_image(hits) == 0)[maps.image_boxed])

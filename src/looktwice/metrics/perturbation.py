"""Insertion and deletion (Petsiuk et al. 2018, RISE): do the pixels that a map ranks first decide the class?

The pixels of the network's input are ranked by the map. *Insertion* begins with a blurred picture and puts in the
picture's own pixels, the first ones first. *Deletion* begins with the picture and replaces its pixels by blurred ones,
the first ones first. After each step the network says how probable the class is. The area under that curve is the
number: high is good for insertion, low is good for deletion.

Here is what needs no network: the order of the pixels, how many each step takes, and the area. The pictures are made in
``evaluation.faithfulness``.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import InputError, OptionError
from looktwice.images import check_map
from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds, Undefined


def pixel_ranks(heat: ArrayLike) -> NDArray[np.int32]:
    """The place of each pixel of a map (H, W) when its values are sorted from high to low, from 0 → (H, W).

    Equal values are in an order that was drawn once and is the same for all maps of as many pixels. So a map that is
    the same everywhere ranks its pixels at random, and gains nothing from the order in which an image is read.

    Raises:
        InputError: as ``check_map``.

    >>> pixel_ranks([[0.1, 0.9], [0.3, 0.2]]).tolist()
    [[3, 0], [1, 2]]
    """
    values = check_map(heat)
    drawn = _drawn_order(values.size)
    order = drawn[np.argsort(-values.ravel()[drawn], kind="stable")]
    ranks = np.empty(values.size, dtype=np.int32)
    ranks[order] = np.arange(values.size, dtype=np.int32)
    return ranks.reshape(values.shape)


@lru_cache(maxsize=4)
def _drawn_order(pixels: int) -> NDArray[np.int64]:
    """All pixels (P,) in a random order that is always the same."""
    return np.random.default_rng(0).permutation(pixels)


def step_counts(pixels: int, steps: int) -> NDArray[np.int64]:
    """How many pixels are replaced at the start and after each step: 0 … ``pixels`` → (S + 1,).

    All steps take the same number of pixels; if that is no whole number, they differ by one.

    Raises:
        OptionError: fewer than two steps, or more steps than pixels.

    >>> step_counts(10, 4).tolist()
    [0, 3, 5, 8, 10]
    """
    if not 2 <= steps <= pixels:
        raise OptionError(
            f"faithfulness has {steps} steps, and the network's input has {pixels} pixels; a number of steps from 2 to "
            "the number of pixels is needed"
        )
    return (np.arange(steps + 1, dtype=np.int64) * pixels + steps // 2) // steps


def area_under_curve(probabilities: ArrayLike, counts: ArrayLike) -> float:
    """The area under a curve (S + 1,) over the share of replaced pixels, 0 … 1, by the trapezoid rule.

    Args:
        probabilities: of the class, at the start and after each step.
        counts: of replaced pixels, as ``step_counts`` gives them.

    Raises:
        InputError: a probability is not finite, or there is not one for each count.

    >>> area_under_curve([1.0, 0.5, 0.0], [0, 2, 4])
    0.5
    """
    heights, ends = np.asarray(probabilities, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if heights.shape != ends.shape:
        raise InputError(f"there are {heights.shape} probabilities and {ends.shape} counts; one for each is needed")
    if not np.isfinite(heights).all():
        raise InputError(
            "the network gives a probability that is NaN or infinite where pixels of the picture are blurred; compute "
            "it in float32, or measure without faithfulness"
        )
    return float((np.diff(ends) * (heights[1:] + heights[:-1])).sum() / (2 * ends[-1]))


def insertion_aucs(maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """For each map of a first guess, or of a label, the area under its insertion curve."""
    return _areas(maps, "insertion")


def deletion_aucs(maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """For each map of a first guess, or of a label, the area under its deletion curve."""
    return _areas(maps, "deletion")


def _areas(maps: JudgedMaps, column: str) -> Sample | Undefined:
    """The areas of maps with and without boxes; no box is needed for them."""
    if column not in maps.measured:
        return Undefined("the run was evaluated without --faithfulness; evaluate into another folder to have it")
    return Sample(maps.measured[column][maps.rank == 0], empty="no image can be judged")

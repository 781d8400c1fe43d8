"""The pointing game: does the maximum of a map lie on the object?"""

import numpy as np
from numpy.typing import ArrayLike

from looktwice.images import Window, check_map
from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds, Undefined
from looktwice.metrics.overlap import as_truths


def pointing_hit(heat: ArrayLike, truths: ArrayLike, window: Window, *, tolerance: float = 15.0) -> bool:
    """Whether the maximum of a map (H, W) lies within ``tolerance`` image pixels of any of the boxes (B, 4).

    This is TorchRay's rule. The distance runs from the maximum to the nearest pixel of a box, both in pixels of the
    original image, and must be below ``tolerance``. The maximum is the centre of the highest map pixel; of equal pixels
    it is the first in reading order. Accuracy is the mean over classes: ``class_mean``.

    Raises:
        InputError: as ``check_map``; no ground truth, or an empty one.
    """
    heat, truths = check_map(heat), as_truths(truths)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    pixel = [column, row, column + 1, row + 1]
    x1, y1, x2, y2 = window.to_image(pixel, heat.shape[1], heat.shape[0])
    # Distances are between pixel indices: the last pixel of a box is x2 − 1, and pixel i has its centre at i + ½.
    point = np.array([(x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2])
    first, last = truths[:, :2], np.maximum(truths[:, 2:] - 1, truths[:, :2])
    away = np.maximum(first - point, 0) + np.maximum(point - last, 0)
    return bool(((away**2).sum(axis=1) < tolerance**2).any())


def points_at_object(heat: ArrayLike, truths: ArrayLike, window: Window) -> bool:
    """``pointing_hit``, where a map without a positive value points nowhere and so misses."""
    return bool(check_map(heat).max() > 0) and pointing_hit(heat, truths, window)


def pointing_hits(maps: JudgedMaps, _: Thresholds) -> Sample | Undefined:
    """For each map whether it points at the object; the mean is over classes."""
    hits = maps.measured["pointing_hit"][maps.first]
    if not np.isfinite(hits).all():
        return Undefined("an even map has no maximum to point with")
    return Sample(hits, classes=maps.judged[maps.first])

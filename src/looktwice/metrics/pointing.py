"""The pointing game, and the energy in boxes."""

import numpy as np
from numpy.typing import ArrayLike

from looktwice.images import Window
from looktwice.localization.boxes import check_map
from looktwice.metrics.overlap import as_truths


def pointing_hit(heat: ArrayLike, truths: ArrayLike, window: Window, *, tolerance: float = 15.0) -> bool:
    """Whether the maximum of a map (H, W) lies within ``tolerance`` image pixels of any of the boxes (B, 4).

    TorchRay's rule: both are pixels of the original image, and the squared distance from the maximum to the nearest
    pixel of the boxes is below ``tolerance``². The maximum is the centre of the map's highest pixel, of equal ones the
    first in reading order. Accuracy is the mean over classes: ``class_mean``.

    Raises:
        InputError: as ``check_map``; no ground truth, or an empty one.
    """
    heat, truths = check_map(heat), as_truths(truths)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    pixel = [column, row, column + 1, row + 1]
    x1, y1, x2, y2 = window.to_image(pixel, heat.shape[1], heat.shape[0])
    # Indices of pixels, not of their corners: the box's last pixel is x2 − 1, and index i has its centre at i + ½.
    point = np.array([(x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2])
    first, last = truths[:, :2], np.maximum(truths[:, 2:] - 1, truths[:, :2])
    away = np.maximum(first - point, 0) + np.maximum(point - last, 0)
    return bool(((away**2).sum(axis=1) < tolerance**2).any())


def energy_in_box(heat: ArrayLike, truths: ArrayLike, window: Window) -> float:
    """The share (0 … 1) of the energy of a map (H, W) that lies inside the union of the boxes (B, 4).

    Wang et al. 2020, energy-based pointing game. Negative values count as 0; a map pixel that a box cuts counts by the
    part inside; energy outside the image, in a crop's padding, is outside the boxes. A map without energy scores 0.

    Raises:
        InputError: as ``check_map``; no ground truth, or an empty one.
    """
    heat = np.clip(check_map(heat).astype(np.float64), 0.0, None)
    height, width = heat.shape
    inside = np.clip(window.to_map(as_truths(truths), width, height), 0, [width, height, width, height])
    # Between all pixel borders and box edges, each cell lies in one pixel and wholly inside or outside each box.
    xs = np.unique(np.concatenate([np.arange(width + 1), inside[:, 0], inside[:, 2]]))
    ys = np.unique(np.concatenate([np.arange(height + 1), inside[:, 1], inside[:, 3]]))
    covered = np.zeros((len(ys) - 1, len(xs) - 1), dtype=bool)
    for x1, y1, x2, y2 in inside:
        covered[
            np.searchsorted(ys, y1) : np.searchsorted(ys, y2), np.searchsorted(xs, x1) : np.searchsorted(xs, x2)
        ] = True
    pixels = heat.take(ys[:-1].astype(int), axis=0).take(xs[:-1].astype(int), axis=1)
    held = np.diff(ys) @ (pixels * covered) @ np.diff(xs)
    return min(float(held / heat.sum()), 1.0) if heat.any() else 0.0

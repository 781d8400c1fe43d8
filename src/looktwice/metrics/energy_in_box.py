"""How much of a map's energy lies on the object."""

import numpy as np
from numpy.typing import ArrayLike

from looktwice.images import Window, check_map
from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds
from looktwice.metrics.overlap import as_truths


def energy_in_box(heat: ArrayLike, truths: ArrayLike, window: Window) -> float:
    """The share (0 … 1) of the energy of a map (H, W) that lies in any of the boxes (B, 4).

    Wang et al. 2020, energy-based pointing game. The energy is the sum of the map's values; negative values count as 0.
    A map pixel that a box cuts counts by the part inside. Energy in a crop's padding, outside the image, is outside the
    boxes. A map without energy scores 0.

    Raises:
        InputError: as ``check_map``; no ground truth, or an empty one.
    """
    heat = np.clip(check_map(heat).astype(np.float64), 0.0, None)
    height, width = heat.shape
    inside = np.clip(window.to_map(as_truths(truths), width, height), 0, [width, height, width, height])
    # The borders of pixels and the edges of boxes cut the map into cells. Each cell lies in one pixel, and is entirely
    # inside or outside each box.
    xs = np.unique(np.concatenate([np.arange(width + 1), inside[:, 0], inside[:, 2]]))
    ys = np.unique(np.concatenate([np.arange(height + 1), inside[:, 1], inside[:, 3]]))
    rows, columns = ys[:-1].astype(np.int64), xs[:-1].astype(np.int64)
    covered = np.zeros((len(rows), len(columns)))
    for (left, right), (top, bottom) in zip(
        np.searchsorted(xs, inside[:, ::2]).tolist(), np.searchsorted(ys, inside[:, 1::2]).tolist(), strict=True
    ):
        covered[top:bottom, left:right] = heat[rows[top:bottom, None], columns[left:right]]
    held = np.diff(ys) @ covered @ np.diff(xs)
    energy = heat.sum()
    return min(float(held / energy), 1.0) if energy else 0.0


def energies_in_box(maps: JudgedMaps, _: Thresholds) -> Sample:
    """For each map the share of its energy in the object's boxes."""
    return Sample(maps.measured["energy_in_box"][maps.first])

"""IoU at every threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from looktwice.images import Window
from looktwice.localization.sweep import GRID, TracedBoxes
from looktwice.metrics.overlap import Floats, iou


@dataclass(frozen=True)
class BoxCurve:
    """One image's best IoU with any ground truth at every threshold of the grid (T,), 0 … 1."""

    largest: Floats
    """Of the largest contour's box: MaxBoxAcc."""

    best: Floats
    """Of the best of all contours' boxes: MaxBoxAccV2."""


def overlap_curve(traced: TracedBoxes, truths: ArrayLike, window: Window) -> BoxCurve:
    """IoU with the best of the ground truths (G, 4) at every threshold; 0 where there is no box.

    Boxes are mapped to the image whose ``window`` the map covers and clipped to it, as ``locate`` does; one that lies
    in a crop's padding altogether is none.
    """
    boxes = window.to_image(traced.boxes, traced.width, traced.height)
    overlap = iou(boxes, truths).max(axis=1)
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    overlap, threshold = overlap[seen], np.repeat(np.arange(len(GRID)), traced.counts)[seen]
    largest, best = np.zeros(len(GRID)), np.zeros(len(GRID))
    there, first = np.unique(threshold, return_index=True)
    if len(there):
        largest[there], best[there] = overlap[first], np.maximum.reduceat(overlap, first)
    return BoxCurve(largest, best)

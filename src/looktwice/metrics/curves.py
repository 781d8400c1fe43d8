"""The IoU of a map's boxes with the object, at every threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from looktwice.images import Window
from looktwice.localization.sweep import GRID, TracedBoxes
from looktwice.metrics.overlap import Floats, iou


@dataclass(frozen=True)
class BoxCurve:
    """A map's best IoU with any ground truth at every threshold of the grid (T,), 0 … 1.

    Attributes:
        largest: of the box of the largest contour, as MaxBoxAcc has it.
        best: of the best box of all contours, as MaxBoxAccV2 has it.
    """

    largest: Floats
    best: Floats


def overlap_curve(traced: TracedBoxes, truths: ArrayLike, window: Window) -> BoxCurve:
    """The IoU of a map's boxes with the best of the ground truths (G, 4) at every threshold; 0 where there is no box.

    Boxes are mapped to the image (the map covers its ``window``) and clipped to it, as ``locate`` does. A box entirely
    in a crop's padding counts as none.
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

"""The IoU of a map's boxes with the object, at every threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    boxes, there, first = _in_image(traced, window)
    largest, best = np.zeros(len(GRID)), np.zeros(len(GRID))
    if len(there):
        overlap = iou(boxes, truths).max(axis=1)
        largest[there], best[there] = overlap[first], np.maximum.reduceat(overlap, first)
    return BoxCurve(largest, best)


def largest_boxes(traced: TracedBoxes, window: Window) -> Floats:
    """The box of the largest contour at every threshold (T, 4), in pixels of the image; zeros where there is none.

    These are the boxes whose IoU is ``BoxCurve.largest``.
    """
    boxes, there, first = _in_image(traced, window)
    largest = np.zeros((len(GRID), 4))
    largest[there] = boxes[first]
    return largest


def _in_image(traced: TracedBoxes, window: Window) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """The boxes (B, 4) in pixels of the image, the thresholds that have any, and the first box of each of these."""
    boxes = window.to_image(traced.boxes, traced.width, traced.height)
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    there, first = np.unique(np.repeat(np.arange(len(GRID)), traced.counts)[seen], return_index=True)
    return boxes[seen], there, first

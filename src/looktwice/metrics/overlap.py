"""The overlap of boxes: intersection over union."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import InputError

Floats = NDArray[np.float64]


def iou(boxes: ArrayLike, truths: ArrayLike) -> Floats:
    """Intersection over union of half-open boxes (A, 4) and (B, 4) → (A, B), 0 … 1; 0 where both boxes are empty.

    >>> iou([[0, 0, 10, 10]], [[0, 0, 10, 5], [20, 20, 30, 30]])
    array([[0.5, 0. ]])
    """
    return _iou(boxes, truths, 0.0)


def iou_inclusive(boxes: ArrayLike, truths: ArrayLike) -> Floats:
    """Intersection over union of inclusive boxes (A, 4) and (B, 4), which name their last pixel → (A, B).

    wsolevaluation counts so.
    """
    return _iou(boxes, truths, 1.0)


def shares_inside(boxes: ArrayLike, others: ArrayLike) -> Floats:
    """The share of each half-open box's own area (A, 4) that lies in each other box (B, 4) → (A, B); 0 without area.

    >>> shares_inside([[0, 0, 10, 10]], [[0, 0, 10, 7], [2, 2, 3, 3]])
    array([[0.7 , 0.01]])
    """
    a, b = _as_boxes(boxes), _as_boxes(others)
    both = _area(np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:]), 0.0)
    own = np.broadcast_to(_area(a[:, None, :2], a[:, None, 2:], 0.0), both.shape)
    return np.asarray(np.divide(both, own, out=np.zeros_like(both), where=own > 0))


def _iou(boxes: ArrayLike, truths: ArrayLike, extra: float) -> Floats:
    a, b = _as_boxes(boxes), _as_boxes(truths)
    both = _area(np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:]), extra)
    either = _area(a[:, None, :2], a[:, None, 2:], extra) + _area(b[:, :2], b[:, 2:], extra) - both
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


def _area(starts: Floats, ends: Floats, extra: float) -> Floats:
    sides = np.maximum(ends - starts + extra, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _as_boxes(boxes: ArrayLike) -> Floats:
    values = np.asarray(boxes, dtype=np.float64)
    if values.size == 0:
        return values.reshape(0, 4)
    if values.ndim != 2 or values.shape[1] != 4:
        raise InputError(f"boxes must be (number, 4), not {values.shape}; each is (x1, y1, x2, y2)")
    return values


def as_truths(truths: ArrayLike) -> Floats:
    """Ground-truth boxes (B, 4), checked.

    Raises:
        InputError: there is none, or one is empty or not finite.
    """
    values = _as_boxes(truths)
    if not len(values):
        raise InputError("no ground-truth box; leave images without boxes out of this measure")
    if not ((values[:, 2:] > values[:, :2]).all() and np.isfinite(values).all()):
        raise InputError(
            "a ground-truth box is empty or not finite; boxes are half-open (x1, y1, x2, y2), x2 > x1, y2 > y1"
        )
    return values

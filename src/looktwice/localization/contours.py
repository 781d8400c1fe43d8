"""The contours of a picture at many levels, traced in a few calls instead of one call for each level.

Tracing a map at a hundred thresholds is most of the work of measuring it. So several cuts are put below each other in
one tall picture, with a black line between them, and traced together. Rows and columns that even the lowest of these
cuts does not reach are left out.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

PIXELS_AT_ONCE = 2**20
"""Largest number of pixels in a tall picture. One that fits the processor's cache is traced fastest, and the C library
keeps its memory for the next one."""


@dataclass(frozen=True, eq=False)
class CutContours:
    """The N contours of all cuts, cut after cut; within a cut they are in OpenCV's order.

    Attributes:
        contours: the corners of each contour, (x, y + ``below``) with the ``below`` of that contour.
        below: by how many rows the corners of each contour lie too low (N,).
        cut: the index of the cut that each contour belongs to (N,).
        rectangles: x, y, width and height of each contour, in the picture (N, 4).
        areas: of the polygon through the centres of each contour's pixels; OpenCV's ``contourArea`` (N,).
        steps: how many steps from pixel to pixel go around each contour (N,).
    """

    contours: list[cv2.typing.MatLike]
    below: Whole
    cut: Whole
    rectangles: Whole
    areas: Floats
    steps: Whole

    @property
    def pixels_within(self) -> Floats:
        """How many pixels lie on or inside each contour, if it is an external one (N,).

        By Pick's theorem: the contour is a polygon through pixel centres, and each of its steps goes to a neighbouring
        pixel. So the number of pixels is its area plus half its steps plus one. This also holds where a region is one
        pixel thin and the polygon runs back on itself.
        """
        return np.asarray(self.areas + self.steps / 2 + 1)


def trace_cuts(picture: NDArray[np.uint8], levels: NDArray[np.uint8], mode: int) -> CutContours:
    """The contours of the pixels strictly above each level (C,) of a picture (H, W).

    ``mode`` is passed to OpenCV's ``findContours``.
    """
    reach = picture.max(axis=1), picture.max(axis=0)
    step = max(1, PIXELS_AT_ONCE // picture.size)
    contours: list[cv2.typing.MatLike] = []
    origins: list[tuple[int, int, int, int]] = []
    for start in range(0, len(levels), step):
        some = levels[start : start + step]
        (top, bottom), (left, right) = (_reached(values, int(some.min())) for values in reach)
        inside = np.zeros((bottom - top + 1, right - left), dtype=np.uint8)  # the last line stays black
        inside[:-1] = picture[top:bottom, left:right]
        tall = np.greater(inside.ravel(), some[:, None]).view(np.uint8).reshape(-1, right - left)
        found, _ = cv2.findContours(tall, mode, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
        contours += found
        origins.append((len(found), start, top, len(inside)))
    return _ordered(contours, *np.array(origins, dtype=np.int64).reshape(-1, 4).T)


def _ordered(contours: list[cv2.typing.MatLike], counts: Whole, start: Whole, top: Whole, rows: Whole) -> CutContours:
    """The contours of some tall pictures, measured and cut after cut.

    Args:
        contours: of one tall picture after the other (N).
        counts: how many contours each tall picture has (P,).
        start: the index of its first cut (P,).
        top: the row of the picture at which its cuts begin (P,).
        rows: how many rows each of its cuts has (P,).
    """
    rectangles, areas, steps = _measured(contours)
    start, top, rows = (np.repeat(each, counts) for each in (start, top, rows))
    number = (rectangles[:, 1] - top) // rows
    order = np.argsort(start + number, kind="stable")
    below = number * rows
    rectangles[:, 1] -= below
    return CutContours(
        contours=[contours[index] for index in order.tolist()],
        below=below[order],
        cut=(start + number)[order],
        rectangles=rectangles[order],
        areas=areas[order],
        steps=steps[order],
    )


def _measured(contours: list[cv2.typing.MatLike]) -> tuple[Whole, Floats, Whole]:
    """The rectangles (N, 4), areas (N,) and steps (N,) of contours, from all their corners at once."""
    if not contours:
        return np.zeros((0, 4), dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64)
    sizes = np.array([len(contour) for contour in contours])
    first = np.cumsum(sizes) - sizes
    x, y = np.concatenate(contours)[:, 0].T.copy()
    to_x, to_y = (_following(values, first, sizes) for values in (x, y))
    lowest, highest = (
        np.stack([ends.reduceat(values, first) for values in (x, y)]) for ends in (np.minimum, np.maximum)
    )
    # Half the sum of these products is the area; a tall picture may be too tall for products in single precision.
    doubled = np.add.reduceat(np.multiply(x, to_y, dtype=np.int64) - np.multiply(to_x, y, dtype=np.int64), first)
    steps = np.add.reduceat(np.maximum(np.abs(to_x - x), np.abs(to_y - y)), first)
    return np.concatenate([lowest, highest - lowest + 1]).T.astype(np.int64), np.abs(doubled) / 2, steps


def _following(values: NDArray[np.int32], first: Whole, sizes: Whole) -> NDArray[np.int32]:
    """For each corner of the contours the value (points,) of the next corner; the first one follows the last."""
    found = np.empty_like(values)
    found[:-1] = values[1:]
    found[first + sizes - 1] = values[first]
    return found


def _reached(values: NDArray[np.uint8], level: int) -> tuple[int, int]:
    """The half-open range of places that covers all values (V,) above a level; (0, 1) if none is above it."""
    above = np.flatnonzero(values > level)
    return (int(above[0]), int(above[-1]) + 1) if len(above) else (0, 1)

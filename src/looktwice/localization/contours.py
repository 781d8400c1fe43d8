"""The contours of a picture at many levels, traced in a few calls instead of one call for each level.

Tracing a map at a hundred thresholds is most of the work of measuring it. So several cuts are put below each other in
one tall picture, with a black line between them, and traced together. Rows and columns that even the lowest of these
cuts does not reach are left out.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PIXELS_AT_ONCE = 2**20
"""Largest number of pixels in a tall picture. One that fits the processor's cache is traced fastest, and the C library
keeps its memory for the next one."""


@dataclass(frozen=True)
class CutContours:
    """The N contours of all cuts, cut after cut; within a cut they are in OpenCV's order.

    Attributes:
        contours: the points of each contour, (x, y + ``below``) with the ``below`` of that contour.
        below: by how many rows the points of each contour lie too low (N,).
        cut: the index of the cut that each contour belongs to (N,).
        rectangles: x, y, width and height of each contour, in the picture (N, 4).
    """

    contours: list[cv2.typing.MatLike]
    below: NDArray[np.int64]
    cut: NDArray[np.int64]
    rectangles: NDArray[np.int64]


def trace_cuts(picture: NDArray[np.uint8], levels: NDArray[np.uint8], mode: int, approximation: int) -> CutContours:
    """The contours of the pixels strictly above each level (C,) of a picture (H, W).

    ``mode`` and ``approximation`` are passed to OpenCV's ``findContours``.
    """
    reach = picture.max(axis=1), picture.max(axis=0)
    step = max(1, PIXELS_AT_ONCE // picture.size)
    contours: list[cv2.typing.MatLike] = []
    below, cut, rectangles = [], [], []
    for start in range(0, len(levels), step):
        some = levels[start : start + step]
        (top, bottom), (left, right) = (_reached(values, int(some.min())) for values in reach)
        inside = np.zeros((bottom - top + 1, right - left), dtype=np.uint8)  # the last line stays black
        inside[:-1] = picture[top:bottom, left:right]
        tall = np.greater(inside.ravel(), some[:, None]).view(np.uint8).reshape(-1, right - left)
        found, _ = cv2.findContours(tall, mode, approximation, offset=(left, top))
        boxes = np.array([cv2.boundingRect(contour) for contour in found], dtype=np.int64).reshape(-1, 4)
        number = (boxes[:, 1] - top) // len(inside)
        order = np.argsort(number, kind="stable")
        contours += [found[index] for index in order.tolist()]
        below.append(number[order] * len(inside))
        cut.append(number[order] + start)
        rectangles.append(boxes[order] - below[-1][:, None] * [0, 1, 0, 0])
    return CutContours(contours, np.concatenate(below), np.concatenate(cut), np.concatenate(rectangles))


def pixels_within(contour: cv2.typing.MatLike) -> float:
    """How many pixels lie on or inside an external contour that was traced with ``CHAIN_APPROX_NONE``.

    By Pick's theorem: the contour is a polygon through pixel centres, and each of its steps goes to a neighbouring
    pixel. So the number of pixels is its area plus half its steps plus one. This also holds where a region is one pixel
    thin and the polygon runs back on itself.
    """
    steps = len(contour) if len(contour) > 1 else 0
    return cv2.contourArea(contour) + steps / 2 + 1


def _reached(values: NDArray[np.uint8], level: int) -> tuple[int, int]:
    """The half-open range of places that covers all values (V,) above a level; (0, 1) if none is above it."""
    above = np.flatnonzero(values > level)
    return (int(above[0]), int(above[-1]) + 1) if len(above) else (0, 1)

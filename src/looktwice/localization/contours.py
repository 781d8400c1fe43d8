"""A picture cut at many levels → the contours of every cut, traced in a few calls instead of one for each.

Tracing a map at a hundred thresholds is most of what measuring it takes. Cuts are traced several at once, below each
other in one tall picture with a black line between them, and nothing is looked at beyond the rows and columns that the
lowest cut of it reaches.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PIXELS_AT_ONCE = 2**20
"""Of a tall picture, at most: what fits a processor's cache, and what the C library's allocator keeps, is traced
fastest."""


@dataclass(frozen=True)
class Outlines:
    """The contours of all cuts: those of one cut in OpenCV's order, those of the first cut first.

    Attributes:
        contours: each with coordinates (x, y + its ``below``).
        below: how many rows lower than in the picture each is given (N,).
        cut: which cut each is of (N,).
        rectangles: the x, y, width and height of each, in the picture (N, 4).
    """

    contours: list[cv2.typing.MatLike]
    below: NDArray[np.int64]
    cut: NDArray[np.int64]
    rectangles: NDArray[np.int64]


def trace_cuts(picture: NDArray[np.uint8], levels: NDArray[np.uint8], mode: int, approximation: int) -> Outlines:
    """The contours of what is strictly above each level (C,) in a picture (H, W).

    ``mode`` and ``approximation`` are those of OpenCV's ``findContours``.
    """
    reach = picture.max(axis=1), picture.max(axis=0)
    step = max(1, PIXELS_AT_ONCE // picture.size)
    contours: list[cv2.typing.MatLike] = []
    below, cut, rectangles = [], [], []
    for start in range(0, len(levels), step):
        some = levels[start : start + step]
        (top, bottom), (left, right) = (_reached(values, int(some.min())) for values in reach)
        inside = np.zeros((bottom - top + 1, right - left), dtype=np.uint8)  # its last line stays black
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
    return Outlines(contours, np.concatenate(below), np.concatenate(cut), np.concatenate(rectangles))


def pixels_within(contour: cv2.typing.MatLike) -> float:
    """How many pixels lie on or inside an external contour, traced with ``CHAIN_APPROX_NONE``.

    Pick's theorem on the polygon through its pixels' centres, whose every step goes to a neighbouring pixel: area plus
    half the steps plus one. It holds for one that runs back on itself too, where a region is one pixel thin.
    """
    steps = len(contour) if len(contour) > 1 else 0
    return cv2.contourArea(contour) + steps / 2 + 1


def _reached(values: NDArray[np.uint8], level: int) -> tuple[int, int]:
    """From the first to behind the last of the values (V,) above a level; one pixel where none is."""
    above = np.flatnonzero(values > level)
    return (int(above[0]), int(above[-1]) + 1) if len(above) else (0, 1)

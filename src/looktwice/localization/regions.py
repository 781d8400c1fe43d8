"""The region that a box was drawn around: as a mask, as polygons, and run-length encoded.

A region is a set of map pixels. Each map pixel is a half-open square, and the map covers a window of an image, so the
region has exact borders in the image too. Everything here is computed when it is asked for: a region itself costs
nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.images import Window, centres_on_map

Point = tuple[float, float]
"""(x, y) in pixels: (0, 0) is the upper left corner of the first pixel, (1, 1) is its lower right corner."""


class RunLengths(TypedDict):
    """COCO's uncompressed run-length encoding of a mask.

    ``size`` is [height, width]. ``counts`` goes down column after column: the number of zeros, then of ones, then of
    zeros … The first count is 0 where the mask begins with a one.
    """

    size: list[int]
    counts: list[int]


@dataclass(frozen=True, eq=False)
class Region:
    """Some pixels of a map, and where they lie in an image.

    Attributes:
        labels: the rectangle of a label image (h, w) in which the region lies.
        label: the region's label; the region is where ``labels`` has it.
        left: the column of the map at which the rectangle begins.
        top: the row of the map at which the rectangle begins.
        map_size: width and height of the map.
        window: the part of an image that the map covers; None: the region is in pixels of the map itself.
    """

    labels: NDArray[np.integer]
    label: int
    left: int
    top: int
    map_size: tuple[int, int]
    window: Window | None = None

    @cached_property
    def pixels(self) -> NDArray[np.bool_]:
        """Which pixels of the rectangle (h, w) belong to the region."""
        return np.asarray(self.labels == self.label)

    def to_image(self, window: Window) -> "Region":
        """The same region in pixels of the image whose ``window`` the map covers."""
        return replace(self, window=window)

    def mask(self, width: int, height: int) -> NDArray[np.bool_]:
        """The region as a mask (height, width) of the image of that size; of the map where there is no ``window``.

        A pixel belongs to the region if its centre lies in it. So the mask may be empty where map pixels are smaller
        than image pixels, or where the region lies in a crop's padding.
        """
        across, down = centres_on_map(self.window, width, height, self.map_size)
        columns, inner_columns = _within(across - self.left, self.pixels.shape[1])
        rows, inner_rows = _within(down - self.top, self.pixels.shape[0])
        mask = np.zeros((height, width), dtype=np.bool_)
        mask[np.ix_(rows, columns)] = self.pixels[np.ix_(inner_rows, inner_columns)]
        return mask

    def rle(self, width: int, height: int) -> RunLengths:
        """``mask(width, height)`` in COCO's uncompressed run-length encoding, ready for JSON."""
        return run_lengths(self.mask(width, height))

    @property
    def polygon(self) -> list[Point]:
        """The outline of the region, or of its largest part: corner after corner, clockwise as one sees the image.

        Empty where nothing of the region lies in the image.
        """
        return self.polygons[0] if self.polygons else []

    @cached_property
    def polygons(self) -> list[list[Point]]:
        """The outline of each 8-connected part, the largest part first; holes are not cut out.

        The region of a contour is one part without holes. The region of an object is one part, which may have holes.
        The region of an energy box may have several parts.
        """
        placed = [self._placed(outline) for outline in outlines(self.pixels)]
        return sorted((points for points in placed if _area(points) > 0), key=_area, reverse=True)

    def _placed(self, outline: NDArray[np.int64]) -> list[Point]:
        """Corners (P, 2) in the rectangle → in the image, clipped to it; equal neighbours count once."""
        corners = (outline + np.array([self.left, self.top])).astype(np.float64)
        if self.window is not None:
            corners = self.window.to_image(np.concatenate([corners, corners], axis=1), *self.map_size)[:, :2]
        moved = (corners != np.roll(corners, 1, axis=0)).any(axis=1)
        return [(float(x), float(y)) for x, y in corners[moved]]


def run_lengths(mask: ArrayLike) -> RunLengths:
    """A mask (H, W) in COCO's uncompressed run-length encoding.

    >>> run_lengths([[False, True], [True, True]])
    {'size': [2, 2], 'counts': [1, 3]}
    """
    values = np.asarray(mask, dtype=np.bool_)
    flat = values.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    begins_with_one = flat.size > 0 and bool(flat[0])
    return {"size": list(values.shape), "counts": [0, *counts] if begins_with_one else counts}


def outlines(pixels: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """The outer border of each 8-connected part of a mask (H, W), as corners (P, 2) of its pixels, clockwise.

    Where two pixels touch at a corner only, the border passes through that corner twice.
    """
    following = _border_steps(pixels)
    while following:
        corners = _walk(following)
        if _area(corners) > 0:  # the border of a hole runs the other way round
            yield np.array(corners, dtype=np.int64)


_Steps = dict[tuple[int, int], list[tuple[int, int]]]
"""From each corner of a pixel the directions (dx, dy) in which the border goes on: one, or two where parts touch."""


def _border_steps(pixels: NDArray[np.bool_]) -> _Steps:
    """All sides of pixels that have the region on their right and something else on their left."""
    padded = np.pad(pixels, 1)
    inner = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # above: along the upper side, from its left end
        (padded[1:-1, 2:], (1, 0), (0, 1)),  # to the right
        (padded[2:, 1:-1], (1, 1), (-1, 0)),  # below
        (padded[1:-1, :-2], (0, 1), (0, -1)),  # to the left
    )
    following: _Steps = {}
    for neighbour, (right, down), step in sides:
        for y, x in np.argwhere(inner & ~neighbour).tolist():
            following.setdefault((x + right, y + down), []).append(step)
    return following


def _walk(following: _Steps) -> list[tuple[int, int]]:
    """Takes one closed border out of the steps and returns the corners where it turns."""
    start = min(following, key=lambda corner: (corner[1], corner[0]))
    (x, y), step = start, following[start][0]
    corners: list[tuple[int, int]] = []
    while True:
        ways = following[x, y]
        # Where two pixels touch at a corner, there are two ways. The left turn goes on around both: they are connected.
        left_turn = (step[1], -step[0])
        way = left_turn if left_turn in ways else ways[0]
        ways.remove(way)
        if not ways:
            del following[x, y]
        if way != step or not corners:
            corners.append((x, y))
        x, y, step = x + way[0], y + way[1], way
        if (x, y) == start:
            return corners


def _area(points: Sequence[tuple[float, float]]) -> float:
    """The area of a closed polygon; negative where it runs counterclockwise, as one sees an image."""
    x, y = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


def _within(values: NDArray[np.floating], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the values (V,) lie in 0 … ``size``, and in which of the ``size`` pixels each of these lies."""
    whole = np.floor(values).astype(np.int64)
    there = np.flatnonzero((whole >= 0) & (whole < size))
    return there, whole[there]

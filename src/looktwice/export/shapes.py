"""Boxes and regions as the forms write them: rounded corners, whole pixels, and outlines along pixel borders.

A region belongs to the pixels whose centre lies in it, as ``Region.mask`` says. The outlines here go around exactly
these pixels.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.datasets.records import Corners
from looktwice.images import centres_on_map
from looktwice.localization.boxes import Box
from looktwice.localization.regions import Region, outlines

DECIMALS = 3
"""Forms with fractions of a pixel write thousandths."""


def rounded(box: Box) -> Corners:
    """The corners of a box in thousandths of a pixel. A box that would become empty keeps its exact corners."""
    x1, y1, x2, y2 = (round(side, DECIMALS) for side in box.corners)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else box.corners


def whole_pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The half-open box in whole pixels: each side goes to the nearest border of a pixel, and at least one is inside.

    >>> whole_pixels(Box(0.4, 1.5, 3.5, 1.6, 1.0), 10, 10)
    (0, 2, 4, 3)
    """
    (x1, x2), (y1, y2) = _whole(box.x1, box.x2, width), _whole(box.y1, box.y2, height)
    return x1, y1, x2, y2


def _whole(low: float, high: float, size: int) -> tuple[int, int]:
    first = min(max(math.floor(low + 0.5), 0), size - 1)
    return first, min(max(math.floor(high + 0.5), first + 1), size)


def voc_colour(value: int) -> tuple[int, int, int]:
    """PASCAL VOC's colour of a class: the bits of its value, three at a time, are the highest bits of its parts.

    >>> voc_colour(0), voc_colour(1), voc_colour(15)
    ((0, 0, 0), (128, 0, 0), (192, 128, 128))
    """
    red, green, blue = (sum(((value >> (3 * bit + part)) & 1) << (7 - bit) for bit in range(8)) for part in range(3))
    return red, green, blue


@dataclass(frozen=True)
class Segment:
    """A region in COCO's words.

    Attributes:
        segmentation: polygons [[x, y, x, y, …], …], or run lengths if the region has holes.
        area: in pixels.
    """

    segmentation: Any
    area: float


def segment(box: Box, width: int, height: int) -> Segment:
    """What a box was drawn around, in an image of this size (pixels).

    A polygon cannot have holes, so a region with holes becomes run lengths. All other regions become polygons, which
    more tools read and which a person can move. Where no centre of a pixel lies in the region, and where there is no
    region, it is the box.
    """
    grid = None if box.region is None else _Grid.of(box.region, width, height)
    if box.region is None or grid is None or grid.area == 0:
        x1, y1, x2, y2 = rounded(box)
        return Segment([[x1, y1, x2, y1, x2, y2, x1, y2]], round((x2 - x1) * (y2 - y1), 2 * DECIMALS))
    placed = [
        (_area(points), points.ravel().tolist()) for points in map(grid.along_pixels, outlines(box.region.pixels))
    ]
    polygons = [(area, points) for area, points in placed if area > 0]
    if sum(area for area, _ in polygons) != grid.area:
        return Segment(box.region.rle(width, height), grid.area)
    largest_first = sorted(polygons, key=lambda polygon: (-polygon[0], polygon[1]))
    return Segment([points for _, points in largest_first], grid.area)


@dataclass(frozen=True)
class _Grid:
    """Where the cells of a region's rectangle begin in the image.

    Attributes:
        columns: the first column of pixels of each column of cells, and of the one after the last.
        rows: the same for rows.
        area: of the region, in pixels.
    """

    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    area: int

    @classmethod
    def of(cls, region: Region, width: int, height: int) -> "_Grid":
        """Of a region in an image of this size."""
        x, y = centres_on_map(region.window, width, height, region.map_size)
        down, across = region.pixels.shape
        columns = np.searchsorted(x, region.left + np.arange(across + 1))
        rows = np.searchsorted(y, region.top + np.arange(down + 1))
        area = np.diff(rows) @ region.pixels.astype(np.int64) @ np.diff(columns)
        return cls(columns, rows, int(area))

    def along_pixels(self, corners: NDArray[np.int64]) -> NDArray[np.int64]:
        """Corners (P, 2) of cells in the region's rectangle → corners of pixels; equal neighbours count once."""
        placed = np.stack([self.columns[corners[:, 0]], self.rows[corners[:, 1]]], axis=1)
        return np.asarray(placed[(placed != np.roll(placed, 1, axis=0)).any(axis=1)])


def _area(points: NDArray[np.int64]) -> int:
    """The area of a closed polygon (P, 2) that runs clockwise, as one sees the image."""
    x, y = points.T
    return int((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) // 2

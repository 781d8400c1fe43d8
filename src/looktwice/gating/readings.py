"""How well each reading of an output's axes explains where the patches of the probes are seen in it.

Several readings may fit a shape. (17, C) may be a class token before 4×4 tokens, or after them. (64, 1) may be rows and
columns, or 8×8 tokens and nothing. Their centres of mass may lie close together, most of all on small grids. So the
readings are compared cell by cell: which of them has the patch in just the cells where it was put?
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt
from typing import Literal

import torch
from torch import Tensor

from looktwice.gating.places import Place, cell_sizes, is_proportionate, token_grids

Order = Literal["rows", "columns", "windows"]
"""How the cells of a grid follow each other."""

CLEARLY = 0.06
"""By how much the likeness of a reading exceeds that of another one, where it is clearly the better one."""

CLEARLY_FOR_TOKENS = 0.02
"""The same among readings of tokens, which are compared where nothing has blurred them yet."""

DOUBT_OF_LONG_CELLS = 0.15
"""How far below a grid of long cells another reading may stay and still counts against it."""

LEAST_LIKENESS = 0.6
"""How like a reading is at least to what is seen, where it counts against another one. Less is chance."""

LEAST_FOR_LONG_CELLS = 0.45
"""The same for a grid whose cells are much longer on one side. Networks for spectrograms have such grids, at 0.55
or more. On a side of one or two cells, every place fits."""

LEAST_SIDE = 3
"""How many cells a side of a grid has at least, where a single axis may be read as that grid. A few cells
fit by chance."""


@dataclass(frozen=True)
class Reading:
    """A way to read an output's axes as the cells of a grid.

    Attributes:
        axes: those that are the cells, in the order of the cells; axis 0 is the first one after the batch.
        grid: rows and columns.
        before: how many places stand before the cells.
        after: how many stand after them.
        order: how the cells follow each other.
        window: rows of a window, and columns, if the cells follow each other window by window.
    """

    axes: tuple[int, ...]
    grid: tuple[int, int]
    before: int = 0
    after: int = 0
    order: Order = "rows"
    window: tuple[int, int] = (1, 1)

    @classmethod
    def of_place(cls, place: Place) -> "Reading":
        """The reading of a place that has a grid."""
        assert place.grid is not None
        axes = {"channels": (1, 2), "channels_last": (0, 1)}.get(place.kind, (0,))
        return cls(axes, place.grid, place.prefix)


class Differences:
    """How much each value of an output differs from the output without a patch: (P, ...), one for each patch."""

    def __init__(self, values: Tensor) -> None:
        self._sums = {tuple(range(values.ndim - 1)): values}

    @classmethod
    def between(cls, outputs: Tensor) -> "Differences":
        """How much each of three outputs (3, ...) differs from the output without any patch."""
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        one, two, three = outputs
        # Where only one probe has a patch, the median is the output without any.
        low, high = torch.minimum(one, two), torch.maximum(one, two)
        median = torch.maximum(low, torch.minimum(high, three, out=high), out=low)
        return cls((outputs - median).abs_())

    def along(self, axes: tuple[int, ...]) -> Tensor:
        """Their sums over all other axes, (P, ...) in the order of ``axes``; axis 0 is the first one after P."""
        kept = tuple(sorted(axes))
        if kept not in self._sums:
            wider = min((each for each in self._sums if set(kept) <= set(each)), key=len)
            others = [number + 1 for number, axis in enumerate(wider) if axis not in kept]
            self._sums[kept] = _sum(self._sums[wider], others)
        found = self._sums[kept]
        return found if kept == axes else found.mT

    def on_grid(self, place: Place) -> Tensor:
        """Their sums over the channels of a place that has a grid: (P, rows, columns)."""
        reading = Reading.of_place(place)
        cells = self.along(reading.axes)
        return cells if len(reading.axes) == 2 else cells[:, reading.before :].reshape(-1, *reading.grid)


def _sum(values: Tensor, axes: Sequence[int]) -> Tensor:
    """``values.sum(axes)``, but up to thirty times as fast where axes do not follow each other as in memory."""
    order = sorted(range(values.ndim), key=values.stride, reverse=True)
    kept = [axis for axis in order if axis not in axes]
    return (
        values.permute(order)
        .sum([order.index(axis) for axis in axes])
        .permute([kept.index(axis) for axis in sorted(kept)])
    )


class Likeness:
    """How like the cells where patches are seen are to those where each reading expects them.

    Args:
        differences: of P patches.
        centres: rows and columns of the patches, as shares of height and width.
        side: the side of a patch, as a share of the image's.
        image: height and width.
    """

    def __init__(
        self, differences: Differences, centres: Sequence[tuple[float, float]], side: float, image: Sequence[int]
    ) -> None:
        self._differences = differences
        self._patches = tuple((centre, side) for centre in centres)
        self._image = (image[0], image[1])
        self._own: dict[tuple[int, ...], Tensor] = {}

    def of(self, reading: Reading) -> float:
        """The cosine between where patches are seen and where they are expected: 1 where they agree."""
        own = self._own_of(reading.axes)
        cosines = [
            (own * _expected(reading, self._patches, cover).to(own)).sum() for cover in _covers(reading, self._image)
        ]
        return float(max(cosines)) / len(self._patches)

    def is_certain(self, place: Place, shape: Sequence[int]) -> bool:
        """Whether a place explains what is seen, and no reading without a place does so clearly better.

        Such readings are cells column by column or window by window, tokens that stand after the image's own, heads.
        """
        reading = Reading.of_place(place)
        found = self.of(reading)
        least, margin = 0.0, CLEARLY
        if place.kind == "tokens":
            least, margin = LEAST_LIKENESS, CLEARLY_FOR_TOKENS
        elif not is_proportionate(reading.grid, self._image):
            least, margin = LEAST_FOR_LONG_CELLS, -DOUBT_OF_LONG_CELLS
        better = max(LEAST_LIKENESS, found + margin)
        return found >= least and all(self.of(rival) <= better for rival in _rivals(place, tuple(shape), self._image))

    def _own_of(self, axes: tuple[int, ...]) -> Tensor:
        """What each patch alone changes, along these axes, in units of its length: (P, cells)."""
        if axes not in self._own:
            found = self._differences.along(axes).flatten(1).double()
            share = found / found.sum(1, keepdim=True).clamp_min(torch.finfo(torch.double).tiny)
            self._own[axes] = _unit((share - share.mean(0)).clamp_min(0))
        return self._own[axes]


@lru_cache(maxsize=1024)
def _rivals(place: Place, shape: tuple[int, ...], image: tuple[int, int]) -> tuple[Reading, ...]:
    """Readings of a shape that have no place."""
    found: list[Reading] = []
    if len(shape) == 2:
        in_turn = _along_one_axis(0, shape[0], image, most_before=None)
        found += (reading for reading in in_turn if reading.order != "rows")
        found += (Reading((0,), (shape[0], 1)), Reading((0,), (1, shape[0])))
        for after in range(1, place.prefix + 1):
            found.append(replace(Reading.of_place(place), before=place.prefix - after, after=after))
    else:
        found += _along_two_axes(shape, image)
    for axis, count in list(enumerate(shape))[len(shape) == 2 :]:
        in_turn = _along_one_axis(axis, count, image, most_before=1)
        found += (reading for reading in in_turn if min(reading.grid) >= LEAST_SIDE)
    return tuple(found)


def _along_two_axes(shape: Sequence[int], image: tuple[int, int]) -> Iterator[Reading]:
    for axes in ((1, 2), (0, 1), (0, 2)):
        grid = (shape[axes[0]], shape[axes[1]])
        if axes == (0, 2) and is_proportionate(grid, image):
            yield Reading(axes, grid)
        if is_proportionate(grid[::-1], image):
            yield Reading(axes[::-1], grid[::-1])
        for inside in (axes, axes[::-1]):
            yield from _windows(inside, (shape[inside[0]], shape[inside[1]]), image)


def _along_one_axis(axis: int, count: int, image: tuple[int, int], *, most_before: int | None) -> Iterator[Reading]:
    for grid, before in token_grids(count, image, most_before=most_before):
        yield Reading((axis,), grid, before)
        if min(grid) == 1:
            continue
        yield Reading((axis,), grid, before, order="columns")
        for rows in (2, 4, 7, 8):
            if grid[0] % rows == grid[1] % rows == 0 and rows < max(grid):
                yield Reading((axis,), grid, before, order="windows", window=(rows, rows))


def _windows(axes: tuple[int, ...], sizes: tuple[int, int], image: tuple[int, int]) -> Iterator[Reading]:
    """Windows along one axis, and their cells along another."""
    side = isqrt(sizes[1])
    if side < 2 or side * side != sizes[1]:
        return
    for grid, before in token_grids(sizes[0] * sizes[1], image, most_before=0):
        if not before and grid[0] % side == grid[1] % side == 0:
            yield Reading(axes, grid, order="windows", window=(side, side))


Cover = tuple[float, float]
"""The share of height and width that the cells cover. Patches that do not divide the image leave a rest."""


def _covers(reading: Reading, image: tuple[int, int]) -> Iterator[Cover]:
    yield 1.0, 1.0
    if len(reading.axes) == 1:
        for size in cell_sizes(reading.grid, image):
            yield size * reading.grid[0] / image[0], size * reading.grid[1] / image[1]


@lru_cache(maxsize=4096)
def _expected(reading: Reading, patches: tuple[tuple[tuple[float, float], float], ...], cover: Cover) -> Tensor:
    """How much of each cell each patch covers, as the reading has the cells: (P, before + cells + after).

    Each patch is in units of its length.
    """
    centres = torch.tensor([centre for centre, _ in patches], dtype=torch.double)
    halves = torch.tensor([[side / 2] for _, side in patches], dtype=torch.double)
    share = torch.tensor(cover, dtype=torch.double)
    starts, stops = (centres - halves) / share, (centres + halves) / share
    down, across = (_overlaps(count, starts[:, axis], stops[:, axis]) for axis, count in enumerate(reading.grid))
    cells = _in_order(down[:, :, None] * across[:, None], reading)
    return _unit(torch.nn.functional.pad(cells, (reading.before, reading.after)))


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (P, cells) in units of their length; zeros stay zeros."""
    return torch.nn.functional.normalize(vectors, dim=1)


def _overlaps(cells: int, starts: Tensor, stops: Tensor) -> Tensor:
    """Which share of each of several equal cells in [0, 1] lies between two points (P,): (P, cells)."""
    edges = torch.arange(cells + 1, dtype=torch.double) / cells
    return (edges[1:].minimum(stops[:, None]) - edges[:-1].maximum(starts[:, None])).clamp_min(0) * cells


def _in_order(cells: Tensor, reading: Reading) -> Tensor:
    """The cells of grids one after the other: (P, rows, columns) → (P, cells)."""
    if reading.order != "windows":
        return (cells if reading.order == "rows" else cells.mT).flatten(1)
    (rows, columns), (height, width) = reading.grid, reading.window
    return cells.reshape(len(cells), rows // height, height, columns // width, width).transpose(2, 3).flatten(1)

"""How an output's axes relate to the image: the only place that knows shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["channels", "channels_last", "tokens", "vector", "other"]
"""How a call's output lies. ``channels`` (C, H, W) and ``channels_last`` (H, W, C): a stack of maps of the image.
``tokens`` (T, C): the cells of such maps row by row, after class tokens and the like. ``vector`` (C,): after a linear
layer. ``other``: its place in the image is not known, or it is a squeeze to 1×1."""

MOST_PREFIX = 8
"""How many tokens may stand before those of the image: a class token, register tokens."""

MOST_PROPORTION = 1.25
"""How many times a cell of tokens may be longer on one side. Patches are square, but need not divide the image."""


@dataclass(frozen=True)
class Place:
    """How an output's axes relate to the image.

    Attributes:
        kind: channels first or last, tokens, or nothing like the image.
        grid: rows and columns of its maps; ``None`` if it has none.
        prefix: how many tokens stand before those of the image.
    """

    kind: Kind
    grid: tuple[int, int] | None = None
    prefix: int = 0

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in a batch of outputs (N, ...)."""
        return {"channels_last": 3, "tokens": 2}.get(self.kind, 1)

    def gate_shape(self, output: Sequence[int]) -> tuple[int, ...]:
        """The shape of the gates of an output of the shape (N, ...): all of it but the first tokens."""
        return (output[0], output[1] - self.prefix, *output[2:]) if self.prefix else tuple(output)

    def probe_shape(self, output: Sequence[int]) -> tuple[int, ...]:
        """The shape of the probe of an output of the shape (N, ...): that of its gates, with a single channel."""
        return tuple(1 if axis == self.channel_axis else size for axis, size in enumerate(self.gate_shape(output)))

    def gated_part(self, output: Tensor) -> Tensor:
        """The part of an output (N, ...) that lies in the image."""
        return output[:, self.prefix :] if self.prefix else output

    def to_grid(self, values: Tensor) -> Tensor:
        """Values that lie like the gated part of an output (N, ...) → one map a channel (N, C, rows, columns)."""
        assert self.grid is not None
        if self.kind == "tokens":
            return values.mT.reshape(len(values), -1, *self.grid)
        return values.permute(0, 3, 1, 2) if self.kind == "channels_last" else values

    def from_grid(self, maps: Tensor) -> Tensor:
        """The inverse of ``to_grid``: (N, C, rows, columns) → (N, ...)."""
        if self.kind == "tokens":
            return maps.flatten(2).mT
        return maps.permute(0, 2, 3, 1) if self.kind == "channels_last" else maps


NOWHERE = Place("other")
"""Nothing whose place in the image is known."""

UNMEASURED = Place("other")
"""The place of an output that was not measured; its shape decides."""


def place_of_shape(shape: Sequence[int]) -> Place:
    """What an output's shape (without the batch) suggests, where nothing is measured."""
    if len(shape) == 1:
        return Place("vector")
    return Place("channels", (shape[1], shape[2])) if len(shape) == 3 else NOWHERE


def is_squeeze(shape: Sequence[int]) -> bool:
    """Whether an output has a single cell: (C, 1, 1) or (1, 1, C)."""
    return len(shape) == 3 and (1, 1) in (tuple(shape[1:]), tuple(shape[:2]))


def place_candidates(shape: Sequence[int], image: Sequence[int]) -> Iterator[Place]:
    """The places that an output of this shape may have in an image of (height, width); no squeeze to a single cell.

    The likelier ones come first: channels before rows and columns. Tokens that fill a grid of the image's proportions
    come first, and among them those with the fewest tokens before the image's own.
    """
    if is_squeeze(shape):
        return
    if len(shape) == 3:
        yield Place("channels", (shape[1], shape[2]))
        yield Place("channels_last", (shape[0], shape[1]))
    elif len(shape) == 2:
        grids = token_grids(shape[0], image)
        yield from sorted((Place("tokens", *found) for found in grids), key=lambda place: _fit(place, image))


def token_grids(
    count: int, image: Sequence[int], *, most_before: int | None = None
) -> Iterator[tuple[tuple[int, int], int]]:
    """Grids of an image of (height, width) that ``count`` tokens may fill, and how many tokens stand before the grid's.

    Args:
        count: how many tokens there are.
        image: height and width.
        most_before: how many may stand before; at most ``MOST_PREFIX``.
    """
    for prefix in range(min(MOST_PREFIX if most_before is None else most_before, count) + 1):
        cells = count - prefix
        for rows in (rows for rows in range(1, cells) if cells % rows == 0):
            grid = (rows, cells // rows)
            if is_proportionate(grid, image) or any(cell_sizes(grid, image)):
                yield grid, prefix


def is_proportionate(grid: tuple[int, int], image: Sequence[int]) -> bool:
    """Whether the cells of a grid in an image of (height, width) are about as high as wide."""
    return _proportion(grid, image) < MOST_PROPORTION


def cell_sizes(grid: tuple[int, int], image: Sequence[int]) -> range:
    """Sides, in pixels, of the squares that fit an image of (height, width) just as often as the grid has cells."""
    least = max(side // (cells + 1) + 1 for side, cells in zip(image, grid, strict=True))
    most = min(side // cells for side, cells in zip(image, grid, strict=True))
    return range(least, most + 1)


def _fit(place: Place, image: Sequence[int]) -> tuple[float, int]:
    return round(_proportion(place.grid or (1, 1), image), 1), place.prefix


def _proportion(grid: tuple[int, int], image: Sequence[int]) -> float:
    """How many times a cell of the grid is longer on one side than on the other; at least 1."""
    ratio = image[0] * grid[1] / (grid[0] * image[1])
    return max(ratio, 1 / ratio)

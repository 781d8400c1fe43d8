"""Shapes that may be read in several ways: the right reading is found, or the output carries no gates."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from looktwice import attend
from looktwice.errors import ModelError
from looktwice.gating import frozen
from looktwice.gating.geometry import measured_places
from looktwice.gating.places import NOWHERE, Place
from looktwice.gating.readings import Differences, Likeness, Reading

Cells = Callable[[Tensor], Tensor]


class Arranged(nn.Module):
    """A patch embedding and an MLP whose GELU sees the cells (N, rows, columns, C) in another arrangement."""

    def __init__(self, arrange: Cells, *, patch: int = 8, hidden: int = 9) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.arrange = arrange
        self.patches, self.up = nn.Conv2d(3, 6, patch, patch), nn.Linear(6, hidden)

    def forward(self, images: Tensor) -> Tensor:
        return F.gelu(self.arrange(self.up(self.patches(images).permute(0, 2, 3, 1)))).flatten(1)[:, :4]


class Tokens(nn.Module):
    """Patches as tokens, with others before and after them."""

    def __init__(self, patch: int, before: int, after: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.up, self.head = nn.Conv2d(3, 6, patch, patch), nn.Linear(6, 9), nn.Linear(9, 4)
        self.before, self.after = nn.Parameter(torch.randn(1, before, 6)), nn.Parameter(torch.randn(1, after, 6))

    def forward(self, images: Tensor) -> Tensor:
        own = self.patches(images).flatten(2).mT
        tokens = torch.cat([self.before.expand(len(own), -1, -1), own, self.after.expand(len(own), -1, -1)], 1)
        return self.head(F.gelu(self.up(tokens)).mean(1))


def place_in(network: nn.Module, height: int, width: int) -> Place:
    with frozen(network) as inside:
        return measured_places(inside, torch.randn(1, 3, height, width))[0]


@pytest.mark.parametrize("before", [0, 1, 2, 5, 8])
@pytest.mark.parametrize(
    ("size", "patch"),
    [
        ((64, 56), 16),  # 4×3 tokens are as many as 3×3 after three others
        ((112, 96), 14),  # 8×6 as many as 7×6 after six
        ((64, 70), 8),  # 8×8 as many as 7×8 after eight
        ((120, 80), 16),  # 7×5 after five as many as 8×5
        ((70, 70), 16),
        ((80, 112), 16),
        ((30, 60), 16),  # a single row
    ],
)
def test_tokens_have_the_grid_that_explains_them_best(size, patch, before):
    expected = Place("tokens", (size[0] // patch, size[1] // patch), before)
    found = place_in(Tokens(patch, before), *size)
    assert found == expected or (found == NOWHERE and expected.grid[0] == 1)


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("after", [1, 2, 4])
@pytest.mark.parametrize("size", [(64, 64), (96, 96), (64, 96), (224, 224)])
def test_a_class_token_after_those_of_the_image_shifts_no_map(size, after, before):
    assert place_in(Tokens(8, before, after), *size) == NOWHERE


def test_tokens_of_which_some_were_dropped_are_no_grid():
    class Dropped(Tokens):
        def forward(self, images: Tensor) -> Tensor:
            own = self.patches(images).flatten(2).mT
            tokens = torch.cat([self.before.expand(len(own), -1, -1), own], 1)[:, :-3]
            return self.head(F.gelu(self.up(tokens)).mean(1))

    assert place_in(Dropped(8, 1), 96, 64) == NOWHERE


def windows_of(side: int) -> Cells:
    def arrange(cells: Tensor) -> Tensor:
        images, rows, columns, channels = cells.shape
        parts = cells.reshape(images, rows // side, side, columns // side, side, channels).permute(0, 1, 3, 2, 4, 5)
        return parts.reshape(images, -1, side * side, channels)

    return arrange


OTHERWISE: dict[str, Cells] = {
    "tokens and a last axis of 1": lambda cells: cells.flatten(1, 2).mT[..., None],
    "tokens and a middle axis of 1": lambda cells: cells.flatten(1, 2).mT[:, :, None],
    "heads, tokens, channels": lambda cells: cells.flatten(1, 2).unflatten(2, (3, -1)).transpose(1, 2),
    "tokens, heads, channels": lambda cells: cells.flatten(1, 2).unflatten(2, (3, -1)),
    "columns before rows": lambda cells: cells.transpose(1, 2),
    "channels, columns, rows": lambda cells: cells.permute(0, 3, 2, 1),
    "rows, channels, columns": lambda cells: cells.transpose(2, 3),
    "windows": windows_of(2),
    "tokens window by window": lambda cells: windows_of(2)(cells).flatten(1, 2)[:, None],
    "windows along an axis of its own": windows_of(4),
}


@pytest.mark.parametrize("hidden", [3, 9])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (32, 32)])
@pytest.mark.parametrize("name", OTHERWISE)
def test_other_arrangements_of_the_cells_are_no_picture(name, size, hidden):
    assert place_in(Arranged(OTHERWISE[name], hidden=hidden), *size).kind == "other"


def test_tokens_along_an_axis_of_one_are_refused_in_one_line():
    network = Arranged(OTHERWISE["tokens and a last axis of 1"])
    with pytest.raises(ModelError, match="lies like the image"):
        attend(network, torch.randn(2, 3, 64, 64), 1, method="global_feedback")


@pytest.mark.parametrize("side", [2, 3, 4, 7, 14])
def test_as_many_channels_as_rows_and_columns_are_told_apart(side):
    images = (8 * side, 8 * side)
    last = Arranged(lambda cells: cells, hidden=side)
    first = Arranged(lambda cells: cells.permute(0, 3, 1, 2), hidden=side)
    assert place_in(last, *images) == Place("channels_last", (side, side))
    assert place_in(first, *images) == Place("channels", (side, side))


def test_the_long_cells_of_a_spectrogram_network_are_maps():
    torch.manual_seed(0)
    layers = [
        layer
        for step in range(5)
        for layer in (nn.Conv2d(16 if step else 3, 16, 3, (2, 1), 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU())
    ]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    with frozen(network) as inside:
        places = measured_places(inside, torch.randn(1, 3, 64, 96))
    assert [place.grid for place in places[::2]] == [(32, 96), (16, 96), (8, 96), (4, 96), (2, 96)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_sums_along_axes_are_those_over_all_others(memory_format):
    values = torch.rand(3, 4, 5, 6, dtype=torch.double).contiguous(memory_format=memory_format)
    letters = "cij"
    differences = Differences(values)
    for axes in ((0, 1), (1, 2), (2, 1), (0, 2), (2, 0), (0,), (1,), (2,)):
        expected = torch.einsum(f"pcij->p{''.join(letters[axis] for axis in axes)}", values)
        assert torch.allclose(differences.along(axes), expected), axes
    assert torch.allclose(differences.on_grid(Place("channels", (5, 6))), values.sum(1))
    assert torch.allclose(differences.on_grid(Place("channels_last", (4, 5))), values.sum(3))


def test_tokens_on_a_grid_are_those_after_the_first_ones():
    values = torch.rand(3, 7, 4, dtype=torch.double)
    found = Differences(values).on_grid(Place("tokens", (2, 3), prefix=1))
    assert torch.allclose(found, values[:, 1:].sum(2).reshape(3, 2, 3))


def test_likeness_is_the_mean_cosine_between_seen_and_covered_cells():
    centres, side = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25)), 0.3
    seen = torch.rand(3, 2, 6, 8, dtype=torch.double)
    covered = torch.zeros(3, 6, 8, dtype=torch.double)
    for number, (y, x) in enumerate(centres):  # each cell in a hundred times a hundred points
        inside = [
            (abs((torch.arange(100 * cells) + 0.5) / (100 * cells) - middle) < side / 2).double().reshape(cells, 100)
            for cells, middle in ((6, y), (8, x))
        ]
        covered[number] = torch.outer(*(each.mean(1) for each in inside))
    share = seen.sum(1).flatten(1) / seen.sum((1, 2, 3))[:, None]
    own = (share - share.mean(0)).clamp_min(0)
    expected = torch.cosine_similarity(own, covered.flatten(1), dim=1).mean()
    found = Likeness(Differences(seen), centres, side, (48, 64)).of(Reading((1, 2), (6, 8)))
    assert found == pytest.approx(float(expected), abs=1e-3)
    windows = covered.reshape(3, 3, 2, 4, 2).transpose(2, 3).flatten(1)  # 2×2 cells after each other
    in_order = Reading((0,), (6, 8), before=1, order="windows", window=(2, 2))
    tokens = torch.nn.functional.pad(windows, (1, 0))[..., None] + torch.rand(3, 49, 1, dtype=torch.double) * 1e-9
    assert Likeness(Differences(tokens), centres, side, (48, 64)).of(in_order) > 0.9

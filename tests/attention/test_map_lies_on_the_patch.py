"""A property of every method on any network: the map of a picture with one bright patch lies on the patch.

Networks are drawn: channels first or last, squeezes, strides, odd sides, padding. They have no biases, so nothing
answers where a picture is black. What moves the picture must be refused.
"""

import warnings
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from attending import ROLLOUTS
from looktwice import METHODS, attend
from looktwice.errors import LooktwiceWarning, ModelError


@dataclass(frozen=True)
class Plan:
    """What a drawn network is made of."""

    strides: tuple[int, ...]
    kernels: tuple[int, ...]
    last: bool
    squeeze: bool
    padded: bool
    move: str
    seed: int


class Drawn(nn.Module):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        torch.manual_seed(plan.seed)
        widths = [3, *(8 * 2**stage for stage in range(len(plan.strides)))]
        padding = [kernel // 2 if plan.padded else 0 for kernel in plan.kernels]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride, pad, bias=False)
            for a, b, kernel, stride, pad in zip(widths, widths[1:], plan.kernels, plan.strides, padding, strict=False)
        )
        self.mix = nn.ModuleList(nn.Linear(width, width, bias=False) for width in widths[1:])
        self.down = nn.ModuleList(nn.Linear(width, 4) for width in widths[1:])
        self.up = nn.ModuleList(nn.Linear(4, width) for width in widths[1:])
        self.head = nn.Linear(widths[-1], 4)

    def forward(self, images: Tensor) -> Tensor:
        h = MOVES[self.plan.move](images)
        for conv, mix, down, up in zip(self.convs, self.mix, self.down, self.up, strict=True):
            h = F.relu(conv(h))
            if self.plan.last:
                h = F.relu(mix(h.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
            if self.plan.squeeze:
                scale = F.relu(down(h.mean((2, 3)))[..., None, None])
                h = h * up(scale.flatten(1)).sigmoid()[..., None, None]
        return self.head(h.mean((2, 3)))


MOVES = {
    "not at all": lambda x: x,
    "flipped": lambda x: x.flip(3),
    "padded": lambda x: F.pad(x, (x.shape[3] // 2, 0, x.shape[2] // 2, 0)),
    "turned": lambda x: x.rot90(1, (2, 3)),
}

PLANS = st.builds(
    Plan,
    strides=st.sampled_from([(2, 2), (2, 2, 2), (4, 2), (2, 4), (1, 2, 2)]),
    kernels=st.tuples(*[st.sampled_from([3, 5])] * 3),
    last=st.booleans(),
    squeeze=st.booleans(),
    padded=st.booleans(),
    move=st.sampled_from(["not at all"] * 5 + ["flipped", "padded", "turned"]),
    seed=st.integers(0, 10_000),
)


def longest_cell(plan: Plan, height: int, width: int) -> int:
    """The side of a cell of the coarsest map in pixels. It is longer than the stride where borders are not padded."""
    cells = [height, width]
    for kernel, stride in zip(plan.kernels, plan.strides, strict=False):
        cells = [(side - (0 if plan.padded else 2 * (kernel // 2)) - 1) // stride + 1 for side in cells]
    return max(-(-height // cells[0]), -(-width // cells[1]))


def share_on_the_patch(heat: Tensor, rows: slice, columns: slice, margin: int) -> float:
    """The share of a map's squared sum within a margin of the patch."""
    near = torch.zeros_like(heat)
    near[max(0, rows.start - margin) : rows.stop + margin, max(0, columns.start - margin) : columns.stop + margin] = 1
    return float((heat.square() * near).sum() / heat.square().sum())


@pytest.mark.parametrize(
    "method", [name for name in METHODS if name not in ("integrated_gradients", "guided_grad_cam", *ROLLOUTS)]
)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    plan=PLANS,
    height=st.integers(56, 81),
    width=st.integers(56, 81),
    place=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
)
def test_the_map_lies_on_the_patch_or_the_network_is_refused(method, plan, height, width, place):
    network = Drawn(plan)
    side = 14
    top, left = int(place[0] * (height - side)), int(place[1] * (width - side))
    image = torch.zeros(1, 3, height, width)
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(plan.seed))
    image[..., top : top + side, left : left + side] = 3 * noise
    # A gradient at the image is right wherever activations lie.
    needs_places = METHODS[method].has_gates or METHODS[method].attribute is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LooktwiceWarning)
        if plan.move != "not at all" and needs_places:
            with pytest.raises(ModelError, match=r"lies like the image|maps of the image"):
                attend(network, image, plan.seed % 4, method=method)
            return
        heat = attend(network, image, plan.seed % 4, method=method, values="maximum", blur=0.0).maps[0]
    if heat.any():  # a class may have nothing that speaks for it
        where = slice(top, top + side), slice(left, left + side)
        assert share_on_the_patch(heat, *where, margin=2 * longest_cell(plan, height, width) + 8) > 0.8

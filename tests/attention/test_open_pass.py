"""A look whose plain pass is the first pass of an ascent too."""

import gc
import weakref
from types import MappingProxyType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
from attending import assert_same
from looktwice import METHODS, attend
from looktwice.attention.api import attend_look
from looktwice.attention.look import look_at
from looktwice.attention.maps import opening_of
from looktwice.attention.methods import FINISH_OPTIONS, MAP_OPTIONS, Method, resolve_options
from looktwice.feedback import feedback_from_options
from looktwice.gating.outputs import NetworkOutput

IMAGE = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(3))


def opening(method: str) -> Any:
    return opening_of(METHODS[method], resolve_options(method, {}))


def test_an_attribute_that_comes_and_goes_between_methods():
    """What is remembered for one method is of another state of the network than what is remembered for all."""
    network = networks.Plain().eval()
    first = attend(network, IMAGE, 1)
    network.flag = 1
    attend(network, IMAGE, 1, method="gradient")
    del network.flag
    assert_same(attend(network, IMAGE, 1), first)


class TwoHeads(networks.Plain):
    """Returns two scores for each class."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores = super().forward(images)
        return scores, scores.flip(1)


def test_outputs_that_are_declared_in_turns():
    network = TwoHeads().eval()
    first = attend(network, IMAGE, 1, output=NetworkOutput(scores=0))
    attend(network, IMAGE, 1, method="gradient", output=NetworkOutput(scores=1))
    assert_same(attend(network, IMAGE, 1, output=NetworkOutput(scores=0)), first)


def test_an_own_method_with_the_ascents_own_defaults():
    """It lists only the options that it changes."""
    own = Method(
        METHODS["feedback"].label,
        "few",
        "us",
        MappingProxyType({**MAP_OPTIONS, "steps": 2}),
        optimise=feedback_from_options,
    )
    network = networks.Plain().eval()
    named = {name: value for name, value in own.options.items() if name != "steps"}
    ascent = {"steps": 2, "gradient_scale": "mean", "trace_weight": 1.0}
    full = attend(network, IMAGE, 1, method="global_feedback_paper", **ascent, **named)
    assert_same(attend(network, IMAGE, 1, method=own), full)


class WritesOnParts(nn.Module):
    """Works in place on what ``chunk`` gave, where no gradient passes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        first, second = F.relu(self.layer(images)).chunk(2, 1)
        return self.head(torch.cat([F.relu(first, inplace=True), second], 1).mean((2, 3)))


def test_a_method_that_cannot_be_used_does_not_spoil_the_look_for_others():
    with look_at(WritesOnParts().eval(), IMAGE, propagate=False, opening=opening("global_feedback_paper")) as look:
        assert look.opened is None
        assert look.scores.shape == (1, 3)


class Shrinking(networks.Plain):
    """Computes dark images at half their size."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.mean() > 0 else images[..., ::2, ::2])


def test_an_image_that_makes_the_network_compute_at_another_size_than_the_image_before():
    network = Shrinking().eval()
    bright, dark = IMAGE.abs(), -IMAGE.abs()
    options = {"method": "feedback", "layers": None}
    sizes = [attend(network, image, 1, **options).layers[0].shape for image in (bright, dark, bright)]
    assert [shape[-1] for shape in sizes] == [24, 12, 24]


def test_a_map_of_an_own_method_that_carries_its_gradient():
    def squares(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return images.clone().requires_grad_().square().sum(1)

    options = MappingProxyType({**FINISH_OPTIONS, "values": "cumulative"})
    own = Method(METHODS["feedback"].label, "squares", "us", options, attribute=squares)
    maps = attend(networks.Plain().eval(), IMAGE, 1, method=own).maps
    assert maps.amax() == 1


@pytest.mark.parametrize("wanted", [[0, 1], [1]])
def test_the_memory_of_an_open_pass_is_free_once_it_is_used_or_of_no_use(wanted: list[int]):
    network, images, method = networks.Plain().eval(), IMAGE.repeat(2, 1, 1, 1), METHODS["feedback"]
    options = resolve_options("feedback", {"layers": None, "steps": 2})
    with look_at(network, images, propagate=False, opening=opening_of(method, options)) as look:
        assert look.opened is not None
        held = [weakref.ref(part) for part in (*look.opened._held, *look.opened._leaves.values())]
        attend_look(look.some(wanted), torch.tensor([1] * len(wanted)), method, options)
        gc.collect()
        assert [part() for part in held] == [None] * len(held)

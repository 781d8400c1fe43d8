"""Activations that a network writes out itself carry no gates, and the reader is told so."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from looktwice import attend
from looktwice.errors import LooktwiceWarning, ModelError

METHODS = ["global_feedback", "guided_backprop"]


class Swish(torch.autograd.Function):
    """Memory-efficient, as several packages of EfficientNets have it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, down):
        (x,) = ctx.saved_tensors
        share = torch.sigmoid(x)
        return down * (share * (1 + x * (1 - share)))


class Half(nn.Module):
    """A network with one activation of its own before a ReLU."""

    def __init__(self, own: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 4)
        self.own = own

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.relu(self.second(self.own(self.first(images)))).mean((2, 3)))


def in_place_on_a_chunk(x: Tensor) -> Tensor:
    F.silu(x.chunk(2, 1)[0], inplace=True)
    return x


UNSEEN: dict[str, Callable[[Tensor], Tensor]] = {
    "x * x.sigmoid()": lambda x: x * x.sigmoid(),
    "x.mul_(x.sigmoid())": lambda x: x.mul_(x.sigmoid()),
    "x / (1 + exp(-x))": lambda x: x / (1 + (-x).exp()),
    "quick GELU": lambda x: x * torch.sigmoid(1.702 * x),
    "GELU by erf": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "GELU by tanh": lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.0447 * torch.pow(x, 3)))),
    "Mish": lambda x: x * x.exp().log1p().tanh(),
    "Hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "autograd.Function": Swish.apply,
    "clamp(min=0)": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
}
SEEN: dict[str, Callable[[Tensor], Tensor]] = {
    "SwiGLU": lambda x: torch.cat([F.silu(x[:, :4]) * x[:, 4:]] * 2, 1),
    "Hardswish by ReLU6": lambda x: x * F.relu6(x + 3) / 6,
    "squeeze and excitation": lambda x: F.silu(x) * x.mean((2, 3), keepdim=True).sigmoid(),
    "a gate of its own half": lambda x: F.relu(x) * torch.cat(x.chunk(2, 1)[::-1], 1).sigmoid(),
    "a square": lambda x: F.relu(x) * F.relu(x),
    "a norm": lambda x: F.gelu(x) / x.norm(dim=1, keepdim=True).clamp_min(1e-6),
}


def notes(own: Callable[[Tensor], Tensor], method: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LooktwiceWarning)
        attend(Half(own), torch.randn(2, 3, 32, 32), 1, method=method)
    return [str(each.message) for each in caught if "its own code" in str(each.message)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", UNSEEN)
def test_a_network_that_is_gated_in_part_does_not_go_out_without_a_word(name, method):
    (note,) = notes(UNSEEN[name], method)
    assert "writes out 1 of its activations" in note


@pytest.mark.parametrize("name", SEEN)
def test_products_that_are_no_activation_raise_no_doubt(name):
    assert notes(SEEN[name], "global_feedback") == []


def test_a_gradient_needs_no_gates_so_nothing_is_said():
    assert notes(UNSEEN["quick GELU"], "gradient") == []


@pytest.mark.parametrize("method", ["gradient", "guided_backprop"])
def test_a_chunk_written_in_place_is_refused_in_one_line(method):
    with pytest.raises(ModelError, match="works in place on a part"):
        attend(Half(in_place_on_a_chunk), torch.randn(2, 3, 32, 32), 1, method=method)

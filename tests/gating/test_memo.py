"""What is remembered of a network is forgotten when one of its parts becomes another."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from looktwice.gating.memo import looks_of


class Plain(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


class Flipped(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flip(3)


class Network(nn.Module):
    def __init__(self, before: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before = before

    def forward(self, images: Tensor) -> Tensor:
        return self.before(images)


class Callee:
    """Neither a part nor a function, with nothing of its own."""


class OtherCallee(Callee):
    """Another one."""


@pytest.mark.parametrize(
    ("make", "make_other"),
    [
        (Plain, Flipped),
        (Plain, Plain),
        (lambda: lambda images: images, lambda: lambda images: images.flip(3)),
        (Callee, OtherCallee),
    ],
    ids=["another class", "same class", "function", "object"],
)
def test_a_part_in_the_place_in_memory_of_one_that_is_gone_is_another(make, make_other):
    for _ in range(100):
        network = Network(make())
        before, place = looks_of(network), id(network.before)
        assert looks_of(network) == before
        del network.before
        network.before = make_other()
        if id(network.before) == place:
            assert looks_of(network) != before
            return
    pytest.skip("this Python does not give a freed place to the next object")

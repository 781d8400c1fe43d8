"""Networks, methods, exceptions and threads, drawn at random: the state is equal before and after, all the way down."""

import random
import threading
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
from looktwice import METHODS, attend

IMAGES = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(5))
OURS = [name for name, row in METHODS.items() if row.attribute is None]


class Busy(nn.Module):
    """Every habit at once: empty buffers, plain tensors, counters, lists, dictionaries, first-batch weights, hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=4)
        self.norm, self.drop, self.head = nn.BatchNorm2d(6), nn.Dropout(), nn.Linear(8, 4)
        self.shift = nn.Parameter(torch.zeros(6, 1, 1))
        self.register_buffer("places", None)
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.scale, self.count, self.kept, self.named, self.tags = torch.ones(1), 0, [], {"a": {"b": None}}, {"new"}

    def forward(self, images: Tensor) -> Tensor:
        h = F.relu(self.norm(self.first(images)))
        if self.places is None:
            self.places = torch.linspace(0, 1, h.shape[-1]).expand_as(h[:1]).clone()
            self.shift.data.add_(1)
        self.passes += 1
        self.scale.mul_(1.5)
        self.count += 1
        self.kept.append(h.shape)
        self.named["a"]["b"] = self.count
        self.tags.discard("new")
        h = F.relu(self.second(h + 0.01 * self.places + self.shift.detach()), inplace=True)
        return self.head(self.drop(h.mean((2, 3))))


class Failing(nn.Module):
    """Raises in one of its passes, after the network has done its work."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.fails_in = inner, 0

    def forward(self, images: Tensor) -> Tensor:
        scores = self.inner(images)
        LEFT[self] = LEFT.get(self, self.fails_in) - 1
        if LEFT[self] == 0:
            raise KeyboardInterrupt
        return scores


LEFT: dict[nn.Module, int] = {}
"""Passes left until each network fails; outside the network, whose own attributes are put back."""

NETWORKS = {
    "busy": Busy,
    "branching": lambda: networks.branching().float(),
    "plain": networks.Plain,
    "clamped": networks.Clamped,
}


def state(value: Any, seen: set[int] | None = None) -> Any:
    """A network or anything in it as plain values, all the way down."""
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        grad = None if value.grad is None else value.grad.tolist()
        return "tensor", id(value), value.device.type, value.tolist(), value.requires_grad, grad
    if isinstance(value, (dict, nn.Module)) or (hasattr(value, "__dict__") and not callable(value)):
        if id(value) in seen:
            return "again", id(value)
        seen.add(id(value))
        items = value if isinstance(value, dict) else vars(value)
        return type(value).__name__, [(str(key), state(item, seen)) for key, item in items.items()]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [state(item, seen) for item in value]
    if isinstance(value, (set, frozenset)):
        return "set", sorted(map(str, value))
    return repr(value)


def drawn(dice: random.Random, network: nn.Module) -> nn.Module:
    """As if in the middle of somebody's work: modes, frozen weights, gradients and hooks at random."""
    network.train(dice.random() < 0.5)
    for part in network.modules():
        if dice.random() < 0.3:
            part.training = not part.training
    for weight in network.parameters():
        weight.requires_grad_(dice.random() < 0.7)
        if weight.requires_grad and dice.random() < 0.3:
            weight.grad = torch.full_like(weight, 7)
    if dice.random() < 0.4:
        next(network.children()).register_forward_hook(lambda *_: None)
    return network


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_the_network_is_left_as_found(seed):
    dice = random.Random(seed)
    torch.manual_seed(seed)
    network = Failing(drawn(dice, NETWORKS[dice.choice(list(NETWORKS))]()))
    network.fails_in = dice.choice([0, 0, *range(1, 10)])
    method, outer = dice.choice(OURS), dice.choice([torch.enable_grad, torch.no_grad, torch.inference_mode])
    options = {"steps": 2} if "steps" in METHODS[method].options else {}
    before = state(network)
    failed = False
    with warnings.catch_warnings(), outer():
        warnings.simplefilter("ignore")
        try:
            attend(network, IMAGES, dice.randrange(3), method=method, **options)
        except KeyboardInterrupt:
            failed = True
    assert failed == (LEFT[network] <= 0 < network.fails_in)
    assert state(network) == before


@pytest.mark.parametrize("seed", range(12))
def test_several_threads_get_what_one_gets_and_leave_the_network_as_found(seed):
    dice = random.Random(seed)
    torch.manual_seed(seed)
    network = drawn(dice, NETWORKS[dice.choice(list(NETWORKS))]())
    methods = [dice.choice(["gradient", "guided_backprop", "feedback", "global_feedback"]) for _ in range(4)]

    def look(method: str) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return attend(network, IMAGES, 1, method=method).maps

    expected = [look(method) for method in methods]
    before = state(network)
    found: dict[int, Tensor] = {}
    threads = [
        threading.Thread(target=lambda i=i, method=method: found.update({i: look(method)}))
        for i, method in enumerate(methods)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state(network) == before
    for i, maps in enumerate(expected):
        assert torch.equal(found[i], maps)

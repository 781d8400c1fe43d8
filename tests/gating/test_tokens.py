"""Tokens are cells of a grid, row by row, after class and register tokens, which pass ungated."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from looktwice import attend
from looktwice.feedback import feedback_from_options
from looktwice.gating import activation_calls, frozen, gated_scores
from looktwice.gating.geometry import measured_places
from looktwice.gating.places import Place


class Tokens(nn.Module):
    """A small vision transformer's path: patches, tokens before them, attention, an MLP; or the same as a picture."""

    def __init__(self, prefix: int, *, picture: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.picture, self.prefix = picture, prefix
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.before = nn.Parameter(torch.randn(1, prefix, 8))
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        h = self.patches(images)
        if self.picture:
            x = h.permute(0, 2, 3, 1)
            x = (x + self.down(F.gelu(self.up(x)))).flatten(1, 2)
        else:
            x = torch.cat([self.before.expand(len(h), -1, -1), h.flatten(2).mT], 1)
            x = (x + self.down(F.gelu(self.up(x))))[:, self.prefix :]
        return self.head(x.mean(1))


def places(network: nn.Module, images: Tensor) -> list[Place]:
    with frozen(network) as inside:
        return list(measured_places(inside, images))


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (120, 56)])
def test_the_grid_of_tokens_is_found_whatever_stands_before_them(prefix, size):
    images = torch.randn(1, 3, *size)
    assert places(Tokens(prefix), images) == [Place("tokens", (size[0] // 8, size[1] // 8), prefix)]


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "feedback", "global_feedback"])
@pytest.mark.parametrize("prefix", [0, 1, 4])
def test_tokens_have_the_map_of_the_same_network_as_a_picture(method, prefix):
    tokens, picture = Tokens(prefix), Tokens(prefix, picture=True)
    picture.load_state_dict(tokens.state_dict())
    images = torch.randn(2, 3, 64, 96)
    ours, theirs = (attend(network, images, 1, method=method, values="maximum") for network in (tokens, picture))
    assert torch.allclose(ours.maps, theirs.maps, atol=1e-4)
    if method == "global_feedback":
        assert [call.kind for call in ours.layers] == ["tokens"]
        assert [call.kind for call in theirs.layers] == ["channels_last"]
        assert ours.gates[0].shape == (2, 96, 16)
        assert torch.allclose(ours.gates[0], theirs.gates[0].flatten(1, 2), atol=1e-4)


def test_class_tokens_pass_ungated():
    class ByClassToken(Tokens):
        def forward(self, images: Tensor) -> Tensor:
            h = self.patches(images).flatten(2).mT
            x = torch.cat([self.before.expand(len(h), -1, -1), h], 1)
            x = F.gelu(self.up(x))
            return self.head(self.down(x[:, 0] + 0.1 * x[:, 1:].mean(1)))

    network, images = ByClassToken(1), torch.randn(1, 3, 64, 64)
    with frozen(network) as inside:
        calls, scores = activation_calls(inside, images, places=measured_places(inside, images))
        found = feedback_from_options(inside, calls, images, torch.tensor([2]), steps=3, trace_weight=1e6)
    assert calls[0].gate_shape == (64, 16)
    assert found.gates[0].shape == (1, 64, 16)
    assert torch.isclose(found.scores[0, 0], scores[0, 2])


def test_tokens_that_mix_the_channels_with_the_places_are_no_picture():
    class Turned(Tokens):
        def forward(self, images: Tensor) -> Tensor:
            h = self.patches(images).flatten(2)  # (N, 8, places)
            return self.head(F.gelu(h @ torch.randn(64, 64, generator=torch.Generator().manual_seed(0))).mean(2))

    assert [place.kind for place in places(Turned(0), torch.randn(1, 3, 64, 64))] == ["other"]


@pytest.mark.parametrize("saturation", ["exact", "pass"])
@pytest.mark.parametrize("guided", ["none", "all"])
@pytest.mark.parametrize("activation", [F.relu, F.relu_, F.relu6, F.gelu, F.silu])
def test_class_tokens_are_derived_as_all_other_neurons(activation, guided, saturation):
    """Only gates spare them. Negative gradients are cut at them too, and a clamp lets as much through."""

    def network(images: Tensor) -> Tensor:
        return activation(1.0 * images).flatten(1)

    torch.manual_seed(0)
    images = (6 * torch.randn(2, 5, 3, dtype=torch.float64)).requires_grad_()
    down = torch.randn(2, 15, dtype=torch.float64)
    gradients = []
    for place in (Place("tokens", (2, 2), 1), Place("tokens", (5, 1))):
        calls, _ = activation_calls(network, images, places=[place])
        scores = gated_scores(network, images, {}, guided=guided, saturation=saturation, calls=calls)
        gradients += torch.autograd.grad((scores * down).sum(), images)
    assert torch.allclose(*gradients)


def test_gates_and_guidance_together_spare_the_class_token_its_gate_alone():
    def network(images: Tensor) -> Tensor:
        return F.gelu(1.0 * images).flatten(1)

    torch.manual_seed(0)
    images = (2 * torch.randn(2, 5, 3, dtype=torch.float64)).requires_grad_()
    gates, down = torch.rand(2, 4, 3, dtype=torch.float64).requires_grad_(), torch.randn(2, 15, dtype=torch.float64)
    calls, _ = activation_calls(network, images, places=[Place("tokens", (2, 2), 1)])
    probe = torch.zeros(2, 4, 1, dtype=torch.float64, requires_grad=True)
    ours = gated_scores(network, images, {0: gates}, probes={0: probe}, guided="all", calls=calls)
    dx, dz, evidence = torch.autograd.grad((ours * down).sum(), (images, gates, probe))
    x, dy = F.gelu(images), down.view(2, 5, 3)
    z = torch.cat([torch.ones(2, 1, 3), gates], 1)
    assert torch.allclose(ours, (x * z).flatten(1))
    assert torch.allclose(dx, torch.autograd.grad((x * (z * dy.clamp_min(0)).detach()).sum(), images)[0])
    assert torch.allclose(dz, (x * dy)[:, 1:])
    assert torch.allclose(evidence, (x * dy)[:, 1:].clamp_min(0).sum(2, keepdim=True))

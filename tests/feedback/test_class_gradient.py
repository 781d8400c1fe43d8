"""Vanilla, guided and gated class gradients against derivatives by hand and against networks without our rule."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
import reference
from looktwice import feedback as gradients
from looktwice.errors import OptionError
from looktwice.gating import gated_scores

CUT = {True: "all", False: "none"}


def class_gradient(*arguments, **choices):
    """The gradient at the image and the scores."""
    found = gradients.class_gradient(*arguments, **choices)
    return found.image, found.scores


def close(ours: Tensor, theirs: Tensor, rtol: float = 1e-9) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= rtol * theirs.abs().max())


# ---- a network differentiated by hand ---------------------------------------------------------------------------


class Tiny(nn.Module):
    """The network of ``reference.ByHand`` in PyTorch, its two ReLUs of different kinds."""

    def __init__(self, hand: reference.ByHand) -> None:
        super().__init__()
        self.weights = [torch.from_numpy(w) for w in hand.weights]
        self.biases = [torch.from_numpy(b) for b in hand.biases]
        self.head, self.cap = torch.from_numpy(hand.head), hand.cap

    def forward(self, images: Tensor) -> Tensor:
        h = F.conv2d(images, self.weights[0], self.biases[0])
        h = F.relu(h, inplace=True) if self.cap is None else F.hardtanh(h, 0, self.cap)
        h = F.conv2d(h, self.weights[1], self.biases[1])
        h = torch.relu(h) if self.cap is None else F.hardtanh(h, 0, self.cap, inplace=True)
        return h.flatten(1) @ self.head.T


@pytest.fixture(params=[None, 1.5], ids=["ReLU", "clamped"])
def by_hand(request: pytest.FixtureRequest) -> reference.ByHand:
    rng = np.random.default_rng(1)
    return reference.ByHand(
        weights=(rng.normal(size=(3, 2, 3, 3)) / 3, rng.normal(size=(3, 3, 2, 2)) / 2),
        biases=(rng.normal(size=3) / 2, rng.normal(size=3) / 2),
        head=rng.normal(size=(4, 3 * 2 * 1)),
        cap=request.param,
    )


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_class_gradient_by_hand(by_hand, gated, guided):
    rng = np.random.default_rng(2)
    images = rng.normal(size=(3, 2, 5, 4))
    shapes = [(3, 3, 3, 2), (3, 3, 2, 1)]
    gates = [rng.uniform(size=shape) if gated else np.ones(shape) for shape in shapes]
    targets = [0, 3, 1]
    ours, scores = class_gradient(
        Tiny(by_hand),
        torch.from_numpy(images),
        torch.tensor(targets),
        gates={i: torch.from_numpy(z) for i, z in enumerate(gates)} if gated else {},
        guided=CUT[guided],
    )
    largest = []
    for i in range(3):
        score, gradient, _ = by_hand.gradients(images[i], targets[i], (gates[0][i], gates[1][i]), guided)
        assert scores[i].item() == pytest.approx(score, rel=1e-12)
        assert np.allclose(ours[i], gradient, rtol=1e-10, atol=1e-13)
        largest.append(np.abs(gradient).max())
    assert max(largest) > 0.01


def test_gradient_at_the_gates_by_hand(by_hand):
    """∂S/∂z = x ⊙ ∂S/∂y."""
    rng = np.random.default_rng(3)
    image, gates = rng.normal(size=(2, 5, 4)), (rng.uniform(size=(3, 3, 2)), rng.uniform(size=(3, 2, 1)))
    leaves = {i: torch.from_numpy(z)[None].requires_grad_() for i, z in enumerate(gates)}
    scores = gated_scores(Tiny(by_hand), torch.from_numpy(image)[None], leaves)
    ours = torch.autograd.grad(scores[0, 2], list(leaves.values()))
    _, _, theirs = by_hand.gradients(image, 2, gates, False)
    for our, their in zip(ours, theirs, strict=True):
        assert np.allclose(our[0], their, rtol=1e-10, atol=1e-13)


def test_guidance_by_hand_on_one_number():
    """S = -3 relu(2 i) + 5 relu(i): the gradient is -1, guided the first path is cut: 5."""

    def network(images: Tensor) -> Tensor:
        i = images.flatten(1)
        return -3 * F.relu(2 * i) + 5 * F.relu(i)

    image, target = torch.ones(1, 1, 1, 1), torch.tensor([0])
    plain, score = class_gradient(network, image, target)
    guided, same_score = class_gradient(network, image, target, guided="all")
    assert (plain.item(), guided.item()) == (-1, 5)
    assert score.item() == same_score.item() == -1


# ---- whole networks --------------------------------------------------------------------------------------------------


def test_without_guidance_it_is_autograds_gradient():
    network, images, targets = networks.branching(), networks.pictures(3), torch.tensor([4, 0, 2])
    ours, scores = class_gradient(network, images, targets)
    leaf = images.clone().requires_grad_()
    chosen = network(leaf)[torch.arange(3), targets]
    chosen.sum().backward()
    assert close(ours, leaf.grad, 1e-13)
    assert torch.equal(scores, chosen.detach())
    assert not ours.requires_grad
    assert not scores.requires_grad


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_branching_network_against_one_written_out(gated, guided):
    network, images, targets = networks.branching(), networks.pictures(3), [1, 1, 4]
    written_out = reference.branching_scores(network)
    gates = {}
    if gated:
        gates = {i: torch.rand_like(x) for i, x in enumerate(reference.relu_outputs(written_out, images)) if i != 3}
    theirs = reference.class_gradient(written_out, images, targets, gates, guided=guided)
    ours, _ = class_gradient(network, images, torch.tensor(targets), gates=gates, guided=CUT[guided])
    assert theirs.abs().amax((1, 2, 3)).min() > 1e-4
    assert close(ours, theirs)


@pytest.mark.parametrize("saturation", ["exact", "pass"])
@pytest.mark.parametrize("guided", [False, True])
def test_upper_clamps_against_a_network_written_out(guided, saturation):
    network, images, targets = networks.Clamped().double(), networks.pictures(2), [3, 0]
    written_out = reference.clamped_scores(network)
    outputs = reference.relu_outputs(written_out, images)
    for x, cap in zip(outputs, (6, 6, 4, 2), strict=True):
        assert ((x == cap).any() and ((x > 0) & (x < cap)).any()).item()
    gates = {1: torch.rand_like(outputs[1]), 3: torch.rand_like(outputs[3])}
    theirs = reference.class_gradient(written_out, images, targets, gates, guided=guided, saturation=saturation)
    cut = "all" if guided else "none"
    ours, _ = class_gradient(network, images, torch.tensor(targets), gates=gates, guided=cut, saturation=saturation)
    assert theirs.abs().max() > 0
    assert close(ours, theirs)


def test_the_rule_at_the_clamp_matters():
    network, images, targets = networks.Clamped().double(), networks.pictures(2), torch.tensor([3, 0])
    exact, _ = class_gradient(network, images, targets, saturation="exact")
    passed, _ = class_gradient(network, images, targets, saturation="pass")
    assert not close(exact, passed, 0.1)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("build", [networks.googlenet, networks.resnet50, networks.squeezenet])
def test_torchvision_networks_against_patched_relus(build, guided):
    """The same network with ``F.relu`` exchanged for a product with the gate: none of our machinery takes part."""
    network, images, targets = build(), networks.pictures(2, 64, 64), [3, 7]
    patched = reference.patched_scores(network)
    gates = {
        i: torch.rand_like(x).clamp(min=0.5) for i, x in enumerate(reference.relu_outputs(patched, images)) if i % 2
    }
    assert len(gates) > 10
    theirs = reference.class_gradient(patched, images, targets, gates, guided=guided)
    ours, _ = class_gradient(network, images, torch.tensor(targets), gates=gates, guided=CUT[guided])
    assert theirs.abs().amax((1, 2, 3)).min() > 0
    assert close(ours, theirs)


def test_a_batch_is_its_images():
    network, images, targets = networks.branching(), networks.pictures(3), torch.tensor([4, 0, 2])
    together, scores = class_gradient(network, images, targets, guided="all")
    for i in range(3):
        alone, score = class_gradient(network, images[i : i + 1], targets[i : i + 1], guided="all")
        assert close(together[i : i + 1], alone, 1e-12)
        assert torch.allclose(scores[i : i + 1], score, rtol=1e-12)


def test_guided_below_keeps_the_signs_of_the_last_stage():
    """Its first channel raises the score by 3, its second lowers it by 1; both come from one fine map."""

    def network(images):
        fine = torch.relu(images.mean(1, keepdim=True))
        last = torch.relu(F.avg_pool2d(fine, 32).expand(-1, 2, -1, -1))
        return (last * torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)).sum(1).flatten(1)

    image, target = torch.full((1, 1, 32, 32), 0.5), torch.tensor([0])
    for guided, slope in (("none", 3 - 1), ("below", 3 - 1), ("all", 3)):
        found, _ = class_gradient(network, image, target, guided=guided)
        assert torch.allclose(found, torch.full_like(found, slope / 32**2)), guided


def test_guided_below_cuts_the_finer_maps():
    """The fine map's first channel raises the score by 3, its second lowers it by 1; a vector's ReLU stands above."""

    def network(images):
        fine = torch.relu(images.expand(-1, 2, -1, -1))
        score = (fine * torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)).mean((2, 3)).sum(1, keepdim=True)
        return torch.relu(score) - 0.5 * torch.relu(2 * score)

    image, target = torch.full((1, 1, 32, 32), 0.5), torch.tensor([0])
    for guided, slope in (("none", 0.0), ("below", 0.0), ("all", 3.0)):
        found, _ = class_gradient(network, image, target, guided=guided)
        assert torch.allclose(found, torch.full_like(found, slope / 32**2)), guided

    def without_vector(images):
        fine = torch.relu(images.expand(-1, 2, -1, -1))
        return (fine * torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)).mean((2, 3)).sum(1, keepdim=True)

    for guided, slope in (("none", 2.0), ("below", 3.0), ("all", 3.0)):
        found, _ = class_gradient(without_vector, image, target, guided=guided)
        assert torch.allclose(found, torch.full_like(found, slope / 32**2)), guided


def test_an_unknown_guidance_is_refused():
    with pytest.raises(OptionError, match="guided is 'above'"):
        class_gradient(networks.branching(), networks.pictures(1), torch.tensor([0]), guided="above")

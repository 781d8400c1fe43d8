"""Gates after every activation: y = a(pre) ⊙ z, held to the product written out and derived by autograd."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from looktwice.gating import activation_calls, gated_scores

SLOPES = torch.tensor([0.1, 0.3, -0.2], dtype=torch.float64)
CALLS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    # name: (the call, its formula)
    "nn.LeakyReLU": (nn.LeakyReLU(0.2), lambda x: torch.where(x > 0, x, 0.2 * x)),
    "nn.LeakyReLU in place": (nn.LeakyReLU(0.2, inplace=True), lambda x: torch.where(x > 0, x, 0.2 * x)),
    "F.leaky_relu": (lambda x: F.leaky_relu(x, 0.3), lambda x: torch.where(x > 0, x, 0.3 * x)),
    "F.leaky_relu_": (lambda x: F.leaky_relu_(x, 0.3), lambda x: torch.where(x > 0, x, 0.3 * x)),
    "F.prelu": (lambda x: F.prelu(x, SLOPES), lambda x: torch.where(x > 0, x, SLOPES[:, None, None] * x)),
    "nn.ELU": (nn.ELU(0.7), lambda x: torch.where(x > 0, x, 0.7 * (x.exp() - 1))),
    "F.elu in place": (lambda x: F.elu(x, 0.7, True), lambda x: torch.where(x > 0, x, 0.7 * (x.exp() - 1))),
    "F.elu_": (F.elu_, lambda x: torch.where(x > 0, x, x.exp() - 1)),
    "nn.SELU": (nn.SELU(), lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (x.exp() - 1))),
    "torch.selu_": (
        torch.selu_,
        lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (x.exp() - 1)),
    ),
    "nn.CELU": (nn.CELU(0.5), lambda x: torch.where(x > 0, x, 0.5 * ((x / 0.5).exp() - 1))),
    "nn.GELU": (nn.GELU(), lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
    "nn.GELU(tanh)": (
        nn.GELU("tanh"),
        lambda x: x * 0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    ),
    "F.gelu(approximate=)": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: x * 0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    ),
    "nn.SiLU": (nn.SiLU(), lambda x: x / (1 + (-x).exp())),
    "nn.SiLU in place": (nn.SiLU(inplace=True), lambda x: x / (1 + (-x).exp())),
    "nn.Mish": (nn.Mish(), lambda x: x * torch.tanh(torch.log1p(x.exp()))),
    "nn.Hardswish": (nn.Hardswish(), lambda x: x * (x + 3).clamp(0, 6) / 6),
    "nn.Hardswish in place": (nn.Hardswish(inplace=True), lambda x: x * (x + 3).clamp(0, 6) / 6),
    "nn.Softplus": (nn.Softplus(2.0), lambda x: torch.log1p((2 * x).exp()) / 2),
    "aten.silu": (torch.ops.aten.silu.default, lambda x: x / (1 + (-x).exp())),
    "aten.gelu": (torch.ops.aten.gelu.default, lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
    "aten.elu with a scale": (
        lambda x: torch.ops.aten.elu.default(x, 0.7, 1.5),
        lambda x: 1.5 * torch.where(x > 0, x, 0.7 * (x.exp() - 1)),
    ),
    "aten.elu_ with a scale": (
        lambda x: torch.ops.aten.elu_.default(x, 0.7, 1.5),
        lambda x: 1.5 * torch.where(x > 0, x, 0.7 * (x.exp() - 1)),
    ),
    "aten.celu_": (lambda x: torch.ops.aten.celu_.default(x, 0.5), lambda x: F.celu(x, 0.5)),
    "aten.selu": (torch.ops.aten.selu.default, F.selu),
    "aten.relu(self=)": (lambda x: torch.ops.aten.relu.default(self=x), lambda x: x.clamp_min(0)),
    "aten.relu6": (torch.ops.aten.relu6.default, lambda x: x.clamp(0, 6)),
    "aten.silu without its overload": (torch.ops.aten.silu, lambda x: x / (1 + (-x).exp())),
    "the function inside F.silu": (torch._C._nn.silu, lambda x: x / (1 + (-x).exp())),
    "the function inside F.relu6, in place": (torch._C._nn.relu6_, lambda x: x.clamp(0, 6)),
    "torch.rrelu": (lambda x: torch.rrelu(x, 0.1, 0.3), lambda x: torch.where(x > 0, x, 0.2 * x)),
    "nn.RReLU in place": (nn.RReLU(0.1, 0.3, inplace=True).eval(), lambda x: torch.where(x > 0, x, 0.2 * x)),
    "nn.Threshold(0, 0) in place": (nn.Threshold(0, 0, inplace=True), lambda x: x.clamp_min(0)),
    "F.threshold(threshold=0)": (lambda x: F.threshold(x, threshold=0, value=0), lambda x: x.clamp_min(0)),
    "F.gelu(input=)": (lambda x: F.gelu(input=x), lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
    "F.prelu(input=, weight=)": (
        lambda x: F.prelu(input=x, weight=SLOPES),
        lambda x: torch.where(x > 0, x, SLOPES[:, None, None] * x),
    ),
    "F.softplus(threshold=)": (
        lambda x: F.softplus(x, 2, threshold=1),
        lambda x: torch.where(2 * x > 1, x, torch.log1p((2 * x).exp()) / 2),
    ),
}


@pytest.fixture(params=CALLS)
def pair(request: pytest.FixtureRequest) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    return CALLS[request.param]


def tensors(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images on both sides of 0, gates, and the gradient that comes down."""
    images = (2 * torch.randn(*shape, dtype=torch.float64)).requires_grad_()
    z = torch.rand(*shape, dtype=torch.float64).requires_grad_()
    return images, z, torch.randn(shape[0], images[0].numel(), dtype=torch.float64)


def behind_one(call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda images: call(1.0 * images).flatten(1)


def test_a_call_is_seen_once_and_computes_what_it_computes(pair):
    call, formula = pair
    images, _, _ = tensors(2, 3, 4, 5)
    calls, scores = activation_calls(behind_one(call), images)
    assert [(each.index, each.shape, each.kind) for each in calls] == [(0, (3, 4, 5), "channels")]
    assert torch.allclose(scores, formula(images).flatten(1), atol=1e-12)


def test_gates_multiply_the_output_and_both_gradients_are_those_of_the_product(pair):
    call, formula = pair
    images, z, down = tensors(2, 3, 4, 5)
    ours = gated_scores(behind_one(call), images, {0: z})
    theirs = (formula(images) * z).flatten(1)
    assert torch.allclose(ours, theirs, atol=1e-12)
    for our, their in zip(
        torch.autograd.grad((ours * down).sum(), (images, z)),
        torch.autograd.grad((theirs * down).sum(), (images, z)),
        strict=True,
    ):
        assert torch.allclose(our, their, atol=1e-10)


def test_guided_cuts_negative_gradients_at_the_output_and_leaves_the_gates_own(pair):
    call, formula = pair
    images, z, down = tensors(2, 3, 4, 5)
    ours = gated_scores(behind_one(call), images, {0: z}, guided="all")
    dx, dz = torch.autograd.grad((ours * down).sum(), (images, z))
    x = formula(images)
    (expected,) = torch.autograd.grad((x * z.detach() * down.view_as(x).clamp_min(0)).sum(), images)
    assert torch.allclose(dx, expected, atol=1e-10)
    assert torch.allclose(dz, x.detach() * down.view_as(x), atol=1e-12)


def test_a_probe_gets_the_positive_evidence_whatever_the_sign_of_the_output(pair):
    call, formula = pair
    images, _, down = tensors(2, 3, 4, 5)
    probe = torch.zeros(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    scores = gated_scores(behind_one(call), images, {}, probes={0: probe})
    (evidence,) = torch.autograd.grad((scores * down).sum(), probe)
    x = formula(images).detach()
    assert torch.allclose(evidence, (x * down.view_as(x)).clamp_min(0).sum(1, keepdim=True), atol=1e-12)
    assert torch.allclose(scores, x.flatten(1), atol=1e-12)


def test_what_is_written_in_place_is_gated_where_it_is_used_by_its_old_name():
    def network(images: Tensor) -> Tensor:
        h = 1.0 * images
        F.silu(h, inplace=True)
        return h.flatten(1)

    images, z, down = tensors(2, 3, 4, 5)
    ours = gated_scores(network, images, {0: z})
    theirs = (images / (1 + (-images).exp()) * z).flatten(1)
    assert torch.allclose(ours, theirs)
    for our, their in zip(
        torch.autograd.grad((ours * down).sum(), (images, z)),
        torch.autograd.grad((theirs * down).sum(), (images, z)),
        strict=True,
    ):
        assert torch.allclose(our, their, atol=1e-10)


def test_a_gated_linear_unit_has_half_the_channels():
    images, _, _ = tensors(2, 6, 4, 5)
    z = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    network = behind_one(lambda x: F.glu(x, 1))
    calls, _ = activation_calls(network, images)
    assert [call.shape for call in calls] == [(3, 4, 5)]
    ours = gated_scores(network, images, {0: z}, calls=calls)
    theirs = (images[:, :3] * images[:, 3:].sigmoid() * z).flatten(1)
    assert torch.allclose(ours, theirs)
    down = torch.randn_like(theirs)
    for our, their in zip(
        torch.autograd.grad((ours * down).sum(), (images, z)),
        torch.autograd.grad((theirs * down).sum(), (images, z)),
        strict=True,
    ):
        assert torch.allclose(our, their, atol=1e-10)


@pytest.mark.parametrize("call", [torch.tanh, torch.sigmoid, F.hardsigmoid, F.softmax, F.normalize, F.hardtanh])
def test_attention_weights_and_squashing_carry_no_gates(call):
    images = torch.randn(1, 3, 4, 5)
    calls, _ = activation_calls(behind_one(lambda x: call(x, 1) if call is F.softmax else call(x)), images)
    assert calls == []

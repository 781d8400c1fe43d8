"""The front door: maps, results, names, and everything a caller may do wrong."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import looktwice
import networks
import reference
from looktwice.attention import api as saliency
from looktwice.attention.api import attend
from looktwice.attention.evidence import attention_map, evidence_map
from looktwice.attention.finishing import energy_shares, finish_map
from looktwice.attention.maps import Attention
from looktwice.attention.methods import METHODS
from looktwice.errors import InputError, LooktwiceError, ModelError, OptionError
from looktwice.feedback import Feedback
from looktwice.gating import LEAST_STRIDE, gated_scores, relu_calls, select_layers
from looktwice.gating.frozen import frozen

CUT = {True: "all", False: "none"}

TARGETS = [4, 0, 2]


OURS = [name for name, row in METHODS.items() if row.peer is None]  # the others are tested in test_peers.py


@pytest.fixture(params=OURS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def few_steps(method: str) -> dict[str, Any]:
    return {"steps": 2} if "steps" in METHODS[method].options else {}


def shows_evidence(method: str) -> bool:
    return METHODS[method].options["source"] == "evidence"


def look(network: nn.Module, images: Tensor, targets: Any, method: str, **options: Any) -> Attention:
    return attend(network, images, targets, method=method, **(few_steps(method) | options))


def assert_same(ours: Attention, theirs: Attention, tolerance: float = 0.0) -> None:
    for mine, other in (
        (ours.maps, theirs.maps),
        (ours.gradients, theirs.gradients),
        (ours.scores, theirs.scores),
        *zip(ours.gates, theirs.gates, strict=True),
    ):
        assert mine.shape == other.shape
        assert not mine.numel() or (mine - other).abs().max() <= tolerance * other.abs().max()
    assert torch.equal(ours.targets, theirs.targets)
    assert (ours.layers, ours.closed) == (theirs.layers, theirs.closed)


# ---- the map ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blur", [0.0, 0.03, 0.1, 0.5])
@pytest.mark.parametrize("channels", ["max", "sum"])
@pytest.mark.parametrize("shape", [(2, 3, 12, 9), (1, 1, 5, 5), (1, 2, 1, 8), (1, 3, 1, 1)])
def test_map_pixel_by_pixel(shape, channels, blur):
    gradients = torch.randn(*shape, dtype=torch.float64)
    maps = finish_map(attention_map(gradients, channels=channels), values="maximum", blur=blur)
    assert maps.shape == (shape[0], *shape[2:])
    for gradient, heat in zip(gradients, maps, strict=True):
        expected = reference.attention_map(gradient.numpy(), channels, blur)
        assert np.allclose(heat.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_map_by_hand():
    gradients = torch.tensor([[[[1.0, -4.0]], [[-2.0, 3.0]]]])
    assert attention_map(gradients, channels="max").tolist() == [[[0.5, 1.0]]]
    assert torch.allclose(attention_map(gradients, channels="sum"), torch.tensor([[[3 / 7, 1.0]]]))


def test_blur_of_one_pixel_is_a_gaussian_and_of_a_constant_is_constant():
    """σ = 0.1 · 40 = 4 pixels; away from the borders the map is exp(-d² / 2σ²)."""
    dot = torch.zeros(1, 1, 41, 40, dtype=torch.float64)
    dot[0, 0, 20, 20] = -5
    heat = finish_map(attention_map(dot), values="maximum", blur=0.1)[0]
    for row, column in [(20, 20), (20, 24), (16, 20), (23, 17), (28, 20)]:
        distance = (row - 20) ** 2 + (column - 20) ** 2
        assert heat[row, column].item() == pytest.approx(np.exp(-distance / (2 * 16)), rel=1e-9)
    constant = attention_map(torch.full((1, 3, 20, 30), -2.0, dtype=torch.float64))
    flat = finish_map(constant, values="maximum", blur=0.1)
    assert torch.allclose(flat, torch.ones_like(flat), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1.0, 1e30, 3e38])
@pytest.mark.parametrize("channels", ["max", "sum"])
@pytest.mark.parametrize("blur", [0.0, 0.1])
def test_maps_of_every_magnitude_have_maximum_one(scale, channels, blur):
    gradients = torch.rand(3, 3, 10, 10) * 0.5 + 0.5
    gradients[1] *= -scale
    maps = finish_map(attention_map(gradients, channels=channels), values="maximum", blur=blur)
    assert maps.flatten(1).amax(1).tolist() == [1, 1, 1]
    assert maps.min() >= 0


def test_a_zero_gradient_gives_a_zero_map_and_leaves_its_neighbours_alone():
    gradients = torch.randn(3, 3, 8, 8)

    def finished(gradients):
        return finish_map(attention_map(gradients), values="energy", blur=0.1)

    alone = finished(gradients[2:])
    gradients[1] = 0
    maps = finished(gradients)
    assert torch.equal(maps[1], torch.zeros(8, 8))
    assert torch.allclose(maps[2:], alone)


def test_autocast_does_not_coarsen_the_map():
    gradients = torch.randn(2, 3, 20, 20)
    expected = finish_map(attention_map(gradients), values="maximum", blur=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = finish_map(attention_map(gradients), values="maximum", blur=0.1)
    assert maps.dtype == torch.float32
    assert torch.allclose(maps, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": "mean"}, "channels is 'mean'; one of max, sum"),
        ({"blur": -0.1}, "blur is -0.1"),
        ({"blur": 0.6}, "blur is 0.6"),
        ({"blur": float("nan")}, "blur is nan"),
    ],
    ids=str,
)
def test_options_of_the_map_outside_their_range_are_refused(options, message):
    channels, blur = options.get("channels", "max"), options.get("blur", 0.0)
    with pytest.raises(OptionError, match=message):
        finish_map(attention_map(torch.ones(1, 3, 4, 4), channels=channels), values="maximum", blur=blur)
    with pytest.raises(OptionError, match=message):
        attend(networks.branching(), networks.pictures(1), 0, method="gradient", **options)


# ---- methods from end to end -----------------------------------------------------------------------------------------


def test_methods_without_gates_against_a_network_written_out():
    network, images = networks.branching(), networks.pictures(3)
    for method, guided in (("gradient", False), ("guided_backprop", True)):
        found = attend(network, images, TARGETS, method=method, blur=0.1, channels="sum")
        expected = reference.class_gradient(reference.branching_scores(network), images, TARGETS, guided=guided)
        assert torch.allclose(found.gradients, expected, rtol=1e-9, atol=1e-15)
        for heat, gradient in zip(found.maps, expected, strict=True):
            magnitude = reference.attention_map(gradient.numpy(), "sum", 0.1)
            assert np.allclose(heat, reference.energy_shares(magnitude), atol=1e-9)
        assert (found.gates, found.layers, found.closed) == ((), (), ())
        assert torch.allclose(found.scores[:, 0], network(images)[range(3), TARGETS])


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("method", ["feedback", "global_feedback", "global_feedback_paper", "feedback_closed_form"])
def test_feedback_methods_against_a_network_written_out(method, guided):
    network, images = networks.branching(), networks.pictures(3)
    written_out = reference.branching_scores(network)
    chosen = {"steps": 3, "smoothing": 0.5, "minor_share": 0.2, "minor": "drop"}
    if method == "feedback_closed_form":
        chosen = {"steps": 3}
        gates = reference.closed_form(written_out, images, TARGETS, steps=3)
    else:
        chosen |= {"rank": None, "layers": None, "guided_gates": "none", "saturation": "exact", "objective": "score"}
        names = ("step_size", "trace_weight", "gradient_scale")
        rest = {name: METHODS[method].options[name] for name in names}
        in_reference = {k: v for k, v in chosen.items() if k != "guided_gates"}
        gates = reference.feedback(written_out, images, TARGETS, **in_reference, **rest)
    expected = reference.class_gradient(written_out, images, TARGETS, gates.gates, guided=guided)
    found = attend(network, images, TARGETS, method=method, guided=CUT[guided], source="gradient", **chosen)
    for ours, theirs in zip(found.gates, gates.gates.values(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)
    assert (found.gradients - expected).abs().max() <= 1e-8 * expected.abs().max()
    assert torch.allclose(found.scores, gates.scores, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_dtypes_and_ranges_of_a_result(method, dtype):
    network, images = networks.branching().to(dtype), networks.pictures(3).to(dtype)
    found = look(network, images, TARGETS, method)
    steps = METHODS[method].options.get("steps", 0) and 2
    assert found.maps.shape == (3, 9, 8)
    assert found.gradients.shape == ((3, 0) if shows_evidence(method) else (3, 3, 9, 8))
    assert found.scores.shape == (3, steps + 1)
    assert found.targets.tolist() == TARGETS
    assert found.targets.dtype == torch.int64
    assert found.maps.flatten(1).amax(1).tolist() == [1, 1, 1]
    assert found.maps.min() >= 0
    calls = relu_calls(network, images)[0] if METHODS[method].optimise else []
    calls = [calls[index] for index in select_layers(calls, METHODS[method].options["layers"])] if calls else []
    assert list(found.layers) == calls
    assert [tuple(z.shape) for z in found.gates] == [(3, *call.shape) for call in calls]
    for tensor in (found.maps, found.gradients, found.scores, *found.gates):
        assert tensor.dtype == dtype
        assert tensor.device == images.device
        assert not tensor.requires_grad
    assert torch.allclose(found.scores[:, 0], network(images)[range(3), TARGETS], atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_results_stay_on_the_images_device(method):
    network, images = networks.branching(), networks.pictures(3)
    expected = look(network, images, TARGETS, method)
    found = look(network.cuda(), images.cuda(), TARGETS, method)
    for tensor, other in zip(
        (found.maps, found.gradients, found.scores, *found.gates),
        (expected.maps, expected.gradients, expected.scores, *expected.gates),
        strict=True,
    ):
        assert tensor.device.type == "cuda"
        assert torch.allclose(tensor.cpu(), other, atol=1e-8)
    assert found.targets.device.type == "cuda"


def test_a_result_names_the_layers_that_carried_gates():
    network, images = networks.branching(), networks.pictures(1)
    found = attend(network, images, 0, layers=[-1, 2], steps=1)
    assert [layer.index for layer in found.layers] == [2, 6]
    assert [tuple(z.shape) for z in found.gates] == [(1, 4, 5, 4), (1, 7)]


def test_a_result_is_frozen():
    found = attend(networks.branching(), networks.pictures(1), 0, method="gradient")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.maps = found.gradients
    assert isinstance(found, looktwice.Attention)


def test_a_batch_is_its_images(method):
    network, images = networks.branching(), networks.pictures(3)
    images[1] *= 100
    together = look(network, images, TARGETS, method)
    for i in range(3):
        alone = look(network, images[i : i + 1], TARGETS[i], method)
        one = slice(i, i + 1)
        cut = Attention(
            together.maps[one], together.gradients[one], tuple(z[one] for z in together.gates), together.layers,
            together.scores[one], together.targets[one],
            tuple((0, layer) for image, layer in together.closed if image == i),
        )  # fmt: skip
        assert_same(cut, alone, 1e-8)


def test_the_prediction_is_the_target_and_fixed_before_the_first_step(method):
    network, images = networks.branching(), networks.pictures(6)
    with torch.no_grad():
        network.head.bias -= network(images).mean(0)
    predicted = network(images).argmax(1)
    assert len(set(predicted.tolist())) > 1
    assert_same(look(network, images, None, method), look(network, images, predicted, method))


@pytest.mark.parametrize("outer", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same_result(method, outer):
    network, images = networks.branching(), networks.pictures(3)
    expected = look(network, images, TARGETS, method)
    with outer():
        assert_same(look(network, images, TARGETS, method), expected)
        assert_same(look(network, images.clone(), torch.tensor(TARGETS), method), expected)
        assert_same(look(network, images.clone(), None, method), look(network, images, None, method))


def test_inference_tensors_as_images(method):
    network, images = networks.branching(), networks.pictures(3)
    with torch.inference_mode():
        copies = images.clone()
    assert_same(look(network, copies, TARGETS, method), look(network, images, TARGETS, method))


def test_autocast_keeps_the_images_dtype(method):
    network, images = networks.branching().float(), networks.pictures(2).float()
    exact = look(network, images, [4, 0], method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = look(network, images, [4, 0], method)
    for tensor in (found.maps, found.gradients, found.scores, *found.gates):
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
    assert found.maps.flatten(1).amax(1).tolist() == [1, 1]
    assert torch.allclose(found.scores[:, 0], exact.scores[:, 0], rtol=0.1, atol=0.1)


def test_images_keep_their_values_and_gradient_state(method):
    images = networks.pictures(2).requires_grad_()
    before = images.detach().clone()
    look(networks.branching(), images, [0, 1], method)
    assert torch.equal(images, before)
    assert images.requires_grad
    assert images.grad is None


# ---- the model is left as found --------------------------------------------------------------------------------------


def in_training() -> nn.Module:
    network = networks.branching()
    network.train()
    network.norm.eval()
    network.stem.weight.requires_grad_(False)
    network.head.bias.grad = torch.ones_like(network.head.bias)
    network.join.register_forward_hook(lambda *_: None)
    return network


def test_a_training_model_gives_the_evaluation_result_and_goes_on_training(method):
    images = networks.pictures(3)
    network = in_training()
    network.norm.train()
    evaluation = networks.branching()
    evaluation.load_state_dict(network.state_dict())
    before = networks.outside(network)
    found = look(network, images, TARGETS, method)
    assert networks.outside(network) == before
    assert_same(found, look(evaluation, images, TARGETS, method))


@pytest.mark.parametrize("passes_before", [0, 1, 2])
def test_an_exception_in_forward_leaves_the_model_as_found(method, passes_before):
    network = in_training()
    hidden = network.hidden
    count = iter(range(passes_before))

    def fail(*_: Any) -> None:
        if next(count, None) is None:
            raise ArithmeticError("in forward")

    hidden.register_forward_hook(fail)
    before = networks.outside(network)
    passes = 2 + 2 * (METHODS[method].optimise is not None)
    if passes_before < passes:
        with pytest.raises(ArithmeticError, match="in forward"):
            look(network, networks.pictures(2), [0, 1], method)
    assert networks.outside(network) == before
    assert torch.is_grad_enabled()
    assert F.relu(torch.tensor(-1.0)).item() == 0


def test_an_exception_in_a_step_leaves_the_model_as_found(monkeypatch):
    network = in_training()
    before = networks.outside(network)
    calls = []

    def fail(z: Tensor, **_: Any) -> Tensor:
        calls.append(z)
        if len(calls) > 3:
            raise ArithmeticError("in the step")
        return torch.zeros_like(z)

    monkeypatch.setattr("looktwice.feedback.global_feedback.trace_gradient", fail)
    with pytest.raises(ArithmeticError, match="in the step"):
        attend(network, networks.pictures(2), 0)
    assert networks.outside(network) == before
    assert torch.is_grad_enabled()


# ---- never NaN -------------------------------------------------------------------------------------------------------


def test_a_huge_trace_weight_gives_finite_maps_and_says_what_closed():
    network, images = networks.branching(), networks.pictures(2)
    found = attend(network, images, [3, 1], trace_weight=1e9, steps=3, layers=None)
    assert found.closed == tuple((image, layer) for image in range(2) for layer in range(6))
    assert found.maps.flatten(1).amax(1).tolist() == [1, 1]
    assert found.gradients.isfinite().all()
    assert found.scores.isfinite().all()


def test_a_network_without_gradient_gives_a_zero_map(method):
    network = networks.branching()
    nn.init.zeros_(network.head.weight)
    found = look(network, networks.pictures(2), [0, 1], method)
    assert torch.equal(found.maps, torch.zeros(2, 9, 8, dtype=torch.float64))
    assert not found.gradients.any()
    assert all(z.isfinite().all() for z in found.gates)


class Saturated(networks.Plain):
    def features(self, images: Tensor) -> Tensor:
        return F.relu6(self.conv(images).abs() + 7)


def test_a_saturated_clamp_gives_a_zero_map_unless_the_gradient_may_pass(method):
    network, images = Saturated(), torch.randn(2, 3, 6, 6)
    no_steps = {"steps": 0} if few_steps(method) else {}
    found = look(network, images, [0, 1], method, source="gradient", saturation="exact", **no_steps)
    assert torch.equal(found.maps, torch.zeros(2, 6, 6))
    passed = look(network, images, [0, 1], method, source="gradient", saturation="pass", guided="none")
    assert passed.maps.flatten(1).amax(1).tolist() == [1, 1]


class Exploding(networks.Plain):
    def forward(self, images: Tensor) -> Tensor:
        return 1e30 * self.classify(1e15 * self.features(images))


def test_a_gradient_beyond_floating_point_is_an_error_or_a_finite_map(method):
    found = None
    with contextlib.suppress(LooktwiceError):
        found = look(Exploding(), torch.randn(2, 3, 6, 6), [0, 1], method, guided="none")
    assert found is None or found.maps.isfinite().all()


# ---- networks that cannot be used ------------------------------------------------------------------------------------


def test_a_network_without_relu_is_refused(method):
    with pytest.raises(ModelError, match=r"no ReLU call was seen .* nothing to gate"):
        look(networks.Gelu(), torch.randn(1, 3, 8, 8), 0, method)


class Detached(networks.Plain):
    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.features(images)
        return self.classify(h)


class DetachedInTheMiddle(networks.Plain):
    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.relu(self.features(images).detach() - 0.1))


@pytest.mark.parametrize("kind", [Detached, DetachedInTheMiddle])
def test_a_network_that_lets_no_gradient_through_is_refused(method, kind):
    with pytest.raises(ModelError, match="gradient"):
        look(kind(), torch.randn(2, 3, 8, 8), 0, method, source="gradient")


class Auxiliary(networks.Plain):
    """Returns (scores, auxiliary scores), the second through a ReLU of its own."""

    def forward(self, images: Tensor) -> Any:
        h = self.features(images)
        return self.classify(h), self.classify(F.relu(h - 0.1))


def test_relus_of_an_auxiliary_output_take_no_part(method):
    network, images = Auxiliary(), torch.randn(2, 3, 8, 8)
    plain = networks.Plain()
    plain.load_state_dict(network.state_dict())
    options = {"spread": False}  # what looks alike to the network does so in all its features
    found = look(network, images, [0, 1], method, **options)
    expected = look(plain, images, [0, 1], method, **options)
    assert torch.allclose(found.maps, expected.maps, atol=1e-6)
    assert torch.allclose(found.scores, expected.scores, atol=1e-6)


class Drifting(networks.Plain):
    """One ReLU more, or another shape, from the second pass on."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.count = how, 0

    def forward(self, images: Tensor) -> Tensor:
        self.count += 1
        if self.count > 1 and self.how == "shape":
            images = images[..., 1:]
        h = self.features(images)
        if self.count > 1 and self.how == "more":
            h = F.relu(h - 0.1)
        if self.count == 1 and self.how == "fewer":
            h = F.relu(h - 0.1)
        return self.classify(h)


@pytest.mark.parametrize("how", ["shape", "more", "fewer"])
@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.optimise])
def test_control_flow_that_changes_between_passes_is_refused(method, how):
    with pytest.raises(ModelError, match="control flow must not change"):
        look(Drifting(how), torch.randn(2, 3, 8, 8), 0, method)


class WithRectifiedWeight(networks.Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images * F.relu(self.conv.bias).sum())


def test_a_relu_that_is_not_over_the_images_is_refused():
    """Its gates could not be those of one image."""
    with pytest.raises(ModelError):
        attend(WithRectifiedWeight(), torch.randn(2, 3, 8, 8), 0, steps=1, layers=None)


@pytest.mark.parametrize(
    "pack",
    [
        lambda scores: (scores, None),
        lambda scores: {"logits": scores, "hidden": scores[:, :1]},
        lambda scores: types.SimpleNamespace(logits=scores),
    ],
    ids=["tuple", "dict", ".logits"],
)
@pytest.mark.parametrize(
    "wrap", [lambda model: model, nn.DataParallel, torch.compile], ids=["", "parallel", "compiled"]
)
def test_packed_outputs_of_wrapped_networks(pack, wrap):
    class Packed(networks.Plain):
        def forward(self, images: Tensor) -> Any:
            return pack(super().forward(images))

    network, images = Packed(), torch.randn(2, 3, 8, 8)
    plain = networks.Plain()
    plain.load_state_dict(network.state_dict())
    assert_same(attend(wrap(network), images, steps=1), attend(plain, images, steps=1))


def test_torchscript_and_what_is_no_module_are_refused():
    with pytest.raises(ModelError, match="TorchScript"):
        attend(networks.scripted(networks.Plain()), torch.randn(1, 3, 8, 8))
    with pytest.raises(ModelError, match=r"torch\.nn\.Module is needed, not str"):
        attend("resnet50", torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (torch.zeros(3, 8, 8), 0, r"\(N, C, H, W\)"),
        (torch.zeros(0, 3, 8, 8), 0, "empty"),
        (torch.full((1, 3, 8, 8), float("nan")), 0, "NaN"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int32), 0, "floating point"),
        (torch.zeros(2, 3, 8, 8), 4, "out of range"),
        (torch.zeros(2, 3, 8, 8), [0, 1, 2], "3 targets for 2 images"),
        (torch.zeros(2, 3, 8, 8), 0.5, "whole numbers"),
    ],
)
def test_images_and_targets_that_cannot_be_used_are_refused(images, targets, message):
    network = networks.Plain().train()
    with pytest.raises(InputError, match=message):
        attend(network, images, targets)
    assert network.training


# ---- names -----------------------------------------------------------------------------------------------------------

FOR_ALL = {"guided", "saturation", "source", "scales", "spread", "values", "channels", "blur"}
FOR_GATES = FOR_ALL | {"steps", "layers"}
FOR_ASCENT = FOR_GATES | {
    "step_size",
    "trace_weight",
    "smoothing",
    "minor",
    "minor_share",
    "rank",
    "solver",
    "gradient_scale",
    "guided_gates",
    "fixed_scale",
    "objective",
}


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("gradient", FOR_ALL),
        ("guided_backprop", FOR_ALL),
        ("feedback", FOR_ASCENT),
        ("feedback_closed_form", FOR_GATES),
        ("global_feedback", FOR_ASCENT),
        ("global_feedback_paper", FOR_ASCENT),
    ],
)
def test_the_options_of_every_method(method, names):
    options = METHODS[method].options
    assert set(options) == names
    assert (options["guided"] == "none") == (method == "gradient")


def test_the_table_covers_the_methods_of_the_test_above():
    assert len(OURS) == 6
    assert all(row.summary and row.source for row in METHODS.values())
    with pytest.raises(TypeError):
        METHODS["mine"] = METHODS["gradient"]


def test_all_of_ours_finish_their_maps_alike():
    for method in ("gradient", "guided_backprop", "feedback", "global_feedback"):
        assert (METHODS[method].options["values"], METHODS[method].options["blur"]) == ("energy", 0.02)


def test_trace_weights_of_the_methods():
    assert METHODS["feedback"].options["trace_weight"] == 0
    assert METHODS["global_feedback"].options["trace_weight"] > 0
    paper = METHODS["global_feedback_paper"].options
    assert paper["trace_weight"] > 0
    assert paper["gradient_scale"] == "none"


def test_the_listed_defaults_are_those_of_the_call(method):
    network, images = networks.branching(), networks.pictures(2)
    spelled_out = METHODS[method].options | few_steps(method)
    assert_same(attend(network, images, 1, method=method, **spelled_out), look(network, images, 1, method))


def test_options_reach_the_optimiser(monkeypatch):
    seen: dict[str, Any] = {}

    def optimise(
        network: Any, calls: Any, images: Tensor, targets: Tensor, watched: Any, *, trace_weight: float, saturation: Any
    ) -> Feedback:
        seen.update(trace_weight=trace_weight, saturation=saturation)
        return Feedback({}, images.new_zeros(2, 3), ((1, 0),))

    row = dataclasses.replace(METHODS["global_feedback"], optimise=optimise)
    monkeypatch.setattr("looktwice.attention.methods.METHODS", {"mine": row})
    with pytest.raises(OptionError, match="unknown option"):
        attend(networks.Plain(), torch.randn(2, 3, 8, 8), method="mine", steps=3)
    chosen = {"trace_weight": 7.0, "saturation": "pass", "source": "gradient"}
    network, images = networks.Plain(), torch.randn(2, 3, 8, 8)
    found = attend(network, images, method="mine", **chosen)
    assert_same(attend(network, images, method=row, **chosen), found)  # a row needs no name
    assert seen == {"trace_weight": 7.0, "saturation": "pass"}
    assert found.closed == ((1, 0),)
    assert found.scores.shape == (2, 3)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("global_feedbak", {}, "unknown method: 'global_feedbak'; did you mean global_feedback"),
        ("grad-cam", {}, "unknown method: 'grad-cam'; did you mean grad_cam"),
        ("zzz", {}, "unknown method: 'zzz'; there are gradient, guided_backprop"),
        ("gradient", {"steps": 3}, "unknown option for gradient: 'steps'"),
        ("feedback_closed_form", {"trace_weight": 3.0}, "unknown option for feedback_closed_form: 'trace_weight'"),
        ("global_feedback", {"trace_wieght": 3.0}, "unknown option .*'trace_wieght'; did you mean trace_weight"),
        ("global_feedback", {"network": 3}, "unknown option"),
        ("global_feedback", {"optimise": None}, "unknown option"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(method, options, message):
    with pytest.raises(OptionError, match=message):
        attend(networks.Plain(), torch.randn(1, 3, 8, 8), method=method, **options)


@pytest.mark.parametrize("method", OURS)
def test_an_unknown_rule_at_the_clamp_is_refused(method):
    with pytest.raises(OptionError, match="saturation is 'soft'; one of exact, pass"):
        look(networks.branching(), networks.pictures(1), 0, method, saturation="soft")


# ---- memory ----------------------------------------------------------------------------------------------------------


def short_of_memory(monkeypatch, most: int) -> list[int]:
    """Batches of more images than ``most`` do not fit; returns the sizes that were tried."""
    tried = []
    whole = saliency.attend_frozen

    def limited(network: Any, calls: Any, images: Tensor, *rest: Any) -> Attention:
        tried.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(network, calls, images, *rest)

    monkeypatch.setattr(saliency, "attend_frozen", limited)
    return tried


def test_a_batch_too_large_for_the_memory_is_split(method, monkeypatch):
    network, images = networks.branching(), networks.pictures(5)
    targets = [4, 0, 2, 1, 3]
    options = {"trace_weight": 1e9, "layers": None} if method == "global_feedback" else {}  # so that layers close
    expected = look(network, images, targets, method, **options)
    tried = short_of_memory(monkeypatch, 2)
    assert_same(look(network, images, targets, method, **options), expected, 1e-8)
    assert tried == [5, 2, 3, 1, 2]
    if method == "global_feedback":
        assert {image for image, _ in expected.closed} == set(range(5))


def test_an_image_too_large_for_the_memory_is_an_error(monkeypatch):
    short_of_memory(monkeypatch, 0)
    with pytest.raises(ModelError, match="too small for one image"):
        attend(networks.branching(), networks.pictures(2), 0, method="gradient")


# ---- import ----------------------------------------------------------------------------------------------------------


def in_a_new_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    return done.stdout.strip()


def test_import_loads_nothing_heavy():
    heavy = ["torch", "torchvision", "numpy", "cv2", "PIL"]
    code = f"import sys, looktwice; dir(looktwice); print([m for m in {heavy} if m in sys.modules])"
    assert in_a_new_python(code) == "[]"


def test_the_method_rooms_know_only_torch():
    code = "import sys, looktwice.attention; print([m for m in ('torchvision', 'cv2', 'PIL') if m in sys.modules])"
    assert in_a_new_python(code) == "[]"


def test_names_arrive_when_they_are_used():
    assert looktwice.attend is attend
    assert looktwice.METHODS is METHODS
    assert looktwice.LooktwiceError is LooktwiceError
    assert set(looktwice.__all__) <= {*dir(looktwice), "__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'attent'"):
        _ = looktwice.attent


# ---- evidence --------------------------------------------------------------------------------------------------------


def test_evidence_map_worked_by_hand():
    fine = torch.tensor([[[[0.0, 4.0], [2.0, 1.0]], [[0.0, 4.0], [0.0, 1.0]]]])  # two channels, maximum of the sum 8
    also_fine = torch.tensor([[[[5.0, 0.0], [0.0, 5.0]]]])
    coarse = torch.tensor([[[[9.0], [1.0]]]])
    alone = evidence_map([fine, also_fine], size=(2, 2))
    # one resolution is averaged: ([[0, 1], [.25, .25]] + [[1, 0], [0, 1]]) / 2, its maximum .625
    averaged = torch.tensor([[[0.8, 0.8], [0.2, 1.0]]])
    assert torch.allclose(alone, averaged)
    found = evidence_map([fine, coarse, also_fine], size=(2, 2))
    # the geometric mean with [[1, 1], [1/9, 1/9]]
    expected = torch.tensor([[[0.8, 0.8], [0.2 / 9, 1 / 9]]]).sqrt()
    assert torch.allclose(found, expected / expected.max())


def test_a_resolution_without_evidence_is_left_out_where_it_is_without():
    fine = torch.tensor([[[[1.0, 4.0]]], [[[1.0, 4.0]]]])
    coarse = torch.tensor([[[[0.0]]], [[[3.0]]]])
    found = evidence_map([fine, coarse], size=(1, 2))
    assert torch.allclose(found, torch.tensor([[[0.25, 1.0]], [[0.5, 1.0]]]))


def test_no_evidence_is_a_zero_map():
    assert torch.equal(evidence_map([torch.zeros(2, 3, 4, 4)], size=(8, 8)), torch.zeros(2, 8, 8))


@pytest.mark.parametrize("method", ["feedback", "global_feedback"])
def test_the_default_map_is_the_evidence_that_the_gates_kept(method, monkeypatch):
    """Gates on the coarse layers; with all scales the open finer ones (stride 1 here) show what they bring as well."""
    monkeypatch.setitem(LEAST_STRIDE, "fine", 1)
    network, images = networks.branching(), networks.pictures(3)
    written_out = reference.branching_scores(network)
    names = ("steps", "step_size", "trace_weight", "smoothing", "minor", "minor_share", "rank", "gradient_scale")
    chosen = {name: METHODS[method].options[name] for name in (*names, "objective")}
    with frozen(network) as inside:
        calls, _ = relu_calls(inside, images)
        layers = select_layers(calls, "coarse")
    expected = reference.feedback(written_out, images, TARGETS, layers=layers, **chosen)
    open_network = reference.feedback(written_out, images, TARGETS, layers=None, **(chosen | {"steps": 1}))
    options = {"guided_gates": "none", "solver": "svd", "blur": 0.0}
    found = attend(network, images, TARGETS, method=method, **options)
    shares_of_maximum = attend(network, images, TARGETS, method=method, values="maximum", **options).maps
    everywhere = METHODS[method].options["scales"] == "all"
    shown = [call.index for call in calls if call.is_map] if everywhere else layers
    assert len({calls[index].shape[1:] for index in shown}) == 1 + everywhere
    for image, heat in enumerate(found.maps):
        evidence = [open_network.evidence[index][image].numpy() for index in shown]
        gates = [
            expected.gates[index][image].numpy() if index in layers else np.ones(calls[index].shape) for index in shown
        ]
        kept = reference.kept_evidence_map(evidence, gates, (9, 8))
        if METHODS[method].options["spread"]:
            outputs = [x[image].numpy() for x in reference.relu_outputs(written_out, images)]
            finest = [x for x in outputs if x.shape[1:] == (9, 8)]  # the nearest to 28×28
            kept = reference.carried_over(kept, reference.affinity(finest), (9, 8))
        assert np.allclose(shares_of_maximum[image], kept / kept.max(), atol=1e-9)
        assert np.allclose(heat, reference.energy_shares(kept), atol=1e-3)  # a rounding parts or joins equal pixels


def test_energy_shares_by_loops():
    heat = torch.rand(3, 5, 4, dtype=torch.float64)
    heat[1, 2] = 0.5  # equal pixels
    heat[2, 0] = 0.0
    for ours, plain in zip(energy_shares(heat), heat, strict=True):
        assert np.allclose(ours, reference.energy_shares(plain.numpy()), atol=1e-12)
    worked = energy_shares(torch.tensor([[[0.0, 1.0], [2.0, 2.0]]]))  # squares 0, 1, 4, 4
    assert torch.allclose(worked, torch.tensor([[[0.0, 1 / 9], [1.0, 1.0]]]))
    assert torch.equal(energy_shares(torch.zeros(2, 3, 3)), torch.zeros(2, 3, 3))


def test_a_threshold_on_energy_shares_keeps_that_much_of_the_energy():
    heat = torch.rand(4, 30, 30, dtype=torch.float64)
    for threshold in (0.1, 0.25, 0.6):
        above = energy_shares(heat) > threshold
        held = (heat.square() * above).sum((1, 2)) / heat.square().sum((1, 2))
        assert ((held >= 1 - threshold - 1e-12) & (held <= 1 - threshold + 4 / 900)).all()


def test_energy_shares_do_not_depend_on_how_a_map_is_scaled():
    heat = torch.rand(2, 8, 8, dtype=torch.float64)
    assert torch.allclose(energy_shares(heat), energy_shares(1e-6 * heat), atol=1e-12)


def test_without_feedback_evidence_is_what_each_neuron_of_the_open_network_brings():
    """By finite differences of a gate on each pixel of each channel."""
    network, images = networks.branching(), networks.pictures(2)
    map_of = {"source": "evidence", "scales": "coarsest", "spread": False, "values": "maximum", "blur": 0.0}
    for method, options in (("gradient", {}), ("global_feedback", {"steps": 0})):
        found = attend(network, images, [1, 2], method=method, **map_of, **options)
        with frozen(network) as inside:
            calls, _ = relu_calls(inside, images)
            layers = select_layers(calls, "coarsest")
            evidence = []
            for index in layers:
                open_gate = torch.ones(2, *calls[index].shape, dtype=torch.float64)
                brought = torch.zeros_like(open_gate)
                for place in range(open_gate[0].numel()):
                    less = open_gate.clone()
                    less.flatten(1)[:, place] -= 1e-6
                    change = network(images) - gated_scores(inside, images, {index: less})
                    brought.flatten(1)[:, place] = change[[0, 1], [1, 2]] / 1e-6
                evidence.append(brought.detach().numpy())
        for image, heat in enumerate(found.maps):
            of_image = [brought[image] for brought in evidence]
            expected = reference.kept_evidence_map(of_image, [np.ones_like(e) for e in of_image], (9, 8))
            assert np.allclose(heat, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("source", "gates"), ("scales", "none"), ("values", "rank")])
def test_an_unknown_choice_of_map_is_refused(name, value):
    with pytest.raises(OptionError, match=f"{name} is '{value}'"):
        attend(networks.branching(), networks.pictures(1), method="gradient", **{name: value})

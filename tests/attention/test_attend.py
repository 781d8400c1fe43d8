"""Maps of every method, from end to end."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import looktwice
import networks
import reference
from attending import OURS, TARGETS, assert_same, few_steps, look
from looktwice.attention.api import attend
from looktwice.attention.evidence import attention_map
from looktwice.attention.finishing import finish_map
from looktwice.attention.maps import Attention
from looktwice.attention.methods import MAP_OPTIONS, METHODS
from looktwice.errors import InputError, OptionError
from looktwice.feedback import Feedback
from looktwice.gating import activation_calls, select_layers
from looktwice.images import Window

CUT = {True: "all", False: "none"}


def shows_evidence(method: str) -> bool:
    return METHODS[method].options["source"] == "evidence"


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("blur", [0.02, 0.1, 0.5])
def test_the_blur_of_a_map_in_half_precision_is_that_in_single_precision(dtype, blur):
    maps = torch.rand(2, 60, 80, generator=torch.Generator().manual_seed(0)).to(dtype)
    half, single = (finish_map(heat, values="maximum", blur=blur) for heat in (maps, maps.float()))
    assert half.dtype == dtype
    assert torch.allclose(half.float(), single, atol=2 * torch.finfo(dtype).eps)


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
        return finish_map(attention_map(gradients), values="cumulative", blur=0.1)

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


def test_methods_without_gates_against_a_network_written_out():
    network, images = networks.branching(), networks.pictures(3)
    for method, guided in (("gradient", False), ("guided_backprop", True)):
        found = attend(network, images, TARGETS, method=method, blur=0.1, channels="sum")
        expected = reference.class_gradient(reference.branching_scores(network), images, TARGETS, guided=guided)
        assert torch.allclose(found.gradients, expected, rtol=1e-9, atol=1e-15)
        for heat, gradient in zip(found.maps, expected, strict=True):
            magnitude = reference.attention_map(gradient.numpy(), "sum", 0.1)
            assert np.allclose(heat, reference.cumulative_shares(magnitude), atol=1e-9)
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
    calls = activation_calls(network, images)[0] if METHODS[method].optimise else []
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
            together.maps[one], together.extents[one], together.gradients[one],
            tuple(z[one] for z in together.gates), together.layers, together.scores[one], together.targets[one],
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


FOR_ALL = {"guided", "saturation", "source", "scales", "propagate", "values", "channels", "class_power", "blur"}


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
    assert all(row.summary and row.source and row.label.title for row in METHODS.values())
    with pytest.raises(TypeError):
        METHODS["mine"] = METHODS["gradient"]


def test_all_of_ours_finish_their_maps_alike():
    for method in ("gradient", "guided_backprop", "feedback", "global_feedback"):
        assert (METHODS[method].options["values"], METHODS[method].options["blur"]) == ("cumulative", 0.02)


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

    options = {"trace_weight": 1.0, **MAP_OPTIONS}
    row = dataclasses.replace(METHODS["global_feedback"], optimise=optimise, options=options)
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


@pytest.mark.parametrize(
    "heat", [torch.rand(8, 8).bfloat16(), torch.rand(8, 8, requires_grad=True)], ids=["bfloat16", "takes gradients"]
)
def test_a_tensor_that_numpy_cannot_read_is_no_map_for_boxes(heat):
    with pytest.raises(InputError, match=r"pass map\.detach\(\)\.float\(\)\.cpu\(\)\.numpy\(\)"):
        looktwice.locate(heat, Window.whole(80, 80))

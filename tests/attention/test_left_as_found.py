"""The model is left as found, no number is NaN, and memory and imports stay small."""

import contextlib
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import looktwice
import networks
from attending import TARGETS, assert_same, few_steps, look
from looktwice.attention import Look, api
from looktwice.attention.api import attend
from looktwice.attention.maps import Attention
from looktwice.attention.methods import METHODS
from looktwice.errors import InputError, LooktwiceError, ModelError


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

    def fail(_: Any, z: Tensor, __: float) -> Tensor:
        calls.append(z)
        if len(calls) > 3:
            raise ArithmeticError("in the step")
        return torch.zeros_like(z)

    monkeypatch.setattr("looktwice.feedback.global_feedback.TraceNorm.gradient", fail)
    with pytest.raises(ArithmeticError, match="in the step"):
        attend(network, networks.pictures(2), 0)
    assert networks.outside(network) == before
    assert torch.is_grad_enabled()


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


def short_of_memory(monkeypatch, most: int) -> list[int]:
    """Batches of more images than ``most`` do not fit; returns the sizes that were tried."""
    tried = []
    whole = api.method_attention

    def limited(row: Any, seen: Look, *rest: Any) -> Attention:
        tried.append(len(seen.images))
        if len(seen.images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(row, seen, *rest)

    monkeypatch.setattr(api, "method_attention", limited)
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


@pytest.mark.parametrize("targets", [None, 3, [4, 0, 2, 1, 3]], ids=["predicted", "one for all", "one each"])
def test_a_batch_whose_plain_pass_does_not_fit_is_split(targets, monkeypatch):
    network, images = networks.branching(), networks.pictures(5)
    expected = attend(network, images, targets)
    tried: list[int] = []
    whole = api.look_at

    @contextlib.contextmanager
    def limited(model: Any, some: Any, **rest: Any) -> Any:
        tried.append(len(some))
        if len(some) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        with whole(model, some, **rest) as seen:
            yield seen

    monkeypatch.setattr(api, "look_at", limited)
    assert_same(attend(network, images, targets), expected, 1e-8)
    assert tried == [5, 2, 3, 1, 2]
    with pytest.raises(InputError, match="4 targets for 5 images"):
        attend(network, images, [0, 1, 2, 3])


def test_an_image_whose_plain_pass_does_not_fit_is_an_error(monkeypatch):
    def none_fits(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(api, "look_at", none_fits)
    with pytest.raises(ModelError, match="too small for one image"):
        attend(networks.branching(), networks.pictures(3), 0)


def test_an_image_too_large_for_the_memory_is_an_error(monkeypatch):
    short_of_memory(monkeypatch, 0)
    with pytest.raises(ModelError, match="too small for one image"):
        attend(networks.branching(), networks.pictures(2), 0, method="gradient")


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

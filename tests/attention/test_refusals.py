"""Networks that cannot be used."""

import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
from attending import assert_same, look
from looktwice.attention.api import attend
from looktwice.attention.methods import METHODS
from looktwice.errors import InputError, ModelError, OptionError


def test_a_network_without_relu_is_refused(method):
    if method == "gradient":
        assert look(networks.Tanh(), torch.randn(2, 3, 8, 8), 0, method).maps.shape == (2, 8, 8)
        return
    with pytest.raises(ModelError, match=r"no activation that can be gated was seen .* ReLU, GELU, SiLU"):
        look(networks.Tanh(), torch.randn(1, 3, 8, 8), 0, method)


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
    options = {"propagate": False}  # what looks alike to the network does so in all its features
    found = look(network, images, [0, 1], method, **options)
    expected = look(plain, images, [0, 1], method, **options)
    assert torch.allclose(found.maps, expected.maps, atol=1e-6)
    assert torch.allclose(found.scores, expected.scores, atol=1e-6)


class Drifting(networks.Plain):
    """One ReLU more or fewer, or another shape, after the plain pass. Three passes before that measure how it works."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.count = how, 0

    def forward(self, images: Tensor) -> Tensor:
        self.count += 1
        if self.count > 4 and self.how == "shape":
            images = images[..., 1:]
        h = self.features(images)
        if self.count > 4 and self.how == "more":
            h = F.relu(h - 0.1)
        if self.count <= 4 and self.how == "fewer":
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


def test_a_relu_that_is_not_over_the_images_carries_no_gates():
    """Its gates could not be those of one image."""
    found = attend(WithRectifiedWeight(), torch.randn(2, 3, 8, 8), 0, steps=1, layers=None)
    assert [call.index for call in found.layers] == [1]
    with pytest.raises(OptionError, match="no known place in the image"):
        attend(WithRectifiedWeight(), torch.randn(2, 3, 8, 8), 0, steps=1, layers=[0])


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


def test_the_log_probability_of_a_single_score_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    with pytest.raises(OptionError, match="compares classes; with a single score take 'score'"):
        attend(network, torch.randn(2, 3, 16, 16), 0, objective="log_probability")

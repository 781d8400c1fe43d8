import sys

import pytest
import torch
import torch.nn.functional as F

from attending import ROLLOUTS
from looktwice import attend
from looktwice.attention.finishing import cumulative_shares
from looktwice.attention.methods import METHODS
from looktwice.attention.peers import last_feature_maps
from looktwice.errors import MissingExtraError, ModelError, OptionError
from looktwice.gating.frozen import frozen
from looktwice.models import load_model

PEERS = [name for name, row in METHODS.items() if row.attribute is not None and name not in ROLLOUTS]


class Pooled(torch.nn.Module):
    """Feature maps, pooling, one linear layer; its ReLU works in place, as torchvision's do."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3, padding=1, stride=2), torch.nn.ReLU(inplace=True), torch.nn.Conv2d(6, 8, 3)
        )
        self.last = torch.nn.ReLU(inplace=True)
        self.classifier = torch.nn.Linear(8, 5)

    def forward(self, images):
        return self.classifier(self.last(self.features(images)).mean((2, 3)))


@pytest.fixture
def pooled():
    torch.manual_seed(1)
    return Pooled()


@pytest.fixture
def images():
    return torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(2))


def scaled(heat, size):
    """As the package scales: to 0 … 1, enlarged, once more to 0 … 1."""

    def unit(values):
        low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
        return (values - low) / (high - low)

    grown = F.interpolate(unit(heat)[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    return unit(grown)


def features_and_gradients(network, images, targets):
    maps = network.last(network.features(images)).detach().requires_grad_()
    scores = network.classifier(maps.mean((2, 3)))
    (gradients,) = torch.autograd.grad(scores.gather(1, torch.tensor(targets)[:, None]).sum(), maps)
    return maps.detach(), gradients


def test_grad_cam_is_the_positive_part_of_cam(pooled, images):
    targets = [0, 3, 4]
    maps, _ = features_and_gradients(pooled, images, targets)
    cam = torch.einsum("nc,nchw->nhw", pooled.classifier.weight[targets], maps).clamp_min(0).detach()
    found = attend(pooled, images, targets, method="grad_cam").maps
    assert torch.allclose(found, scaled(cam, 24), atol=1e-3)


def test_layer_cam_weighs_every_pixel_by_its_own_positive_gradient(pooled, images):
    targets = [1, 2, 2]
    maps, gradients = features_and_gradients(pooled, images, targets)
    found = attend(pooled, images, targets, method="layer_cam").maps
    assert torch.allclose(found, scaled((maps * gradients.clamp_min(0)).sum(1), 24), atol=1e-3)


@pytest.mark.parametrize("method", PEERS)
def test_values_of_a_peer_may_be_cumulative_as_ours(method, pooled, images):
    plain = attend(pooled, images, 1, method=method).maps
    shares = attend(pooled, images, 1, method=method, values="cumulative").maps
    assert torch.allclose(shares, cumulative_shares(plain), atol=1e-6)
    with pytest.raises(OptionError, match="values is 'rank'; one of maximum, cumulative"):
        attend(pooled, images, 1, method=method, values="rank")


def test_integrated_gradients_add_up_to_what_the_score_gains(pooled, images):
    targets = [0, 1, 2]
    attention = attend(pooled, images, targets, method="integrated_gradients", steps=200)
    with torch.no_grad():
        gain = (pooled(images) - pooled(torch.zeros_like(images))).gather(1, torch.tensor(targets)[:, None])[:, 0]
    assert torch.allclose(attention.gradients.sum((1, 2, 3)), gain, rtol=0.05, atol=0.01)


def test_guided_grad_cam_is_the_product_of_its_two_parts(pooled, images):
    found = attend(pooled, images, 1, method="guided_grad_cam").gradients
    guided = attend(pooled, images, 1, method="guided_backprop").gradients
    maps, gradients = features_and_gradients(pooled, images, [1, 1, 1])
    cam = (maps * gradients.mean((2, 3), keepdim=True)).sum(1, keepdim=True).clamp_min(0)
    product = guided * F.interpolate(cam, size=(24, 24), mode="bilinear")
    assert torch.allclose(found, product, rtol=1e-3, atol=1e-5 * float(product.abs().max()))


@pytest.mark.parametrize("method", PEERS)
def test_leaves_the_model_as_found(pooled, images, method):
    pooled.train()
    before = {name: value.clone() for name, value in pooled.state_dict().items()}
    attention = attend(pooled, images, 0, method=method)
    assert attention.maps.shape == (3, 24, 24)
    assert float(attention.maps.min()) >= 0
    assert float(attention.maps.max()) <= 1
    assert pooled.training
    assert all(weight.requires_grad and weight.grad is None for weight in pooled.parameters())
    assert all(torch.equal(value, before[name]) for name, value in pooled.state_dict().items())
    assert not pooled.last._forward_hooks
    assert not pooled.last._backward_hooks


@pytest.mark.parametrize(
    ("name", "module"), [("resnet18", "layer4"), ("squeezenet1_1", "classifier.0"), ("googlenet", "inception5b")]
)
def test_last_feature_maps_are_those_before_pooling(name, module):
    model = load_model(name, weights="random").module
    with frozen(model) as network:
        assert last_feature_maps(network, torch.randn(1, 3, 224, 224))[0] is model.get_submodule(module)


class SharedRelu(Pooled):
    """One ReLU module after both convolutions, as EfficientNet-Lite has it."""

    def forward(self, images):
        first, _, second = self.features
        return self.classifier(self.last(second(self.last(first(images)))).mean((2, 3)))


def test_a_module_called_twice_is_not_taken_for_the_last_feature_maps(images):
    model = SharedRelu()
    with frozen(model) as network:
        assert last_feature_maps(network, images)[0] is model.features[2]


def test_the_embedded_networks_last_feature_maps_are_the_coarsest():
    model = load_model().module
    with frozen(model) as network:
        part, _ = last_feature_maps(network, torch.randn(1, 3, 224, 224))
    assert part is model.get_submodule("_bn1")


def test_a_network_without_feature_maps_has_no_activation_map(images):
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 8), torch.nn.ReLU())
    with pytest.raises(ModelError, match="returns maps of the image"):
        attend(flat, images, 0, method="grad_cam")


@pytest.mark.parametrize("method", PEERS)
def test_a_missing_package_is_named_with_the_remedy(pooled, images, method, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtraError, match=r"looktwice\[peers\]"):
        attend(pooled, images, 0, method=method)


class Cut(Pooled):
    """No gradient passes from its scores to its feature maps."""

    def forward(self, images):
        return self.classifier(self.last(self.features(images)).mean((2, 3)).detach())


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", PEERS)
def test_a_network_that_cuts_the_gradient_off_is_refused(images, method, kind):
    with pytest.raises(ModelError, match=r"no gradient reaches the network's maps .* must not detach"):
        attend(Cut().to(kind), images.to(kind), 0, method=method)


class Doubling(Pooled):
    """It writes on the output of a ReLU, which the ReLU's gradient needs."""

    def forward(self, images):
        maps = self.last(self.features(images))
        maps *= 2
        return self.classifier(maps.mean((2, 3)))


@pytest.mark.parametrize("method", [*PEERS, "gradient", "guided_backprop"])
def test_a_network_that_writes_on_an_activations_output_is_refused(images, method):
    with pytest.raises(ModelError, match=r"writes in place on what its gradient needs, .*; write x = x \* 2 there"):
        attend(Doubling(), images, 0, method=method)


class Mixed(Pooled):
    """Its layers work in bfloat16."""

    def forward(self, images):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(images)


@pytest.mark.parametrize("method", PEERS)
def test_feature_maps_in_bfloat16(images, method):
    torch.manual_seed(1)
    model = Mixed()
    found = attend(model, images, 0, method=method)
    full = Pooled()
    full.load_state_dict(model.state_dict())
    expected = attend(full, images, 0, method=method)
    for one, other in zip(found.maps, expected.maps, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.9

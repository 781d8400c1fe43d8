"""Peers on networks with tokens, with channels last and without ``nn.ReLU``: what they read, and what it costs."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from looktwice import attend
from looktwice.attention.peers import last_feature_maps
from looktwice.errors import LooktwiceWarning, ModelError
from looktwice.gating.frozen import frozen
from token_networks import Transformer

IMAGES = torch.randn(2, 3, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def last_name(network: nn.Module, images: Tensor) -> str:
    with frozen(network.eval()) as inside:
        part, _ = last_feature_maps(inside, images)
    return next(name for name, other in network.named_modules() if other is part)


def timm_network(name: str, **choices):
    return pytest.importorskip("timm").create_model(name, num_classes=5, **choices)


def hugging_face_network():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return transformers.ViTForImageClassification(transformers.ViTConfig(image_size=48, num_labels=5, **sizes))


def torchvision_network(head_of_zeros: bool):
    from torchvision.models import VisionTransformer

    network = VisionTransformer(48, 16, 2, 2, 16, 32, num_classes=5)
    if not head_of_zeros:
        nn.init.normal_(network.heads.head.weight)
    return network


SMALL = {"img_size": 48, "depth": 2, "embed_dim": 48, "num_heads": 3}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: timm_network("vit_tiny_patch16_224", **SMALL), "blocks.1.norm1"),
        (lambda: timm_network("deit_tiny_distilled_patch16_224", **SMALL), "blocks.1.norm1"),
        (lambda: timm_network("vit_tiny_patch16_224", **SMALL, class_token=False, global_pool="avg"), "norm"),
        (lambda: torchvision_network(False), "encoder.layers.encoder_layer_1.ln_1"),
        (hugging_face_network, "vit.layers.1.layernorm_before"),
    ],
    ids=["timm", "distilled", "without class token", "torchvision", "hugging face"],
)
def test_the_last_tokens_are_those_before_the_last_attention_that_reads_them(make, expected):
    torch.manual_seed(0)
    name = last_name(make(), torch.randn(1, 3, 48, 48))
    assert name == expected or name.replace("vit.encoder.layer", "vit.layers") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("swin_t", "permute"), ("convnext_tiny", "features"), ("mobilenet_v3_small", "features")],
)
@pytest.mark.slow
def test_the_last_maps_of_torchvisions_networks_are_those_before_pooling(name, expected):
    import torchvision

    torch.manual_seed(0)
    assert last_name(getattr(torchvision.models, name)(weights=None), torch.randn(1, 3, 96, 96)) == expected


def test_the_last_maps_are_sought_in_a_few_passes_and_remembered():
    network, passes = Transformer(), []
    network.register_forward_hook(lambda *_: passes.append(1))
    attend(network, IMAGES, 1, method="grad_cam")
    first = len(passes)
    attend(network, IMAGES, 1, method="grad_cam")
    again = len(passes) - first
    assert first <= 9  # places of calls and of parts, independence (two), plain, classes, gradients, Grad-CAM's own
    assert again == 2  # the plain pass and Grad-CAM's own


def unit(values: Tensor) -> Tensor:
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    return (values - low) / (high - low)


@pytest.mark.parametrize(("read", "expected"), [("class", "blocks.1.norm1"), ("mean", "blocks.1.norm2")])
def test_grad_cam_of_tokens_is_that_of_the_last_tokens_that_are_read(read, expected):
    network = Transformer("module", 1, read, grid=(8, 8))
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert last_name(network, images) == expected
    seen: list[Tensor] = []
    handle = network.get_submodule(expected).register_forward_hook(lambda _, __, output: seen.append(output))
    scores = network(images)
    handle.remove()
    (gradients,) = torch.autograd.grad(scores[:, 2].sum(), seen[0])
    weights = gradients[:, 1:].mean(1, keepdim=True)
    cam = (seen[0][:, 1:] * weights).sum(2).clamp_min(0).reshape(2, 8, 8).detach()
    grown = F.interpolate(unit(cam)[:, None], size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(attend(network, images, 2, method="grad_cam").maps, unit(grown), atol=1e-3)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "layer_cam"])
def test_a_head_of_zeros_has_a_zero_map_which_is_said(method):
    torch.manual_seed(0)
    with pytest.warns(LooktwiceWarning, match="the map is zero everywhere"):
        found = attend(torchvision_network(True), torch.randn(1, 3, 48, 48), 1, method=method)
    assert not found.maps.any()


def test_integrated_gradients_of_a_transformer_add_up_to_what_the_score_gains():
    network = Transformer()
    found = attend(network, IMAGES, 2, method="integrated_gradients", steps=200).gradients.sum((1, 2, 3))
    with torch.no_grad():
        gain = network(IMAGES)[:, 2] - network(torch.zeros_like(IMAGES))[:, 2]
    assert torch.allclose(found, gain, rtol=0.02, atol=0.01)


# ---- Guided Grad-CAM -------------------------------------------------------------------------------------------------


class Convolutions(nn.Module):
    """Two convolutions and pooling, with one activation or another; channels first or last."""

    def __init__(self, activation, *, channels_last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, padding=1)
        self.activation, self.channels_last = activation, channels_last
        self.mix, self.head = nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.activation(self.second(self.activation(self.first(images))))
        mixed = self.mix(x.permute(0, 2, 3, 1)) if self.channels_last else self.mix(x.mean((2, 3)))[:, None, None]
        return self.head(mixed.mean((1, 2)))


@pytest.mark.parametrize(
    ("network", "seen"),
    [(Transformer().float(), "tokens"), (Convolutions(nn.ReLU(), channels_last=True), "maps with channels last")],
    ids=["tokens", "channels last"],
)
def test_guided_grad_cam_of_maps_that_captum_cannot_read_is_refused(network, seen):
    with pytest.raises(ModelError, match=f"the last ones of this network are {seen}; take grad_cam"):
        attend(network, IMAGES.float(), 1, method="guided_grad_cam")


@pytest.mark.parametrize(
    "activation", [nn.GELU(), nn.SiLU(), nn.Hardswish(), F.relu], ids=["GELU", "SiLU", "Hardswish", "relu"]
)
def test_guided_grad_cam_without_the_modules_that_captum_guides_says_so(activation):
    network = Convolutions(activation)
    with pytest.warns(LooktwiceWarning, match="this network has none; the map is the plain gradient times Grad-CAM"):
        found = attend(network, IMAGES.float(), 1, method="guided_grad_cam")
    gradient = attend(network, IMAGES.float(), 1, method="gradient").gradients
    same_sign = (found.gradients * gradient)[found.gradients != 0] > 0
    assert same_sign.all()
    assert len(same_sign)


@pytest.mark.parametrize(("other", "name"), [(nn.Hardswish(), "hardswish"), (nn.ReLU6(), "hardtanh|relu6")])
def test_guided_grad_cam_names_the_activations_that_are_not_guided(other, name):
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Convolutions(nn.ReLU())
            self.other = other

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(self.other(images))

    with pytest.warns(LooktwiceWarning, match=f"gradients pass this network's ({name}) unguided"):
        attend(Mixed(), IMAGES.float(), 1, method="guided_grad_cam")


@pytest.mark.filterwarnings("error::looktwice.errors.LooktwiceWarning")
def test_guided_grad_cam_of_a_network_with_relu_modules_has_no_caution():
    attend(Convolutions(nn.ReLU()), IMAGES.float(), 1, method="guided_grad_cam")

"""Attention rollout and relevance against matrices that are computed by hand, however a network computes its own."""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attending import ROLLOUTS
from looktwice import attend
from looktwice.attention.finishing import cumulative_shares
from looktwice.attention.matrices import MatricesMode
from looktwice.errors import LooktwiceWarning, ModelError
from token_networks import Transformer

RAW: dict[str, Any] = {"values": "maximum", "blur": 0.0}
"""A map as the method makes it, scaled to maximum 1."""

CALLS = ("fused", "written out", "folded", "in place", "module", "module with weights", "layer", "encoder")


def by_hand(network: Transformer, image: Tensor, extra: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """The matrices (heads, T, T) of each block and the scores (K,) of an image; ``extra`` is added to the matrices."""
    x = network.patches(image[None])[0].flatten(1).T
    x = torch.cat([network.before[0], x]) + network.position[0]
    matrices = []
    for number, block in enumerate(network.blocks):
        attention, h = block.self_attn, block.norm1(x)
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        matrices.append(torch.zeros(2, len(x), len(x), dtype=x.dtype))
        columns = []
        for head in range(2):
            rows = [slice(8 * part + 4 * head, 8 * part + 4 * head + 4) for part in range(3)]
            q, k, v = (h @ weight[row].T + bias[row] for row in rows)
            for here in range(len(x)):
                powers = torch.stack([torch.exp(q[here] @ k[there] / 4**0.5) for there in range(len(x))])
                matrices[-1][head, here] = powers / powers.sum()
            added = matrices[-1][head] if extra is None else matrices[-1][head] + extra[number, head]
            columns.append(added @ v)
        x = x + torch.cat(columns, 1) @ attention.out_proj.weight.T + attention.out_proj.bias
        x = x + block.linear2(F.gelu(block.linear1(block.norm2(x))))
    return matrices, network.head(x[0] if network.read == "class" else x[network.prefix :].mean(0))


def rolled_out(matrices: list[Tensor], read: slice) -> Tensor:
    seen = torch.eye(matrices[0].shape[-1], dtype=matrices[0].dtype)
    for matrix in matrices:
        block = matrix.mean(0) + torch.eye(len(seen), dtype=seen.dtype)
        seen = block / block.sum(1, keepdim=True) @ seen
    return seen[read].mean(0)


def relevant(matrices: list[Tensor], gradients: list[Tensor], read: slice) -> Tensor:
    seen = own = torch.eye(matrices[0].shape[-1], dtype=matrices[0].dtype)
    for matrix, gradient in zip(matrices, gradients, strict=True):
        seen = seen + (matrix * gradient).clamp_min(0).mean(0) @ seen
    return (seen - own)[read].mean(0)


def as_map(tokens: Tensor, prefix: int, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    cells = tokens[prefix:].reshape(1, 1, *grid)
    grown = F.interpolate(cells, size=size, mode="bilinear", align_corners=False)[0, 0]
    return grown / grown.max()


def differences(network: Transformer, image: Tensor, target: int) -> list[Tensor]:
    """The gradient of a score with respect to each matrix, by small differences, entry by entry."""
    tokens = network.position.shape[1]
    extra = torch.zeros(2, 2, tokens, tokens, dtype=torch.float64)
    found = torch.zeros_like(extra)
    for entry in range(extra.numel()):
        values = []
        for change in (1e-5, -1e-5):
            extra.view(-1)[entry] = change
            values.append(by_hand(network, image, extra)[1][target])
        extra.view(-1)[entry] = 0
        found.view(-1)[entry] = (values[0] - values[1]) / 2e-5
    return list(found)


def pictures(count: int, size: tuple[int, int], seed: int = 1) -> Tensor:
    return torch.randn(count, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


KINDS = [(1, "class", (3, 3)), (1, "class", (2, 3)), (0, "mean", (3, 3)), (2, "mean", (3, 4)), (3, "class", (3, 3))]


@pytest.mark.parametrize(("prefix", "read", "grid"), KINDS)
def test_rollout_is_the_product_of_the_matrices_by_hand(prefix, read, grid):
    network, size = Transformer("fused", prefix, read, grid), (8 * grid[0], 8 * grid[1])
    images = pictures(2, size)
    found = attend(network, images, [0, 3], method="attention_rollout", **RAW).maps
    rows = slice(0, 1) if read == "class" else slice(prefix, None)
    for image, heat in zip(images, found, strict=True):
        with torch.no_grad():
            expected = rolled_out(by_hand(network, image)[0], rows)
        assert torch.allclose(heat, as_map(expected, prefix, grid, size), atol=1e-9)


@pytest.mark.parametrize(("prefix", "read", "grid"), [(1, "class", (2, 3)), (1, "mean", (2, 3))])
def test_relevance_is_that_of_gradients_by_small_differences(prefix, read, grid):
    network, size = Transformer("fused", prefix, read, grid), (8 * grid[0], 8 * grid[1])
    image = pictures(1, size)
    found = attend(network, image, 2, method="attention_relevance", **RAW).maps[0]
    with torch.no_grad():
        matrices, gradients = by_hand(network, image[0])[0], differences(network, image[0], 2)
    rows = slice(0, 1) if read == "class" else slice(prefix, None)
    assert torch.allclose(found, as_map(relevant(matrices, gradients, rows), prefix, grid, size), atol=1e-6)


def encoder_of(network: Transformer) -> nn.Module:
    """The same network with its blocks in an ``nn.TransformerEncoder``, which has a fast path of its own."""
    encoder = nn.TransformerEncoder(network.blocks[0], 2, enable_nested_tensor=False).double().eval()
    encoder.layers = network.blocks
    network.blocks = nn.ModuleList([encoder])
    return network


@pytest.mark.parametrize("method", ROLLOUTS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_map_is_the_same_however_attention_is_called(method, call, context):
    images = pictures(3, (24, 24))
    expected = attend(Transformer("written out"), images, [0, 1, 1], method=method, **RAW).maps
    network = Transformer(call)
    if call == "encoder":
        network = encoder_of(network)
    with context():
        found = attend(network, images, [0, 1, 1], method=method, **RAW)
    assert torch.allclose(found.maps, expected, atol=1e-9)
    assert found.maps.amax((1, 2)).tolist() == [1, 1, 1]
    assert not found.gates
    assert not any(weight.grad is not None for weight in network.parameters())


def test_torchs_fast_path_is_taken_where_nobody_looks(monkeypatch):
    taken, fast = [], torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", lambda *given: taken.append("fast") or fast(*given))
    network, image = Transformer("layer"), pictures(1, (24, 24))
    with torch.no_grad():
        network(image)
        assert taken == ["fast", "fast"]
        with MatricesMode() as seen:
            network(image)
    assert taken == ["fast", "fast"]
    assert len(seen.matrices) == 2


@pytest.mark.parametrize("method", ROLLOUTS)
def test_a_batch_has_the_maps_of_its_images(method):
    images = pictures(3, (24, 24))
    together = attend(Transformer(), images, [0, 1, 2], method=method, **RAW).maps
    alone = [attend(Transformer(), images[n : n + 1], n, method=method, **RAW).maps for n in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-9)


def test_rollout_is_the_same_for_every_class_and_relevance_is_not():
    images = pictures(1, (24, 24)).expand(2, -1, -1, -1)
    first, second = attend(Transformer(), images, [0, 1], method="attention_rollout", **RAW).maps
    assert torch.equal(first, second)
    first, second = attend(Transformer(), images, [0, 1], method="attention_relevance", **RAW).maps
    assert not torch.allclose(first, second, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", ROLLOUTS)
def test_in_other_precisions_the_map_is_nearly_the_same(method, dtype):
    images = pictures(2, (24, 24))
    exact = attend(Transformer(), images, 1, method=method, **RAW).maps
    found = attend(Transformer().to(dtype), images.to(dtype), 1, method=method, **RAW).maps
    assert found.dtype == dtype
    assert torch.allclose(found.double(), exact, atol=1e-4 if dtype == torch.float32 else 0.06)


def test_masks_of_attention_count():
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(3, 5, 8)
    hidden = torch.zeros(5, 5, dtype=torch.bool)
    hidden[:, 3] = True
    added = torch.randn(6, 5, 5)
    padded = torch.zeros(3, 5, dtype=torch.bool)
    padded[1, 4] = True
    for masks in (
        {"attn_mask": hidden},
        {"attn_mask": added},
        {"key_padding_mask": padded},
        {"attn_mask": hidden, "key_padding_mask": padded},
        {"attn_mask": hidden.float() * -9, "is_causal": False},
    ):
        expected, weights = layer(x, x, x, average_attn_weights=False, **masks)
        with MatricesMode() as seen:
            found, given = layer(x, x, x, average_attn_weights=False, **masks)
        assert torch.allclose(found, expected, atol=1e-6)
        assert torch.allclose(given, weights, atol=1e-6)
        assert torch.allclose(seen.matrices[0], weights, atol=1e-6)


@pytest.mark.parametrize(
    "choices",
    [{}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": torch.eye(5) * -3}, {"attn_mask": torch.eye(5) < 1}],
    ids=str,
)
def test_fused_attention_is_written_out_with_all_its_arguments(choices):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 5, 8)
    expected = F.scaled_dot_product_attention(q, k, v, **choices)
    grouped = F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True, **choices)
    with MatricesMode() as seen:
        assert torch.allclose(F.scaled_dot_product_attention(q, k, v, **choices), expected, atol=1e-6)
        found = F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True, **choices)
    assert torch.allclose(found, grouped, atol=1e-6)
    assert [tuple(matrix.shape) for matrix in seen.matrices] == [(2, 4, 5, 5)] * 2
    assert torch.allclose(seen.matrices[0].sum(-1), torch.ones(2, 4, 5))


@pytest.mark.parametrize("call", ["fused", "written out", "module"])
def test_an_exported_program_has_the_map_of_its_network(call):
    network, image = Transformer(call, grid=(8, 8)), pictures(1, (64, 64))
    exported = torch.export.export(network, (image,)).module()
    for method in ROLLOUTS:
        found = attend(exported, image, 1, method=method, **RAW).maps
        assert torch.allclose(found, attend(network, image, 1, method=method, **RAW).maps, atol=1e-9)


# ---- networks that people have ---------------------------------------------------------------------------------------


def torchvision_network(**choices):
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(48, 16, 2, 2, 16, 32, num_classes=5, **choices)
    nn.init.normal_(network.heads.head.weight)  # it begins with zeros
    return network.double().eval()


def torchvision_matrices(network: nn.Module, image: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []
    layers = [layer.self_attention for layer in network.encoder.layers]
    handles = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for layer in layers]
    network(image[None])
    for handle in handles:
        handle.remove()
    return [
        layer(x, x, x, need_weights=True, average_attn_weights=False)[1][0]
        for layer, x in zip(layers, seen, strict=True)
    ]


def test_torchvisions_vision_transformer():
    network, images = torchvision_network(), pictures(2, (48, 48))
    found = attend(network, images, 1, method="attention_rollout", **RAW).maps
    for image, heat in zip(images, found, strict=True):
        with torch.no_grad():
            expected = rolled_out(torchvision_matrices(network, image), slice(0, 1))
        assert torch.allclose(heat, as_map(expected, 1, (3, 3), (48, 48)), atol=1e-9)
    assert attend(network, images, 1, method="attention_relevance", **RAW).maps.amax() == 1


def timm_network(**choices):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    sizes = {"img_size": (48, 64), "depth": 3, "num_classes": 5, "embed_dim": 48, "num_heads": 3}
    return timm.create_model("vit_tiny_patch16_224", **{**sizes, **choices}).double().eval()


def timm_matrices(network: nn.Module, image: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []
    layers = [block.attn for block in network.blocks]
    handles = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for layer in layers]
    network(image[None])
    for handle in handles:
        handle.remove()
    found = []
    for layer, x in zip(layers, seen, strict=True):
        q, k, _ = layer.qkv(x)[0].reshape(-1, 3, 3, 16).permute(1, 2, 0, 3)
        found.append((q @ k.mT / 16**0.5).softmax(-1))
    return found


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("choices", "prefix", "rows"),
    [
        ({}, 1, slice(0, 1)),
        ({"class_token": False, "global_pool": "avg"}, 0, slice(None)),
        ({"global_pool": "avg"}, 1, slice(1, None)),
        ({"reg_tokens": 4}, 5, slice(0, 1)),
        ({"class_token": False, "reg_tokens": 4, "global_pool": "avg"}, 4, slice(4, None)),
    ],
    ids=["class token", "no class token", "class token unread", "registers", "registers alone"],
)
def test_timms_vision_transformer(choices, prefix, rows, fused):
    network, images = timm_network(**choices), pictures(2, (48, 64))
    for block in network.blocks:
        block.attn.fused_attn = fused
    found = attend(network, images, 1, method="attention_rollout", **RAW).maps
    for image, heat in zip(images, found, strict=True):
        with torch.no_grad():
            expected = rolled_out(timm_matrices(network, image), rows)
        assert torch.allclose(heat, as_map(expected, prefix, (3, 4), (48, 64)), atol=1e-9)
    assert attend(network, images, 1, method="attention_relevance", **RAW).maps.amax() == 1


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_hugging_faces_vision_transformer(implementation):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=48, num_labels=5
    )
    config._attn_implementation = implementation
    network = transformers.ViTForImageClassification(config).double().eval()
    reference = transformers.ViTForImageClassification(config).double().eval()
    reference.load_state_dict(network.state_dict())
    reference.set_attn_implementation("eager")
    image = pictures(1, (48, 48))
    answer = reference(image, output_attentions=True)
    gradients = [each[0] for each in torch.autograd.grad(answer.logits[0, 3], answer.attentions)]
    matrices = [each[0].detach() for each in answer.attentions]
    found = attend(network, image, 3, method="attention_rollout", **RAW).maps[0]
    assert torch.allclose(found, as_map(rolled_out(matrices, slice(0, 1)), 1, (3, 3), (48, 48)), atol=1e-6)
    found = attend(network, image, 3, method="attention_relevance", **RAW).maps[0]
    expected = as_map(relevant(matrices, gradients, slice(0, 1)), 1, (3, 3), (48, 48))
    assert torch.allclose(found, expected, atol=1e-5)


# ---- what is refused or said -----------------------------------------------------------------------------------------


class Windows(Transformer):
    """Attention inside each half of the picture, as Swin has it."""

    def attend(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        return super().attend(layer, x.reshape(2 * len(x), -1, 8)).reshape(x.shape)


class Pooled(Transformer):
    """Keys and values of every second token, as in a pyramid vision transformer."""

    def attend(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        return layer(x, x[:, ::2], x[:, ::2], need_weights=False)[0]


class Own(Transformer):
    """Keys of its own, which are no tokens."""

    def attend(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        own = nn.MultiheadAttention(8, 2, batch_first=True, add_zero_attn=True).double().eval()
        return own(x, x, x, need_weights=False)[0]


class SideBySide(Transformer):
    """Two attentions in one block, as parallel blocks and differential attention have them."""

    def attend(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        return super().attend(layer, x) - 0.5 * super().attend(layer, x.flip(2))


class Twice(Transformer):
    """Scores that are the mean of two passes."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + super().forward(0.5 * images)


class Elsewhere(Transformer):
    """Tokens in an order that is not the image's."""

    def forward(self, images: Tensor) -> Tensor:
        order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
        blocks = images.unfold(2, 8, 8).unfold(3, 8, 8).flatten(2, 3)[:, :, order]
        shuffled = blocks.unflatten(2, (8, 8)).permute(0, 1, 2, 4, 3, 5).reshape(images.shape)
        return super().forward(shuffled)


@pytest.mark.parametrize("method", ROLLOUTS)
@pytest.mark.parametrize(
    ("network", "size", "words"),
    [
        (Windows(prefix=0, read="mean", grid=(4, 4)), (32, 32), "windows, stages or pooled tokens"),
        (Pooled(), (24, 24), "windows, stages or pooled tokens"),
        (Own(), (24, 24), "adds keys of its own"),
        (SideBySide(), (24, 24), "4 attention matrices of this network stand side by side"),
        (SideBySide("written out"), (24, 24), "stand side by side"),
        (Twice(), (24, 24), "stand side by side"),
        (Elsewhere(grid=(8, 8)), (64, 64), "65 tokens of this network do not lie like the image"),
        (nn.Sequential(nn.Conv2d(3, 4, 8, 8).double(), nn.ReLU(), nn.Flatten()), (24, 24), "no attention matrix was"),
    ],
    ids=["windows", "pooled", "own keys", "side by side", "written out", "twice", "elsewhere", "none"],
)
def test_a_network_without_the_same_tokens_in_every_block_is_refused(method, network, size, words):
    with pytest.raises(ModelError, match="attention rollout needs") as refused:
        attend(network, pictures(2, size), 1, method=method, **RAW)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


class Detached(Transformer):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).detach()


class WithoutGradients(Transformer):
    def attend(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().attend(layer, x)


class DetachedFirstBlock(Transformer):
    def attend(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        return super().attend(layer, x).detach() if layer is self.blocks[0].self_attn else super().attend(layer, x)


@pytest.mark.parametrize("network", [Detached, WithoutGradients])
def test_relevance_of_a_network_that_detaches_is_refused_and_rollout_is_not(network):
    images = pictures(1, (24, 24))
    with pytest.raises(ModelError, match="must not detach"):
        attend(network(), images, 1, method="attention_relevance", **RAW)
    found = attend(network(), images, 1, method="attention_rollout", **RAW).maps
    assert torch.allclose(found, attend(Transformer(), images, 1, method="attention_rollout", **RAW).maps)


@pytest.mark.parametrize("method", ROLLOUTS)
def test_a_block_that_detaches_is_refused(method):
    with pytest.raises(ModelError, match="side by side"):
        attend(DetachedFirstBlock(), pictures(1, (24, 24)), 1, method=method, **RAW)


def test_a_head_of_zeros_has_a_zero_relevance_which_is_said_and_a_rollout():
    network, images = Transformer(), pictures(1, (24, 24))
    nn.init.zeros_(network.head.weight)
    with pytest.warns(LooktwiceWarning, match="the map is zero everywhere"):
        assert not attend(network, images, 1, method="attention_relevance", **RAW).maps.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error", LooktwiceWarning)
        found = attend(network, images, 1, method="attention_rollout", **RAW).maps
    assert torch.allclose(found, attend(Transformer(), images, 1, method="attention_rollout", **RAW).maps)


# ---- what holds for every method -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ROLLOUTS)
def test_the_last_steps_are_those_of_every_method(method):
    network, images = Transformer(grid=(8, 8)), pictures(2, (64, 64))
    plain = attend(network, images, 1, method=method, **RAW).maps
    shares = attend(network, images, 1, method=method, **RAW | {"values": "cumulative"}).maps
    assert torch.allclose(shares, cumulative_shares(plain))
    assert not torch.allclose(attend(network, images, 1, method=method, **RAW | {"blur": 0.1}).maps, plain)
    assert not torch.allclose(attend(network, images, 1, method=method, **RAW, propagate=True).maps, plain)


@pytest.mark.parametrize("call", CALLS[:-1])
@pytest.mark.parametrize("method", ROLLOUTS)
def test_the_model_is_left_as_found(method, call):
    network = Transformer(call).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attend(network, pictures(2, (24, 24)), 0, method=method, **RAW)
    assert all(part.training for part in network.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

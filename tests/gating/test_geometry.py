"""Where activations lie in the image is measured: squeezes, channels last, attention, padding, flips, folded frames."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
from looktwice import attend
from looktwice.errors import ModelError, OptionError
from looktwice.gating import activation_calls, frozen
from looktwice.gating.geometry import measured_places
from looktwice.models import load_model

IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def kinds(network: nn.Module, images: Tensor = IMAGE) -> list[str]:
    with frozen(network) as inside:
        return [place.kind for place in measured_places(inside, images)]


class Block(nn.Module):
    """One block of a network, its channels first or last, with the same weights."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.last = last
        self.stem = nn.Conv2d(3, 24, 16, 16)
        self.a, self.b, self.head = nn.Linear(24, 96), nn.Linear(96, 24), nn.Linear(24, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        if self.last:
            y = self.b(F.relu(self.a(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        else:
            y = F.conv2d(x, self.a.weight[..., None, None], self.a.bias)
            y = F.conv2d(F.relu(y), self.b.weight[..., None, None], self.b.bias)
        return self.head((x + y).mean((2, 3)))


@pytest.fixture
def blocks() -> tuple[Block, Block, Tensor]:
    first, last = Block(False), Block(True)
    last.load_state_dict(first.state_dict())
    image = torch.zeros(1, 3, 224, 224)
    image[..., 128:192, 16:80] = 3 * torch.randn(1, 3, 64, 64)
    return first, last, image


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "feedback", "global_feedback"])
def test_the_same_network_channels_first_and_last_has_the_same_map(blocks, method):
    first, last, image = blocks
    ours, theirs = (attend(network, image, 1, method=method) for network in (first, last))
    assert torch.allclose(ours.maps, theirs.maps, atol=1e-4)
    if method == "global_feedback":
        assert ours.gates[0].shape == (1, 96, 14, 14)
        assert torch.allclose(theirs.gates[0].permute(0, 3, 1, 2), ours.gates[0], atol=1e-4)
        assert [call.kind for call in theirs.layers] == ["channels_last"]


def test_squeezes_carry_no_gates():
    network = load_model("mobilenet_v3_small", weights="random").module
    found = kinds(network, torch.randn(1, 3, 224, 224))
    with frozen(network) as inside:
        calls, _ = activation_calls(inside, torch.randn(1, 3, 224, 224))
    assert [kind == "other" for kind in found] == [call.shape[1:] == (1, 1) for call in calls]
    attention = attend(network, torch.randn(1, 3, 224, 224), 0)
    assert all(min(call.grid) > 1 for call in attention.layers)
    assert 0 < (attention.maps > 0.5).float().mean() < 1


def test_a_last_stage_of_one_cell_carries_no_gates():
    network = load_model("resnet18", weights="random").module
    attention = attend(network, torch.randn(1, 3, 32, 32), 0)
    assert {call.grid for call in attention.layers} == {(2, 2)}
    assert attention.maps.min() < 0.9


class Attending(nn.Module):
    """ReLU in attention, as in EfficientViT: queries and keys of the shape (heads, places, dimensions)."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        self.early = early
        self.stem = nn.Conv2d(3, 48, 4, 4)
        self.head = nn.Linear(48, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        if self.early:
            x = F.relu(x)
        heads = x.flatten(2).unflatten(1, (3, 16)).mT  # (N, 3, places, 16)
        query, key = F.relu(heads), F.relu(heads + 0.1)
        mixed = query @ (key.mT @ heads) / heads.shape[2]
        return self.head(x.mean((2, 3)) + mixed.mean(2).flatten(1))


def test_attention_is_never_a_picture():
    assert kinds(Attending(early=True)) == ["channels", "other", "other"]
    assert [call.index for call in attend(Attending(early=True), IMAGE, 0).layers] == [0]
    assert [call.index for call in attend(Attending(early=True), IMAGE, 0, layers=None).layers] == [0]
    with pytest.raises(OptionError, match="no known place in the image"):
        attend(Attending(early=True), IMAGE, 0, layers=[1])
    with pytest.raises(ModelError, match="lies like the image"):
        attend(Attending(early=False), IMAGE, 0)


class Wrapped(nn.Module):
    def __init__(self, change) -> None:
        super().__init__()
        self.inner, self.change = networks.Plain(), change

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(self.change(images))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: F.pad(x, (28, 0, 28, 0)),
        lambda x: F.pad(x, (32, 32, 0, 0)),
        lambda x: x.flip(3),
        lambda x: x.flip(2),
        lambda x: x.mT,
        lambda x: x.rot90(1, (2, 3)),
        lambda x: x.roll(20, 3),
    ],
    ids=["padded", "letterboxed", "flipped", "upside down", "transposed", "turned", "rolled"],
)
def test_a_network_that_moves_the_picture_itself_is_refused(change):
    network = Wrapped(change)
    with pytest.raises(ModelError, match="lies like the image; it may pad, flip, turn or cut"):
        attend(network, IMAGE, 0)
    assert attend(network, IMAGE, 0, method="gradient").maps.amax() == 1  # right by nature


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: F.pad(x, (1, 1, 1, 1)),
        lambda x: F.interpolate(x, scale_factor=1.5),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: x.flip(1),
    ],
    ids=["as it is", "padded by a pixel", "enlarged", "made smaller", "in another order of colours"],
)
def test_a_network_that_leaves_the_picture_in_its_place_is_taken(change):
    assert kinds(Wrapped(change)) == ["channels"]


def test_flips_inside_carry_no_gates_beside_the_upright_look():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = networks.Plain()

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images) + self.inner(images.flip(3))

    assert kinds(Both()) == ["channels", "other"]


def test_folded_frames_carry_no_gates():
    class Video(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = networks.Plain()

        def forward(self, clips: Tensor) -> Tensor:
            return self.inner(clips.unflatten(1, (4, 3)).flatten(0, 1)).unflatten(0, (-1, 4)).mean(1)

    clips = torch.randn(2, 12, 32, 32)
    assert kinds(Video(), clips) == ["other"]
    with pytest.raises(ModelError, match="lies like the image"):
        attend(Video(), clips, 0)


@pytest.mark.parametrize("batch", [1, 2, 4, 5])
def test_a_network_may_take_only_batches_of_its_own_size(batch):
    class Bound(networks.Plain):
        def forward(self, images: Tensor) -> Tensor:
            return self.classify(self.features(images).view(batch, 5, 64, 64))

    assert kinds(Bound(), IMAGE.repeat(batch, 1, 1, 1)) == ["channels"]


def test_what_is_measured_once_is_remembered():
    class Counted(networks.Plain):
        passes = 0

        def forward(self, images: Tensor) -> Tensor:
            Counted.passes += 1
            return super().forward(images)

    network = Counted()
    kinds(network)
    kinds(network)
    assert Counted.passes == 1
    kinds(network, torch.randn(1, 3, 32, 32))
    assert Counted.passes == 2


def test_where_nothing_answers_the_shape_decides():
    class Dead(networks.Plain):
        def forward(self, images: Tensor) -> Tensor:
            return self.classify(F.relu(self.conv(images) - 1e6))

    assert kinds(Dead()) == ["channels"]


class Strided(nn.Module):
    """Convolutions of the given strides, a head, and something that is done to the picture first."""

    def __init__(self, strides: tuple[int, ...], change=lambda x: x) -> None:
        super().__init__()
        widths = [3, *(8 * 2**stage for stage in range(len(strides)))]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.head, self.change = nn.Linear(widths[-1], 4), change

    def forward(self, images: Tensor) -> Tensor:
        h = self.change(images)
        for conv in self.convs:
            h = F.relu(conv(h))
        return self.head(h.mean((2, 3)))


@pytest.mark.parametrize("strides", [(2, 2, 2), (2, 2, 2, 2, 2), (4, 4, 2), (16,)])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.flip(3),
        lambda x: x.mT,
        lambda x: F.pad(x, (0, 0, 16, 16)),
        lambda x: F.pad(x, (0, 16, 0, 16)),
        lambda x: x.roll(9, 3),
        lambda x: x[..., :48, :48],
        lambda x: x[..., 8:-8, 8:-8],
        lambda x: F.interpolate(F.pad(x, (8, 8, 8, 8)), size=64),
    ],
    ids=["flipped", "transposed", "letterboxed", "padded to a multiple", "rolled", "a corner", "centre", "shrunk"],
)
def test_a_moved_picture_is_found_though_the_grids_are_too_coarse_to_show_it(strides, change):
    assert set(kinds(Strided(strides, change))) == {"other"}


def test_an_upright_look_carries_gates_after_a_flipped_one():
    class Both(Strided):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.flip(3)) + super().forward(images)

    assert kinds(Both((2, 2, 2, 2))) == ["other"] * 4 + ["channels"] * 4


@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x - x.mean()) / x.std(),
        lambda x: F.pad(x, (2, 2, 2, 2), mode="reflect"),
        lambda x: F.interpolate(x, size=(96, 80), mode="bicubic", antialias=True),
        lambda x: F.avg_pool2d(x, 3, 1, 1),
    ],
    ids=["normalised", "reflected", "resized", "blurred"],
)
def test_a_picture_that_stays_in_its_place_is_taken_on_coarse_grids_too(change):
    assert set(kinds(Strided((2, 2, 2, 2, 2), change))) == {"channels"}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_weights_that_pass_an_activation_carry_no_gates(count):
    class Positive(Strided):
        """Its weights are as many as the probes, three, and lie like a batch of pictures and of vectors."""

        def __init__(self, positive) -> None:
            torch.manual_seed(1)
            super().__init__((4, 4))
            self.colours, self.head = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Linear(16, 3)
            self.positive = positive

        def forward(self, images: Tensor) -> Tensor:
            h = F.conv2d(images, self.positive(self.colours.weight), padding=1)
            for conv in self.convs:
                h = F.relu(conv(h))
            return F.linear(h.mean((2, 3)), self.positive(self.head.weight))

    images = torch.randn(count, 3, 64, 64)
    hidden, seen = Positive(lambda weight: weight.clamp(min=0)), Positive(F.relu)
    ours, theirs = (attend(network, images, 1, layers=None) for network in (seen, hidden))
    assert torch.equal(ours.maps, theirs.maps)
    assert [call.shape for call in ours.layers] == [call.shape for call in theirs.layers]


class Mapped(nn.Module):
    """A layer that turns three channels into three, mapped over two copies of the images, before a ReLU."""

    def __init__(self, *, inside: bool, by: str = "vmap") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)
        self.inside, self.by = inside, by

    def forward(self, images: Tensor) -> Tensor:
        def layer(copy: Tensor) -> Tensor:
            return F.relu(self.first(copy)) if self.inside else self.first(copy)

        copies = torch.stack([images, 2 * images])
        mapped = torch.vmap(layer)(copies) if self.by == "vmap" else torch.stack([layer(copy) for copy in copies])
        return self.head(F.relu(self.last(mapped.mean(0))).mean((2, 3)))


@pytest.mark.parametrize("count", [1, 3])
def test_a_picture_made_inside_vmap_changes_nothing(count):
    images = torch.randn(count, 3, 32, 32)
    mapped, plain = (attend(Mapped(inside=False, by=by).eval(), images, 1) for by in ("vmap", "loop"))
    assert torch.allclose(mapped.maps, plain.maps, atol=1e-3)
    assert torch.allclose(mapped.gates[0], plain.gates[0], atol=1e-5)


@pytest.mark.parametrize("method", ["gradient", "global_feedback"])
def test_an_activation_inside_vmap_is_refused(method):
    with pytest.raises(ModelError, match=r"calls relu inside torch\.vmap .*; call it on the whole batch"):
        attend(Mapped(inside=True).eval(), torch.randn(2, 3, 32, 32), 1, method=method)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("method", ["grad_cam", "layer_cam"])
def test_the_last_feature_maps_are_found_though_other_layers_are_mapped(method, count):
    images = torch.randn(count, 3, 32, 32)
    mapped, plain = (
        attend(Mapped(inside=False, by=by).eval(), images, 1, method=method, propagate=False) for by in ("vmap", "loop")
    )
    assert torch.allclose(mapped.maps, plain.maps, atol=1e-4)


class Transformed(nn.Module):
    """Layers after a Fourier transform, which is a part or a function."""

    def __init__(self, *, is_part: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        self.transform = Fourier() if is_part else torch.fft.fft2

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.first(images))
        return self.head(F.relu(self.last(maps + self.transform(maps).abs() / 32)).mean((2, 3)))


class Fourier(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return torch.fft.fft2(maps)


@pytest.mark.parametrize("method", ["grad_cam", "layer_cam"])
def test_a_part_with_complex_numbers_is_no_feature_map(method):
    images = torch.randn(2, 3, 32, 32)
    ours, theirs = (attend(Transformed(is_part=is_part).eval(), images, 1, method=method) for is_part in (True, False))
    assert torch.equal(ours.maps, theirs.maps)


class Deriving(nn.Module):
    """It takes gradients in its own code: it has a number of its own that is derived, and may catch what fails."""

    def __init__(self, *, derives: bool, catches: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 4)
        self.derives, self.catches = derives, catches

    def forward(self, images: Tensor) -> Tensor:
        one = torch.ones((), requires_grad=self.derives)
        try:
            with torch.enable_grad():
                return self.head(self.layers(images * one).mean((2, 3)))
        except RuntimeError:
            if not self.catches:
                raise
            return self.head(F.relu(images).mean((1, 2, 3))[:, None].expand(-1, 8))


@pytest.mark.parametrize("catches", [True, False])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("method", ["global_feedback", "grad_cam"])
def test_a_network_may_take_gradients_in_its_own_code(method, count, catches):
    images = torch.randn(count, 3, 64, 64)
    deriving, plain = (Deriving(derives=derives, catches=catches).eval() for derives in (True, False))
    assert kinds(deriving, images) == ["channels", "channels"]
    ours, theirs = (attend(network, images, 1, method=method) for network in (deriving, plain))
    assert torch.allclose(ours.maps, theirs.maps, atol=1e-4)

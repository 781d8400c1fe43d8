"""Convolutions in the layout of their images: the same numbers as PyTorch's own, and no stale weights."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from looktwice.attention.api import attend
from looktwice.errors import InputError, ModelError
from looktwice.gating import convolutions
from looktwice.gating.frozen import frozen
from looktwice.gating.passes import gated_scores


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "FEW_VALUES", 0)


class Headed(nn.Module):
    """One layer, a ReLU that works in place, and a linear head."""

    def __init__(self, layer: nn.Module, channels: int) -> None:
        super().__init__()
        self.layer, self.relu, self.head = layer, nn.ReLU(inplace=True), nn.Linear(channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.relu(self.layer(images)).mean((2, 3)))


class Computed(nn.Module):
    """A convolution whose weight is made anew in each pass, from the images."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6, kernel, kernel))

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(images, self.weight * images.mean().exp())


LAYERS = {
    "1x1": lambda: nn.Conv2d(6, 8, 1),
    "1x1 without bias": lambda: nn.Conv2d(6, 8, 1, bias=False),
    "1x1, every second pixel": lambda: nn.Conv2d(6, 8, 1, stride=2),
    "1x1, one side's pixels": lambda: nn.Conv2d(6, 8, 1, stride=(1, 2)),
    "1x1, padded": lambda: nn.Conv2d(6, 8, 1, padding=1),
    "1x1 in groups": lambda: nn.Conv2d(6, 8, 1, groups=2),
    "3x3": lambda: nn.Conv2d(6, 8, 3, padding=1),
    "3x3, same": lambda: nn.Conv2d(6, 8, 3, padding="same"),
    "3x3, reflected": lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"),
    "3x3, dilated and strided": lambda: nn.Conv2d(6, 8, 3, stride=2, dilation=2, bias=False),
    "1x3": lambda: nn.Conv2d(6, 8, (1, 3)),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, groups=6),
    "computed 1x1": lambda: Computed(1),
    "computed 3x3": lambda: Computed(3),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 8, 3)),
}


def scores_and_gradient(network: nn.Module, images: Tensor, *, ours: bool) -> tuple[Tensor, Tensor]:
    leaf = images.clone().requires_grad_()
    with frozen(network) as fixed:
        scores = gated_scores(fixed, leaf, {}) if ours else network(leaf)
        return scores.detach(), torch.autograd.grad(scores[:, 1].sum(), leaf)[0]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_scores_and_gradients_are_those_of_the_bare_network(name: str, batch: int):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    images = torch.randn(batch, 6, 9, 8)
    network = Headed(layer, layer(images).shape[1]).eval()
    plain, ours = (scores_and_gradient(network, images, ours=each) for each in (False, True))
    for expected, found in zip(plain, ours, strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_weight_that_was_written_on_through_data_counts_in_the_next_call(kernel: int):
    torch.manual_seed(0)
    network = Headed(nn.Conv2d(3, 8, kernel, padding=kernel // 2), 8).eval()
    images = torch.rand(1, 3, 16, 16)
    before = attend(network, images, 0, method="gradient")
    network.layer.weight.data.mul_(torch.linspace(-1, 1, 8)[:, None, None, None])
    after = attend(network, images, 0, method="gradient")
    fresh = Headed(nn.Conv2d(3, 8, kernel, padding=kernel // 2), 8).eval()
    fresh.load_state_dict(network.state_dict())
    assert not torch.equal(after.gradients, before.gradients)
    assert torch.equal(after.gradients, attend(fresh, images, 0, method="gradient").gradients)


class Doubling(nn.Module):
    """Writes on its own weight in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4, 3, 3))

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.mul_(2)
        return F.conv2d(images, self.weight)


def test_a_weight_that_the_network_writes_on_is_not_kept_from_the_pass_before():
    network = Headed(Doubling(), 4).eval()
    with frozen(network) as fixed:
        once, twice = (gated_scores(fixed, torch.ones(1, 4, 5, 5), {}) - network.head.bias for _ in range(2))
    assert torch.allclose(twice, 2 * once)
    assert network.layer.weight.unique().tolist() == [1]


def test_double_precision_and_autocast_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch):
    network = Headed(nn.Conv2d(6, 8, 3), 8).eval()

    def forbidden(*_: object) -> None:
        raise AssertionError("the weight was copied")

    monkeypatch.setattr(convolutions.Convolutions, "_across", forbidden)
    with frozen(network.double()) as fixed:
        gated_scores(fixed, torch.rand(1, 6, 9, 9).double(), {})
    with frozen(network.float()) as fixed, torch.autocast("cpu", torch.bfloat16):
        gated_scores(fixed, torch.rand(1, 6, 9, 9), {})
    with pytest.raises(AssertionError), frozen(network) as fixed:
        gated_scores(fixed, torch.rand(1, 6, 9, 9), {})


class InTurns(nn.Module):
    """Computes with two weights in turns, that it writes into one convolution."""

    def __init__(self, kernel: int, write: Callable[[nn.Parameter, Tensor], None]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, kernel, padding=kernel // 2)
        self.weights = torch.randn(2, 4, 4, kernel, kernel)
        self.write = write

    def forward(self, images: Tensor) -> Tensor:
        for weight in self.weights:
            self.write(self.layer.weight, weight)
            images = self.layer(images)
        return images


def assert_scores_stay(network: nn.Module, images: Tensor) -> None:
    """The scores of two passes in one look are those of the bare network."""
    with torch.no_grad():
        expected = network(images)
    with frozen(network) as fixed:
        for _ in range(2):
            assert torch.allclose(gated_scores(fixed, images, {}), expected, rtol=1e-4, atol=1e-6)


def through_data(weight: nn.Parameter, values: Tensor) -> None:
    weight.data.copy_(values)


def without_gradient(weight: nn.Parameter, values: Tensor) -> None:
    with torch.no_grad():
        weight.copy_(values)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("write", [through_data, without_gradient])
def test_weights_that_are_written_in_turns(kernel: int, write: Callable[[nn.Parameter, Tensor], None]):
    network = Headed(InTurns(kernel, write), 4).eval()
    assert_scores_stay(network, torch.randn(1, 4, 6, 6))


def through_an_array(weight: nn.Parameter, values: Tensor) -> None:
    weight.detach().numpy()[:] = values.numpy()


def through_data_of_a_detached_one(weight: nn.Parameter, values: Tensor) -> None:
    weight.detach().data.copy_(values)


def through_its_memory(weight: nn.Parameter, values: Tensor) -> None:
    torch.empty(0).set_(weight.untyped_storage()).copy_(values.flatten())


def through_its_old_storage(weight: nn.Parameter, values: Tensor) -> None:
    torch.empty(0).set_(weight.storage()).copy_(values.flatten())


def through_dlpack(weight: nn.Parameter, values: Tensor) -> None:
    torch.from_dlpack(weight.detach()).copy_(values)


SAME_PLACE = torch.zeros(4, 4, 3, 3).numpy()


def as_its_new_data(weight: nn.Parameter, values: Tensor) -> None:
    SAME_PLACE[:] = values.numpy()
    weight.data = torch.from_numpy(SAME_PLACE)


UNSEEN = [
    as_its_new_data,
    through_an_array,
    through_data_of_a_detached_one,
    through_its_memory,
    through_its_old_storage,
    through_dlpack,
]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("write", UNSEEN)
def test_weights_that_are_written_in_turns_and_unseen(write: Callable[[nn.Parameter, Tensor], None]):
    network = Headed(InTurns(3, write), 4).eval()
    assert_scores_stay(network, torch.randn(1, 4, 6, 6))


class Aliased(nn.Module):
    """Turns its weight's sign between two calls, through something else that has the same memory."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        whole = torch.randn(4, 2, 3, 3)
        self.layer = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.layer.weight = nn.Parameter(whole)
        self.other = nn.Parameter(whole.data) if kind == "parameter" else whole.data
        if kind == "part":
            self.layer.weight, self.other = nn.Parameter(whole.data[:2]), whole.data[:1]

    def forward(self, images: Tensor) -> Tensor:
        first = self.layer(images)
        with torch.no_grad():
            self.other.mul_(-1)
        second = self.layer(images)
        with torch.no_grad():
            self.other.mul_(-1)
        return first - 2 * second


@pytest.mark.parametrize("kind", ["attribute", "parameter", "part"])
def test_a_weight_whose_memory_something_else_has(kind: str):
    network = Headed(Aliased(kind), 2 if kind == "part" else 4).eval()
    assert_scores_stay(network, torch.randn(1, 2, 6, 6))


def test_weights_made_in_each_pass_are_not_kept():
    network = Headed(nn.Conv2d(3, 4, 3), 4).eval()
    with frozen(network) as fixed:
        for _ in range(3):
            fixed.convolutions.convolve(
                torch.conv2d,
                torch.rand(1, 3, 8, 8).contiguous(memory_format=torch.channels_last),
                nn.Parameter(torch.rand(4, 3, 3, 3)),
            )
        assert not fixed.convolutions._copies
        gated_scores(fixed, torch.rand(1, 3, 8, 8), {})
        assert len(fixed.convolutions._copies) == 1


def test_a_weight_that_changes_before_the_way_back_gives_no_wrong_gradient():
    network = Headed(InTurns(1, without_gradient), 4).eval()
    with pytest.raises(ModelError, match="writes in place on what its gradient needs"):
        scores_and_gradient(network, torch.randn(1, 4, 6, 6), ours=True)


@pytest.mark.parametrize("kernel", [1, 3])
def test_another_precision_by_default_changes_nothing(kernel: int):
    network = Headed(nn.Conv2d(6, 8, kernel), 8).eval()
    images = torch.randn(1, 6, 9, 9)
    expected = scores_and_gradient(network, images, ours=True)
    torch.set_default_dtype(torch.float64)
    try:
        found = scores_and_gradient(network, images, ours=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_images_of_another_number_of_channels_are_refused_in_one_line():
    with pytest.raises(InputError, match="the images have 4 channels, and the network takes 6 channels"):
        attend(Headed(nn.Conv2d(6, 8, 1), 8).eval(), torch.randn(1, 4, 9, 9), method="gradient")


class Mapped(nn.Module):
    """Maps a convolution over two copies of the images."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, kernel, padding=kernel // 2)

    def forward(self, images: Tensor) -> Tensor:
        copies = torch.stack([images, images / 2])
        return torch.vmap(self.layer)(copies).mean(0)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_inside_vmap(kernel: int):
    network = Headed(Mapped(kernel), 4).eval()
    images = torch.randn(2, 3, 8, 8)
    plain, ours = (scores_and_gradient(network, images, ours=each) for each in (False, True))
    for expected, found in zip(plain, ours, strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)

"""Passes that are not the usual ones: half precision, checkpoints, own batch sizes, exported programs, threads,
hooks."""

import threading
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

import networks
from attending import ROLLOUTS
from looktwice import METHODS, attend
from looktwice.attention import look_at
from looktwice.attention.affinity import Features
from looktwice.errors import LooktwiceWarning, ModelError
from looktwice.gating import ActivationCall, frozen
from looktwice.gating.memory import is_out_of_memory
from looktwice.models import load_model

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))


class Small(nn.Module):
    """Two stages, so that every default of every method has what it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 16, 3, stride=4, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(images)))).mean((2, 3)))


# ---- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ROLLOUTS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_works_with_every_method(method, dtype):
    torch.manual_seed(1)
    network = Small()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LooktwiceWarning)
        exact = attend(network, IMAGES, 2, method=method).maps
        found = attend(network.to(dtype), IMAGES.to(dtype), 2, method=method)
    assert found.maps.dtype == dtype
    assert found.maps.isfinite().all()
    both = torch.stack([exact.flatten(), found.maps.float().flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9


# ---- checkpoints -----------------------------------------------------------------------------------------------------


class Checkpointed(Small):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, images: Tensor) -> Tensor:
        stage = lambda x: F.relu(self.second(F.relu(self.first(x))))  # noqa: E731
        return self.head(checkpoint(stage, images, use_reentrant=self.reentrant).mean((2, 3)))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("method", ["gradient", "feedback", "global_feedback", "layer_cam"])
def test_gradient_checkpointing_changes_no_map(reentrant, method):
    plain, other = Small(), Checkpointed(reentrant)
    other.load_state_dict(plain.state_dict())
    assert torch.equal(attend(other, IMAGES, 1, method=method).maps, attend(plain, IMAGES, 1, method=method).maps)


def test_checkpoints_outside_are_left_alone():
    network = Checkpointed(False)
    before = torch.utils.checkpoint.checkpoint.__globals__.get("_checkpoint_impl")
    with frozen(networks.Plain()):
        done = []
        thread = threading.Thread(target=lambda: done.append(network(IMAGES).sum().backward() is None))
        thread.start()
        thread.join()
    assert done == [True]
    assert all(weight.grad is not None for weight in network.parameters())
    assert torch.utils.checkpoint.checkpoint.__globals__.get("_checkpoint_impl") is before


def test_densenet_that_saves_memory_by_checkpoints():
    plain = load_model("densenet121", weights="random").module
    image = torch.randn(1, 3, 64, 64)
    expected = attend(plain, image, 3).maps
    for part in plain.modules():
        if hasattr(part, "memory_efficient"):
            part.memory_efficient = True
    assert torch.equal(attend(plain, image, 3).maps, expected)


# ---- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradient", "feedback", "global_feedback", "feedback_closed_form"])
def test_a_network_that_takes_only_batches_of_its_own_size(method):
    class Bound(Small):
        def forward(self, images: Tensor) -> Tensor:
            h = F.relu(self.second(F.relu(self.first(images))))
            return self.head(h.view(4, 16, -1).mean(2))

    plain, bound = Small(), Bound()
    bound.load_state_dict(plain.state_dict())
    ours, theirs = (attend(network, IMAGES, 1, method=method, values="maximum").maps for network in (bound, plain))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_network_whose_images_depend_on_each_other_is_refused():
    class Mixed(Small):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(8, track_running_stats=False)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(F.relu(self.second(F.relu(self.norm(self.first(images))))).mean((2, 3)))

    network = Mixed()
    with pytest.raises(ModelError, match="depends on the other images of its batch"):
        attend(network, IMAGES, 1)
    assert attend(network, IMAGES[:1], 1).maps.shape == (1, 32, 32)


class Video(nn.Module):
    """Folds four frames of every clip into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, clips: Tensor) -> Tensor:
        return self.inner(clips.unflatten(1, (4, 3)).flatten(0, 1)).unflatten(0, (-1, 4)).mean(1)


def test_grad_cam_of_folded_frames_is_refused():
    clips = torch.randn(2, 12, 32, 32)
    with pytest.raises(ModelError, match="returns maps of the image"):
        attend(Video(), clips, 0, method="grad_cam")
    assert attend(Video(), clips, 0, method="integrated_gradients").maps.shape == (2, 32, 32)


def test_a_method_that_returns_another_number_of_maps_is_refused():
    row = replace(METHODS["grad_cam"], attribute=lambda network, images, targets: torch.ones(8, 32, 32))
    with pytest.raises(ModelError, match="returned 8 maps for 2 images"):
        attend(Small(), IMAGES[:2], 0, method=row)


# ---- exported programs -----------------------------------------------------------------------------------------------


class Clamping(Small):
    def __init__(self) -> None:
        super().__init__()
        self.relu, self.relu6 = nn.ReLU(inplace=True), nn.ReLU6()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.relu6(self.second(self.relu(self.first(images)))).mean((2, 3)))


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "feedback", "global_feedback"])
def test_an_exported_program_is_gated_like_its_network(method):
    network, image = Clamping().eval(), IMAGES[:1]
    program = torch.export.export(network, (image,)).module()
    ours, theirs = (attend(each, image, 1, method=method) for each in (program, network))
    assert torch.allclose(ours.maps, theirs.maps, atol=1e-5)
    assert len(ours.gates) == len(theirs.gates)


# ---- gradients cut off -----------------------------------------------------------------------------------------------


GATED = ["feedback", "global_feedback", "feedback_closed_form"]


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", *GATED])
@pytest.mark.parametrize("cut", ["no_grad", "detach"])
def test_a_backbone_that_lets_no_gradient_through_is_refused(method, cut):
    class Half(Small):
        def forward(self, images: Tensor) -> Tensor:
            if cut == "no_grad":
                with torch.no_grad():
                    h = F.relu(self.first(images))
            else:
                h = F.relu(self.first(images)).detach()
            return self.head(F.relu(self.second(h)).mean((2, 3)))

    with pytest.raises(ModelError, match=r"no gradient reaches .* must not detach"):
        attend(Half(), IMAGES, 1, method=method, **({"layers": None} if "layers" in METHODS[method].options else {}))


def test_weights_that_are_not_there_yet_are_refused():
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(ModelError, match="lazy layer of the network has no weights yet"):
        attend(network, IMAGES, 1)


def test_weights_made_in_inference_mode_are_refused():
    with torch.inference_mode():
        network = Small()
    with pytest.raises(ModelError, match=r"made under torch\.inference_mode"):
        attend(network, IMAGES, 1)


# ---- left as found ---------------------------------------------------------------------------------------------------


def test_two_threads_on_one_model_in_training_get_the_same_as_one():
    network = networks.branching().float().train()
    before = networks.outside(network)
    images = torch.rand(2, 3, 9, 8)
    expected = attend(network, images, 1).maps
    held, go_on = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        if not held.is_set():
            held.set()
            go_on.wait(5)

    handle = network.stem.register_forward_pre_hook(hold)
    found: dict[int, Tensor] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: attend(network, images, 1).maps})) for i in (0, 1)]
    threads[0].start()
    held.wait(5)
    threads[1].start()
    threads[1].join(0.2)
    go_on.set()
    for thread in threads:
        thread.join()
    handle.remove()
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], expected)
    assert networks.outside(network) == before


def test_a_buffer_that_forward_fills_is_empty_again_and_the_model_works():
    class Positional(Small):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("places", None)

        def forward(self, images: Tensor) -> Tensor:
            h = F.relu(self.first(images))
            if self.places is None:
                self.places = torch.linspace(0, 1, h.shape[-1]).expand_as(h[:1]).clone()
            return self.head(F.relu(self.second(h + self.places)).mean((2, 3)))

    network = Positional()
    attend(network, IMAGES, 1)
    assert network.places is None
    expected = network(IMAGES)
    assert expected.device.type == "cpu"
    assert torch.equal(network(IMAGES), expected)


def test_a_hook_that_keeps_a_feature_never_gets_a_meta_tensor():
    network, kept = Small(), []
    network.first.register_forward_hook(lambda _, __, output: kept.append(output))
    attend(network, IMAGES, 1)
    assert kept
    assert all(feature.device.type == "cpu" for feature in kept)


def test_what_forward_keeps_in_attributes_is_as_it_was():
    class Keeping(Small):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.all, self.by_name, self.seen = None, [], {"first": None}, 0

        def forward(self, images: Tensor) -> Tensor:
            h = F.relu(self.first(images))
            self.last, self.seen = h, self.seen + 1
            self.all.append(h)
            self.by_name["first"] = h
            return self.head(F.relu(self.second(h)).mean((2, 3)))

    network, plain = Keeping(), Small()
    plain.load_state_dict(network.state_dict())
    assert torch.equal(attend(network, IMAGES, 1).maps, attend(plain, IMAGES, 1).maps)
    assert (network.last, network.all, network.by_name, network.seen) == (None, [], {"first": None}, 0)


def test_a_layer_that_initialises_itself_from_its_first_batch_is_still_new():
    class ActNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(8, 1, 1))
            self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

        def forward(self, h: Tensor) -> Tensor:
            if not self.ready:
                self.bias.data.copy_(-h.detach().mean((0, 2, 3))[:, None, None])
                self.ready.fill_(True)
            return h + self.bias

    network = Small()
    network.first = nn.Sequential(network.first, ActNorm())
    attend(network, IMAGES, 1)
    assert not network.first[1].ready
    assert torch.equal(network.first[1].bias, torch.zeros(8, 1, 1))


def test_parametrized_weights_get_gradients_after_attend_in_a_cache():
    network = Small()
    parametrizations.weight_norm(network.first)
    with parametrize.cached():
        attend(network, IMAGES, 1)
        network(IMAGES).sum().backward()
    assert all(weight.grad is not None for weight in network.first.parameters())


def test_two_models_that_share_a_backbone_in_two_threads_leave_it_as_found():
    class Headed(nn.Module):
        def __init__(self, body: nn.Module) -> None:
            super().__init__()
            self.body = body

        def forward(self, images: Tensor) -> Tensor:
            if threading.current_thread() is threads[1]:
                second.set()
            return self.body(images)

    body, first, second, go_on = Small().train(), threading.Event(), threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        """Holds the first thread until the second is inside, and the second until the first has ended."""
        if threading.current_thread() is threads[0]:
            first.set()
            second.wait(0.3)
        else:
            go_on.wait(0.3)

    body.first.register_forward_pre_hook(hold)
    models = [Headed(body), Headed(body)]
    threads = [threading.Thread(target=attend, args=(model, IMAGES[:1], 1)) for model in models]
    threads[0].start()
    first.wait(5)
    threads[1].start()
    threads[0].join()
    go_on.set()
    threads[1].join()
    assert all(part.training for part in body.modules())
    assert all(weight.requires_grad for weight in body.parameters())


def test_what_is_written_through_data_and_into_objects_is_as_it_was():
    class Cache:
        def __init__(self) -> None:
            self.feature, self.passes = None, 0

    class Keeping(Small):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("passes", torch.zeros(1))
            self.cache, self.pair = Cache(), (torch.zeros(1), [])

        def forward(self, images: Tensor) -> Tensor:
            self.passes.data.add_(1)
            self.cache.feature, self.cache.passes = images, self.cache.passes + 1
            self.pair[0].add_(1)
            self.pair[1].append(1)
            return super().forward(images)

    network = Keeping()
    for _ in range(2):
        attend(network, IMAGES, 1)
        assert (network.passes.item(), network.pair[0].item(), network.pair[1]) == (0, 0, [])
        assert (network.cache.feature, network.cache.passes) == (None, 0)


def test_a_layer_that_is_made_new_again_is_still_new_after_a_second_look():
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias, self.ready = nn.Parameter(torch.zeros(8, 1, 1)), True

        def forward(self, h: Tensor) -> Tensor:
            if not self.ready:
                self.bias.data.copy_(-h.detach().mean((0, 2, 3))[:, None, None])
                self.ready = True
            return h + self.bias

    network = Small()
    network.first = nn.Sequential(network.first, First())
    attend(network, IMAGES, 1)
    network.first[1].ready = False
    attend(network, IMAGES, 1)
    assert not network.first[1].ready
    assert torch.equal(network.first[1].bias, torch.zeros(8, 1, 1))


def test_a_network_that_was_changed_is_measured_again():
    class Flipping(Small):
        flips = False

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.flip(3) if self.flips else images)

    network = Flipping()
    attend(network, IMAGES, 1)
    attend(network, IMAGES, 1, method="grad_cam")
    network.second = nn.Conv2d(8, 16, 3, stride=4, padding=1)
    fresh = Small()
    fresh.load_state_dict(network.state_dict())
    ours, theirs = (attend(each, IMAGES, 1, method="grad_cam").maps for each in (network, fresh))
    assert torch.equal(ours, theirs)
    network.flips = True
    with pytest.raises(ModelError, match="lies like the image"):
        attend(network, IMAGES, 1)


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 17 bytes."), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_cpu_without_memory_is_told_from_other_errors(error, is_one):
    assert is_out_of_memory(error) == is_one


def test_a_batch_too_large_for_a_cpu_is_split():
    class Hungry(Small):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 3:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            return super().forward(images)

    plain, hungry = Small(), Hungry()
    hungry.load_state_dict(plain.state_dict())
    with pytest.raises(RuntimeError, match="allocate"):
        hungry(IMAGES)
    batch = IMAGES[:3]
    assert torch.equal(attend(hungry, batch, 1).maps, attend(plain, batch, 1).maps)


def test_places_of_a_full_resolution_network_are_pooled_before_they_are_compared():
    features = Features()
    features.look(ActivationCall(0, (4, 256, 192)), torch.rand(1, 4, 256, 192))
    found = features.affinity()
    assert found.grid == (32, 24)
    assert found.weights.shape == (1, 768, 768)
    features = Features()
    features.look(ActivationCall(0, (4, 28, 28)), torch.rand(1, 4, 28, 28))
    assert features.affinity().grid == (28, 28)


@pytest.mark.parametrize("method", ["grad_cam", "guided_grad_cam"])
def test_a_map_of_another_package_that_is_not_finite_is_refused(method):
    class Huge(Small):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * 1e38 * 1e3

    with pytest.raises(ModelError, match="is not finite"):
        attend(Huge(), IMAGES, 1, method=method)


# ---- what is said ----------------------------------------------------------------------------------------------------


def test_a_zero_map_is_said_aloud():
    network = Small()
    nn.init.zeros_(network.head.weight)
    with pytest.warns(LooktwiceWarning, match="image 0: the map is zero everywhere"):
        found = attend(network, IMAGES[:1], 1)
    assert found.notes[0][0] == 0
    assert not found.maps.any()


def test_a_network_most_of_which_carries_no_gates_is_said_aloud():
    class Squeezing(Small):
        def forward(self, images: Tensor) -> Tensor:
            h = F.relu(self.first(images))
            for _ in range(3):
                h = h * (1 + F.relu(h.mean((2, 3), keepdim=True)))
            return self.head(F.relu(self.second(h)).mean((2, 3)))

    with pytest.warns(LooktwiceWarning, match=r"3 of the network's 5 activations carry no gates"):
        found = attend(Squeezing(), IMAGES[:1], 0)
    assert found.activations == 5
    assert {call.index for call in found.layers} <= {0, 4}


def test_an_ordinary_map_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error", LooktwiceWarning)
        attend(Small(), IMAGES, 1)


# ---- probabilities ---------------------------------------------------------------------------------------------------

LOGITS = torch.tensor([[2.0, -1.0, 0.5]])


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda h: h, LOGITS.softmax(1)),
        (lambda h: F.softmax(h, 1), LOGITS.softmax(1)),
        (lambda h: h.softmax(-1), LOGITS.softmax(1)),
        (nn.Softmax(1), LOGITS.softmax(1)),
        (lambda h: torch.stack([*h.softmax(1).unbind(1)], 1), LOGITS.softmax(1)),
        (lambda h: F.log_softmax(h, 1), LOGITS.softmax(1)),
        (lambda h: h.sigmoid(), LOGITS.sigmoid()),
        (nn.Sigmoid(), LOGITS.sigmoid()),
        (lambda h: h[:, :1], LOGITS[:, :1].sigmoid()),
        (lambda h: torch.sigmoid(h[:, :1]), LOGITS[:, :1].sigmoid()),
        (lambda h: h.sigmoid().clamp(1e-6, 1 - 1e-6), LOGITS.sigmoid()),
        (lambda h: torch.stack([h.sigmoid(), h.sigmoid()]).mean(0), LOGITS.sigmoid()),
        (lambda h: torch.cat([h[:, :1].sigmoid(), h[:, 1:].sigmoid()], 1), LOGITS.sigmoid()),
        (lambda h: torch.special.expit(h)[:, :, None].squeeze(-1), LOGITS.sigmoid()),
        (lambda h: h[:, :1].sigmoid().view(-1, 1), LOGITS[:, :1].sigmoid()),
        (F.logsigmoid, LOGITS.sigmoid()),
        (lambda h: h * h.sigmoid(), (LOGITS * LOGITS.sigmoid()).softmax(1)),
        (lambda h: h.softmax(1).clamp(0.05, 0.6), LOGITS.softmax(1).clamp(0.05, 0.6)),
        (lambda h: {"logits": h}, LOGITS.softmax(1)),
        (lambda h: (h.softmax(1), h), LOGITS.softmax(1)),
    ],
    ids=["logits", "F.softmax", ".softmax", "nn.Softmax", "softmax, then more", "log softmax", ".sigmoid", "nn.Sigmoid",
         "one logit", "one sigmoid", "sigmoid clamped", "sigmoids averaged", "sigmoids joined", "sigmoid viewed",
         "one sigmoid viewed", "log sigmoid", "gate", "softmax clamped", "dict", "tuple"],
)  # fmt: skip
def test_a_probability_is_the_network_s_own(end, expected):
    class Ending(nn.Module):
        def forward(self, images: Tensor) -> Any:
            return end(LOGITS + 0 * F.relu(images).mean())

    with look_at(Ending(), torch.rand(1, 3, 8, 8), propagate=False) as look:
        assert torch.allclose(look.probabilities(), expected.double(), atol=1e-6)

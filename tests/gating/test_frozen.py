"""A model is frozen inside the ``with`` and as it was behind it; its output, images and targets are read with care."""

import copy
import types
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
from looktwice.attention.api import attend
from looktwice.errors import InputError, ModelError
from looktwice.gating.frozen import check_images, frozen, resolve_targets


class Bent(networks.Plain):
    """``Plain`` with a hand in its forward pass."""

    def __init__(self, forward: Callable[["Bent", Tensor], Any]) -> None:
        super().__init__()
        self.bent = forward
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)

    def forward(self, images: Tensor) -> Any:
        return self.bent(self, images)


def used(network: nn.Module) -> nn.Module:
    """As in the middle of a fine-tuning: mixed flags, a frozen weight, gradients, hooks of every kind."""
    network.train()
    parts = list(network.modules())
    parts[-1].eval()
    weights = list(network.parameters())
    weights[0].requires_grad_(False)
    weights[1].grad = torch.full_like(weights[1], 7)
    parts[1].register_forward_hook(lambda *_: None)
    parts[1].register_forward_pre_hook(lambda *_: None)
    return network


# ---- left as found ---------------------------------------------------------------------------------------------------


def test_inside_it_is_in_evaluation_mode_and_its_weights_take_no_gradient():
    network = used(networks.Branching())
    with frozen(network) as scores:
        assert not any(part.training for part in network.modules())
        assert not any(weight.requires_grad for weight in network.parameters())
        out = scores(torch.randn(2, 3, 9, 8, requires_grad=True))
        assert out.requires_grad
        out.sum().backward()


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_found(fails):
    network = used(networks.Branching())
    before = networks.outside(network)

    def use() -> None:
        with frozen(network) as scores:
            scores(torch.randn(2, 3, 9, 8, requires_grad=True)).sum().backward()
            if fails:
                raise ArithmeticError("inside")

    if fails:
        with pytest.raises(ArithmeticError, match="inside"):
            use()
    else:
        use()
    assert networks.outside(network) == before


def in_place(network: Bent) -> None:
    network.passes += 1
    network.unsaved.add_(0.5)


def by_assignment(network: Bent) -> None:
    network.passes = network.passes + 1
    network.unsaved = network.unsaved + 0.5


def by_assignment_of_another_shape(network: Bent) -> None:
    network.unsaved = torch.cat([network.unsaved, network.unsaved])


@pytest.mark.parametrize("change", [in_place, by_assignment, by_assignment_of_another_shape])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("outer", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_buffers_that_forward_writes_are_put_back(change, fails, outer):
    def forward(network: Bent, images: Tensor) -> Tensor:
        change(network)
        if fails:
            raise ArithmeticError("in forward")
        return network.classify(network.features(images))

    network = Bent(forward)
    in_place(network)
    before = networks.outside(network)
    with outer():
        try:
            with frozen(network) as scores:
                scores(torch.randn(1, 3, 4, 4))
                scores(torch.randn(1, 3, 4, 4))
        except ArithmeticError:
            assert fails
    assert networks.outside(network) == before


def test_batch_norm_keeps_its_statistics_and_a_training_model_answers_as_in_evaluation():
    network = networks.branching().train()
    before = networks.outside(network)
    images = networks.pictures(3)
    with frozen(network) as scores:
        inside = scores(images)
        again = scores(images[:1])
    assert networks.outside(network) == before
    assert torch.equal(inside, copy.deepcopy(network).eval()(images))
    assert torch.allclose(inside[:1], again, rtol=1e-12)


@pytest.mark.parametrize("outer", [torch.no_grad, torch.inference_mode])
def test_gradients_flow_under_an_outer_no_grad(outer):
    network = networks.branching()
    images = networks.pictures(2)
    with outer():
        with frozen(network) as scores:
            leaf = images.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(scores(leaf).sum(), leaf)
            assert not gradient.is_inference()
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled() is (outer is torch.inference_mode)
    assert gradient.abs().max() > 0
    assert all(weight.requires_grad for weight in network.parameters())


# ---- what the network returns ----------------------------------------------------------------------------------------


class Output(NamedTuple):
    logits: Tensor
    aux: Tensor


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda scores: scores,
    "tuple": lambda scores: (scores, scores.sum()),
    "list": lambda scores: [scores, None],
    "named tuple with .logits": lambda scores: Output(scores, scores[:, :1]),
    "object with .logits": lambda scores: types.SimpleNamespace(loss=None, logits=scores),
    "dict with logits": lambda scores: {"loss": scores.sum(), "logits": scores},
    "dict that begins with the scores": lambda scores: {"out": scores, "aux": scores[:, :1]},
    "tuple in a dict": lambda scores: {"logits": (scores, scores[:, :1])},
    "dict whose scores have a usual name": lambda scores: {"features": scores[:, :2], "Prediction": scores},
    "dict whose scores are its only (N, K)": lambda scores: {"map": scores[:, :, None, None], "mine": scores, "n": 3},
    "dict in a dict": lambda scores: {"features": scores[:, 0], "head": {"embedding": scores[:, :1], "logits": scores}},
    "dict that has the scores twice": lambda scores: {"a": scores, "b": scores},
    "tuple that begins with a map": lambda scores: (scores[:, :, None, None], scores),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_class_scores_are_found_in_what_networks_return(name):
    network = Bent(lambda self, images: OUTPUTS[name](self.classify(self.features(images))))
    images = torch.randn(3, 3, 5, 5)
    with frozen(network) as scores:
        assert torch.allclose(scores(images), network.classify(network.features(images)), atol=1e-6)


BAD_OUTPUTS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "a map": (lambda scores: scores[:, :, None, None], r"returned \(3, 4, 1, 1\) for 3 images"),
    "another batch": (lambda scores: scores[:2], r"returned \(2, 4\) for 3 images"),
    "None": (lambda scores: None, "returned NoneType for 3 images"),
    "a number": (lambda scores: 3.0, "returned float for 3 images"),
    "an empty dict": (lambda scores: {}, r"for 3 images; class scores \(N, classes\) are needed"),
    "an empty tuple": (lambda scores: (), r"for 3 images; class scores \(N, classes\) are needed"),
    "a dict of maps": (lambda scores: {"out": scores[..., None]}, r"returned dict \(out \(3, 4, 1\)\) for 3 images"),
    "a dict of two heads": (
        lambda scores: {"kind": scores, "colour": scores[:, :2]},
        r"may be class scores: kind \(3, 4\), colour \(3, 2\); return only the scores, or a dictionary",
    ),
    "a dict that begins with features": (
        lambda scores: {"features": scores.repeat(1, 9), "head": scores},
        r"may be class scores: features \(3, 36\), head \(3, 4\)",
    ),
}


@pytest.mark.parametrize("name", BAD_OUTPUTS)
def test_outputs_without_class_scores_are_refused(name):
    bend, message = BAD_OUTPUTS[name]
    network = Bent(lambda self, images: bend(self.classify(self.features(images))))
    with frozen(network) as scores, pytest.raises(ModelError, match=message):
        scores(torch.randn(3, 3, 5, 5))


# ---- what may be passed as a model -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        lambda model: nn.Sequential(nn.Identity(), model),
        nn.DataParallel,
        lambda model: nn.DataParallel(nn.DataParallel(model)),
    ],
    ids=["itself", "as a part", "data parallel", "of data parallel"],
)
def test_torchscript_is_refused(wrap):
    with pytest.raises(ModelError, match=r"TorchScript (model|part) hides its activations; pass the eager"), frozen(
        wrap(networks.scripted(networks.Plain()))
    ):  # fmt: skip
        pass


@pytest.mark.parametrize(
    "thing",
    [lambda images: images, torch.zeros(2), "resnet50", None, nn.Linear],
    ids=["function", "tensor", "name", "nothing", "class"],
)
def test_what_is_no_module_is_refused(thing):
    with pytest.raises(ModelError, match=r"a torch\.nn\.Module is needed, not"), frozen(thing):
        pass


def never(graph: Any, inputs: Any) -> Any:
    raise AssertionError("the network was compiled")


def compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend=never)


def compiled_in_place(network: nn.Module) -> nn.Module:
    network.compile(backend=never)
    return network


def compiled_part(network: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Identity(), compiled(network))


WRAPPERS = [
    nn.DataParallel,
    compiled,
    lambda n: nn.DataParallel(compiled(n)),
    lambda n: compiled(nn.DataParallel(n)),
    compiled_in_place,
    compiled_part,
]
NAMES = ["parallel", "compiled", "compiled, parallel", "parallel, compiled", "compiled in place", "compiled part"]


@pytest.mark.parametrize("wrap", WRAPPERS, ids=NAMES)
def test_a_wrapped_network_runs_eagerly_and_is_left_as_found(wrap):
    network, images = networks.branching().train(), networks.pictures(2)
    expected = copy.deepcopy(network).eval()(images)
    wrapped = wrap(network)
    before = networks.outside(wrapped)
    with frozen(wrapped) as scores:
        assert torch.equal(scores(images), expected)
    assert networks.outside(wrapped) == before
    assert network.training


def test_the_callers_images_are_not_written():
    """Networks whose first layer is in place; a second pass must see the same images as the first."""

    def forward(network: Bent, images: Tensor) -> Tensor:
        images *= 2
        return network.classify(network.features(F.relu(images, inplace=True)))

    network, images = Bent(forward), torch.randn(2, 3, 5, 5)
    before = images.clone()
    with frozen(network) as scores:
        first = scores(images)
        assert torch.equal(images, before)
        leaf = images.clone().requires_grad_()
        assert torch.equal(scores(leaf), first)
        (gradient,) = torch.autograd.grad(scores(leaf).sum(), leaf)
    assert torch.equal(gradient != 0, before > 0)


# ---- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_images_come_back_detached(dtype):
    images = torch.randn(2, 3, 4, 5, dtype=dtype, requires_grad=True)
    checked = check_images(images)
    assert torch.equal(checked, images)
    assert checked.dtype == dtype
    assert not checked.requires_grad
    assert images.requires_grad


@pytest.mark.parametrize("outer", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_inference_tensors_become_ordinary_ones(outer):
    with torch.inference_mode():
        images = torch.randn(2, 3, 4, 5)
    with outer():
        checked = check_images(images)
        assert not checked.is_inference()
        assert torch.equal(checked, images)
    checked.requires_grad_()


def with_value(value: float) -> Tensor:
    images = torch.zeros(3, 3, 4, 4)
    images[1, 2, 0, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 4, 4), r"must be a tensor \(N, C, H, W\), not \(3, 4, 4\); add a batch axis"),
        (torch.zeros(2, 8, 3, 4, 4), r"not \(2, 8, 3, 4, 4\); if these are the frames of clips.*flatten\(0, 1\)"),
        (torch.zeros(4, 4), r"not \(4, 4\); add a batch axis and a channel axis"),
        (torch.zeros(9), r"not \(9,\); give each image three axes"),
        ("cat.jpg", r"not str; prepare a picture with load_model"),
        ([torch.zeros(3, 4, 4)], r"not list; .*torch\.stack"),
        (torch.zeros(0, 3, 4, 4), r"images is empty: \(0, 3, 4, 4\)"),
        (torch.zeros(1, 3, 0, 4), r"images is empty: \(1, 3, 0, 4\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"must be floating point, not torch\.uint8; normalise"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.long), r"must be floating point, not torch\.int64"),
        (with_value(float("nan")), r"images\[1\] has NaN or infinite values"),
        (with_value(float("inf")), r"images\[1\] has NaN or infinite values"),
        (with_value(-float("inf")), r"images\[1\] has NaN or infinite values"),
    ],
)
def test_images_that_cannot_be_used_are_refused(images, message):
    with pytest.raises(InputError, match=message):
        check_images(images)


# ---- targets ---------------------------------------------------------------------------------------------------------

SCORES = torch.tensor([[0.0, 3.0, 1.0], [5.0, -1.0, 2.0]])


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        (None, [1, 0]),
        (2, [2, 2]),
        ([2], [2, 2]),
        ([0, 2], [0, 2]),
        ((1, 1), [1, 1]),
        (range(2), [0, 1]),
        (torch.tensor(1), [1, 1]),
        (torch.tensor([2, 0]), [2, 0]),
        (torch.tensor([[2], [0]]), [2, 0]),
        (torch.tensor([2, 0], dtype=torch.uint8), [2, 0]),
        (torch.tensor([1, 2]).numpy(), [1, 2]),
        (torch.tensor([2]).numpy()[0], [2, 2]),
    ],
    ids=repr,
)
def test_targets_of_every_kind(targets, classes):
    resolved = resolve_targets(targets, SCORES)
    assert resolved.tolist() == classes
    assert resolved.dtype == torch.int64
    assert resolved.shape == (2,)


def test_targets_do_not_share_the_callers_memory():
    wanted = torch.tensor([1, 2])
    resolved = resolve_targets(wanted, SCORES)
    wanted.zero_()
    assert resolved.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (3, "target 3 is out of range; this network has classes 0 … 2"),
        (-1, "target -1 is out of range"),
        ([0, 7], "target 7 is out of range"),
        ([0, 1, 2], "3 targets for 2 images; pass one for all or one each"),
        ([], "0 targets for 2 images"),
        (1.0, r"targets must be whole numbers, not torch\.float32; pass class indices"),
        ([0.5, 1.5], "targets must be whole numbers"),
        (torch.tensor([1.0, 2.0]), "targets must be whole numbers"),
        (True, r"targets must be whole numbers, not torch\.bool"),
        (1j, "targets must be whole numbers"),
        ("cat", "targets must be whole numbers"),
        (["cat", "dog"], "targets must be whole numbers"),
        ([1, None], "targets must be whole numbers"),
    ],
    ids=repr,
)
def test_targets_that_cannot_be_used_are_refused(targets, message):
    with pytest.raises(InputError, match=message):
        resolve_targets(targets, SCORES)


def test_a_network_that_flattens_maps_by_view_keeps_the_layout_it_can_flatten():
    """On a CPU maps lie channels last in single precision; ``view`` refuses to flatten those."""
    torch.manual_seed(0)
    network = Bent(lambda self, images: self.head(F.relu(self.conv(images)).view(len(images), -1)))
    network.head = nn.Linear(5 * 16, 4)
    images = torch.randn(3, 3, 4, 4)
    found = attend(network, images, layers=None)
    exact = attend(network.double(), images.double(), layers=None)
    assert found.gates[0].is_contiguous()
    assert torch.allclose(found.maps.double(), exact.maps, atol=1e-4)


def test_gates_lie_as_the_maps_do():
    network = Bent(lambda self, images: self.classify(self.features(images)))
    images = torch.randn(3, 3, 4, 4)
    assert attend(network, images, layers=None).gates[0].is_contiguous(memory_format=torch.channels_last)
    exact = attend(network.double(), images.double(), layers=None)
    assert exact.gates[0].is_contiguous()


@pytest.mark.parametrize("given", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "first", [nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Unflatten(1, (4, 1, 1)))]
)
def test_images_of_another_precision_than_the_weights_are_one_line(first, given):
    model = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    with pytest.raises(InputError, match=rf"the images are {given}, and the network's weights torch\.float32; give"):
        attend(model, torch.rand(1, 3, 8, 8).to(given))


def test_an_error_of_the_network_s_own_that_speaks_of_types_stays():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            raise RuntimeError("an unknown type of thing")

    with pytest.raises(RuntimeError, match="an unknown type of thing"):
        attend(Own().eval(), torch.rand(1, 3, 8, 8))


class Viewing(networks.Plain):
    """Flattens its maps by ``view``, which channels that lie side by side do not allow. It counts its passes."""

    passes: ClassVar[list[bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append(images.is_contiguous())
        features = self.features(images)
        return self.classify(features.view(len(images), -1).view(features.shape))


@pytest.mark.parametrize("method", ["gradient", "global_feedback"])
def test_a_network_that_needs_its_own_layout_is_not_tried_again_in_another(method: str):
    network, images = Viewing(), torch.randn(1, 3, 8, 8)
    first = attend(network, images, 0, method=method)
    Viewing.passes.clear()
    again = attend(network, images, 0, method=method)
    assert all(Viewing.passes)
    assert torch.equal(again.maps, first.maps)


def derived_alone() -> None:
    torch.ones(2).sum().backward()


def written_in_place() -> None:
    with torch.enable_grad():
        powers = torch.ones(3, requires_grad=True).exp()
        powers.mul_(2).sum().backward()


OWN_SLIPS = [
    (derived_alone, "does not require grad and does not have a grad_fn"),
    (written_in_place, "modified by an inplace operation"),
]


@pytest.mark.parametrize(("slip", "message"), OWN_SLIPS)
def test_an_error_of_gradients_that_are_not_the_network_s_stays(slip: Callable[[], None], message: str):
    def forward(bent: Bent, images: Tensor) -> Tensor:
        slip()
        return bent.classify(bent.features(images))

    def slip_after_a_pass(network: nn.Module) -> None:
        with frozen(network) as inside:
            inside(torch.rand(1, 3, 8, 8))
            slip()

    with pytest.raises(RuntimeError, match=message), frozen(networks.Plain()):
        slip()
    with pytest.raises(RuntimeError, match=message):
        slip_after_a_pass(networks.Plain())
    with pytest.raises(RuntimeError, match=message):
        attend(Bent(forward), torch.rand(1, 3, 8, 8), method="gradient")

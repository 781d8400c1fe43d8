"""Every way to call a ReLU is seen once, gated and differentiated; nothing else is."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
import reference
from looktwice import load_model
from looktwice.errors import ModelError, OptionError
from looktwice.gating import ActivationCall, PrefixCache, activation_calls, gated_scores, select_layers
from looktwice.gating.frozen import frozen

CUT = {True: "all", False: "none"}

INF = float("inf")

# name: (the call, its upper clamp, whether the caller's tensor changes)
CALLS: dict[str, tuple[Callable[[Tensor], Tensor], float, bool]] = {
    "nn.ReLU": (nn.ReLU(), INF, False),
    "nn.ReLU(inplace=True)": (nn.ReLU(inplace=True), INF, True),
    "F.relu": (F.relu, INF, False),
    "F.relu(input=)": (lambda x: F.relu(input=x), INF, False),
    "F.relu(x, True)": (lambda x: F.relu(x, True), INF, True),
    "F.relu(x, inplace=True)": (lambda x: F.relu(x, inplace=True), INF, True),
    "F.relu(x, inplace=False)": (lambda x: F.relu(x, inplace=False), INF, False),
    "F.relu(inplace=True, input=x)": (lambda x: F.relu(inplace=True, input=x), INF, True),
    "F.relu_": (F.relu_, INF, True),
    "torch.relu": (torch.relu, INF, False),
    "torch.relu(input=)": (lambda x: torch.relu(input=x), INF, False),
    "torch.relu_": (torch.relu_, INF, True),
    "Tensor.relu": (lambda x: x.relu(), INF, False),
    "Tensor.relu_": (lambda x: x.relu_(), INF, True),
    "Tensor.relu (unbound)": (Tensor.relu, INF, False),
    "nn.ReLU6": (nn.ReLU6(), 6.0, False),
    "nn.ReLU6(inplace=True)": (nn.ReLU6(inplace=True), 6.0, True),
    "F.relu6": (F.relu6, 6.0, False),
    "F.relu6(x, True)": (lambda x: F.relu6(x, True), 6.0, True),
    "F.relu6(x, inplace=True)": (lambda x: F.relu6(x, inplace=True), 6.0, True),
    "nn.Hardtanh(0, 6)": (nn.Hardtanh(0, 6), 6.0, False),
    "nn.Hardtanh(0, 6, inplace=True)": (nn.Hardtanh(0, 6, inplace=True), 6.0, True),
    "F.hardtanh(x, 0, 6)": (lambda x: F.hardtanh(x, 0, 6), 6.0, False),
    "F.hardtanh(x, min_val=0, max_val=3)": (lambda x: F.hardtanh(x, min_val=0.0, max_val=3.0), 3.0, False),
    "F.hardtanh(x, 0.0)": (lambda x: F.hardtanh(x, 0.0), 1.0, False),
    "F.hardtanh(input=x, min_val=0)": (lambda x: F.hardtanh(input=x, min_val=0.0), 1.0, False),
    "F.hardtanh(x, 0, 6, True)": (lambda x: F.hardtanh(x, 0.0, 6.0, True), 6.0, True),
    "F.hardtanh(x, 0, 6, inplace=True)": (lambda x: F.hardtanh(x, 0.0, 6.0, inplace=True), 6.0, True),
    "F.hardtanh_(x, 0, 6)": (lambda x: F.hardtanh_(x, 0.0, 6.0), 6.0, True),
}

NO_CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "hardtanh(-1, 1)": F.hardtanh,
    "nn.Hardtanh()": nn.Hardtanh(),
    "hardtanh(-2, 6)": lambda x: F.hardtanh(x, -2.0, 6.0),
    "tanh": F.tanh,
    "sigmoid": torch.sigmoid,
    "nothing": lambda x: x,
}


def spread(*shape: int) -> Tensor:
    """Values on both sides of 0 and of 6, none on a kink."""
    return 6 * torch.randn(*shape, dtype=torch.float64) + 2


def behind_one(call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Images → scores (N, C·H·W) through one call on a tensor that is no leaf."""
    return lambda images: call(1.0 * images).flatten(1)


@pytest.fixture(params=CALLS)
def relu(request: pytest.FixtureRequest) -> tuple[Callable[[Tensor], Tensor], float, bool]:
    return CALLS[request.param]


# ---- one call --------------------------------------------------------------------------------------------------------


def test_a_call_is_seen_once_with_its_shape_and_clamp(relu, request):
    call, cap, _ = relu
    named = request.node.callspec.params["relu"].lower().replace("nn.relu6", "nn.hardtanh")  # nn.ReLU6 calls it
    name = next(name for name in ("hardtanh", "relu6", "relu") if name in named)
    images = spread(2, 3, 4, 5)
    calls, scores = activation_calls(behind_one(call), images)
    assert calls == [ActivationCall(0, (3, 4, 5), name)]
    assert torch.equal(scores, images.clamp(0, cap).flatten(1))


def test_an_open_gate_changes_nothing_and_a_gate_multiplies(relu):
    call, cap, _ = relu
    images, z = spread(2, 3, 4, 5), torch.rand(2, 3, 4, 5, dtype=torch.float64)
    x = images.clamp(0, cap)
    assert torch.equal(gated_scores(behind_one(call), images, {}), x.flatten(1))
    assert torch.equal(gated_scores(behind_one(call), images, {0: torch.ones_like(x)}), x.flatten(1))
    assert torch.equal(gated_scores(behind_one(call), images, {0: z}), (x * z).flatten(1))


@pytest.mark.parametrize("saturation", ["exact", "pass"])
@pytest.mark.parametrize("guided", [False, True])
def test_derivatives_of_a_call(relu, guided, saturation):
    """∂S/∂pre = z dy where 0 < pre (< cap), and 0 < dy if guided; ∂S/∂z = x dy, never cut."""
    call, cap, _ = relu
    images, z = spread(2, 3, 4, 5).requires_grad_(), torch.rand(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    dy = torch.randn(2, 60, dtype=torch.float64)
    scores = gated_scores(behind_one(call), images, {0: z}, guided=CUT[guided], saturation=saturation)
    d_images, dz = torch.autograd.grad((scores * dy).sum(), [images, z])
    for at in torch.cartesian_prod(*map(torch.arange, images.shape)).tolist():
        n, c, row, column = at
        down = dy.view_as(z)[n, c, row, column].item()
        pre = images[n, c, row, column].item()
        passes = pre > 0 and (pre < cap or saturation == "pass") and (down > 0 or not guided)
        assert d_images[n, c, row, column].item() == (down * z[n, c, row, column].item() if passes else 0.0)
        assert dz[n, c, row, column].item() == min(max(pre, 0.0), cap) * down


def test_without_a_gate_the_derivative_is_pytorchs_own(relu):
    call, _, _ = relu
    images = spread(2, 3, 4, 5).requires_grad_()
    dy = torch.randn(2, 60, dtype=torch.float64)
    (ours,) = torch.autograd.grad((gated_scores(behind_one(call), images, {}) * dy).sum(), images)
    (theirs,) = torch.autograd.grad((behind_one(call)(images) * dy).sum(), images)
    assert torch.equal(ours, theirs)


def test_the_derivative_at_the_kinks_is_pytorchs_own():
    for call, pre in ((F.relu, [0.0]), (F.relu6, [0.0, 6.0]), (lambda x: F.hardtanh(x, 0.0, 2.0), [0.0, 2.0])):
        images = torch.tensor(pre, dtype=torch.float64).view(1, 1, 1, -1).requires_grad_()
        (ours,) = torch.autograd.grad(gated_scores(behind_one(call), images, {}).sum(), images)
        (theirs,) = torch.autograd.grad(behind_one(call)(images).sum(), images)
        assert torch.equal(ours, theirs)


def test_a_caller_that_keeps_the_old_name_sees_what_the_call_leaves_there(relu):
    """In place: the gated output; otherwise the untouched input. In value and in derivative."""
    call, cap, inplace = relu

    def keeps_old_name(images: Tensor) -> Tensor:
        pre = 1.0 * images
        returned = call(pre)
        assert (returned is pre or returned.data_ptr() == pre.data_ptr()) is inplace
        return pre.flatten(1)

    images, z = spread(2, 3, 4, 5).requires_grad_(), torch.rand(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    scores = gated_scores(keeps_old_name, images, {0: z})
    x = images.clamp(0, cap)
    expected = x * z if inplace else images
    assert torch.equal(scores, expected.flatten(1))
    ours = torch.autograd.grad(scores.square().sum(), [images, z], allow_unused=True)
    theirs = torch.autograd.grad(expected.square().sum(), [images, z], allow_unused=True)
    for our, their in zip(ours, theirs, strict=True):
        assert (our is None and their is None) or torch.allclose(our, their, rtol=1e-12, atol=0)


def test_the_network_sees_no_in_place_change_it_did_not_ask_for():
    def uses_input_again(images: Tensor) -> Tensor:
        pre = 1.0 * images
        return torch.cat([F.relu(pre), pre], 1).flatten(1)

    images, z = spread(2, 1, 3, 3), torch.rand(2, 1, 3, 3, dtype=torch.float64)
    expected = torch.cat([images.clamp(min=0) * z, images], 1).flatten(1)
    assert torch.equal(gated_scores(uses_input_again, images, {0: z}), expected)


def test_relu_in_place_on_a_view():
    """Only half of a tensor passes a ReLU; the other half and its derivative stay as they are."""

    def half(images: Tensor) -> Tensor:
        h = 1.0 * images
        h[:, :2].relu_()
        return h.flatten(1)

    images = spread(2, 4, 3, 3).requires_grad_()
    z = torch.rand(2, 2, 3, 3, dtype=torch.float64).requires_grad_()
    expected = torch.cat([images[:, :2].clamp(min=0) * z, images[:, 2:]], 1).flatten(1)
    scores = gated_scores(half, images, {0: z})
    assert torch.equal(scores, expected)
    dy = torch.randn_like(expected)
    ours = torch.autograd.grad((scores * dy).sum(), [images, z])
    theirs = torch.autograd.grad((expected * dy).sum(), [images, z])
    for our, their in zip(ours, theirs, strict=True):
        assert torch.allclose(our, their, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NO_CALLS)
def test_what_is_no_relu_is_left_alone(name):
    images = spread(2, 3, 4, 5)
    calls, _ = activation_calls(behind_one(NO_CALLS[name]), images)
    assert calls == []
    with pytest.raises(ModelError, match="no activation that can be gated"):
        select_layers(calls, None)
    assert torch.equal(gated_scores(behind_one(NO_CALLS[name]), images, {}), behind_one(NO_CALLS[name])(images))


# ---- many calls ------------------------------------------------------------------------------------------------------


def test_calls_are_numbered_in_call_order_through_functional_reused_and_in_place_relus():
    network = networks.branching()
    images = networks.pictures(2)
    calls, scores = activation_calls(network, images)
    shapes = [(6, 9, 8), (4, 5, 4), (4, 5, 4), (8, 5, 4), (8, 5, 4), (8, 5, 4), (7,)]
    assert calls == [ActivationCall(index, shape) for index, shape in enumerate(shapes)]
    assert [call.kind for call in calls] == ["channels"] * 6 + ["vector"]
    assert [call.grid for call in calls] == [shape[1:] or None for shape in shapes]
    assert torch.equal(scores, network(images).detach())
    assert not scores.requires_grad


def test_every_call_of_one_module_has_its_own_gate():
    relu = nn.ReLU()

    def three_times(images: Tensor) -> Tensor:
        return relu(relu(relu(images) - 1) - 1).flatten(1)

    images = torch.full((1, 1, 1, 1), 10.0)
    gates = {index: torch.full((1, 1, 1, 1), z) for index, z in enumerate((0.5, 0.75, 0.25))}
    assert gated_scores(three_times, images, gates).item() == ((10 * 0.5 - 1) * 0.75 - 1) * 0.25
    assert gated_scores(three_times, images, {1: gates[1]}).item() == (10 - 1) * 0.75 - 1


def test_scores_and_derivatives_of_a_branching_network_with_random_gates():
    network, images = networks.branching(), networks.pictures(3)
    scores_of = reference.branching_scores(network)
    gates = {i: torch.rand_like(x).requires_grad_() for i, x in enumerate(reference.relu_outputs(scores_of, images))}
    dy = torch.randn(3, 5, dtype=torch.float64)
    ours = gated_scores(network, images, gates)
    theirs = scores_of(images, lambda index, pre, cap: reference.plain_relu(pre, cap) * gates[index])
    assert torch.allclose(ours, theirs, rtol=1e-12)
    for our, their in zip(
        torch.autograd.grad((ours * dy).sum(), list(gates.values())),
        torch.autograd.grad((theirs * dy).sum(), list(gates.values())),
        strict=True,
    ):
        assert torch.allclose(our, their, rtol=1e-9, atol=1e-15)


def test_derivatives_by_finite_differences():
    """The plain, ungated and gated rule is a true derivative; so it survives a perturbation of images and gates."""
    network = Branching5()
    images = networks.pictures(1, 5, 4).requires_grad_()
    z = torch.rand(1, 3, 5, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, z: gated_scores(network, i, {0: z}), (images, z), eps=1e-7, atol=1e-5)


class Branching5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1).double()

    def forward(self, images: Tensor) -> Tensor:
        h = F.relu6(20 * self.conv(images), inplace=True)
        return (h + torch.relu(self.conv(h))).mean((2, 3))


def test_a_traced_network_is_gated_like_the_eager_one():
    network, images = networks.branching(), networks.pictures(2)
    traced = torch.fx.symbolic_trace(network)
    calls, _ = activation_calls(network, images)
    assert activation_calls(traced, images)[0] == calls
    gates = {call.index: torch.rand(2, *call.shape, dtype=torch.float64) for call in calls}
    assert torch.equal(gated_scores(traced, images, gates), gated_scores(network, images, gates))


def test_gates_end_with_the_pass():
    network, images = networks.branching(), networks.pictures(1)
    before = network(images)
    gated_scores(network, images, {0: torch.zeros(1, 6, 9, 8, dtype=torch.float64)})
    assert torch.equal(network(images), before)


def test_gates_end_with_an_exception():
    def breaks(images: Tensor) -> Tensor:
        raise ArithmeticError("in forward")

    with pytest.raises(ArithmeticError, match="in forward"):
        gated_scores(breaks, networks.pictures(1), {0: torch.zeros(1)})
    assert F.relu(torch.tensor([2.0])).item() == 2


# ---- dtypes ----------------------------------------------------------------------------------------------------------


def test_autocast_keeps_the_networks_dtypes_and_the_gates_own():
    conv = nn.Conv2d(3, 4, 3)
    seen = []

    def network(images: Tensor) -> Tensor:
        h = F.relu(conv(images))
        seen.append(h.dtype)
        return h.flatten(1)

    images, z = torch.randn(2, 3, 6, 6), torch.rand(2, 4, 4, 4).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = gated_scores(network, images, {0: z})
        (dz,) = torch.autograd.grad(scores.sum(), z)
    assert seen == [torch.bfloat16]
    assert dz.dtype == torch.float32
    exact = F.relu(conv(images))
    assert torch.allclose(dz, exact, atol=0.02, rtol=0.02)
    assert torch.allclose(scores.float(), (exact * z).flatten(1), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_networks_dtype_comes_out(dtype):
    images = networks.pictures(1).to(dtype)
    gates = {0: torch.ones_like(images)}
    assert gated_scores(behind_one(F.relu), images, gates).dtype == dtype


# ---- choice of layers ------------------------------------------------------------------------------------------------

FIVE = [
    ActivationCall(0, (4, 8, 8)),
    ActivationCall(1, (4, 4, 4)),
    ActivationCall(2, (9, 4, 4)),
    ActivationCall(3, (9, 2, 2)),
    ActivationCall(4, (7,)),
]


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        (None, [0, 1, 2, 3, 4]),
        ([2], [2]),
        ([3, 0, 3], [0, 3]),
        ([-1, -5], [0, 4]),
        ((1, -4), [1]),
        (range(1, 3), [1, 2]),
        (lambda call: call.grid is not None, [0, 1, 2, 3]),
        (lambda call: call.shape[-1] <= 4 and call.grid is not None, [1, 2, 3]),
    ],
)
def test_layers_are_chosen_by_index_or_predicate(layers, chosen):
    assert select_layers(FIVE, layers) == chosen


def test_layers_are_chosen_by_their_stride_or_are_the_coarsest():
    strides = [2.0, 8.0, 15.0, 17.2, 32.0]  # 225 pixels make 15 of 15, 227 make 17.2 of 13
    calls = [ActivationCall(i, (1, 1, 1), stride=stride) for i, stride in enumerate(strides)] + [
        ActivationCall(5, (7,))
    ]
    assert select_layers(calls, "fine") == [1, 2, 3, 4]
    assert select_layers(calls, "coarse") == [2, 3, 4]
    assert select_layers(calls, "coarsest") == [4]
    for layers in ("coarse", "coarsest"):
        assert select_layers([calls[0], calls[1], calls[5]], layers) == [1]
    with pytest.raises(OptionError, match="layers is 'finest'"):
        select_layers(calls, "finest")
    with pytest.raises(ModelError, match="none of the network's 1 activations that can be gated lies like the image"):
        select_layers([ActivationCall(0, (7,))], "coarse")


def test_a_calls_stride_is_image_pixels_per_map_pixel():
    network = nn.Sequential(nn.Conv2d(3, 2, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 4 * 6, 5), nn.ReLU())
    calls, _ = activation_calls(network, torch.rand(1, 3, 8, 12))
    assert [call.stride for call in calls] == [2.0, 0.0]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([5], r"no activation call 5; this network makes 5 \(0 … 4\)"),
        ([0, -6], "no activation call -6"),
        ([], "leaves none"),
        (lambda call: False, "leaves none"),
    ],
)
def test_a_choice_outside_the_network_is_refused(layers, message):
    with pytest.raises(OptionError, match=message):
        select_layers(FIVE, layers)


# ---- control flow that changes ---------------------------------------------------------------------------------------


class Counting:
    """A network that does another thing at each pass."""

    def __init__(self, *passes: Callable[[Tensor], Tensor]) -> None:
        self.passes = list(passes)

    def __call__(self, images: Tensor) -> Tensor:
        return self.passes.pop(0)(images)


def once(images: Tensor) -> Tensor:
    return F.relu(1.0 * images).flatten(1)


def twice(images: Tensor) -> Tensor:
    return F.relu(F.relu(1.0 * images)).flatten(1)


def smaller(images: Tensor) -> Tensor:
    return F.relu(1.0 * images[:, :, 1:]).flatten(1)


def test_a_map_of_another_size_than_its_probes_is_refused():
    network = Counting(once, smaller)
    images = networks.pictures(2)
    ((call,), _) = activation_calls(network, images)
    probes = {call.index: torch.zeros(2, 1, *call.shape[1:], requires_grad=True)}
    with pytest.raises(ModelError, match="control flow must not change"):
        gated_scores(network, images, {}, probes=probes)


def test_fewer_calls_than_gates_are_refused():
    network = Counting(twice, once)
    images = networks.pictures(2)
    calls, _ = activation_calls(network, images)
    gates = {call.index: torch.ones(2, *call.shape) for call in calls}
    with pytest.raises(ModelError, match="made 1 activation calls in this pass and at least 2"):
        gated_scores(network, images, gates)


def test_another_shape_than_the_gates_is_refused():
    network = Counting(once, smaller)
    images = networks.pictures(2)
    calls, _ = activation_calls(network, images)
    with pytest.raises(ModelError, match=r"\(2, 3, 8, 8\) in this pass and had \(2, 3, 9, 8\)"):
        gated_scores(network, images, {0: torch.ones(2, *calls[0].shape)})


# ---- the prefix ------------------------------------------------------------------------------------------------------


def residual_in_place(images: Tensor) -> Tensor:
    """The gated call writes on what the first layers made, and what they made is used again behind it."""
    early = F.relu(images[:, :1] * 2 - 1)
    kept = early + 0.25
    late = F.relu(kept, inplace=True)
    kept += early
    return torch.stack([late.flatten(1).sum(1), (kept * early).flatten(1).sum(1)], 1)


def halves(images: Tensor) -> Tensor:
    """Two views of one tensor are in use behind the first gate; one is written on."""
    both = F.relu(images * 2 - 1)
    one, other = both[:, :1], both[:, 1:2]
    late = F.relu(one - 0.5)
    one += 1
    return torch.stack([late.flatten(1).sum(1), (both[:, :1] * other).flatten(1).sum(1)], 1)


def unseen(images: Tensor) -> Tensor:
    early = F.relu(images * 2 - 1)
    with torch._C.DisableTorchFunction():  # as a compiled extension would be
        early = 2 * early
    return torch.stack([F.relu(early - 0.5).flatten(1).sum(1), early.flatten(1).sum(1)], 1)


def marked(images: Tensor) -> Tensor:
    """The network marks a tensor, as a plain Python object, and asks for the mark before it sets it."""
    early = images * 2
    seen_before = hasattr(early, "mark")
    early.mark = True
    late = F.relu(F.relu(early - 1) - 0.5) * (2 if seen_before else 1)
    return torch.stack([late.flatten(1).sum(1), late.flatten(1).square().sum(1)], 1)


def through_numpy(images: Tensor) -> Tensor:
    """An array is written on, and used again behind the first gate."""
    array = (images * 2).numpy()
    array += 1
    early = torch.from_numpy(array)
    late = F.relu(F.relu(early - 1) - 0.5)
    return torch.stack([late.flatten(1).sum(1), (late * early).flatten(1).sum(1)], 1)


def passes(network, images: Tensor, index: int, prefix: PrefixCache | None) -> list[Tensor]:
    """Scores and gate gradients of four passes, each through other gates."""
    calls, _ = activation_calls(network, images)
    found = []
    for number in range(4):
        z = torch.full((len(images), *calls[index].shape), 1 - number / 8, requires_grad=True)
        scores = gated_scores(network, images.clone(), {index: z}, calls=calls, prefix=prefix)
        found += [scores.detach(), torch.autograd.grad(scores[:, 0].sum(), z)[0]]
    return found


@pytest.mark.parametrize(
    ("network", "index", "plays"),
    [
        (residual_in_place, 1, True),
        (halves, 1, False),
        (unseen, 1, False),
        (marked, 1, True),
        (through_numpy, 1, False),
        (networks.branching().float().requires_grad_(False), 4, True),
    ],
    ids=["residual in place", "views", "unseen operation", "marked tensor", "array that is written on", "branching"],
)
def test_a_pass_that_is_played_back_is_the_pass(network, index, plays):
    images = torch.rand(2, 3, 9, 8)
    prefix = PrefixCache(index)
    for fast, full in zip(passes(network, images, index, prefix), passes(network, images, index, None), strict=True):
        assert torch.equal(fast, full)
    assert prefix.usable == plays


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_families_as_they_are_used_are_played_back(name):
    """Through ``frozen``, whose own layer looks at the images' device and layout before the network does."""
    network = load_model(name, weights="random").module
    images = torch.randn(2, 3, 64, 64)
    with frozen(network) as inside:
        calls, _ = activation_calls(inside, images)
        index = len(calls) // 2
        prefix = PrefixCache(index)
        for fast, full in zip(passes(inside, images, index, prefix), passes(inside, images, index, None), strict=True):
            assert torch.equal(fast, full)
        assert prefix.usable


def by_its_size(images: Tensor) -> Tensor:
    """A batch's size, asked for before the first gate, is used behind it."""
    early = F.relu(images * 2 - 1)
    count = early.size(0)
    return F.relu(early - 0.25).reshape(count, -1)[:, :4]


def by_a_constant(images: Tensor) -> Tensor:
    """A tensor that has no part for each image, made before the first gate, is used behind it."""
    early = F.relu(images * 2 - 1)
    weights = torch.linspace(0, 1, 8)
    return (F.relu(early - 0.25) * weights).flatten(1)[:, :4]


def along_rows(images: Tensor) -> Tensor:
    """The batch lies along the rows at the first gate and behind it."""
    early = F.relu(images * 2 - 1).transpose(0, 1).contiguous()
    return F.relu(early.transpose(0, 1) - 0.25).flatten(1)[:, :4] + early.sum((0, 2, 3))[:, None]


@pytest.mark.parametrize(
    ("network", "index", "follows"),
    [
        (residual_in_place, 1, True),
        (networks.branching().float(), 4, True),
        (by_a_constant, 1, True),
        (by_its_size, 1, False),
        (along_rows, 1, False),
        (halves, 1, False),
    ],
    ids=["residual in place", "branching", "constant", "size of the batch", "along rows", "views"],
)
def test_a_batch_is_played_back_from_what_its_parts_noted(network, index, follows):
    images = torch.rand(5, 3, 9, 8)
    calls, _ = activation_calls(network, images)
    parts = []
    for some in torch.split(images, 2):
        parts.append(PrefixCache(index))
        gated_scores(network, some, {index: torch.ones(len(some), *calls[index].shape)}, prefix=parts[-1])
    whole = PrefixCache.joined(parts)
    assert whole.usable is (True if follows else None)  # not said yet: the next pass notes
    for fast, full in zip(passes(network, images, index, whole), passes(network, images, index, None), strict=True):
        assert torch.allclose(fast, full, atol=1e-6)


def test_a_constant_that_differs_between_parts_is_noted_anew():
    seen = iter(range(9))

    def counting(images: Tensor) -> Tensor:
        shift = torch.tensor(float(next(seen)))
        return F.relu(images - 0.5).flatten(1) + shift

    parts = [PrefixCache(0), PrefixCache(0)]
    for count, part in zip((2, 1), parts, strict=True):
        gated_scores(counting, torch.rand(count, 1, 2, 2), {0: torch.ones(count, 1, 2, 2)}, prefix=part)
    assert PrefixCache.joined(parts).usable is None


def test_what_comes_before_the_first_gate_is_computed_once():
    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)

        def forward(self, images):
            return F.relu(self.second(F.relu(self.first(images)))).mean((2, 3))

    network, images, gate = Counted().requires_grad_(False), torch.rand(1, 3, 9, 9), {1: torch.ones(1, 5, 5, 5)}
    prefix = PrefixCache(1)
    first = gated_scores(network, images, gate, prefix=prefix)
    nn.init.zeros_(network.first.weight)  # the first layer is not looked at again
    assert torch.equal(gated_scores(network, images, gate, prefix=prefix), first)
    assert not torch.equal(gated_scores(network, images, gate), first)


def test_another_function_before_the_first_gate_is_computed_in_full():
    switch = iter([True, False, False, False])

    def network(images):
        early = images.exp() if next(switch) else images.sin()
        return F.relu(early).flatten(1)

    images = torch.rand(1, 1, 2, 2)
    prefix = PrefixCache(0)
    gate = {0: torch.ones(1, 1, 2, 2)}
    assert torch.equal(gated_scores(network, images, gate, prefix=prefix), images.exp().flatten(1))
    assert prefix.usable
    assert torch.equal(gated_scores(network, images, gate, prefix=prefix), images.sin().flatten(1))
    assert not prefix.usable


# ---- guidance by stage -----------------------------------------------------------------------------------------------


class Stages(nn.Module):
    """One activation at a stride of 8, one at 32, and one after a linear layer; all weights have both signs."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 5, 4, 4)
        self.hidden, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, images: Tensor, guides: tuple[bool, ...] | None = None) -> Tensor:
        def relu(h: Tensor, stage: int) -> Tensor:
            h = F.relu(h)
            if guides is not None and guides[stage] and h.requires_grad:
                h.register_hook(lambda dy: dy.clamp_min(0))
            return h

        h = relu(self.coarse(relu(self.fine(images), 0)), 1)
        return self.head(relu(self.hidden(h.mean((2, 3))), 2))


@pytest.mark.parametrize(
    ("guided", "guides"),
    [("none", (False,) * 3), ("below", (True, False, False)), ("all", (True,) * 3)],
)
def test_below_spares_the_last_stage_and_what_comes_after_linear_layers(guided, guides):
    network = Stages().double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64).requires_grad_()
    (ours,) = torch.autograd.grad(gated_scores(network, images, {}, guided=guided)[:, 1].sum(), images)
    (theirs,) = torch.autograd.grad(network(images, guides)[:, 1].sum(), images)
    assert torch.allclose(ours, theirs, atol=1e-12)
    (plain,) = torch.autograd.grad(network(images)[:, 1].sum(), images)
    assert torch.allclose(ours, plain) == (guided == "none")

"""The feedback loop, step by step, against one written with NumPy loops on networks without our gating."""

import itertools
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
import reference
from looktwice import feedback as gradients
from looktwice.errors import ModelError, OptionError
from looktwice.feedback import Feedback, ascend, closed_form_feedback, layer_units, open_gates
from looktwice.feedback import feedback_from_options as feedback
from looktwice.feedback.ascent import _parts
from looktwice.gating import ActivationCall, PrefixCache, activation_calls
from looktwice.gating.frozen import frozen


def class_gradient(*arguments, **choices):
    """The gradient at the image and the scores."""
    found = gradients.class_gradient(*arguments, **choices)
    return found.image, found.scores


GP = {"trace_weight": 1.0, "steps": 3, "step_size": 0.1, "smoothing": 1.0, "minor": "suppress", "minor_share": 0.1}
GP["gradient_scale"] = "mean"


def run(network, images: Tensor, targets: list[int], **options) -> Feedback:
    calls, _ = activation_calls(network, images)
    return feedback(network, calls, images, torch.tensor(targets), **(GP | options))


def run_closed_form(network, images: Tensor, targets: list[int], **options) -> Feedback:
    calls, _ = activation_calls(network, images)
    return closed_form_feedback(network, calls, images, torch.tensor(targets), **options)


def assert_same(ours: Feedback, theirs: reference.Found) -> None:
    assert list(ours.gates) == list(theirs.gates)
    for index, z in theirs.gates.items():
        assert ours.gates[index].shape == z.shape
        assert torch.allclose(ours.gates[index], z, rtol=1e-8, atol=1e-9), f"gates behind ReLU call {index}"
    assert torch.allclose(ours.scores, theirs.scores, rtol=1e-9, atol=1e-12)
    assert list(ours.closed) == theirs.closed
    assert list(ours.evidence) == list(theirs.evidence)
    for index, brought in theirs.evidence.items():
        assert torch.allclose(ours.evidence[index], brought, rtol=1e-8, atol=1e-12)


def has_moved(found: reference.Found) -> bool:
    """Some gates closed, some in between, so that a wrong step could not hide behind the clip."""
    z = torch.cat([gate.flatten() for gate in found.gates.values()])
    return bool((z == 0).any()) and bool(((z > 0.05) & (z < 0.95)).float().mean() > 0.05)


# ---- every step of every reading -------------------------------------------------------------------------------------

STEP_SIZES = {"none": 30.0, "mean": 0.1, "max": 1.0}
TRACE_WEIGHTS = {"none": 0.003, "mean": 1.0, "max": 0.1}


@pytest.mark.parametrize("minor", ["keep", "suppress", "drop", "project"])
@pytest.mark.parametrize("gradient_scale", ["none", "mean", "max"])
def test_global_feedback_on_a_branching_network(gradient_scale, minor):
    network, images, targets = networks.branching(), networks.pictures(3), [4, 0, 2]
    options = GP | {
        "gradient_scale": gradient_scale,
        "minor": minor,
        "step_size": STEP_SIZES[gradient_scale],
        "trace_weight": TRACE_WEIGHTS[gradient_scale],
    }
    theirs = reference.feedback(reference.branching_scores(network), images, targets, **options)
    assert has_moved(theirs)
    assert_same(run(network, images, targets, **options), theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 1},
        {"steps": 6, "step_size": 0.05},
        {"smoothing": 0.01},
        {"smoothing": 30.0},
        {"minor_share": 0.0},
        {"minor_share": 0.4},
        {"minor_share": 0.4, "minor": "project"},
        {"trace_weight": 0.2},
        {"trace_weight": 3.0},
        {"rank": 1},
        {"rank": 1, "minor": "project"},
        {"rank": 2, "minor": "drop"},
        {"objective": "log_probability"},
        {"objective": "contrast"},
        {"fixed_scale": True},
        {"fixed_scale": True, "objective": "log_probability", "rank": 1},
    ],
    ids=str,
)
def test_every_option_of_global_feedback(options):
    network, images, targets = networks.branching(), networks.pictures(2), [3, 1]
    theirs = reference.feedback(reference.branching_scores(network), images, targets, **(GP | options))
    assert_same(run(network, images, targets, **({"solver": "svd"} | options)), theirs)


def test_guided_gates_cut_what_passes_them_and_not_their_own_gradient():
    network, images, targets = networks.branching(), networks.pictures(2), [3, 1]
    written_out = reference.branching_scores(network)
    theirs = reference.feedback(written_out, images, targets, **GP, guided=True)
    assert_same(run(network, images, targets, guided_gates="all"), theirs)
    plain = reference.feedback(written_out, images, targets, **GP)
    assert any(not torch.allclose(plain.gates[i], z) for i, z in theirs.gates.items())


@pytest.mark.parametrize("gradient_scale", ["none", "mean", "max"])
def test_local_feedback_is_global_feedback_without_the_trace_norm(gradient_scale):
    network, images, targets = networks.branching(), networks.pictures(3), [4, 0, 2]
    options = GP | {
        "trace_weight": 0.0,
        "gradient_scale": gradient_scale,
        "step_size": STEP_SIZES[gradient_scale],
    }
    theirs = reference.feedback(reference.branching_scores(network), images, targets, **options)
    assert has_moved(theirs)
    assert_same(run(network, images, targets, **options), theirs)


@pytest.mark.parametrize("steps", [1, 4])
def test_closed_form_feedback_on_a_branching_network(steps):
    network, images, targets = networks.branching(), networks.pictures(3), [4, 0, 2]
    theirs = reference.closed_form(reference.branching_scores(network), images, targets, steps=steps)
    ours = run_closed_form(network, images, targets, steps=steps)
    assert_same(ours, theirs)
    assert all(set(z.unique().tolist()) == {0, 1} for z in ours.gates.values())


@pytest.mark.parametrize("saturation", ["exact", "pass"])
def test_upper_clamps(saturation):
    network, images, targets = networks.Clamped().double(), networks.pictures(2), [3, 0]
    written_out = reference.clamped_scores(network)
    theirs = reference.feedback(written_out, images, targets, **GP, saturation=saturation)
    assert has_moved(theirs)
    assert_same(run(network, images, targets, saturation=saturation), theirs)
    theirs = reference.closed_form(written_out, images, targets, steps=2, saturation=saturation)
    assert_same(run_closed_form(network, images, targets, steps=2, saturation=saturation), theirs)


def test_chosen_layers_alone_carry_gates():
    network, images, targets = networks.branching(), networks.pictures(2), [3, 1]
    theirs = reference.feedback(reference.branching_scores(network), images, targets, **GP, layers=[1, 4, 6])
    for layers in ([1, 4, 6], [-1, 4, 1], lambda call: call.index in (1, 4, 6)):
        assert_same(run(network, images, targets, layers=layers), theirs)
    assert list(run_closed_form(network, images, targets, layers=[-2, 0]).gates) == [0, 5]


def both_readings(build, size: int, gates: int, **options) -> None:
    network, images, targets = build(), networks.pictures(2, size, size), [3, 7]
    patched = reference.patched_scores(network)
    options = GP | {"steps": 2} | options
    theirs = reference.feedback(patched, images, targets, **options)
    assert len(theirs.gates) == gates
    assert has_moved(theirs)
    assert_same(run(network, images, targets, **options), theirs)


def test_squeezenet():
    both_readings(networks.squeezenet, 64, 26)


def test_googlenet():
    both_readings(networks.googlenet, 64, 57)


def test_resnet50_with_every_fourth_gate():
    both_readings(networks.resnet50, 64, 13, layers=list(range(0, 49, 4)))


@pytest.mark.slow
@pytest.mark.parametrize("minor", ["keep", "drop"])
def test_resnet50_with_every_gate(minor):
    both_readings(networks.resnet50, 75, 49, minor=minor)


@pytest.mark.parametrize("build", [networks.squeezenet, networks.googlenet])
def test_closed_form_on_torchvision_networks(build):
    network, images, targets = build(), networks.pictures(2, 64, 64), [3, 7]
    theirs = reference.closed_form(reference.patched_scores(network), images, targets, steps=2)
    assert_same(run_closed_form(network, images, targets, steps=2), theirs)


# ---- by hand ---------------------------------------------------------------------------------------------------------


class TwoUnits(nn.Module):
    """S = 2 relu(i₀) - 3 relu(i₁), one 1×1 channel each."""

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(images)
        return (2 * x[:, 0] - 3 * x[:, 1]).flatten(1)


def test_one_step_by_hand():
    """x = (1, 2): ∂S/∂z = (2, -6), mean magnitude 4; a 1×1 gate has γ = z = 1, so g⁻¹z = 1/√(1 + μ) = ½ at μ = 3."""
    image = torch.tensor([1.0, 2.0], dtype=torch.float64).view(1, 2, 1, 1)
    options = {"steps": 1, "step_size": 0.2, "trace_weight": 0.4, "smoothing": 3.0, "minor": "keep"}
    found = run(TwoUnits(), image, [0], **options)
    assert found.gates[0].flatten().tolist() == pytest.approx([1.0, 1 + 0.2 * (-6 / 4 - 0.4 * 0.5)])
    assert found.scores[0].tolist() == pytest.approx([-4.0, 2 - 6 * (1 - 0.2 * 1.7)])
    assert found.evidence[0].flatten().tolist() == [2, -6]
    found = run(TwoUnits(), image, [0], **options, gradient_scale="max")
    assert found.gates[0].flatten().tolist() == pytest.approx([1.0, 1 + 0.2 * (-1 - 0.4 * 0.5)])
    found = run(TwoUnits(), image, [0], **(options | {"step_size": 0.01}), gradient_scale="none")
    assert found.gates[0].flatten().tolist() == pytest.approx([1.0, 1 + 0.01 * (-6 - 0.4 * 0.5)])
    assert run_closed_form(TwoUnits(), image, [0], steps=1).gates[0].flatten().tolist() == [1, 0]


def test_the_penalty_is_measured_per_channel_size_only_beside_a_gradient_unit():
    """An all-open H×W gate has g⁻¹z = 1/√(HW) as μ → 0, which is 1 in a channel's own unit."""

    def no_preference(images: Tensor) -> Tensor:
        return 0 * F.relu(images).sum((2, 3))

    images = torch.ones(1, 1, 4, 9, dtype=torch.float64)
    options = {"steps": 1, "step_size": 1.0, "trace_weight": 0.3, "smoothing": 1e-12}
    for gradient_scale, share in (("mean", 1.0), ("max", 1.0), ("none", 1 / 6)):
        found = run(no_preference, images, [0], **options, gradient_scale=gradient_scale)
        assert torch.allclose(found.gates[0], torch.full_like(images, 1 - 0.3 * share), rtol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (14, 14)])
def test_a_suppressed_part_is_taken_off_in_one_step_when_the_step_is_the_root_of_mu(size):
    """z = 1 + w with w orthogonal to both all-one vectors: αλ = √μ leaves z = 1 less its own penalty, 1/√(1 + μ)."""
    wave = torch.outer(*(torch.tensor([(-1.0) ** i for i in range(n - n % 2)] + [0.0] * (n % 2)) for n in size))
    start = (1 + 0.1 * wave.double())[None, None]
    calls = [ActivationCall(0, (1, *size))]

    def no_preference(images: Tensor) -> Tensor:
        return 0 * F.relu(images).sum((2, 3))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "looktwice.feedback.global_feedback.open_gates", lambda _, layers, __: dict.fromkeys(layers, start)
        )
        found = feedback(
            no_preference, calls, torch.ones_like(start), torch.tensor([0]), trace_weight=0.5, steps=1, step_size=0.4,
            smoothing=0.04, minor="suppress", rank=1, gradient_scale="mean",
        )  # fmt: skip
    assert torch.allclose(found.gates[0], torch.full_like(start, 1 - 0.2 / 1.04**0.5), atol=2e-3)


def test_a_projected_gate_steps_with_all_singular_values_it_has_left():
    """γ² = (.86, .09, .05): .95 is kept at a share of .1, and both kept values weigh in, though .86/.95 > .9."""
    start = torch.diag(torch.tensor([0.86, 0.09, 0.05], dtype=torch.float64).sqrt()).view(1, 1, 3, 3)
    gates = iter([start])

    def network(images: Tensor) -> Tensor:
        return F.relu(images).sum((2, 3))

    images = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    calls, _ = activation_calls(network, images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "looktwice.feedback.global_feedback.open_gates",
            lambda _, layers, __: {index: next(gates) for index in layers},
        )
        found = feedback(
            lambda x: 0 * network(x), calls, images, torch.tensor([0]), trace_weight=1.0, steps=1, step_size=0.1,
            smoothing=1e-12, minor="project", minor_share=0.1, gradient_scale="none",
        )  # fmt: skip
    assert torch.allclose(
        found.gates[0].flatten(), torch.diag(torch.tensor([0.86**0.5 - 0.1, 0.09**0.5 - 0.1, 0])).double().flatten(),
        atol=1e-6,
    )  # fmt: skip


def test_layer_units_by_hand():
    gradient = torch.tensor([[1.0, -3.0], [0.0, 0.0]])
    assert (gradient / layer_units({0: gradient}, "none")[0]).tolist() == [[1, -3], [0, 0]]
    assert layer_units({0: gradient}, "mean")[0].tolist() == [[2], [1]]
    assert layer_units({0: gradient}, "max")[0].tolist() == [[3], [1]]
    tiny = torch.full((1, 2, 2, 2), 1e-30)
    assert torch.allclose(tiny / layer_units({0: tiny}, "mean")[0], torch.ones_like(tiny))


def test_no_step_leaves_open_gates():
    network, images = networks.branching(), networks.pictures(2)
    for found in (run(network, images, [0, 1], steps=0), run_closed_form(network, images, [0, 1], steps=0)):
        assert all(torch.equal(z, torch.ones_like(z)) for z in found.gates.values())
        assert len(found.gates) == 7
        assert torch.allclose(found.scores, network(images)[[0, 1], [0, 1], None])
        assert sorted(found.evidence) == list(range(7))
        assert found.closed == ()


def test_a_closed_gate_can_open_again():
    """∂S/∂z does not see z: the gate that a first step closed reopens when the sign of its channel turns."""
    signs = itertools.cycle([1, -1, 1, 1])  # the first pass is the one that finds the calls

    def turning(images: Tensor) -> Tensor:
        x = F.relu(images)
        return next(signs) * x[:, 0].flatten(1) + x[:, 1].flatten(1)

    image = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    options = {"trace_weight": 0.0, "step_size": 1.0}
    assert run(turning, image, [0], steps=1, **options).gates[0].flatten().tolist() == [0, 1]
    next(signs), next(signs)
    assert run(turning, image, [0], steps=2, **options).gates[0].flatten().tolist() == [1, 1]


# ---- layers that die -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minor", ["keep", "suppress", "drop", "project"])
def test_a_huge_trace_weight_closes_no_layer_and_is_reported(minor):
    network, images, targets = networks.branching(), networks.pictures(2), [3, 1]
    found = run(network, images, targets, trace_weight=1e6, minor=minor)
    assert found.closed == tuple((image, layer) for image in range(2) for layer in range(6))  # 6 is a vector
    for index in range(6):
        assert torch.equal(found.gates[index], torch.ones_like(found.gates[index]))
    gradient, _ = class_gradient(network, images, torch.tensor(targets), gates=found.gates, guided="all")
    assert gradient.isfinite().all()
    assert gradient.abs().amax((1, 2, 3)).min() > 0


@pytest.mark.parametrize("trace_weight", [0.0, 0.5, 5.0, 50.0, float("inf")])
@pytest.mark.parametrize("gradient_scale", ["none", "mean", "max"])
def test_gates_are_never_nan_and_no_layer_is_ever_dead(gradient_scale, trace_weight):
    network, images = networks.branching().float(), networks.pictures(2).float()
    found = run(
        network, images, [3, 1], trace_weight=trace_weight, gradient_scale=gradient_scale, step_size=0.5, steps=8
    )
    for z in found.gates.values():
        assert ((z >= 0) & (z <= 1)).all()  # false for NaN
        assert z.flatten(1).amax(1).min() > 0
    assert found.scores.isfinite().all()


def scripted(values: dict[int, list[float]]) -> Feedback:
    """Two layers and two images; each step sets image 0's gates of a layer to the next value, image 1's to ½."""

    def network(images: Tensor) -> Tensor:
        return F.relu(F.relu(1.0 * images)).flatten(1)

    images = torch.ones(2, 1, 2, 2)
    calls, _ = activation_calls(network, images)
    script = iter([value for values_of_step in zip(*values.values(), strict=True) for value in values_of_step])

    def step(gates: dict[int, Tensor], dS_dz: dict[int, Tensor]) -> dict[int, Tensor]:
        moved = {index: torch.full_like(z, 0.5) for index, z in gates.items()}
        for z in moved.values():
            z[0] = next(script)
        return moved

    gates = open_gates(calls, [0, 1], images)
    return ascend(network, images, torch.tensor([0, 0]), gates, step, steps=len(values[0]), saturation="exact")


def test_contrast_by_hand():
    """Two neurons, of which the class shares one with all five rivals: only the other one's gate has a slope."""

    def network(images: Tensor) -> Tensor:
        shared, own = F.relu(images)[:, 0].unbind(-1)
        return torch.stack([3 * shared[:, 0] + 2 * own[:, 0], *[3 * shared[:, 0]] * 5, -own[:, 0]], 1)

    images = torch.tensor([[[[1.0, 10.0]]]])
    calls, _ = activation_calls(network, images)
    options = {"trace_weight": 0.0, "steps": 1, "gradient_scale": "none"}
    found = feedback(network, calls, images, torch.tensor([0]), objective="contrast", **options)
    assert found.evidence[0].tolist() == [[[[0.0, 20.0]]]]
    assert found.scores.tolist() == [[23.0, 23.0]]
    plain = feedback(network, calls, images, torch.tensor([0]), **options)
    assert plain.evidence[0].tolist() == [[[[3.0, 20.0]]]]


def test_contrast_with_one_class_is_its_score():
    def network(images: Tensor) -> Tensor:
        return F.relu(images).flatten(1).sum(1, keepdim=True)

    images = torch.ones(1, 1, 1, 2)
    calls, _ = activation_calls(network, images)
    found = feedback(network, calls, images, torch.tensor([0]), trace_weight=0.0, objective="contrast", steps=1)
    assert found.evidence[0].tolist() == [[[[1.0, 1.0]]]]


def test_closed_names_the_image_and_the_layer_of_the_last_step():
    found = scripted({0: [0.25, 0.0], 1: [0.75, 0.5]})
    assert found.closed == ((0, 0),)
    assert (found.gates[0][0] == 0.25).all()  # as before the step that would have closed it
    assert (found.gates[0][1] == 0.5).all()
    assert (found.gates[1][0] == 0.5).all()
    assert found.scores.tolist() == [[1, 0.1875, 0.125], [1, 0.25, 0.25]]


def test_a_layer_that_lives_again_is_not_closed():
    found = scripted({0: [-1.0, 0.25], 1: [0.0, 0.0]})
    assert found.closed == ((0, 1),)
    assert (found.gates[0][0] == 0.25).all()
    assert (found.gates[1][0] == 1).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_step_that_is_not_finite_never_reaches_the_gates(value):
    found = scripted({0: [0.25, value], 1: [0.5, 0.5]})
    assert all(((z >= 0) & (z <= 1)).all() for z in found.gates.values())
    assert found.gates[0][0].max() > 0


def test_a_network_without_gradient_keeps_its_gates():
    network, images = networks.branching(), networks.pictures(2)
    nn.init.zeros_(network.head.weight)
    local = run(network, images, [0, 1], trace_weight=0.0)
    assert all(torch.equal(z, torch.ones_like(z)) for z in local.gates.values())
    assert local.closed == ()
    closed_form = run_closed_form(network, images, [0, 1])
    assert all(torch.equal(z, torch.ones_like(z)) for z in closed_form.gates.values())
    assert closed_form.closed == tuple((image, layer) for image in range(2) for layer in range(7))


# ---- images do not touch each other ----------------------------------------------------------------------------------


@pytest.mark.parametrize("trace_weight", [0.0, 1.0, 5.0, None])
def test_a_batch_is_its_images(trace_weight):
    """Also beside an image without any gradient, and one a thousand times brighter."""
    network, images, targets = networks.branching(), networks.pictures(3), [4, 0, 2]
    images[1] *= 1000
    images[2] = 0

    def optimise(images: Tensor, targets: list[int]) -> Feedback:
        if trace_weight is None:
            return run_closed_form(network, images, targets, steps=3)
        return run(network, images, targets, trace_weight=trace_weight)

    together = optimise(images, targets)
    for i in range(3):
        alone = optimise(images[i : i + 1], targets[i : i + 1])
        for index, z in alone.gates.items():
            assert torch.allclose(together.gates[index][i : i + 1], z, atol=1e-9)
        assert torch.allclose(together.scores[i : i + 1], alone.scores, rtol=1e-9)
        assert [layer for image, layer in together.closed if image == i] == [layer for _, layer in alone.closed]


def test_one_image_twice_with_two_targets():
    network, image = networks.branching(), networks.pictures(1)
    found = run(network, image.expand(2, -1, -1, -1), [0, 1])
    assert not torch.allclose(found.gates[0][0], found.gates[0][1])
    assert torch.allclose(found.gates[0][1:], run(network, image, [1]).gates[0], atol=1e-9)


# ---- what leads nowhere, and control flow that changes ---------------------------------------------------------------


def test_a_relu_that_does_not_lead_to_the_scores_gets_no_gradient():
    """An auxiliary head that is always computed: its gates have no say in S_k, and stay open without a penalty."""
    network = networks.branching()
    images = networks.pictures(2)

    def with_auxiliary_head(x: Tensor) -> Tensor:
        F.relu(x.mean((2, 3)))
        return network(x)

    found = run(with_auxiliary_head, images, [3, 1], trace_weight=0.0)
    expected = run(network, images, [3, 1], trace_weight=0.0)
    assert torch.equal(found.gates[0], torch.ones(2, 3, dtype=torch.float64))
    for index, z in expected.gates.items():
        assert torch.allclose(found.gates[index + 1], z, atol=1e-9)


@pytest.mark.parametrize(
    "passes",
    [
        ["plain", "plain", "again at the end"],
        ["plain", "again at the end", "plain"],
        ["again at the end", "plain", "plain"],
        ["plain", "cropped", "cropped"],
    ],
)
def test_control_flow_that_changes_between_passes_is_refused(passes):
    network = networks.Plain().double()
    script = chain(passes[:1], ["plain"], passes[1:])  # the second notes what comes before the gates

    def changing(images: Tensor) -> Tensor:
        kind = next(script)
        if kind == "cropped":
            return network(images[..., 1:])
        scores = network(images)
        return F.relu(scores) if kind == "again at the end" else scores

    with pytest.raises(ModelError, match="control flow must not change"):
        run(changing, networks.pictures(2), [0, 1], steps=2)


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps is -1"),
        ({"step_size": 0.0}, "step_size is 0.0; α must be positive"),
        ({"step_size": -0.1}, "step_size is -0.1"),
        ({"step_size": float("nan")}, "step_size is nan"),
        ({"trace_weight": -1.0}, "trace_weight is -1.0; λ must not be negative"),
        ({"trace_weight": float("nan")}, "trace_weight is nan"),
        ({"gradient_scale": "median"}, "gradient_scale is 'median'; one of none, mean, max"),
        ({"smoothing": 0.0}, "smoothing is 0.0"),
        ({"smoothing": -1.0}, "smoothing is -1.0"),
        ({"minor": "forget"}, "minor is 'forget'; one of keep, suppress, drop, project"),
        ({"minor_share": 1.0}, "minor_share is 1.0"),
        ({"minor_share": -0.5}, "minor_share is -0.5"),
        ({"layers": [7]}, "layers: no activation call 7"),
        ({"layers": []}, "layers: the choice leaves none"),
        ({"saturation": "soft"}, "saturation is 'soft'; one of exact, pass"),
    ],
    ids=str,
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        run(networks.branching(), networks.pictures(1), [0], **options)


@pytest.mark.parametrize("options", [{"steps": -1}, {"layers": [9]}, {"saturation": "soft"}], ids=str)
def test_options_of_the_closed_form_outside_their_range_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        run_closed_form(networks.branching(), networks.pictures(1), [0], **options)


def another_way_with_gradients(images: Tensor) -> Tensor:
    early = F.relu(images * 2 - 1)
    early = early * 1.0 if early.requires_grad else early
    return F.relu(early[:, :, ::2, ::2] - 0.25).flatten(1)[:, :3]


def all_in_one(images: Tensor) -> Tensor:
    """The batch lies along the rows at the first gate."""
    early = F.relu(images * 2 - 1).transpose(0, 1).contiguous()
    return F.relu(early[:, :, ::2, ::2].transpose(0, 1) - 0.25).flatten(1)[:, :3]


@pytest.mark.parametrize("network", [another_way_with_gradients, all_in_one])
def test_evidence_below_the_first_gate_whatever_is_in_use_there(network, monkeypatch):
    images, targets = torch.rand(4, 3, 6, 6, dtype=torch.float64), torch.tensor([0, 2, 1, 2])
    calls, _ = activation_calls(network, images)
    found = feedback(network, calls, images, targets, [0], trace_weight=1.0, steps=2, layers=[1])
    monkeypatch.setattr(PrefixCache, "play", unknown)  # every pass in full
    expected = feedback(network, calls, images, targets, [0], trace_weight=1.0, steps=2, layers=[1])
    assert expected.evidence[0].max() > 0
    assert torch.allclose(found.evidence[0], expected.evidence[0], rtol=1e-12, atol=1e-15)
    assert torch.allclose(found.gates[1], expected.gates[1], rtol=1e-12, atol=1e-15)


def test_layers_of_one_size_are_penalised_together_as_they_are_alone(monkeypatch):
    network, images = networks.branching(), networks.pictures(2)
    together = run(network, images, [1, 2])
    monkeypatch.setattr("looktwice.feedback.global_feedback.GATES_PER_THREAD", 1)
    alone = run(network, images, [1, 2])
    assert len({z.shape[2:] for z in alone.gates.values() if z.ndim == 4}) < sum(
        z.ndim == 4 for z in alone.gates.values()
    )
    for index, z in alone.gates.items():
        assert torch.allclose(together.gates[index], z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", range(1, 70))
def test_parts_of_a_batch_are_all_of_it_and_not_all_of_one_size(count):
    parts = _parts(count)
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    sizes = {len(range(count)[part]) for part in parts}
    assert len(parts) == 1 if count < 3 else (len(sizes) > 1 and max(sizes) <= max(count / 3 + 1, count / 2 + 1))


def unknown(*_):
    raise LookupError


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("played", [True, False])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_watched_calls_show_their_evidence_and_carry_no_gates(steps, played, count, monkeypatch):
    """Whether later passes start at the first gate or, where that cannot be played back, are made in full."""
    monkeypatch.setattr(PrefixCache, "play", PrefixCache.play if played else unknown)
    network, images = networks.branching(), networks.pictures(count)
    targets = torch.arange(count) % 3
    with frozen(network) as inside:
        calls, _ = activation_calls(inside, images)
        last, every = len(calls) - 1, range(len(calls))
        everywhere = feedback(inside, calls, images, targets, trace_weight=0.0, steps=0)
        alone = feedback(inside, calls, images, targets, trace_weight=1.0, steps=steps, layers=[last])
        found = feedback(inside, calls, images, targets, every, trace_weight=1.0, steps=steps, layers=[last])
    assert list(found.evidence) == list(every)
    assert torch.allclose(found.evidence[last], everywhere.evidence[last], rtol=1e-12, atol=1e-15)
    for index in every[:-1]:
        positive = everywhere.evidence[index].clamp_min(0).sum(1, keepdim=True)
        assert positive.max() > 0
        assert torch.allclose(found.evidence[index], positive, rtol=1e-12, atol=1e-15)
    assert list(found.gates) == [last]
    assert torch.allclose(found.gates[last], alone.gates[last], rtol=1e-12, atol=1e-15)
    assert torch.allclose(found.scores, alone.scores, rtol=1e-12)

"""Maps of the class evidence."""

import numpy as np
import pytest
import torch
from torch import nn

import networks
import reference
from attending import TARGETS
from looktwice.attention.api import attend
from looktwice.attention.evidence import class_evidence, evidence_map
from looktwice.attention.finishing import cumulative_shares
from looktwice.attention.methods import METHODS
from looktwice.errors import LooktwiceWarning, OptionError
from looktwice.gating import LEAST_STRIDE, activation_calls, gated_scores, select_layers
from looktwice.gating.frozen import frozen


def test_evidence_map_worked_by_hand():
    fine = torch.tensor([[[[0.0, 4.0], [2.0, 1.0]], [[0.0, 4.0], [0.0, 1.0]]]])  # two channels, maximum of the sum 8
    also_fine = torch.tensor([[[[5.0, 0.0], [0.0, 5.0]]]])
    coarse = torch.tensor([[[[9.0], [1.0]]]])
    alone = evidence_map([fine, also_fine], size=(2, 2))
    # one resolution is averaged: ([[0, 1], [.25, .25]] + [[1, 0], [0, 1]]) / 2, its maximum .625
    averaged = torch.tensor([[[0.8, 0.8], [0.2, 1.0]]])
    assert torch.allclose(alone, averaged)
    found = evidence_map([fine, coarse, also_fine], size=(2, 2))
    # the geometric mean with [[1, 1], [1/9, 1/9]]
    expected = torch.tensor([[[0.8, 0.8], [0.2 / 9, 1 / 9]]]).sqrt()
    assert torch.allclose(found, expected / expected.max())


def test_a_resolution_without_evidence_is_left_out_where_it_is_without():
    fine = torch.tensor([[[[1.0, 4.0]]], [[[1.0, 4.0]]]])
    coarse = torch.tensor([[[[0.0]]], [[[3.0]]]])
    found = evidence_map([fine, coarse], size=(1, 2))
    assert torch.allclose(found, torch.tensor([[[0.25, 1.0]], [[0.5, 1.0]]]))


def test_no_evidence_is_a_zero_map():
    assert torch.equal(evidence_map([torch.zeros(2, 3, 4, 4)], size=(8, 8)), torch.zeros(2, 8, 8))


@pytest.mark.parametrize("method", ["feedback", "global_feedback"])
def test_the_default_map_is_the_evidence_that_the_gates_kept(method, monkeypatch):
    """Gates on the coarse layers; with all scales the open finer ones (stride 1 here) show what they bring as well."""
    monkeypatch.setitem(LEAST_STRIDE, "fine", 1)
    network, images = networks.branching(), networks.pictures(3)
    written_out = reference.branching_scores(network)
    names = ("steps", "step_size", "trace_weight", "smoothing", "minor", "minor_share", "rank", "gradient_scale")
    chosen = {name: METHODS[method].options[name] for name in (*names, "objective")}
    with frozen(network) as inside:
        calls, _ = activation_calls(inside, images)
        layers = select_layers(calls, "coarse")
    expected = reference.feedback(written_out, images, TARGETS, layers=layers, **chosen)
    open_network = reference.feedback(written_out, images, TARGETS, layers=None, **(chosen | {"steps": 1}))
    options = {"guided_gates": "none", "solver": "svd", "blur": 0.0}
    found = attend(network, images, TARGETS, method=method, **options)
    shares_of_maximum = attend(network, images, TARGETS, method=method, values="maximum", **options)
    everywhere = METHODS[method].options["scales"] == "all"
    shown = [call.index for call in calls if call.grid is not None] if everywhere else layers
    assert len({calls[index].shape[1:] for index in shown}) == 1 + everywhere
    for image, extent in enumerate(found.extents):
        evidence = [open_network.evidence[index][image].numpy() for index in shown]
        gates = [
            expected.gates[index][image].numpy() if index in layers else np.ones(calls[index].shape) for index in shown
        ]
        kept = reference.kept_evidence_map(evidence, gates, (9, 8))
        if METHODS[method].options["propagate"]:
            outputs = [x[image].numpy() for x in reference.relu_outputs(written_out, images)]
            finest = [x for x in outputs if x.shape[1:] == (9, 8)]  # the nearest to 28×28
            kept = reference.carried_over(kept, reference.affinity(finest), (9, 8))
        assert np.allclose(shares_of_maximum.extents[image], kept / kept.max(), atol=1e-9)
        assert np.allclose(extent, reference.cumulative_shares(kept), atol=1e-3)  # a rounding parts or joins equals
        power = METHODS[method].options["class_power"]
        if power:
            coarse = [open_network.evidence[index][image].numpy() for index in layers]
            opened = [expected.gates[index][image].numpy() for index in layers]
            own = reference.class_evidence(coarse, opened, (9, 8))
            own = reference.carried_over(own, reference.affinity(finest), (9, 8))
            kept = kept / kept.max() * (own / own.max()) ** power
        assert np.allclose(shares_of_maximum.maps[image], kept / kept.max(), atol=1e-9)
        assert torch.equal(found.maps[image], extent) == (power == 0)


def one_call(grid, channels=1):
    """An activation call of a network that has only this one, of maps of some size."""
    network = nn.Sequential(nn.Conv2d(3, channels, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with frozen(network) as inside:
        return activation_calls(inside, torch.rand(1, 3, *grid))[0]


def test_class_evidence_worked_by_hand():
    signed = torch.tensor([[[[4.0, 2.0]], [[-1.0, -3.0]]]])
    calls, opened = one_call((1, 2), 2), {0: torch.ones(1, 2, 1, 2)}
    # kept (4, 2), against (1, 3): less of it than is kept, so all of it counts
    assert class_evidence(calls, {0: signed}, opened, size=(1, 2)).tolist() == [[[1.0, 0.0]]]
    # the gates keep (1, 2) of it: less than is against, which is scaled by 3 / 4 to (0.75, 2.25)
    half = {0: torch.tensor([[[[0.25, 1.0]], [[1.0, 1.0]]]])}
    assert class_evidence(calls, {0: signed}, half, size=(1, 2)).tolist() == [[[1.0, 0.0]]]
    # (4, 2) and (1, 0): 3 and 2 are left
    signed[0, 1, 0, 1] = 0
    assert torch.allclose(class_evidence(calls, {0: signed}, opened, size=(1, 2)), torch.tensor([[[1.0, 2 / 3]]]))


@pytest.mark.parametrize("signed", [0.0, -1.0], ids=["nothing", "all against"])
def test_without_evidence_for_the_class_nothing_is_its_own(signed):
    found = class_evidence(
        one_call((2, 2)), {0: torch.full((1, 1, 2, 2), signed)}, {0: torch.ones(1, 1, 2, 2)}, size=(4, 4)
    )
    assert torch.equal(found, torch.zeros(1, 4, 4))


def test_class_evidence_is_of_the_coarsest_gates_alone_and_of_each_image_by_itself():
    torch.manual_seed(0)
    network, images = networks.branching(), networks.pictures(3)
    with frozen(network) as inside:
        calls, _ = activation_calls(inside, images)
    gated = select_layers(calls, "coarse")
    coarsest = [index for index in gated if calls[index].stride == max(calls[i].stride for i in gated)]
    evidence = {index: torch.randn(3, *calls[index].gate_shape, dtype=torch.float64) for index in gated}
    gates = {index: torch.rand(3, *calls[index].gate_shape, dtype=torch.float64) for index in gated}
    found = class_evidence(calls, evidence, gates, size=(9, 8))
    for image in range(3):
        of_image = [[each[index][image].numpy() for index in coarsest] for each in (evidence, gates)]
        assert np.allclose(found[image], reference.class_evidence(*of_image, (9, 8)), atol=1e-12)


@pytest.mark.parametrize("unit", [1e-30, 1e-38, 1e30])
def test_the_unit_of_the_evidence_does_not_matter(unit):
    torch.manual_seed(0)
    signed, gates = torch.randn(2, 2, 3, 3), {0: torch.rand(2, 2, 3, 3)}
    calls = one_call((3, 3), 2)
    expected = class_evidence(calls, {0: signed}, gates, size=(3, 3))
    assert torch.allclose(class_evidence(calls, {0: unit * signed}, gates, size=(3, 3)), expected, atol=1e-4)


def against_the_class() -> nn.Sequential:
    """A network whose last layer only speaks against every class."""
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in ((3, 8), (8, 16), (16, 16))]
    network = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
    network[-1].weight.data = -network[-1].weight.data.abs()
    return network


def test_where_only_finer_layers_speak_for_the_class_the_map_is_the_extent_and_a_note_says_so():
    images = torch.rand(2, 3, 64, 64)
    with pytest.warns(LooktwiceWarning, match="nothing on the coarsest maps with gates speaks for the class"):
        found = attend(against_the_class(), images, 1)
    assert found.maps.amax((1, 2)).tolist() == [1, 1]
    assert torch.equal(found.maps, found.extents)
    assert [image for image, _ in found.notes] == [0, 1]


def test_gates_of_a_vector_alone_leave_the_extent():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )
    found = attend(network, torch.rand(2, 3, 32, 32), 1, layers=[1])
    assert torch.equal(found.maps, found.extents)


def test_a_negative_power_of_the_class_is_refused():
    with pytest.raises(OptionError, match=r"class_power is -1\.0; 0 or more is needed"):
        attend(networks.branching(), networks.pictures(1), class_power=-1.0)


def test_without_a_power_the_map_is_the_extent_and_the_extent_never_changes():
    network, images = networks.branching(), networks.pictures(2)
    own, plain = (attend(network, images, 1, class_power=power) for power in (3.0, 0.0))
    assert torch.equal(plain.maps, plain.extents)
    assert torch.equal(own.extents, plain.extents)
    assert not torch.allclose(own.maps, own.extents)


def test_cumulative_shares_by_loops():
    heat = torch.rand(3, 5, 4, dtype=torch.float64)
    heat[1, 2] = 0.5  # equal pixels
    heat[2, 0] = 0.0
    for ours, plain in zip(cumulative_shares(heat), heat, strict=True):
        assert np.allclose(ours, reference.cumulative_shares(plain.numpy()), atol=1e-12)
    worked = cumulative_shares(torch.tensor([[[0.0, 1.0], [2.0, 2.0]]]))  # squares 0, 1, 4, 4
    assert torch.allclose(worked, torch.tensor([[[0.0, 1 / 9], [1.0, 1.0]]]))
    assert torch.equal(cumulative_shares(torch.zeros(2, 3, 3)), torch.zeros(2, 3, 3))


def test_a_threshold_on_cumulative_shares_keeps_that_much_of_the_energy():
    heat = torch.rand(4, 30, 30, dtype=torch.float64)
    for threshold in (0.1, 0.25, 0.6):
        above = cumulative_shares(heat) > threshold
        held = (heat.square() * above).sum((1, 2)) / heat.square().sum((1, 2))
        assert ((held >= 1 - threshold - 1e-12) & (held <= 1 - threshold + 4 / 900)).all()


def test_cumulative_shares_do_not_depend_on_how_a_map_is_scaled():
    heat = torch.rand(2, 8, 8, dtype=torch.float64)
    assert torch.allclose(cumulative_shares(heat), cumulative_shares(1e-6 * heat), atol=1e-12)


def test_without_feedback_evidence_is_what_each_neuron_of_the_open_network_brings():
    """By finite differences of a gate on each pixel of each channel."""
    network, images = networks.branching(), networks.pictures(2)
    map_of = {"source": "evidence", "scales": "coarsest", "propagate": False, "values": "maximum", "blur": 0.0}
    for method, options in (("gradient", {}), ("global_feedback", {"steps": 0})):
        found = attend(network, images, [1, 2], method=method, **map_of, **options)
        with frozen(network) as inside:
            calls, _ = activation_calls(inside, images)
            layers = select_layers(calls, "coarsest")
            evidence = []
            for index in layers:
                open_gate = torch.ones(2, *calls[index].shape, dtype=torch.float64)
                brought = torch.zeros_like(open_gate)
                for place in range(open_gate[0].numel()):
                    less = open_gate.clone()
                    less.flatten(1)[:, place] -= 1e-6
                    change = network(images) - gated_scores(inside, images, {index: less})
                    brought.flatten(1)[:, place] = change[[0, 1], [1, 2]] / 1e-6
                evidence.append(brought.detach().numpy())
        for image, heat in enumerate(found.extents):
            of_image = [brought[image] for brought in evidence]
            expected = reference.kept_evidence_map(of_image, [np.ones_like(e) for e in of_image], (9, 8))
            assert np.allclose(heat, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("source", "gates"), ("scales", "none"), ("values", "rank")])
def test_an_unknown_choice_of_map_is_refused(name, value):
    with pytest.raises(OptionError, match=f"{name} is '{value}'"):
        attend(networks.branching(), networks.pictures(1), method="gradient", **{name: value})

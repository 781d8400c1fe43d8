"""Maps of the class evidence."""

import numpy as np
import pytest
import torch

import networks
import reference
from attending import TARGETS
from looktwice.attention.api import attend
from looktwice.attention.evidence import evidence_map
from looktwice.attention.finishing import cumulative_shares
from looktwice.attention.methods import METHODS
from looktwice.errors import OptionError
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
    shares_of_maximum = attend(network, images, TARGETS, method=method, values="maximum", **options).maps
    everywhere = METHODS[method].options["scales"] == "all"
    shown = [call.index for call in calls if call.grid is not None] if everywhere else layers
    assert len({calls[index].shape[1:] for index in shown}) == 1 + everywhere
    for image, heat in enumerate(found.maps):
        evidence = [open_network.evidence[index][image].numpy() for index in shown]
        gates = [
            expected.gates[index][image].numpy() if index in layers else np.ones(calls[index].shape) for index in shown
        ]
        kept = reference.kept_evidence_map(evidence, gates, (9, 8))
        if METHODS[method].options["propagate"]:
            outputs = [x[image].numpy() for x in reference.relu_outputs(written_out, images)]
            finest = [x for x in outputs if x.shape[1:] == (9, 8)]  # the nearest to 28×28
            kept = reference.carried_over(kept, reference.affinity(finest), (9, 8))
        assert np.allclose(shares_of_maximum[image], kept / kept.max(), atol=1e-9)
        assert np.allclose(heat, reference.cumulative_shares(kept), atol=1e-3)  # a rounding parts or joins equal pixels


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
        for image, heat in enumerate(found.maps):
            of_image = [brought[image] for brought in evidence]
            expected = reference.kept_evidence_map(of_image, [np.ones_like(e) for e in of_image], (9, 8))
            assert np.allclose(heat, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("source", "gates"), ("scales", "none"), ("values", "rank")])
def test_an_unknown_choice_of_map_is_refused(name, value):
    with pytest.raises(OptionError, match=f"{name} is '{value}'"):
        attend(networks.branching(), networks.pictures(1), method="gradient", **{name: value})

"""The randomization check: which weights are random, how alike maps are, and whether Quantus has the same numbers."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from looktwice import attend
from looktwice.models import Model, Preprocessing
from networks import Branching


@pytest.fixture
def check(benchmark_script: Callable[..., ModuleType]) -> Any:
    pytest.importorskip("scipy")
    pytest.importorskip("skimage")
    return benchmark_script("randomization")


@pytest.fixture
def trained() -> Branching:
    network = Branching().eval()
    for tensor in (*network.parameters(), network.norm.running_mean):
        torch.nn.init.normal_(tensor, 0.1, 0.3)
    return network


def changed(network: torch.nn.Module, trained: torch.nn.Module) -> list[str]:
    then = trained.state_dict()
    return [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, then[name])]


def test_layers_are_counted_from_the_classifier_down(check: Any, trained: Branching) -> None:
    layers = check.layers_of(trained)
    assert layers == [
        trained.head,
        trained.hidden,
        trained.join,
        trained.right,
        trained.left,
        trained.norm,
        trained.stem,
    ]


def test_no_random_layer_is_the_trained_network(check: Any, trained: Branching) -> None:
    network = copy.deepcopy(trained)
    check.randomize(network, trained, 3, "normal", 0)
    check.randomize(network, trained, 0, "normal", 0)
    assert changed(network, trained) == []


@pytest.mark.parametrize("draw", ["normal", "reset", "quantus"])
def test_only_the_last_layers_are_random(check: Any, trained: Branching, draw: str) -> None:
    network = copy.deepcopy(trained)
    check.randomize(network, trained, 2, draw, 0)
    assert changed(network, trained) == ["hidden.weight", "hidden.bias", "head.weight", "head.bias"]


@pytest.mark.parametrize("draw", ["normal", "reset", "quantus"])
def test_a_longer_cascade_keeps_the_random_weights_of_a_shorter_one(check: Any, trained: Branching, draw: str) -> None:
    short, long = copy.deepcopy(trained), copy.deepcopy(trained)
    check.randomize(short, trained, 2, draw, 5)
    check.randomize(long, trained, 7, draw, 5)
    assert torch.equal(short.head.weight, long.head.weight)
    assert torch.equal(short.hidden.weight, long.hidden.weight)


def test_another_seed_draws_other_weights_and_the_callers_numbers_stay(check: Any, trained: Branching) -> None:
    first, second = copy.deepcopy(trained), copy.deepcopy(trained)
    before = torch.random.get_rng_state()
    check.randomize(first, trained, 1, "normal", 0)
    check.randomize(second, trained, 1, "normal", 1)
    assert not torch.equal(first.head.weight, second.head.weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_normal_weights_keep_mean_deviation_and_running_statistics(check: Any, trained: Branching) -> None:
    network = copy.deepcopy(trained)
    check.randomize(network, trained, 7, "normal", 0)
    was, now = trained.join.weight.detach(), network.join.weight.detach()
    assert float(now.mean()) == pytest.approx(float(was.mean()), abs=0.05)
    assert float(now.std()) == pytest.approx(float(was.std()), rel=0.1)
    assert torch.equal(network.norm.running_mean, trained.norm.running_mean)


def test_reset_gives_a_batch_norm_new_running_statistics(check: Any, trained: Branching) -> None:
    network = copy.deepcopy(trained)
    check.randomize(network, trained, 7, "reset", 0)
    assert network.norm.running_mean.abs().max() == 0
    assert torch.equal(network.norm.running_var, torch.ones(6))
    assert torch.equal(network.norm.weight, torch.ones(6))


def test_a_reset_reaches_attention_and_weights_without_an_initialiser(check: Any) -> None:
    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = torch.nn.Parameter(torch.rand(1, 4, 6))
            self.attention = torch.nn.MultiheadAttention(6, 2)

    trained = Tokens()
    network = copy.deepcopy(trained)
    check.randomize(network, trained, 3, "reset", 0)
    assert {"position", "attention.in_proj_weight", "attention.out_proj.weight"} <= set(changed(network, trained))


@pytest.mark.parametrize("method", ["global_feedback", "gradient"])
def test_maps_are_those_of_a_network_that_is_random_from_the_start(check: Any, trained: Branching, method: str) -> None:
    images = torch.randn(1, 3, 16, 16)
    network = copy.deepcopy(trained)
    image = check.Image("one", images, 2)
    check.maps_of(network, image, [method])  # what is measured of a network is remembered
    check.randomize(network, trained, 3, "normal", 4)
    found = check.maps_of(network, image, [method])[method]
    fresh = copy.deepcopy(network)
    assert np.array_equal(found, attend(fresh, images, 2, method=method).maps[0].numpy())


def test_a_map_is_wholly_like_itself_and_its_ranks_reversed_are_the_opposite(check: Any) -> None:
    heat = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert check.likeness(heat, 3 * heat) == pytest.approx({"spearman": 1, "ssim": 1, "brightest": 1})
    assert check.likeness(heat, 63 - heat)["spearman"] == pytest.approx(-1)
    assert check.likeness(heat, 63 - heat)["brightest"] == 0


def test_a_map_that_is_the_same_everywhere_has_no_ranks_and_counts_as_0(check: Any) -> None:
    heat = np.arange(64, dtype=np.float32).reshape(8, 8)
    nothing = check.likeness(heat, np.zeros_like(heat))
    assert nothing == {"spearman": None, "ssim": None, "brightest": None} == check.likeness(heat, None)
    assert check.values([{"all": nothing}, {"all": check.likeness(heat, heat)}], "all") == pytest.approx([0, 1])


def test_a_killed_measurement_goes_on_and_has_each_row_once(check: Any, trained: Branching, tmp_path: Path) -> None:
    pixels = torch.randn(3, 3, 16, 16)
    images = [check.Image(str(number), pixels[number : number + 1], number) for number in range(3)]
    model = Model("folder/nets.py:branching", trained, Preprocessing(16, 16, (0.0,) * 3, (1.0,) * 3), tuple("abcde"))
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    methods = ["gradient", "global_feedback"]
    check.measure(model, images, methods, "normal", whole)
    check.measure(model, images, methods[:1], "normal", parts)
    kept = parts.read_text().splitlines()[:1]
    parts.write_text("".join(f"{line}\n" for line in kept))
    check.measure(model, images, methods, "normal", parts)
    assert sorted(whole.read_text().splitlines()) == sorted(parts.read_text().splitlines())
    rows = [json.loads(line) for line in whole.read_text().splitlines()]
    assert len(rows) == 9  # three images, two methods, and the extents of one
    assert {row["network"] for row in rows} == {"branching"}


def test_tables_say_how_many_maps_are_empty_and_have_no_interval_of_few_images(check: Any) -> None:
    alike = {"spearman": 0.5, "ssim": 0.25, "brightest": 0.75}
    nothing = dict.fromkeys(alike)
    facts = {"network": "net", "draw": "normal", "layers": 7}
    stages = {**dict.fromkeys(check.STAGES, alike), check.ANOTHER: nothing}
    rows = [{**facts, "image": str(number), "method": "global_feedback", **stages} for number in range(10)]
    page = check.tables(check.summary(rows))
    assert "### net, normal, 7 layers" in page
    assert "| **Global feedback** | 10 | 0.50 [0.50, 0.50]" in page
    assert "**+0.50 [+0.50, +0.50]** | 0.75 |" in page
    assert "10 of 50 pairs have a map that is the same everywhere" in page
    few = check.tables(check.summary(rows[:3]))
    assert "| **Global feedback** | 3 | 0.50 | 0.50 | 0.50 | 0.50 | 0.00 | +0.50 | 0.75 |" in few


def test_quantus_has_the_same_numbers(
    check: Any, trained: Branching, benchmark_script: Callable[..., ModuleType]
) -> None:
    pytest.importorskip("quantus")
    beside = benchmark_script("beside_quantus")
    pixels = torch.randn(3, 3, 16, 16)
    images = [check.Image(str(number), pixels[number : number + 1], number) for number in range(3)]
    for method in ("gradient", "global_feedback"):
        found = beside.compared(
            beside.correlations_as_quantus(trained, images, method), beside.quantus_scores(trained, images, method)
        )
        assert found.layers == 7
        assert found.one == 0
        assert found.both > 14
        assert found.largest_difference < 1e-12


def test_correlations_that_only_one_side_has_are_counted(
    check: Any, benchmark_script: Callable[..., ModuleType]
) -> None:
    beside = benchmark_script("beside_quantus")
    nan = float("nan")
    found = beside.compared([[0.5, nan, nan]], [[0.25, nan, 1.0]])
    assert (found.both, found.neither, found.one, found.largest_difference) == (1, 1, 1, 0.25)

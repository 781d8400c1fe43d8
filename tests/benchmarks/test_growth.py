"""The benchmark of growth: slopes of known seconds, what each size changes, an evaluation without its network."""

import argparse
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from looktwice import load_model


@pytest.fixture
def growth(benchmark_script: Callable[..., ModuleType]) -> Any:
    return benchmark_script("growth", "editions", "cases", "speed", "overhead")


@pytest.fixture
def case(growth: Any) -> Any:
    return growth.Case("squeezenet1_1", "random", 1, 64, "cpu", "float32", False)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_slope_of_a_power_is_its_exponent(growth: Any, power: float) -> None:
    sizes = (1, 2, 5, 10)
    grown = growth.Grown(sizes, tuple(3.0 * size**power for size in sizes))
    assert grown.slope == pytest.approx(power)
    assert grown.facts["last_slope"] == pytest.approx(power)


def test_a_constant_part_weighs_less_on_the_last_slope(growth: Any) -> None:
    sizes = (1, 10, 100)
    facts = growth.Grown(sizes, tuple(5.0 + size for size in sizes)).facts
    assert facts["slope"] < facts["last_slope"] < 1


def test_one_axis_changes_and_the_others_stay(growth: Any, case: Any) -> None:
    model = case.load()

    def at(axis: str, size: int) -> Any:
        return growth.settings(axis, case, model)(size)

    assert at("steps", 3).options == {"steps": 3}
    assert at("batch", 4).images.shape == (4, 3, 64, 64)
    assert at("pixels", 112**2).images.shape == (1, 3, 112, 112)
    assert len(set(at("classes", 3).classes)) == 3
    assert at("channels", 32).module[0].out_channels == 32
    assert all(at(axis, 1).images.shape == (1, 3, 64, 64) for axis in ("steps", "classes", "channels"))


def test_every_size_is_timed(growth: Any, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "SIZES", {"channels": (2, 4), "classes": (1, 2)})
    choices = argparse.Namespace(turns=1, clock="cpu", device="cpu")
    channels = growth.grow("channels", case, case.load(), choices)
    assert {name: grown.sizes for name, grown in channels.items()} == {"GP": (2, 4), "plain": (2, 4)}
    assert set(growth.grow("classes", case, case.load(), choices)) == {"GP"}


def test_an_evaluation_of_more_images_calls_the_network_for_the_first_only(
    growth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "DRAWN", 4)
    model = load_model("squeezenet1_1", weights="random", preprocessing={"resize": 64})
    seen, run = [], growth.run

    def counted(model: Any, dataset: Any, *others: Any) -> Any:
        passes = []
        handle = model.module.register_forward_hook(lambda *_: passes.append(1))
        run(model, dataset, *others)
        handle.remove()
        seen.append((len(dataset.samples), len(passes)))

    monkeypatch.setattr(growth, "run", counted)
    choices = argparse.Namespace(batch_size=2, workers=0)
    grown = growth.grow_images(model, choices, (4, 8))
    (_, all_passes), (_, once), (_, once_too) = seen
    assert [images for images, _ in seen] == [4, 4, 8]
    assert all_passes > once  # an evaluation tries the network before it begins
    assert once_too == once
    assert grown.sizes == (4, 8)
    assert all(seconds > 0 for seconds in grown.seconds)


def test_repeated_pictures_have_names_of_their_own(growth: Any, tmp_path: Any) -> None:
    drawn = growth.draw(tmp_path / "images", 2)
    samples = growth.repeated(drawn, 5).samples
    assert len({sample.id for sample in samples}) == 5
    assert len({sample.image for sample in samples}) == 2


def test_the_small_network_is_the_same_in_every_process(growth: Any) -> None:
    one, other = (growth.convolutions(8).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)

"""Comparing two files of maps and boxes: what counts as alike."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def same_maps(benchmark_script: Callable[..., ModuleType]) -> Any:
    return benchmark_script("same_maps", "cases")


def boxes(*corners: tuple[float, ...]) -> Any:
    return np.array([[0, *four, 0.5] for four in corners]).reshape(-1, 6)


ONE, TWO = (1.0, 2.0, 30.0, 40.0), (5.0, 6.0, 70.0, 80.0)
NEARLY = tuple(number + 0.0009 for number in ONE)
BESIDE = tuple(number + 0.0011 for number in ONE)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        pytest.param(boxes(ONE, TWO), boxes(TWO, ONE), 2, id="in another order"),
        pytest.param(boxes(ONE), boxes(NEARLY), 1, id="within a thousandth"),
        pytest.param(boxes(ONE), boxes(BESIDE), 0, id="beyond a thousandth"),
        pytest.param(boxes(ONE, ONE), boxes(ONE), 1, id="a box counts once"),
        pytest.param(boxes(), boxes(ONE), 0, id="a box more"),
        pytest.param(boxes(ONE), boxes(ONE) + np.eye(6)[0], 0, id="of another image"),
        pytest.param(boxes(ONE), boxes(ONE) + np.eye(6)[5], 1, id="with another score"),
    ],
)
def test_boxes_are_the_same(same_maps: Any, before: Any, after: Any, same: int) -> None:
    assert same_maps.same_boxes(before, after) == same
    alike = same_maps.likeness([(before, after)])
    assert (alike.same, alike.boxes) == (same, max(len(before), len(after)))


HEAT = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)


@pytest.mark.parametrize(
    ("before", "after", "correlation"),
    [
        pytest.param(HEAT, HEAT, 1, id="the same"),
        pytest.param(HEAT, 2 * HEAT + 1, 1, id="brighter"),
        pytest.param(HEAT, -HEAT, -1, id="the opposite"),
        pytest.param(0 * HEAT, 0 * HEAT, 1, id="both empty"),
        pytest.param(HEAT, 0 * HEAT, 0, id="one empty"),
    ],
)
def test_maps_correlate(same_maps: Any, before: Any, after: Any, correlation: float) -> None:
    assert same_maps.likeness([(before, after)]).correlation == pytest.approx(correlation)


def test_the_least_correlation_is_told(same_maps: Any) -> None:
    two = np.concatenate([HEAT, HEAT])
    alike = same_maps.likeness([(two, np.concatenate([HEAT, -HEAT])), (HEAT, HEAT)])
    assert alike.correlation == pytest.approx(-1)
    assert (alike.unlike, alike.maps) == (1, 3)


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Two files with a hundred boxes of one method, the first ``moved`` of which are elsewhere in the second."""

    def written(moved: int, other_map: Any = HEAT) -> tuple[Path, Path]:
        before = boxes(*([(10.0 * n, 0.0, 10.0 * n + 5, 5.0) for n in range(100)]))
        after = before.copy()
        after[:moved, 1:5] += 1
        np.savez(tmp_path / "a.npz", **{"net gradient 0 maps": HEAT, "net gradient 0 boxes": before})
        np.savez(tmp_path / "b.npz", **{"net gradient 0 maps": other_map, "net gradient 0 boxes": after})
        return tmp_path / "a.npz", tmp_path / "b.npz"

    return written


def test_the_same_files_are_the_same_and_alike(same_maps: Any, files: Any) -> None:
    assert same_maps.compare(*files(0), 0.0, alike=False)
    assert same_maps.compare(*files(0), 0.0, alike=True)


def test_files_may_differ_a_little_and_be_alike(same_maps: Any, files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    two = files(1, HEAT + np.float32(1e-6) * HEAT[:, ::-1])
    assert not same_maps.compare(*two, 0.0, alike=False)
    assert same_maps.compare(*two, 0.0, alike=True)
    said = "net gradient: least correlation 1.000000, 0 of 1 maps below 0.999, 99 of 100 boxes the same"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"moved": 2}, {"moved": 0, "other_map": HEAT[:, ::-1]}], ids=["two boxes", "map"])
def test_files_that_differ_more_are_not_alike(same_maps: Any, files: Any, change: Any) -> None:
    assert not same_maps.compare(*files(**change), 0.0, alike=True)


def test_files_without_a_common_array_are_not_alike(same_maps: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"net gradient 0 maps": HEAT})
    np.savez(tmp_path / "b.npz", **{"net feedback 0 maps": HEAT})
    assert not same_maps.compare(tmp_path / "a.npz", tmp_path / "b.npz", 0.0, alike=True)

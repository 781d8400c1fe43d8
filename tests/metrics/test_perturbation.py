"""Insertion and deletion without a network: the order of pixels, the steps, the area, and what a summary averages."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from looktwice.errors import InputError, OptionError
from looktwice.metrics import MEASURES
from looktwice.metrics.judged_maps import JudgedMaps, Thresholds, Undefined
from looktwice.metrics.perturbation import area_under_curve, pixel_ranks, step_counts

VALUES = st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 1.0, 1e-30])


def slow_ranks(heat):
    """Pixel after pixel: how many pixels are before it."""
    even = pixel_ranks(np.zeros_like(heat)).ravel()
    flat = np.asarray(heat).ravel()
    before = [
        sum(other > value or (other == value and even[j] < even[i]) for j, other in enumerate(flat))
        for i, value in enumerate(flat)
    ]
    return np.array(before).reshape(np.shape(heat))


@given(st.integers(1, 5), st.integers(1, 6), st.data())
def test_ranks_are_those_of_counting(height, width, data):
    values = data.draw(st.lists(VALUES, min_size=height * width, max_size=height * width))
    heat = np.array(values, dtype=np.float32).reshape(height, width)
    assert pixel_ranks(heat).tolist() == slow_ranks(heat).tolist()


def test_only_the_order_of_values_counts():
    heat = np.random.default_rng(1).random((12, 9))
    assert (pixel_ranks(heat) == pixel_ranks(np.exp(7 * heat) - 3)).all()
    assert heat.ravel()[np.argsort(pixel_ranks(heat).ravel())].tolist() == sorted(heat.ravel().tolist(), reverse=True)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
def test_an_even_map_gains_nothing_from_the_order_in_which_pixels_are_read(value):
    ranks = pixel_ranks(np.full((40, 60), value))
    assert sorted(ranks.ravel().tolist()) == list(range(2400))
    assert (ranks == pixel_ranks(np.zeros((40, 60)))).all()
    first = ranks < 600  # a quarter of the pixels lies everywhere
    for part in (first[:20], first[20:], first[:, :30], first[:, 30:], first[10:30, 15:45]):
        assert abs(part.mean() - 0.25) < 0.05


def test_pixels_without_a_value_are_at_random_after_those_with_one():
    heat = np.zeros((20, 20))
    heat[15:18, 3:7] = 1.0
    ranks = pixel_ranks(heat)
    assert sorted(ranks[heat > 0].tolist()) == list(range(12))
    even = pixel_ranks(np.zeros((20, 20)))
    for chosen in (heat > 0, heat == 0):  # equal values keep the order of an even map
        assert np.argsort(ranks[chosen]).tolist() == np.argsort(even[chosen]).tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match="1 values that are NaN or infinite"):
        pixel_ranks([[0.0, value]])


@given(st.integers(2, 300), st.data())
def test_all_steps_take_equally_many_pixels(pixels, data):
    steps = data.draw(st.integers(2, pixels))
    counts = step_counts(pixels, steps)
    taken = np.diff(counts)
    assert (counts[0], counts[-1], len(taken)) == (0, pixels, steps)
    assert taken.max() - taken.min() <= (1 if pixels % steps else 0)


@pytest.mark.parametrize("steps", [1, 0, 5])
def test_too_few_or_too_many_steps_are_refused(steps):
    with pytest.raises(OptionError, match=rf"has {steps} steps, and the network's input has 4 pixels"):
        step_counts(4, steps)


def test_areas_by_hand():
    assert area_under_curve([1, 1, 1], [0, 5, 10]) == 1
    assert area_under_curve([1.0, 0.6, 0.3, 0.1, 0.0], [0, 1, 2, 3, 4]) == pytest.approx(0.375)
    assert area_under_curve([0.0, 1.0, 1.0], [0, 1, 4]) == pytest.approx(0.875)  # unequal steps count by their width


def test_a_probability_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="NaN or infinite where pixels of the picture are blurred"):
        area_under_curve([1.0, np.nan, 0.0], [0, 1, 2])
    with pytest.raises(InputError, match="one for each is needed"):
        area_under_curve([1.0, 0.0], [0, 1, 2])


def maps_with(insertion, rank=None):
    count = len(insertion)
    zeros, curves = np.zeros(count, dtype=np.int64), np.zeros((count, 100), dtype=np.float32)
    return JudgedMaps(
        image=np.arange(count),
        images=count,
        rank=zeros if rank is None else np.array(rank),
        target_place=zeros,
        label_place=zeros,
        right=np.ones(count, dtype=np.bool_),
        judged=zeros - 1,  # no map has boxes
        measured={"insertion": np.array(insertion), "deletion": 1 - np.array(insertion)},
        seconds=np.ones(count),
        curve=curves,
        energy_box=curves,
        largest=curves,
        best=curves,
    )


def test_maps_without_boxes_count_and_further_guesses_do_not():
    maps = maps_with([0.5, 0.25, 0.125], rank=[0, 0, 1])
    for target in ("predicted", "true", "top5"):
        assert MEASURES["insertion_auc"].values_of(maps, Thresholds(0.2), target).values.tolist() == [0.5, 0.25]
        assert MEASURES["deletion_auc"].values_of(maps, Thresholds(0.2), target).values.tolist() == [0.5, 0.75]


def test_a_run_without_them_says_how_to_have_them():
    found = MEASURES["insertion_auc"].values(replace(maps_with([0.5, 0.5]), measured={}), Thresholds(0.2))
    assert isinstance(found, Undefined)
    assert "without --faithfulness" in found.reason
    assert len(MEASURES["insertion_auc"].values(maps_with([]), Thresholds(0.2))) == 0

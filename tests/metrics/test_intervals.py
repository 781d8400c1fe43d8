"""Bootstrap intervals against loops, and against theory."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from looktwice.errors import InputError
from looktwice.metrics import (
    V2_LEVELS,
    best_share,
    binomial_interval,
    bootstrap,
    box_hits,
    class_mean,
    max_box_acc,
    max_box_acc_v2,
    paired_difference,
)


def slow_resamples(values, statistic, seed, resamples):
    drawn = np.random.default_rng(seed).integers(0, len(values), size=(resamples, len(values)))
    return [statistic([values[i] for i in row]) for row in drawn]


def test_the_bootstrap_against_a_loop():
    values = np.random.default_rng(0).random(30).tolist()
    means = slow_resamples(values, lambda sample: math.fsum(sample) / len(sample), 7, 200)
    found = bootstrap(values, seed=7, resamples=200, level=0.9)
    assert found.value == pytest.approx(sum(values) / 30)
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.05, 0.95]).tolist())


def test_drawing_in_parts_is_drawing_at_once():
    values = np.random.default_rng(0).random(9000)  # 4,000,000 // 9,000: parts of 444
    drawn = np.random.default_rng(3).integers(0, 9000, size=(1000, 9000))
    found = bootstrap(values, seed=3, resamples=1000)
    assert [found.low, found.high] == pytest.approx(np.quantile(values[drawn].mean(axis=1), [0.025, 0.975]).tolist())


def test_a_statistic_of_means_against_a_loop():
    curves = np.random.default_rng(1).random((25, 6))
    slow = slow_resamples(curves, lambda sample: max_box_acc_v2(np.array(sample)), 5, 100)
    found = bootstrap(box_hits(curves, V2_LEVELS), best_share, seed=5, resamples=100)
    assert found.value == pytest.approx(max_box_acc_v2(curves))
    assert [found.low, found.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]).tolist())


def slow_class_mean(pairs):
    groups = {}
    for value, label in pairs:
        groups.setdefault(label, []).append(value)
    return sum(sum(group) / len(group) for group in groups.values()) / len(groups)


def test_classes_count_alike_however_many_images_they_have():
    assert class_mean([1, 1, 1, 0], ["cat", "cat", "cat", "dog"]) == pytest.approx(0.5)
    assert class_mean([0, 1, 1, 0, 0, 0], [5, 5, 9, 2, 2, 2]) == pytest.approx((0.5 + 1 + 0) / 3)


def test_the_bootstrap_over_classes_against_a_loop():
    rng = np.random.default_rng(2)
    pairs = [(float(rng.random()), int(rng.integers(4))) for _ in range(12)]  # resamples do miss classes
    slow = slow_resamples(pairs, slow_class_mean, 11, 200)
    found = bootstrap([value for value, _ in pairs], classes=[label for _, label in pairs], seed=11, resamples=200)
    assert found.value == pytest.approx(slow_class_mean(pairs))
    assert [found.low, found.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]).tolist())


def test_the_interval_is_as_wide_as_theory_says():
    values = np.arange(400) % 10 < 3  # share .3, standard error √(.3 · .7 / 400)
    found = bootstrap(values, resamples=4000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * math.sqrt(0.3 * 0.7 / 400), rel=0.08)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(50)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_a_constant_difference_is_certain_however_the_images_vary():
    values = np.random.default_rng(0).random(50)
    found = paired_difference(values + 0.25, values)
    assert [found.value, found.low, found.high] == pytest.approx([0.25] * 3)
    assert paired_difference(values, values).high == 0


def test_the_paired_difference_against_a_loop():
    rng = np.random.default_rng(4)
    first, second, classes = rng.random((20, 6)), rng.random((20, 6)), rng.integers(3, size=20)

    def gap(sample):
        return max_box_acc([a for a, _ in sample]) - max_box_acc([b for _, b in sample])

    slow = slow_resamples(list(zip(first, second, strict=True)), gap, 9, 100)
    found = paired_difference(box_hits(first), box_hits(second), best_share, seed=9, resamples=100)
    assert found.value == pytest.approx(max_box_acc(first) - max_box_acc(second))
    assert [found.low, found.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]).tolist())
    means = paired_difference(first[:, 0], second[:, 0], classes=classes).value
    assert means == pytest.approx(class_mean(first[:, 0], classes) - class_mean(second[:, 0], classes))


def test_nothing_to_average_is_refused():
    with pytest.raises(InputError, match="at least one image"):
        bootstrap([])
    with pytest.raises(InputError, match="NaN or infinite"):
        bootstrap([0.1, np.nan])
    with pytest.raises(InputError, match="one for each image"):
        bootstrap([0.1, 0.2], classes=[1])
    with pytest.raises(InputError, match="same images"):
        paired_difference([0.1, 0.2], [0.1])


@pytest.mark.parametrize(("hits", "images"), [(0, 20), (1, 20), (12, 24), (20, 20), (480, 1000), (1, 1)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_of_a_share_is_scipys(hits, images, level):
    expected = binomtest(hits, images).proportion_ci(level, method="wilson")
    found = binomial_interval(hits, images, level=level)
    assert found.value == hits / images
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))


def test_a_share_of_no_images_is_refused():
    with pytest.raises(InputError, match="no images to take a share of"):
        binomial_interval(0, 0)

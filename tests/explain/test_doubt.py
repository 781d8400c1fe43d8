"""What a reader is warned of: random weights, a network that is not sure, a class that is improbable."""

import numpy as np
import pytest

from looktwice.explain.doubt import IMPROBABLE, UNSURE, doubts

NAMES = ("cat", "cup", "rocket")


def of_many(best: float, other: float | None = None) -> np.ndarray:
    """A hundred classes: class 7 has the probability ``best``, class 3 has ``other``, the rest share what is left."""
    shared = (1 - best - (other or 0)) / (99 if other is None else 98)
    found = np.full(100, shared)
    found[7] = best
    if other is not None:
        found[3] = other
    return found


MANY = tuple(f"class {k}" for k in range(100))


def test_a_sure_network_and_its_own_class_leave_no_doubt():
    assert doubts([0.02, 0.9, 0.08], 1, NAMES, weights="default") == ()


def test_random_weights_come_first_and_are_told_beside_what_the_probabilities_say():
    lines = doubts(of_many(0.05), 7, MANY, weights="random")
    assert [line.split(":")[0] for line in lines] == ["The weights are random", "The network is not sure"]


@pytest.mark.parametrize(("best", "told"), [(UNSURE - 1e-6, True), (UNSURE, False)])
def test_a_network_of_many_classes_is_not_sure_below_the_limit(best: float, told: bool):
    lines = doubts(of_many(best), 7, MANY, weights="default")
    assert lines == ((f"The network is not sure: class 7 is most probable, with {100 * best:.1f} %.",) if told else ())


@pytest.mark.parametrize(
    ("probabilities", "told"),
    [((0.55, 0.45), True), ((0.61, 0.39), False), ((0.39, 0.31, 0.30), True), ((0.41, 0.3, 0.29), False)],
)
def test_with_few_classes_a_little_more_than_a_blind_guess_is_not_sure(probabilities: tuple[float, ...], told: bool):
    assert bool(doubts(probabilities, 0, NAMES[: len(probabilities)], weights="default")) is told


@pytest.mark.parametrize(("other", "told"), [(IMPROBABLE / 2, True), (2 * IMPROBABLE, False)])
def test_a_class_that_is_asked_for_and_improbable_is_told_with_the_predicted_one(other: float, told: bool):
    lines = doubts(of_many(0.8, other), 3, MANY, weights="default")
    assert lines == (
        (
            "class 3 is improbable (0.5 %): the network predicts class 7 (80.0 %). "
            "The map shows what would speak for class 3.",
        )
        if told
        else ()
    )


def test_classes_with_a_probability_each_need_a_half():
    assert doubts([0.3, 0.4, 0.1], 1, NAMES, weights="default", output="sigmoids") == (
        "The network finds none of its classes: cup is most probable, with 40.0 %.",
    )
    assert doubts([0.6, 0.7, 0.55], 2, NAMES, weights="default", output="multilabel_logits") == ()
    assert doubts([0.4], 0, ("crack",), weights="default", output="logit")
    assert doubts([0.6], 0, ("crack",), weights="default", output="logit") == ()


@pytest.mark.parametrize(
    ("probability", "told"),
    [(0.0, "less than 0.1 %"), (0.0004, "less than 0.1 %"), (0.0006, "0.1 %"), (0.009, "0.9 %")],
)
def test_the_probability_of_an_improbable_class_has_one_digit(probability: float, told: str):
    assert f"({told})" in doubts([probability, 1 - probability, 0.0], 0, NAMES, weights="default")[0]


def test_probabilities_that_are_no_numbers_are_refused_elsewhere_and_say_nothing_here():
    assert doubts([np.nan, 0.5, 0.5], 0, NAMES, weights="default") == ()

"""Guesses that hit and guesses that miss, by hand."""

import numpy as np

from looktwice.metrics import (
    Guess,
    gt_known_hit,
    top1_hit,
    top5_hit,
)

TRUTHS = {3: [[0, 0, 10, 10], [50, 50, 60, 60]], 4: [[0, 0, 10, 10]]}


def test_a_guess_needs_label_and_box():
    assert top1_hit([Guess(3, [[0, 0, 10, 10]])], TRUTHS)
    assert top1_hit([Guess(3, [[50, 50, 60, 60]])], TRUTHS)  # any of the label's boxes
    assert not top1_hit([Guess(4, [[50, 50, 60, 60]])], TRUTHS)  # a box of another label
    assert not top1_hit([Guess(5, [[0, 0, 10, 10]])], TRUTHS)  # the right place, a wrong label


def test_half_the_overlap_is_enough_and_less_is_not():
    assert top1_hit([Guess(4, [[0, 0, 10, 5]])], TRUTHS)
    assert not top1_hit([Guess(4, [[0, 0, 10, 4.99]])], TRUTHS)
    assert top1_hit([Guess(4, [[0, 0, 10, 4]])], TRUTHS, overlap=0.4)


def test_only_the_first_or_the_first_five_guesses_count():
    wrong, right = Guess(9, [[0, 0, 10, 10]]), Guess(3, [[0, 0, 10, 10]])
    for place in range(7):
        guesses = [wrong] * place + [right] + [wrong] * 2
        assert top1_hit(guesses, TRUTHS) == (place == 0)
        assert top5_hit(guesses, TRUTHS) == (place < 5)


def test_a_guess_without_a_box_is_wrong_and_of_several_the_best_counts():
    assert not top1_hit([Guess(3, [])], TRUTHS)
    assert not top5_hit([], TRUTHS)
    assert top1_hit([Guess(3, [[90, 90, 99, 99], [0, 0, 10, 10]])], TRUTHS)


def test_gt_known_judges_the_box_alone():
    assert gt_known_hit([[50, 50, 60, 55]], TRUTHS[3])
    assert not gt_known_hit([[50, 50, 60, 55]], TRUTHS[4])
    assert not gt_known_hit(np.zeros((0, 4)), TRUTHS[3])

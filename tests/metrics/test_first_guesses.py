"""When a network is doubted: at chance, or hardly ever right though it is confident; never an honest one."""

import numpy as np
import pytest
from scipy.stats import binom

from looktwice.metrics.first_guesses import FirstGuesses

DOUBTFUL = {
    "two classes, half of them right": FirstGuesses(12, 24, 1 / 2, 0.6),
    "two classes that are swapped": FirstGuesses(1, 24, 1 / 2, 0.9),
    "ten classes at chance": FirstGuesses(22, 200, 1 / 10, 0.3),
    "a thousand classes in another order": FirstGuesses(1, 1000, 1 / 1000, 0.7),
    "a thousand classes, none right of twenty": FirstGuesses(0, 20, 1 / 1000, 0.1),
    "confident and hardly ever right": FirstGuesses(10, 200, 1 / 1000, 0.6),
    "one class for all images": FirstGuesses(8, 24, 1 / 6, 0.2, same=1.0),
    "one wrong class for nearly all": FirstGuesses(300, 1000, 1 / 1000, 0.9, same=0.96),
    "random weights": FirstGuesses(1, 800, 1 / 1000, 0.002),
    "three labels an image at chance": FirstGuesses(31, 100, 3 / 10, 0.4),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_wrong_inputs_and_classes_are_doubted(case):
    doubt = DOUBTFUL[case].doubt
    assert "\n" not in doubt
    for part in ("the network's first guess is wrong for", "a blind guess", "--mean, --std", "--classes"):
        assert part in doubt


HONEST = {
    "few images": FirstGuesses(0, 19, 1 / 1000, 0.9),
    "no image": FirstGuesses(0, 0, 1 / 2, 0.9),
    "two classes, three quarters right": FirstGuesses(15, 20, 1 / 2, 0.9),
    "a weak network that knows it": FirstGuesses(100, 1000, 1 / 1000, 0.2),
    "most images are of one class": FirstGuesses(19, 20, 1 / 2, 0.9, same=1.0),
    "most wrong guesses are of one class": FirstGuesses(400, 1000, 1 / 1000, 0.9, same=0.6),
    "every class is a label": FirstGuesses(20, 20, 1.0, 0.9),
    "wrong for 70 % and confident": FirstGuesses(300, 1000, 1 / 1000, 0.99),
}


@pytest.mark.parametrize("case", HONEST)
def test_honest_networks_are_not_doubted(case):
    assert HONEST[case].doubt is None


@pytest.mark.parametrize("images", [20, 50, 200, 1000])
@pytest.mark.parametrize("error", [0.3, 0.45, 0.6])
def test_of_networks_of_1000_classes_with_errors_of_30_to_60_per_cent_none_is_doubted(error, images):
    hits = np.arange(images + 1)
    doubted = [FirstGuesses(int(each), images, 1 / 1000, 0.95).is_doubtful for each in hits]
    assert binom.pmf(hits, images, 1 - error)[doubted].sum() < 1e-3


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("images", [20, 50, 200, 1000])
def test_of_networks_that_guess_nearly_all_are_doubted(classes, images):
    hits = np.arange(images + 1)
    doubted = [FirstGuesses(int(each), images, 1 / classes, 0.5).is_doubtful for each in hits]
    assert binom.pmf(hits, images, 1 / classes)[doubted].sum() > 0.85

"""What no measure takes."""

import numpy as np
import pytest

from looktwice.errors import InputError
from looktwice.metrics import (
    box_curve,
    energy_in_box,
    pointing_hit,
)
from squares import square


@pytest.mark.parametrize("measure", [pointing_hit, energy_in_box, box_curve])
def test_bad_maps_and_ground_truths_are_refused(measure):
    good, box = np.ones((2, 2)), [[0, 0, 1, 1]]
    with pytest.raises(InputError, match="NaN or infinite"):
        measure([[np.nan, 1.0]], box, square(2))
    with pytest.raises(InputError, match="no ground-truth box"):
        measure(good, [], square(2))
    for bad in ([[1, 0, 1, 1]], [[0, 2, 1, 1]], [[0, 0, np.nan, 1]]):
        with pytest.raises(InputError, match="empty or not finite"):
            measure(good, bad, square(2))

"""What is measured of regions, against the same from their cells in plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.errors import OptionError
from looktwice.localization.components import component_tree
from looktwice.localization.region_numbers import REGION_NUMBERS, measure_regions
from noise import smooth_noise
from slow_regions import slow_numbers, slow_regions

maps = nst.arrays(np.int8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 6))


def assert_as_slow(heat):
    tree = component_tree(heat.astype(np.float64))
    regions, values = slow_regions(heat)
    by_cells = {region.cells: region for region in regions}
    measured = measure_regions(tree)
    for index, row in enumerate(measured.tolist()):
        x1, y1, _, _ = tree.boxes[index].tolist()
        cells = frozenset((int(y) + y1, int(x) + x1) for y, x in np.argwhere(tree.mask(index)))
        slow = slow_numbers(by_cells[cells], regions, values)
        assert dict(zip(REGION_NUMBERS, row, strict=True)) == pytest.approx(slow, abs=1e-6)


@settings(max_examples=100)
@given(maps)
def test_numbers_against_plain_loops(heat):
    assert_as_slow(heat)


@pytest.mark.parametrize("shape", [(24, 24), (12, 40)])
def test_numbers_of_smooth_noise_against_plain_loops(shape):
    assert_as_slow(smooth_noise(shape, seed=shape[0]))


def test_numbers_of_a_square_by_hand():
    heat = np.zeros((100, 100))
    heat[20:60, 0:40] = 1
    row = dict(zip(REGION_NUMBERS, measure_regions(component_tree(heat))[0].tolist(), strict=True))
    assert row["box_area"] == pytest.approx(np.log(0.16))
    assert row["energy"] == row["squares"] == pytest.approx(np.log(101))
    assert (row["fill"], row["border"], row["parts"], row["valley"], row["sibling"]) == (1, 0.25, 0, 0, 0)
    assert row["spread"] == pytest.approx(np.log(0.16))


def test_numbers_are_those_named_in_their_order():
    tree = component_tree(smooth_noise((30, 30), seed=2))
    both = measure_regions(tree, ("ring", "fill"))
    assert np.array_equal(both, np.stack([REGION_NUMBERS[name].of(tree) for name in ("ring", "fill")], axis=1))


def test_numbers_of_a_map_without_regions():
    assert measure_regions(component_tree(np.zeros((4, 4)))).shape == (0, len(REGION_NUMBERS))


def test_unknown_number():
    with pytest.raises(OptionError, match="unknown number of a region: 'rings'; did you mean ring"):
        measure_regions(component_tree(np.ones((4, 4))), ("rings",))


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (5, 5)])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_numbers_are_finite(shape, scale):
    heat = np.random.default_rng(0).random(shape) * scale
    assert np.isfinite(measure_regions(component_tree(heat))).all()


def test_every_number_has_a_meaning():
    assert all(number.meaning and number.name == name for name, number in REGION_NUMBERS.items())

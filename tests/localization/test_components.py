"""The tree of components, against flood fill at each level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.localization.components import LONGER_SIDE, component_tree
from noise import smooth_noise
from slow_regions import slow_parent, slow_regions

maps = nst.arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 6))


def cells_of(tree, index):
    x1, y1, _, _ = tree.boxes[index].tolist()
    return frozenset((int(y) + y1, int(x) + x1) for y, x in np.argwhere(tree.mask(index)))


def as_sets(tree):
    """The cells of each region → the cells of its parent and its threshold."""
    cells = [cells_of(tree, index) for index in range(len(tree))]
    parents = [cells[parent] if parent >= 0 else None for parent in tree.parent.tolist()]
    return dict(zip(cells, zip(parents, tree.thresholds[tree.level].tolist(), strict=True), strict=True))


def slow_sets(heat):
    regions, _ = slow_regions(heat)
    parents = [slow_parent(region, regions) for region in regions]
    return {
        region.cells: (parent.cells if parent else None, region.threshold)
        for region, parent in zip(regions, parents, strict=True)
    }


def assert_as_slow(heat):
    tree = component_tree(heat.astype(np.float64))
    assert as_sets(tree) == slow_sets(heat)
    assert len(tree) == len(as_sets(tree))  # each set of cells once
    for index in range(len(tree)):
        cells = cells_of(tree, index)
        values = [tree.values[cell] for cell in cells]
        xs, ys = [x for _, x in cells], [y for y, _ in cells]
        assert tree.boxes[index].tolist() == [min(xs), min(ys), max(xs) + 1, max(ys) + 1]
        assert tree.area[index] == len(cells)
        assert tree.energy[index] == pytest.approx(sum(values))
        assert tree.squares[index] == pytest.approx(sum(value**2 for value in values))
        assert tree.peak[index] == max(values)
        assert tree.parent[index] < index


@settings(max_examples=200)
@given(maps)
def test_tree_against_flood_fill(heat):
    assert_as_slow(heat)


@pytest.mark.parametrize("shape", [(40, 40), (24, 60), (1, 90), (90, 1)])
def test_tree_of_smooth_noise_against_flood_fill(shape):
    assert_as_slow(smooth_noise(shape, seed=shape[0]))


def test_small_components_are_left_out():
    heat = np.zeros((100, 100))
    heat[10:60, 10:60] = 1
    heat[80:84, 80:90] = 1  # 40 cells: exactly the smallest share
    heat[90:93, 10:23] = 1  # 39 cells
    assert [box.tolist() for box in component_tree(heat).boxes] == [[10, 10, 60, 60], [80, 80, 90, 84]]


def test_largest_of_the_small_ones_stays_if_there_are_no_others():
    heat = np.zeros((100, 100))
    heat[5, 5] = heat[50, 50:53] = 1
    assert component_tree(heat).boxes.tolist() == [[50, 50, 53, 51]]


@pytest.mark.parametrize("value", [1.0, 1e-300, 1e300])
def test_constant_map_is_one_component(value):
    assert component_tree(np.full((3, 5), value)).boxes.tolist() == [[0, 0, 5, 3]]


def test_map_of_one_pixel():
    assert component_tree(np.ones((1, 1))).boxes.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_map_without_a_positive_value_has_no_components(value):
    assert len(component_tree(np.full((4, 4), value))) == 0


@pytest.mark.parametrize("change", [np.sqrt, np.square, lambda heat: heat / (1 + heat), lambda heat: 7 * heat])
def test_tree_depends_on_the_order_of_values_alone(change):
    heat = smooth_noise((60, 80), seed=3)
    tree, other = component_tree(heat), component_tree(change(heat))
    for column in ("parent", "level", "label", "area", "boxes", "labels"):
        assert np.array_equal(getattr(tree, column), getattr(other, column)), column


@pytest.mark.parametrize("shape", [(300, 200), (113, 1), (5, 1000)])
def test_large_map_is_reduced(shape):
    tree = component_tree(np.ones(shape))
    assert max(tree.values.shape) == LONGER_SIDE
    assert tree.values.shape == tuple(max(1, round(side * LONGER_SIDE / max(shape))) for side in shape)


@pytest.mark.parametrize("shape", [(112, 112), (7, 112), (3, 2)])
def test_small_map_stays(shape):
    assert component_tree(np.ones(shape)).values.shape == shape


def test_reduced_cells_are_means():
    heat = np.zeros((224, 224))
    heat[0, 0] = heat[100:102, 100:102] = 4
    values = component_tree(heat).values
    assert values[50, 50] == 1
    assert values[0, 0] == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(300, 200), (500, 333), (113, 140)])
def test_even_parts_of_a_reduced_map_are_even(shape):
    heat = np.full(shape, 0.1)
    heat[shape[0] // 3 : shape[0] // 2, shape[1] // 3 : shape[1] // 2] = 0.7
    assert len(component_tree(np.full(shape, 0.3))) == 1
    values, counts = np.unique(component_tree(heat).values, return_counts=True)
    assert set(values[counts > 60].tolist()) == {round(1 / 7, 12), 1.0}


def test_components_of_each_level_lie_together():
    tree = component_tree(smooth_noise((50, 50), seed=1))
    assert (np.diff(tree.level) >= 0).all()
    assert len(set(tree.level.tolist())) > 10


def test_components_within_which_each_one_lies():
    tree = component_tree(smooth_noise((50, 50), seed=1))
    for index, around in enumerate(tree.within.T.tolist()):
        expected = [index]
        while expected[-1] >= 0:
            expected.append(tree.parent[expected[-1]].item())
        assert around[: len(expected)] == expected[: len(around)]
        assert set(around[len(expected) :]) <= {-1}


def test_foreground_of_each_level():
    tree = component_tree(smooth_noise((50, 50), seed=1))
    assert tree.foreground.tolist() == [(tree.values > threshold).sum() for threshold in tree.thresholds]

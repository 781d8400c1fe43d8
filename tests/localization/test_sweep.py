"""The boxes at every threshold against the boxes drawn at each of them, one by one."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from looktwice.errors import OptionError
from looktwice.images import Window
from looktwice.localization import BoxRule, find_boxes, locate
from looktwice.localization import sweep as curves
from looktwice.localization.sweep import GRID, TracedBoxes, grid_index, trace
from looktwice.metrics import iou
from looktwice.metrics.curves import overlap_curve

KINDS = ("noise", "ties", "smooth", "binary", "even", "empty")


def heat_map(kind, height, width, seed):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((height, width))
    return {
        "noise": noise,
        "ties": np.round(noise * 2),
        "smooth": cv2.GaussianBlur(noise, (0, 0), 2),
        "binary": (noise > 0.3).astype(np.float64),
        "even": np.ones((height, width)),
        "empty": -np.abs(noise),
    }[kind]


maps = st.builds(heat_map, st.sampled_from(KINDS), st.integers(1, 24), st.integers(1, 24), st.integers(0, 10_000))


def at_each(traced: TracedBoxes):
    return np.split(traced.boxes, np.cumsum(traced.counts)[:-1])


@settings(max_examples=60, deadline=None)
@given(heat=maps, smallest=st.sampled_from([0.0, 0.01, 0.2]))
def test_all_thresholds_at_once_are_each_threshold_on_its_own(heat, smallest):
    traces = trace(heat, by_energy=True, smallest=smallest)
    rules = {
        "by_max": lambda t: BoxRule("contour", t, "max", smallest),
        "by_energy": lambda t: BoxRule("contour", t, "energy", smallest),
        "energy_box": lambda t: BoxRule("energy", t),
    }
    for name, rule in rules.items():
        for threshold, boxes in zip(GRID, at_each(getattr(traces, name)), strict=True):
            drawn = [box.corners for box in find_boxes(heat, rule(float(threshold)))]
            assert [tuple(box) for box in boxes] == drawn, (name, threshold)


@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_energy_levels_need_no_sorting_of_all_pixels(kind):
    heat = np.clip(heat_map(kind, 97, 83, 1), 0, None).astype(np.float32)
    levels = curves._energy_levels(heat / np.float64(heat.max()))
    assert levels is not None
    assert np.array_equal(levels, curves._energy_levels_by_sorting(heat))


@pytest.mark.parametrize("heat", [np.ones((10, 10)), np.tile([[1.0, 0.5]], (50, 20)), np.zeros((3, 3))])
def test_energy_levels_that_hang_on_rounding_are_left_to_sorting(heat):
    """Of a hundred equal pixels seventy hold just 0.7 of the energy, or a little less, as it is summed."""
    assert curves._energy_levels(heat) is None


@settings(max_examples=40, deadline=None)
@given(heat=maps, seed=st.integers(0, 100), crop=st.booleans())
def test_curves_are_the_overlap_of_what_locate_finds(heat, seed, crop):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 60, (2, 2))
    truths = np.concatenate([corner, corner + rng.integers(1, 60, (2, 2))], axis=1).astype(float)
    # The crop reaches beyond the image on all sides: boxes in the padding must not count as the largest.
    window = Window(-40, -30, 130, 120, 90, 70) if crop else Window.whole(90, 70)
    curve = overlap_curve(trace(heat, smallest=0.0).by_max, truths, window)
    for k, threshold in enumerate(GRID):
        boxes = [box.corners for box in locate(heat, window, BoxRule("contour", float(threshold), "max", 0.0))]
        overlap = iou(boxes, truths)
        assert curve.largest[k] == (overlap[0].max() if boxes else 0)
        assert curve.best[k] == (overlap.max() if boxes else 0)


def test_a_curve_by_hand():
    heat = np.zeros((10, 10))
    heat[2:6, 2:6] = 0.5  # 16 pixels, until the threshold reaches 0.5
    heat[8, 8] = 1.0  # then this one alone
    curve = overlap_curve(trace(heat, smallest=0.0).by_max, [(8.0, 8.0, 9.0, 9.0)], Window.whole(10, 10))
    assert curve.largest.tolist() == [0.0] * 50 + [1.0] * 50
    assert curve.best.tolist() == [1.0] * 100


def test_grid_index_knows_the_grid_only():
    assert [grid_index(float(text)) for text in ("0", "0.29", "0.35", "0.58", "0.99")] == [0, 29, 35, 58, 99]
    for threshold in (0.205, 0.996, 1.0, -0.01, float("inf"), float("nan"), 10**400):
        with pytest.raises(OptionError, match=r"0\.00, 0\.01"):
            grid_index(threshold)


def test_each_contour_is_drawn_from_its_own_corners(monkeypatch):
    """OpenCV reads all the contours that it gets: with all of them at each one, noise took minutes."""
    draw, taken = cv2.drawContours, []

    def counted(image, contours, *further, **named):
        taken.append(len(contours))
        return draw(image, contours, *further, **named)

    monkeypatch.setattr(cv2, "drawContours", counted)
    noise = heat_map("noise", 24, 24, 0)
    trace(noise, by_energy=True, smallest=0)
    locate(noise, Window.whole(24, 24), BoxRule("contour", smallest=0))
    assert len(taken) > 100
    assert set(taken) == {1}

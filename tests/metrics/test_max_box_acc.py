"""The rules of wsolevaluation by hand, and against plain loops, which know neither contours nor box arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.errors import InputError, OptionError
from looktwice.images import Window
from looktwice.metrics import (
    V2_LEVELS,
    best_thresholds,
    bootstrap,
    box_curve,
    box_hits,
    class_mean,
    max_box_acc,
    max_box_acc_v2,
    threshold_grid,
)
from squares import boxes_within, square


def curve(heat, truths, thresholds, side=None):
    height, width = np.shape(heat)
    found = box_curve(heat, truths, Window.whole(side or width, side or height), thresholds=thresholds)
    return found.largest.tolist(), found.best.tolist()


def test_the_grid_is_wsolevaluations():
    assert len(threshold_grid()) == 100
    assert len(threshold_grid(0.001)) == 1000
    assert threshold_grid()[29] == 0.29
    assert threshold_grid()[0] == 0
    assert threshold_grid()[-1] < 1


def test_a_box_ends_one_pixel_late_and_is_cut_at_the_last_column():
    heat = np.zeros((20, 20))
    heat[5:10, 5:10] = 1  # pixels 5 … 9; its box by the rule is 5, 5, 10, 10 inclusive: 36 pixels
    assert curve(heat, [[5, 5, 10, 10]], [0.5])[0] == [25 / 36]
    assert curve(heat, [[5, 5, 11, 11]], [0.5])[0] == [1.0]
    heat[:] = 0
    heat[15:, 15:] = 1  # pixels 15 … 19: 15 + 5 is cut to 19
    assert curve(heat, [[15, 15, 20, 20]], [0.5])[0] == [1.0]


def test_strictly_above_the_truncated_level():
    heat = np.zeros((8, 8))
    heat[0, 0] = 1.0
    heat[2:4, 2:4] = 128 / 255  # gray level 128 = int(0.505 · 255)
    truth = [[2, 2, 5, 5]]
    # 0.5 · 255 = 127.5 → 127, 128 is above; 0.505 · 255 = 128.775 → 128, 128 is not.
    assert curve(heat, truth, [0.5, 0.505])[0] == [1.0, 0.0]


def test_values_are_truncated_to_gray_levels():
    heat = np.zeros((8, 8))
    heat[0, 0] = 1.0
    heat[2:4, 2:4] = 127.9 / 255
    assert curve(heat, [[2, 2, 5, 5]], [0.4, 0.5])[0] == [1.0, 0.0]


def test_the_map_is_shifted_and_scaled_first():
    heat = np.zeros((8, 8))
    heat[2:4, 2:4] = 1
    heat[6, 6] = 0.3
    for changed in (heat, 7 * heat - 3, heat * 1e-30):
        assert curve(changed, [[2, 2, 5, 5]], threshold_grid()) == curve(heat, [[2, 2, 5, 5]], threshold_grid())


def test_a_constant_map_has_no_contour_and_the_box_0_0_0_0():
    for value in (0.0, 3.0, -1.0):
        # The box 0, 0, 0, 0 is one inclusive pixel; the truth has 0 … 1 in both directions.
        assert curve(np.full((5, 5), value), [[0, 0, 2, 2]], [0, 0.5]) == ([0.25, 0.25], [0.25, 0.25])
    assert curve(np.zeros((1, 1)), [[0, 0, 1, 1]], [0.0]) == ([1.0], [1.0])


def test_the_largest_contour_counts_for_v1_and_the_best_for_v2():
    heat = np.zeros((30, 30))
    heat[2:6, 2:6] = 1
    heat[10:20, 10:20] = 0.9
    largest, best = curve(heat, [[2, 2, 7, 7]], [0.5, 0.95])
    assert largest == [0.0, 1.0]
    assert best == [1.0, 1.0]


def test_largest_is_by_the_contours_own_area_not_by_the_box():
    heat = np.zeros((30, 30))
    heat[1, 0:25] = heat[0:25, 1] = 1  # a thin cross: its box is 25×25, its contour's area is small
    heat[10:20, 10:20] = 1
    assert curve(heat, [[10, 10, 21, 21]], [0.5])[0] == [1.0]


def test_a_hole_is_a_contour_too_one_pixel_wider_than_itself():
    heat = np.zeros((30, 30))
    heat[5:25, 5:25] = 1
    heat[10:20, 10:20] = 0  # its contour runs on 9 … 20, its box by the rule is 9 … 21
    largest, best = curve(heat, [[9, 9, 22, 22]], [0.5])
    assert best == [1.0]
    assert largest == [169 / 441]  # the outer box is 5 … 25: 21² pixels


def test_any_of_several_ground_truths():
    heat = np.zeros((20, 20))
    heat[5:10, 5:10] = 1
    assert curve(heat, [[12, 12, 20, 20], [5, 5, 11, 11]], [0.5]) == ([1.0], [1.0])


def test_ground_truths_are_scaled_as_inclusive_ends_and_truncated():
    heat = np.zeros((10, 10))
    heat[2:4, 2:4] = 1  # its box by the rule: 2 … 4 inclusive
    # In an image of 35×35: inclusive 9 … 16 scales to 2.57 … 4.57, truncated 2 … 4.
    assert curve(heat, [[9, 9, 17, 17]], [0.5], side=35)[0] == [1.0]
    # Inclusive 9 … 17 scales to 4.86, still 4; 18 to 5.14: 5.
    assert curve(heat, [[9, 9, 18, 18]], [0.5], side=35)[0] == [1.0]
    assert curve(heat, [[9, 9, 19, 19]], [0.5], side=35)[0] == [9 / 16]


def test_a_ground_truth_narrower_than_a_pixel_has_that_pixel():
    heat = np.zeros((10, 10))
    heat[2, 2] = 1  # its box by the rule: 2 … 3 inclusive
    assert curve(heat, [[2.25, 2, 2.5, 3]], [0.5])[0] == [1 / 4]


def test_what_a_crop_cut_off_counts_against_the_map():
    heat = np.zeros((10, 10))
    heat[0:10, 0:5] = 1
    window = Window(10, 0, 20, 10, 20, 10)  # map pixel 0 is image column 10
    found = box_curve(heat, [[5, 0, 16, 10]], window, thresholds=[0.5])
    # The box 0 … 5 × 0 … 9 against −5 … 5 × 0 … 9: six of eleven columns.
    assert found.largest.tolist() == [6 / 11]


def test_a_perfect_map_scores_one():
    heat = np.zeros((224, 224))
    heat[50:100, 30:200] = 1
    found = box_curve(heat, [[30, 50, 201, 101]], square(224))
    assert found.largest.tolist() == found.best.tolist() == [1.0] * 100
    assert max_box_acc([found.largest]) == max_box_acc_v2([found.best]) == 1.0


EIGHT = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
FOUR = [(-1, 0), (1, 0), (0, -1), (0, 1)]


def regions(pixels, steps):
    left, found = set(pixels), []
    while left:
        stack = [left.pop()]
        region = set(stack)
        while stack:
            y, x = stack.pop()
            near = {(y + dy, x + dx) for dy, dx in steps} & left
            left -= near
            region |= near
            stack.extend(near)
        found.append(region)
    return found


def bounds(region, grow=0):
    ys, xs = [y for y, _ in region], [x for _, x in region]
    return min(xs) - grow, min(ys) - grow, max(xs) + grow, max(ys) + grow


def polygon_area(region, height, width):
    """Area inside the outer contour, which joins pixel centres: whole and half squares of four neighbouring centres."""
    around = {(y, x) for y in range(-1, height + 1) for x in range(-1, width + 1)}
    (outside,) = [part for part in regions(around - region, FOUR) if (-1, -1) in part]
    filled = around - outside
    corners = [sum((y + dy, x + dx) in filled for dy in (0, 1) for dx in (0, 1)) for y, x in around]
    return corners.count(4) + corners.count(3) / 2


def slow_iou(box, truth):
    a = {(y, x) for y in range(box[1], box[3] + 1) for x in range(box[0], box[2] + 1)}
    b = {(y, x) for y in range(truth[1], truth[3] + 1) for x in range(truth[0], truth[2] + 1)}
    return len(a & b) / len(a | b)


def slow_curves(heat, truths, image_side, thresholds):
    """Per threshold: the IoUs that the largest contour may have (several where areas tie), and the best of all."""
    height, width = heat.shape
    low, high = heat.min(), heat.max()
    grid = range(height), range(width)
    gray = {(y, x): int((heat[y, x] - low) / (high - low) * 255) if high > low else 0 for y in grid[0] for x in grid[1]}
    scaled = []
    for x1, y1, x2, y2 in truths:
        x_ends = [int(x * float(width) / image_side) for x in (x1, x2 - 1)]
        y_ends = [int(y * float(height) / image_side) for y in (y1, y2 - 1)]
        scaled.append((x_ends[0], y_ends[0], x_ends[1], y_ends[1]))

    def score(box):
        x1, y1, x2, y2 = box
        late = x1, y1, min(x2 + 1, width - 1), min(y2 + 1, height - 1)
        return max(slow_iou(late, truth) for truth in scaled)

    for threshold in thresholds:
        level = int(threshold * max(gray.values()))
        above = {pixel for pixel in gray if gray[pixel] > level}
        if not above:
            nothing = max(slow_iou((0, 0, 0, 0), truth) for truth in scaled)
            yield {nothing}, nothing
            continue
        outer = regions(above, EIGHT)
        holes = [
            part
            for part in regions(set(gray) - above, FOUR)
            if all(0 < y < height - 1 and 0 < x < width - 1 for y, x in part)
        ]
        areas = [polygon_area(region, height, width) for region in outer]
        largest = {score(bounds(region)) for region, area in zip(outer, areas, strict=True) if area == max(areas)}
        yield largest, max(score(box) for box in [*map(bounds, outer), *(bounds(hole, 1) for hole in holes)])


@settings(max_examples=150, deadline=None)
@given(
    nst.arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)),
    st.lists(boxes_within(), min_size=1, max_size=3),
)
def test_box_curve_against_loops(heat, truths):
    thresholds = [0.0, 0.2, 0.25, 0.26, 0.5, 0.75, 0.99]
    fast = box_curve(heat, truths, square(12), thresholds=thresholds)
    slow = list(slow_curves(heat.astype(float), truths, 12, thresholds))
    for largest, best, (allowed, expected) in zip(fast.largest, fast.best, slow, strict=True):
        assert largest in allowed
        assert best == expected


def test_a_smooth_map_on_the_whole_grid_against_loops():
    y, x = np.mgrid[:16, :16]
    heat = np.exp(-((x - 5) ** 2 + (y - 6) ** 2) / 20) + 0.7 * np.exp(-((x - 12) ** 2 + (y - 11) ** 2) / 6)
    truths = [[10, 12, 30, 33]]
    fast = box_curve(heat, truths, square(48))
    slow = list(slow_curves(heat, truths, 48, threshold_grid()))
    assert all(len(allowed) == 1 for allowed, _ in slow)
    assert fast.largest.tolist() == [min(allowed) for allowed, _ in slow]
    assert fast.best.tolist() == [best for _, best in slow]


CURVES = [[0.9, 0.2, 0.2], [0.4, 0.6, 0.1], [0.2, 0.5, 0.7]]


def test_one_threshold_for_all_images():
    # IoU ≥ .5: one, two and one image of three.
    assert max_box_acc(CURVES) == pytest.approx(2 / 3)
    # IoU ≥ .3: 2, 2, 1; ≥ .5: 1, 2, 1; ≥ .7: 1, 0, 1.
    assert max_box_acc_v2(CURVES) == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)


def test_a_fixed_threshold_and_each_images_own():
    assert max_box_acc(CURVES, at=[0]) == pytest.approx(1 / 3)
    assert max_box_acc_v2(CURVES, at=[2]) == pytest.approx((1 / 3 + 1 / 3 + 1 / 3) / 3)
    assert max_box_acc_v2(CURVES, at=[0, 1, 2]) == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    assert max_box_acc(CURVES, at="per_image") == 1.0
    assert max_box_acc_v2(CURVES, at="per_image") == pytest.approx((3 / 3 + 3 / 3 + 2 / 3) / 3)


def test_thresholds_tuned_on_other_images():
    assert best_thresholds(CURVES) == [1]
    assert best_thresholds(CURVES, V2_LEVELS) == [0, 1, 0]
    assert max_box_acc_v2(CURVES, at=best_thresholds(CURVES, V2_LEVELS)) == max_box_acc_v2(CURVES)


def test_levels_are_reached_at_equality():
    assert max_box_acc([[0.5]]) == 1.0
    assert max_box_acc([[np.nextafter(0.5, 0)]]) == 0.0
    assert box_hits([[3 / 10, 5 / 10, 7 / 10]], V2_LEVELS).tolist() == [[[1, 1, 1], [0, 1, 1], [0, 0, 1]]]


@pytest.mark.parametrize("at", [[3], [-1], [0, 1], [], "best"])
def test_thresholds_outside_the_grid_are_refused(at):
    with pytest.raises(OptionError, match="grid indices 0 … 2"):
        max_box_acc_v2(CURVES, at=at)


@pytest.mark.parametrize("curves", [[], [0.5], np.zeros((0, 100))])
def test_no_curve_is_refused(curves):
    with pytest.raises(InputError, match="at least one of each"):
        max_box_acc(curves)


many_curves = nst.arrays(float, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=st.floats(0, 1))


@given(many_curves)
def test_max_box_acc_against_loops(curves):
    images, thresholds = curves.shape

    def best(level):
        return max(sum(curves[i, t] >= level for i in range(images)) / images for t in range(thresholds))

    assert max_box_acc(curves) == pytest.approx(best(0.5))
    assert max_box_acc_v2(curves) == pytest.approx((best(0.3) + best(0.5) + best(0.7)) / 3)
    alone = sum(max(curves[i]) >= 0.5 for i in range(images)) / images
    assert max_box_acc(curves, at="per_image") == pytest.approx(alone)
    assert max_box_acc(curves) <= max_box_acc(curves, at="per_image") + 1e-12


@given(many_curves, st.randoms(use_true_random=False))
def test_the_order_of_images_changes_nothing(curves, random):
    order = random.sample(range(len(curves)), len(curves))
    classes = np.arange(len(curves)) % 3
    assert max_box_acc(curves[order]) == max_box_acc(curves)
    assert max_box_acc_v2(curves[order]) == max_box_acc_v2(curves)
    values = curves[:, 0]
    assert class_mean(values[order], classes[order]) == pytest.approx(class_mean(values, classes))
    assert bootstrap(values[order], resamples=0).value == pytest.approx(values.mean())

"""Every rule by hand, and against plain loops over pixels, which know neither contours nor box arithmetic."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from looktwice.errors import InputError, OptionError
from looktwice.images import Window
from looktwice.metrics import (
    V2_LEVELS,
    Guess,
    best_share,
    best_thresholds,
    bootstrap,
    box_curve,
    box_hits,
    class_mean,
    energy_in_box,
    gt_known_hit,
    iou,
    iou_inclusive,
    max_box_acc,
    max_box_acc_v2,
    paired_difference,
    pointing_hit,
    threshold_grid,
    top1_hit,
    top5_hit,
)


def square(side: int) -> Window:
    """The map's pixels are the image's."""
    return Window.whole(side, side)


@st.composite
def boxes_within(draw, side=12):
    x1, x2 = sorted(draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
    return x1, y1, x2, y2


def pixels_of(box):
    x1, y1, x2, y2 = box
    return {(y, x) for y in range(y1, y2) for x in range(x1, x2)}


# ---- overlap -------------------------------------------------------------------------------------------------------


def test_iou_by_hand():
    boxes = [[0, 0, 10, 10], [0, 0, 5, 10], [20, 20, 30, 30]]
    truths = [[0, 0, 10, 10], [5, 5, 15, 15]]
    np.testing.assert_allclose(iou(boxes, truths), [[1, 25 / 175], [0.5, 0], [0, 0]], rtol=1e-15)


def test_boxes_that_touch_share_half_open_nothing_and_inclusive_a_column():
    assert iou([[0, 0, 2, 2]], [[2, 0, 4, 2]])[0, 0] == 0
    # Columns 0–2 and 2–4 of three rows: 3 of 15 pixels.
    assert iou_inclusive([[0, 0, 2, 2]], [[2, 0, 4, 2]])[0, 0] == 3 / 15


def test_inclusive_no_box_is_one_pixel():
    assert iou_inclusive([[0, 0, 0, 0]], [[0, 0, 1, 1]])[0, 0] == 1 / 4


def test_iou_of_nothing():
    assert iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)
    assert iou([], []).shape == (0, 0)
    assert iou([[3, 3, 3, 3]], [[3, 3, 3, 3]])[0, 0] == 0
    assert iou([[3, 3, 3.001, 3.001]], [[3, 3, 3.001, 3.001]])[0, 0] == 1
    with pytest.raises(InputError, match="boxes must be"):
        iou([0, 0, 1, 1], [[0, 0, 1, 1]])


@given(st.lists(boxes_within(), max_size=4), st.lists(boxes_within(), max_size=4))
def test_iou_against_sets_of_pixels_in_both_conventions(boxes, truths):
    slow = [[len(pixels_of(a) & pixels_of(b)) / len(pixels_of(a) | pixels_of(b)) for b in truths] for a in boxes]
    assert iou(boxes, truths).tolist() == slow
    last = [0, 0, 1, 1]
    if boxes and truths:
        assert iou_inclusive(np.subtract(boxes, last), np.subtract(truths, last)).tolist() == slow


coordinates = st.floats(-1e4, 1e4)


@given(nst.arrays(float, (3, 4), elements=coordinates), nst.arrays(float, (2, 4), elements=coordinates))
def test_iou_is_symmetric_and_within_0_and_1(boxes, truths):
    for measure in (iou, iou_inclusive):
        overlap = measure(boxes, truths)
        np.testing.assert_array_equal(overlap, measure(truths, boxes).T)
        assert ((overlap >= 0) & (overlap <= 1)).all()


# ---- localization of a label ---------------------------------------------------------------------------------------

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


# ---- pointing game -------------------------------------------------------------------------------------------------


def peak(side, x, y):
    heat = np.zeros((side, side), dtype=np.float32)
    heat[y, x] = 1
    return heat


def test_fifteen_pixels_away_is_a_miss_and_fourteen_a_hit():
    # The box's pixels are 40 … 59.
    box = [[40, 40, 60, 60]]
    for x, hit in [(25, False), (26, True), (40, True), (59, True), (73, True), (74, False)]:
        assert pointing_hit(peak(100, x, 50), box, square(100)) == hit
        assert pointing_hit(peak(100, 50, x), box, square(100)) == hit


def test_the_distance_is_euclidean_and_strict():
    box = [[40, 40, 60, 60]]
    assert not pointing_hit(peak(100, 40 - 9, 40 - 12), box, square(100))  # 9² + 12² = 15²
    assert pointing_hit(peak(100, 40 - 9, 40 - 11), box, square(100))
    assert pointing_hit(peak(100, 40 - 9, 40 - 12), box, square(100), tolerance=15.1)


def test_any_of_several_boxes_is_hit():
    far, near = [0, 0, 5, 5], [80, 80, 90, 90]
    assert not pointing_hit(peak(100, 85, 85), [far], square(100))
    assert pointing_hit(peak(100, 85, 85), [far, near], square(100))


def test_of_equal_maxima_the_first_in_reading_order_points():
    heat = np.zeros((100, 100))
    heat[10, 90] = heat[50, 5] = 1
    assert pointing_hit(heat, [[85, 5, 95, 15]], square(100))
    assert not pointing_hit(heat, [[0, 45, 10, 55]], square(100))
    assert pointing_hit(np.zeros((100, 100)), [[0, 0, 1, 1]], square(100))


def test_tolerance_is_pixels_of_the_original():
    # A map of 10×10 over 1000×500: its pixel (2, 5) has its centre at (249.5, 274.5) in the image's pixel indices.
    window = Window.whole(1000, 500)
    assert pointing_hit(peak(10, 2, 5), [[264, 270, 300, 280]], window)
    assert not pointing_hit(peak(10, 2, 5), [[265, 270, 300, 280]], window)
    # The same map over a crop, 100 … 200 of the width, half as wide again a map pixel: (124.5, 274.5).
    crop = Window(100, 0, 200, 500, 1000, 500)
    assert pointing_hit(peak(10, 2, 5), [[139, 270, 150, 280]], crop)
    assert not pointing_hit(peak(10, 2, 5), [[140, 270, 150, 280]], crop)


def slow_pointing_hit(heat, boxes, tolerance):
    best = max((value, -index) for index, value in enumerate(heat.ravel().tolist()))
    v, u = divmod(-best[1], heat.shape[1])
    mask = set().union(*(pixels_of(box) for box in boxes))
    return any((y - v) ** 2 + (x - u) ** 2 < tolerance**2 for y, x in mask)


@given(
    nst.arrays(np.int8, (12, 12), elements=st.integers(-3, 3)),
    st.lists(boxes_within(), min_size=1, max_size=3),
    st.sampled_from([0.5, 1, 3, 5]),
)
def test_pointing_against_a_mask_of_pixels(heat, boxes, tolerance):
    assert pointing_hit(heat, boxes, square(12), tolerance=tolerance) == slow_pointing_hit(heat, boxes, tolerance)


# ---- energy --------------------------------------------------------------------------------------------------------


def test_energy_by_hand():
    heat = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert energy_in_box(heat, [[0, 0, 1, 2]], square(2)) == 0.4
    assert energy_in_box(heat, [[0, 0, 2, 2]], square(2)) == 1.0
    # Half of the pixel 4, cut by the box.
    assert energy_in_box(heat, [[1, 1, 1.5, 2]], square(2)) == 0.2
    # Boxes that overlap count once.
    assert energy_in_box(heat, [[0, 0, 1, 2], [0, 0, 2, 1]], square(2)) == pytest.approx(0.6)


def test_negative_values_and_empty_maps_hold_no_energy():
    assert energy_in_box([[-5.0, 1.0], [1.0, 2.0]], [[0, 0, 1, 2]], square(2)) == 0.25
    assert energy_in_box(np.zeros((2, 2)), [[0, 0, 1, 2]], square(2)) == 0.0


def test_what_lies_in_padding_or_outside_a_crop_is_outside():
    padded = Window(-10, 0, 10, 20, 10, 20)  # the map's left half is padding
    assert energy_in_box(np.ones((2, 2)), [[0, 0, 10, 20]], padded) == 0.5
    crop = Window(10, 0, 20, 20, 40, 20)
    assert energy_in_box(np.ones((2, 2)), [[0, 0, 15, 20]], crop) == 0.5
    assert energy_in_box(np.ones((2, 2)), [[30, 0, 40, 20]], crop) == 0.0


@given(nst.arrays(np.int8, (3, 4), elements=st.integers(-2, 9)), st.lists(boxes_within(), min_size=1, max_size=3))
def test_energy_against_a_mask_of_pixels(heat, boxes):
    # A map pixel is 3×4 pixels of a 12×12 image; spread its energy over them and count those inside.
    mask = set().union(*(pixels_of(box) for box in boxes))
    spread = {(y, x): max(int(heat[y // 4, x // 3]), 0) for y in range(12) for x in range(12)}
    total = sum(spread.values())
    assume(total)
    expected = sum(spread[pixel] for pixel in mask) / total
    assert energy_in_box(heat, boxes, square(12)) == pytest.approx(expected, abs=1e-12)


# ---- MaxBoxAcc: one image ------------------------------------------------------------------------------------------


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


# ---- MaxBoxAcc: slow re-implementation -----------------------------------------------------------------------------

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


# ---- MaxBoxAcc: many images ----------------------------------------------------------------------------------------

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


# ---- intervals -----------------------------------------------------------------------------------------------------


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


# ---- bad maps and boxes --------------------------------------------------------------------------------------------


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

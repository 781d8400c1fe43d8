"""All boxes of an image against plain loops, against pycocotools, and against numbers worked out by hand."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from looktwice.errors import InputError
from looktwice.metrics import average_precision, bootstrap, iou, match_boxes, nested_boxes, paired_difference
from looktwice.metrics.all_boxes import MOST_BOXES
from looktwice.metrics.intervals import resampled_counts
from looktwice.metrics.judged_maps import JudgedBoxes, JudgedMaps, Thresholds, Undefined
from looktwice.metrics.measures import ALL_BOXES, MEASURES

AT = Thresholds(0.2)
SIDE = 12
UNIT = (0, 0, 10, 10)


# Slow: one box, one pixel of area, one recall at a time.


def slow_iou(one, other):
    width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (area - width * height) if area > width * height else 0.0


def slow_match(boxes, scores, truths):
    found, free = [-1] * len(boxes), list(range(len(truths)))
    for box in sorted(range(len(boxes)), key=lambda index: (-scores[index], index)):
        best = None
        for truth in free:
            if best is None or slow_iou(boxes[box], truths[truth]) >= slow_iou(boxes[box], truths[best]):
                best = truth
        if best is not None and slow_iou(boxes[box], truths[best]) >= 0.5:
            found[box] = best
            free.remove(best)
    return found


def slow_nested(boxes):
    def pixels(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    found = []
    for index, box in enumerate(boxes):
        others = [pixels(other) for place, other in enumerate(boxes) if place != index]
        own = pixels(box)
        found.append(bool(own) and any(10 * len(own & other) >= 7 * len(own) for other in others))
    return found


def slow_ap(images):
    """AP50 of images, each with boxes, scores and truths: the precision at each of 101 recalls."""
    entries = []
    for place, (boxes, scores, truths) in enumerate(images):
        matched = slow_match(boxes, scores, truths)
        kept = sorted(range(len(boxes)), key=lambda index: (-scores[index], index))[:100]
        entries += [(-scores[index], place, order, matched[index] >= 0) for order, index in enumerate(kept)]
    entries.sort(key=lambda entry: entry[:3])
    total = sum(len(truths) for _, _, truths in images)
    reached, right = [], 0
    for count, (*_, hit) in enumerate(entries, start=1):
        right += hit
        reached.append((right / total, right / count))
    best = [max((precision for recall, precision in reached if recall >= level), default=0.0)
            for level in np.linspace(0, 1, 101)]  # fmt: skip
    return sum(best) / 101


def slow_measures(images):
    """Precision, recall, F1, AP50, boxes an image and the nested share of images, 0 where nothing is divided by."""
    right = sum(truth >= 0 for image in images for truth in slow_match(*image))
    boxes, truths = (sum(len(image[part]) for image in images) for part in (0, 2))
    nested = sum(sum(slow_nested(image[0])) for image in images)
    return {
        "box_precision": right / boxes if boxes else 0.0,
        "box_recall": right / truths,
        "box_f1": 2 * right / (boxes + truths),
        "box_ap50": slow_ap(images),
        "boxes_per_image": boxes / len(images),
        "nested_boxes": nested / boxes if boxes else 0.0,
    }


def coco_ap50(images):
    """AP50 by pycocotools: class-agnostic, each map an image, at most 100 boxes of each."""

    def as_coco(box):
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truths = [(place, box) for place, (_, _, boxes) in enumerate(images, start=1) for box in boxes]
        boxes = [(place, *each) for place, image in enumerate(images, start=1)
                 for each in zip(*image[:2], strict=True)]  # fmt: skip
        shared = {"images": [{"id": place} for place in range(1, len(images) + 1)], "categories": [{"id": 1}]}
        for holder, annotations in (
            (truth, [{"image_id": place, "bbox": as_coco(box)} for place, box in truths]),
            (found, [{"image_id": place, "bbox": as_coco(box), "score": score} for place, box, score in boxes]),
        ):
            for number, each in enumerate(annotations, start=1):
                area = each["bbox"][2] * each["bbox"][3]
                each |= {"id": number, "category_id": 1, "iscrowd": 0, "area": area}
            holder.dataset = {**shared, "annotations": annotations}
            holder.createIndex()
        judge = COCOeval(truth, found, "bbox")
        judge.params.useCats, judge.params.iouThrs, judge.params.maxDets = 0, np.array([0.5]), [1, 10, 100]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    return float(judge.eval["precision"][0, :, 0, 0, -1].mean())


# Fast: what a run's summary counts.


def judged(images, **arrays):
    """Maps of images, as a run's rows hold them."""
    count, flat = len(images), np.zeros((len(images), 100), dtype=np.float32)
    zeros = np.zeros(count, dtype=np.int64)
    boxes = JudgedBoxes(
        counts=np.array([len(boxes) for boxes, _, _ in images], dtype=np.int64),
        truths=np.array([len(truths) for _, _, truths in images], dtype=np.int64),
        score=np.array([score for _, scores, _ in images for score in scores], dtype=np.float64),
        right=np.array([truth >= 0 for image in images for truth in match_boxes(*image)], dtype=np.bool_),
        nested=np.array([each for boxes, _, _ in images for each in nested_boxes(boxes)], dtype=np.bool_),
    )
    given = {"image": np.arange(count), "images": count, "rank": zeros, "target_place": zeros, "label_place": zeros}
    given |= {"judged": zeros, "right": np.ones(count, dtype=np.bool_), "seconds": np.ones(count), "measured": {}}
    given |= {"curve": flat, "energy_box": flat, "largest": flat, "best": flat, "boxes": boxes}
    return JudgedMaps(**given | arrays)


def draws(name, maps, resamples=0):
    """A measure over all images, then over resamples."""
    sample = MEASURES[name].values_of(maps, AT, "true")
    return np.concatenate([sample.of_counts(each) for each in resampled_counts(len(sample), resamples=resamples)])


def value(name, images):
    return float(draws(name, judged(images))[0])


@st.composite
def a_box(draw):
    """A box on a small grid, so that equal boxes, equal overlaps and boxes without area are common."""
    x1, x2 = sorted(draw(st.tuples(*[st.integers(0, SIDE)] * 2)))
    y1, y2 = sorted(draw(st.tuples(*[st.integers(0, SIDE)] * 2)))
    return x1, y1, x2, y2


@st.composite
def an_image(draw, fewest=1):
    truths = draw(st.lists(a_box().filter(lambda box: box[0] < box[2] and box[1] < box[3]),
                           min_size=fewest, max_size=4))  # fmt: skip
    near = st.sampled_from(truths) if truths else a_box()  # many are right, some several times
    boxes = draw(st.lists(st.one_of(a_box(), near), max_size=5))
    scores = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=len(boxes), max_size=len(boxes)))
    return boxes, scores, truths


@settings(max_examples=300)
@given(an_image(fewest=0))
def test_matching_and_nesting_are_those_of_plain_loops(image):
    assert match_boxes(*image).tolist() == slow_match(*image)
    assert nested_boxes(image[0]).tolist() == slow_nested(image[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(an_image(), min_size=1, max_size=6))
def test_measures_are_those_of_plain_loops(images):
    maps = judged(images)
    groups = {
        "_one": [image for image in images if len(image[2]) == 1],
        "_several": [image for image in images if len(image[2]) > 1],
        "": images,
    }
    for ending, chosen in groups.items():
        for name, expected in (slow_measures(chosen) if chosen else {}).items():
            if f"{name}{ending}" in MEASURES:
                assert draws(f"{name}{ending}", maps)[0] == pytest.approx(expected, abs=1e-12), f"{name}{ending}"


@settings(max_examples=60, deadline=None)
@given(st.lists(an_image(), min_size=1, max_size=6))
def test_ap50_is_that_of_pycocotools(images):
    assert value("box_ap50", images) == pytest.approx(coco_ap50(images), abs=1e-9)


def many(images, seed=0, boxes=5, most_truths=4):
    """Random images whose boxes are near their truths, with scores that say a little; all numbers are fractions."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        corners = rng.random((rng.integers(1, most_truths + 1), 2)) * 60
        truths = np.concatenate([corners, corners + 10 + 30 * rng.random(corners.shape)], axis=1)
        near = truths[rng.integers(0, len(truths), rng.integers(0, boxes + 1))]
        drawn = near + rng.normal(0, 4, near.shape)
        drawn[:, 2:] = np.maximum(drawn[:, 2:], drawn[:, :2] + 1)
        right = match_boxes(drawn, np.ones(len(drawn)), truths) >= 0
        found.append((drawn.tolist(), (rng.random(len(drawn)) + 0.3 * right).round(2).tolist(), truths.tolist()))
    return found


def test_ap50_of_many_images_is_that_of_pycocotools():
    images = many(300)
    for chosen, name in (
        (images, "box_ap50"),
        ([image for image in images if len(image[2]) == 1], "box_ap50_one"),
        ([image for image in images if len(image[2]) > 1], "box_ap50_several"),
    ):
        assert value(name, images) == pytest.approx(coco_ap50(chosen), abs=1e-9)
        assert 0.1 < value(name, images) < 0.9


def test_ap50_counts_a_hundred_boxes_of_a_map_as_pycocotools_does():
    rng = np.random.default_rng(1)
    images = []
    for _ in range(3):
        corners = rng.integers(0, 50, (2 * MOST_BOXES, 2))
        boxes = np.concatenate([corners, corners + rng.integers(5, 20, corners.shape)], axis=1)
        scores = rng.random(len(boxes)).round(2)  # many equal ones
        images.append((boxes.tolist(), scores.tolist(), boxes[rng.permutation(len(boxes))[:40]].tolist()))
    images.append(([UNIT], [0.5], [UNIT]))
    expected = coco_ap50(images)
    assert value("box_ap50", images) == pytest.approx(expected, abs=1e-9) == pytest.approx(slow_ap(images), abs=1e-9)
    assert value("box_recall", images) > expected  # all boxes count there


def test_the_ap_of_single_boxes_is_that_of_their_images():
    images = many(40)
    right = [truth >= 0 for image in images for truth in match_boxes(*image)]
    scores = [score for image in images for score in image[1]]
    truths = sum(len(image[2]) for image in images)
    assert average_precision(scores, right, truths) == pytest.approx(slow_ap(images), abs=1e-12)


def test_ap_by_hand():
    # Right, wrong, right of two: precision 1 up to recall 0.5 (51 levels), then 2/3 (50 levels).
    assert average_precision([0.9, 0.8, 0.7], [True, False, True], 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    # Wrong, right of one: 1/2 everywhere. Of equal scores the earlier one is first.
    assert average_precision([0.5, 0.5], [False, True], 1) == 0.5
    assert average_precision([0.5, 0.5], [True, False], 1) == 1.0
    # Recall ends at 0.25: 26 levels are reached.
    assert average_precision([0.5], [True], 4) == pytest.approx(26 / 101)
    assert average_precision([], [], 3) == average_precision([0.5], [False], 3) == 0.0


def test_a_recall_on_a_level_counts_as_in_pycocotools():
    # 35 of 100 is the recall 0.35, but COCO's level is the next number: linspace has a rounded step.
    truths = [(10 * place, 0, 10 * place + 9, 9) for place in range(100)]
    for found, levels in ((7, 8), (35, 35), (57, 57), (58, 59), (94, 94), (100, 101)):
        images = [(truths[:found], [0.5] * found, truths)]
        assert value("box_ap50", images) == pytest.approx(coco_ap50(images), abs=1e-9)
        assert value("box_ap50", images) == pytest.approx(levels / 101), found


def test_one_truth_is_matched_once():
    boxes = [(0, 0, 10, 9), UNIT]
    assert match_boxes(boxes, [0.9, 0.8], [UNIT]).tolist() == [0, -1]  # the score decides, not the overlap
    assert match_boxes(boxes, [0.8, 0.9], [UNIT]).tolist() == [-1, 0]


def test_of_equal_scores_the_earlier_box_is_first():
    assert match_boxes([(0, 0, 10, 9), UNIT], [0.5, 0.5], [UNIT]).tolist() == [0, -1]


def test_a_box_takes_the_free_truth_that_it_overlaps_most():
    truths = [(0, 0, 10, 8), (0, 0, 10, 9)]
    assert match_boxes([UNIT, UNIT, UNIT], [0.9, 0.8, 0.7], truths).tolist() == [1, 0, -1]
    # The second box can only have the truth that the first one took; it does not get a worse one.
    assert match_boxes([(0, 0, 10, 6), (0, 0, 10, 6)], [0.9, 0.8], [(0, 0, 10, 6), (0, 4, 10, 12)]).tolist() == [0, -1]


def test_of_equal_overlaps_the_last_truth_is_taken_as_in_coco():
    truths = [(0, 0, 5, 10), (5, 0, 10, 10)]
    assert match_boxes([UNIT], [0.9], truths).tolist() == [1]
    # Then a box that overlaps only that one goes without, so the order shows in AP50.
    images = [([UNIT, (5, 0, 10, 10)], [0.9, 0.8], truths)]
    assert value("box_ap50", images) == pytest.approx(coco_ap50(images)) == pytest.approx(51 / 101)


def test_an_overlap_of_exactly_half_is_right():
    assert match_boxes([(0, 0, 10, 5), (0, 0, 10, 4)], [0.9, 0.8], [UNIT]).tolist() == [0, -1]
    assert match_boxes([(0, 0, 10, 4), (0, 0, 10, 5)], [0.9, 0.8], [UNIT]).tolist() == [-1, 0]


def test_without_boxes_or_truths_nothing_is_matched():
    assert match_boxes([], [], [UNIT]).tolist() == []
    assert match_boxes([UNIT], [1.0], []).tolist() == [-1]
    assert match_boxes([], [], []).tolist() == []
    assert nested_boxes([]).tolist() == []


def test_a_box_without_area_is_wrong_and_not_nested():
    assert match_boxes([(3, 3, 3, 8)], [1.0], [UNIT]).tolist() == [-1]
    assert nested_boxes([(3, 3, 3, 8), UNIT]).tolist() == [False, False]


def test_nested_means_seven_tenths_of_the_own_area():
    assert nested_boxes([UNIT, (3, 0, 13, 10)]).tolist() == [True, True]  # 70 of 100 pixels
    assert nested_boxes([UNIT, (4, 0, 14, 10)]).tolist() == [False, False]
    assert nested_boxes([UNIT, (3, 5, 13, 6)]).tolist() == [False, True]  # of a tenth of the area, 7 of 10 pixels
    assert nested_boxes([UNIT, UNIT]).tolist() == [True, True]
    # Two boxes that cover it only together do not count.
    assert nested_boxes([UNIT, (0, 0, 5, 10), (5, 0, 10, 10)]).tolist() == [False, True, True]


def test_measures_by_hand():
    images = [
        # One object: a right box and a stray one inside it, of a higher score.
        ([(2, 2, 4, 4), UNIT], [0.9, 0.8], [UNIT]),
        # Three objects: one is found, one box covers two of them and misses both.
        ([(0, 0, 4, 4), (10, 10, 40, 40)], [0.7, 0.6], [(0, 0, 4, 4), (10, 10, 20, 20), (30, 30, 40, 40)]),
        # One object and no box.
        ([], [], [UNIT]),
    ]
    expected = {
        "box_precision_one": 1 / 2, "box_recall_one": 1 / 2, "box_f1_one": 1 / 2,
        "box_ap50_one": 51 * 0.5 / 101,
        "box_precision_several": 1 / 2, "box_recall_several": 1 / 3, "box_f1_several": 2 / 5,
        "box_ap50_several": 34 / 101,  # recall 1/3 reaches 0, 0.01 … 0.33
        "box_precision": 2 / 4, "box_recall": 2 / 5, "box_f1": 4 / 9,
        # By score: wrong, right, right, wrong. Precision 2/3 up to recall 0.4.
        "box_ap50": 41 * (2 / 3) / 101,
        "boxes_per_image": 4 / 3, "nested_boxes": 1 / 4,
    }  # fmt: skip
    assert {measure.name for measure in ALL_BOXES} == set(expected)
    for name, number in expected.items():
        assert value(name, images) == pytest.approx(number), name


def test_without_any_box_all_measures_are_0_and_none_is_nan():
    images = [([], [], [UNIT]), ([], [], [UNIT, (20, 20, 30, 30)])]
    for measure in ALL_BOXES:
        found = draws(measure.name, judged(images), resamples=50)
        assert (found == 0).all(), measure.name


def test_resamples_without_a_box_are_0_and_not_nan():
    images = [([], [], [UNIT]), ([UNIT], [0.5], [UNIT])]
    for name in ("box_precision", "box_f1", "box_ap50", "nested_boxes"):
        found = draws(name, judged(images), resamples=200)
        assert np.isfinite(found).all()
        assert found.min() == 0.0, name


def test_a_resample_is_the_measure_of_its_images():
    images = many(12, seed=3)
    maps = judged(images)
    counts = np.concatenate(list(resampled_counts(len(images), resamples=20)))
    for name in ("box_precision", "box_recall", "box_f1", "box_ap50", "boxes_per_image", "nested_boxes"):
        found = draws(name, maps, resamples=20)
        for number, held in zip(found, counts, strict=True):
            drawn = [image for image, times in zip(images, held, strict=True) for _ in range(int(times))]
            assert number == pytest.approx(value(name, drawn), abs=1e-12), name


def test_resamples_are_those_of_the_other_measures_so_differences_are_paired():
    images = many(30, seed=4)
    found, truths = ([image[part] for image in images] for part in (0, 2))
    right = [int((match_boxes(*image) >= 0).sum()) for image in images]
    values = np.stack([right, [len(each) for each in found], [len(each) for each in truths]], axis=1)

    def f1(means):
        return 2 * means[:, 0] / (means[:, 1] + means[:, 2])

    own = draws("box_f1", judged(images), resamples=1000)
    low, high = np.quantile(own[1:], [0.025, 0.975])
    expected = bootstrap(values, f1)
    assert (own[0], low, high) == pytest.approx((expected.value, expected.low, expected.high))
    fewer = [(boxes[:1], scores[:1], own_truths) for boxes, scores, own_truths in images]
    gap = own - draws("box_f1", judged(fewer), resamples=1000)
    right = [int((match_boxes(*image) >= 0).sum()) for image in fewer]
    other = np.stack([right, [len(image[0]) for image in fewer], values[:, 2]], axis=1)
    paired = paired_difference(values, other, f1)
    assert (gap[0], *np.quantile(gap[1:], [0.025, 0.975])) == pytest.approx((paired.value, paired.low, paired.high))


def test_only_maps_of_first_guesses_with_truths_count():
    right, wrong = ([UNIT], [0.5], [UNIT]), ([(20, 20, 30, 30)], [0.9], [UNIT])
    bare = ([UNIT], [0.9], [])
    maps = judged([right, wrong, bare], rank=np.array([0, 1, 0]), judged=np.array([3, 3, -1]))
    assert draws("box_precision", maps)[0] == draws("box_ap50", maps)[0] == draws("boxes_per_image", maps)[0] == 1.0


def test_a_map_of_a_wrong_class_is_judged_by_the_label():
    maps = judged([([UNIT], [0.5], [UNIT])], right=np.array([False]), target_place=np.array([0]))
    for target in ("predicted", "true", "top5"):
        sample = MEASURES["box_precision"].values_of(maps, AT, target)
        assert sample.of_counts(np.ones((1, 1))).tolist() == [1.0]


def test_a_group_without_images_and_a_run_without_the_columns_are_undefined():
    maps = judged([([UNIT], [0.5], [UNIT])])
    for name in ("box_precision_several", "box_ap50_several"):
        assert MEASURES[name].values_of(maps, AT, "true") == Undefined("no image has several annotated objects")
    several = judged([([UNIT], [0.5], [UNIT, UNIT])])
    assert MEASURES["box_f1_one"].values_of(several, AT, "true") == Undefined("no image has one annotated object")
    bare = judged([([UNIT], [0.5], [])], judged=np.array([-1]))
    assert MEASURES["box_f1"].values_of(bare, AT, "true") == Undefined("no image has boxes to be judged by")
    old = judged([([UNIT], [0.5], [UNIT])], boxes=None)
    for measure in ALL_BOXES:
        assert "evaluate into another folder" in measure.values_of(old, AT, "true").reason


def test_what_cannot_be_matched_or_ordered_is_refused():
    with pytest.raises(InputError, match=r"2 boxes and 1 scores; one score for each box"):
        match_boxes([UNIT, UNIT], [0.5], [UNIT])
    with pytest.raises(InputError, match="score that is NaN or infinite"):
        match_boxes([UNIT], [np.nan], [UNIT])
    with pytest.raises(InputError, match="score that is NaN or infinite"):
        average_precision([np.inf], [True], 1)
    with pytest.raises(InputError, match="0 ground truths; one or more"):
        average_precision([0.5], [False], 0)
    with pytest.raises(InputError, match=r"boxes must be \(number, 4\)"):
        match_boxes([[0, 0, 1]], [0.5], [UNIT])


def test_the_slow_overlap_is_the_fast_one():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 8, (40, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 6, corners.shape)], axis=1).tolist()
    expected = [[slow_iou(one, other) for other in boxes] for one in boxes]
    assert iou(boxes, boxes).tolist() == pytest.approx(np.array(expected))

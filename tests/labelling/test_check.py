"""A check of labels: by hand, by plain loops, by pycocotools, and against an evaluation of the same boxes."""

import contextlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluations import colours, draw, rows_of, run_on, summary_of
from label_checks import CLASSES, drawn, label_set, labelled, truths
from looktwice.datasets import load_dataset
from looktwice.decoding import Orientation
from looktwice.errors import DatasetError
from looktwice.export.label_set import LabelClass
from looktwice.labelling.box_scores import GRID, MinScore, _part, choose_min_score
from looktwice.labelling.check import check_labels
from looktwice.labelling.check_table import check_table
from looktwice.labelling.judged import FoundBoxes, judge_image
from looktwice.localization.boxes import BoxRule
from looktwice.metrics.judged_maps import Undefined
from looktwice.models import load_model

CAT, DOG, CUP = (each.index for each in CLASSES)
UNIT, FAR = (0, 0, 10, 10), (60, 60, 70, 70)


def value(check, name):
    return check.scores[name].value


# ---- by hand -------------------------------------------------------------------------------------------------------


def by_hand():
    labels = label_set(
        # One cat: found, and a stray box.
        labelled("a.jpg", (0, UNIT, 0.9), (0, FAR, 0.3)),
        # Two cats: one box is nearly right (IoU 0.6), the other cat is missed.
        labelled("b.jpg", (0, (0, 0, 10, 6), 0.5)),
        # A dog that is taken for a cat. Its box stands on the dog, but is wrong.
        labelled("c.jpg", (0, UNIT, 0.7), classes=((0, 0.6, False),)),
        # One dog: its box must be moved (IoU 1/3).
        labelled("d.jpg", (1, (5, 0, 15, 10), 0.85), classes=((1, 0.9, False),)),
        # Nobody drew boxes on this one.
        labelled("e.jpg", (0, UNIT, 1.0)),
    )
    by_person = truths(
        drawn("a.jpg", {CAT: [UNIT]}),
        drawn("b.jpg", {CAT: [UNIT, FAR]}),
        drawn("c.jpg", {DOG: [UNIT]}),
        drawn("d.jpg", {DOG: [UNIT]}),
    )
    return check_labels(labels, by_person)


def test_measures_by_hand():
    check = by_hand()
    assert check.images.judged == 4
    assert value(check, "box_precision") == 0.4  # 2 of 5
    assert value(check, "box_recall") == 0.4  # 2 of 5
    assert value(check, "box_f1") == 0.4
    assert value(check, "box_precision_one") == 0.25  # 1 of 4: the stray counts with the dog
    assert value(check, "box_recall_one") == pytest.approx(1 / 3)
    assert value(check, "box_precision_several") == 1
    assert value(check, "box_recall_several") == 0.5
    assert value(check, "boxes_per_image") == 1.25
    assert value(check, "nested_boxes") == 0
    # By score: right, wrong, wrong, right, wrong. Recall 1/5 at precision 1, 2/5 at 1/2: 21 levels and 20.
    assert value(check, "box_ap50") == pytest.approx((21 + 20 * 0.5) / 101)
    assert check.right_class.value == 0.75
    assert check.right_class.n == 4


def test_corrections_by_hand():
    half, strict = by_hand().corrections
    assert (half.iou, strict.iou) == (0.5, 0.75)
    assert [half.boxes_stand.value, half.boxes_moved.value, half.boxes_deleted.value] == [0.4, 0.2, 0.4]
    assert half.objects_drawn.value == 0.4  # the second cat, and the dog that was taken for a cat
    assert half.images_untouched.value == 0
    assert [strict.boxes_stand.value, strict.boxes_moved.value, strict.boxes_deleted.value] == [0.2, 0.4, 0.4]
    assert strict.objects_drawn.value == 0.4
    assert half.boxes_stand.low <= 0.4 <= half.boxes_stand.high
    assert half.boxes_stand.n == 4


def test_score_groups_by_hand():
    found = [(group.boxes, group.mean_score, group.right and group.right.value) for group in by_hand().score_groups]
    assert found == [(0, None, None), (1, 0.3, 0.0), (1, 0.5, 1.0), (1, 0.7, 0.0), (2, 0.875, 0.5)]


@pytest.mark.parametrize(("score", "group"), [(0.0, 0), (0.2, 1), (0.7999, 3), (0.8, 4), (1.0, 4)])
def test_a_score_on_an_edge_is_in_the_upper_group(score, group):
    check = check_labels(label_set(labelled("a", (0, UNIT, score))), truths(drawn("a", {CAT: [UNIT]})))
    assert [each.boxes for each in check.score_groups] == [int(place == group) for place in range(5)]


def test_right_labels_need_nothing():
    check = check_labels(
        label_set(labelled("a.jpg", (0, UNIT, 0.9), (0, FAR, 0.8)), labelled("b.jpg", (0, UNIT, 0.4))),
        truths(drawn("a.jpg", {CAT: [UNIT, FAR]}), drawn("b.jpg", {CAT: [UNIT]})),
    )
    for each in check.corrections:
        assert each.images_untouched.value == each.boxes_stand.value == 1
        assert each.boxes_moved.value == each.boxes_deleted.value == each.objects_drawn.value == 0
    assert value(check, "box_ap50") == 1


def test_images_without_boxes_are_judged():
    check = check_labels(label_set(labelled("a.jpg")), truths(drawn("a.jpg", {CAT: [UNIT]})))
    assert value(check, "box_recall") == value(check, "box_precision") == value(check, "box_ap50") == 0
    (half, _) = check.corrections
    assert half.objects_drawn.value == 1
    assert half.boxes_stand.value == half.boxes_deleted.value == half.images_untouched.value == 0
    assert "no box" not in check_table(check)
    assert isinstance(check.min_score, Undefined)


# ---- classes -------------------------------------------------------------------------------------------------------


def test_a_class_that_nobody_looked_for_is_missed():
    check = check_labels(label_set(labelled("a", (0, UNIT, 0.9))), truths(drawn("a", {CAT: [UNIT], 999: [FAR]})))
    assert value(check, "box_precision") == 1
    assert value(check, "box_recall") == 0.5
    assert check.corrections[0].objects_drawn.value == 0.5


def test_boxes_are_matched_with_their_own_class_only():
    labels = label_set(labelled("a", (0, FAR, 0.9), (1, UNIT, 0.8), classes=((0, 1.0, True), (1, 1.0, True))))
    check = check_labels(labels, truths(drawn("a", {CAT: [UNIT], DOG: [FAR]})))
    assert value(check, "box_recall") == 0
    assert value(check, "box_precision_one") == 0


def test_a_stray_counts_with_the_first_class_that_has_boxes():
    # As an evaluation judges the map of a wrong class. The first class has one object, the other two.
    labels = label_set(labelled("a", (2, UNIT, 0.9), classes=((2, 0.5, False),)))
    check = check_labels(labels, truths(drawn("a", {DOG + 1: [], CAT: [UNIT], DOG: [UNIT, FAR]})))
    assert check.scores["box_ap50_one"].n == check.scores["box_ap50_several"].n == 1
    assert (value(check, "boxes_per_image"), value(check, "box_f1_one"), value(check, "box_f1_several")) == (0.5, 0, 0)
    found = judge_image(FoundBoxes.of(next(labels.images()), [CAT, DOG, CUP]), drawn("a", {CAT: [UNIT], DOG: [FAR]}))
    assert [len(label.scores) for label in found.labels] == [0, 1]  # by index: the dog, then the cat
    assert check.right_class.value == 0


def test_a_class_that_the_image_shows_without_drawn_boxes_is_not_judged():
    labels = label_set(labelled("a", (0, UNIT, 0.9), (1, FAR, 0.8), classes=((0, 1.0, True), (1, 1.0, True))))
    check = check_labels(labels, truths(drawn("a", {CAT: [UNIT], DOG: []})))
    assert value(check, "box_precision") == value(check, "boxes_per_image") == 1
    assert check.right_class.value == 1


def test_an_image_with_labels_and_no_drawn_box_is_left_out():
    check = check_labels(
        label_set(labelled("a", (0, UNIT, 0.9)), labelled("b", (0, UNIT, 0.9))),
        truths(drawn("a", {CAT: [UNIT]}), drawn("b", {CAT: []})),
    )
    assert check.images.judged == 1
    assert check.images.left_out == ("b: no box was drawn on it by hand",)


def test_images_that_are_listed_without_an_object_are_counted_and_not_judged():
    by_person = truths(drawn("a", {CAT: [UNIT]}), drawn("b", {}), drawn("nowhere", {}))
    labels = label_set(labelled("a", (0, UNIT, 0.9)), labelled("b", (0, UNIT, 0.9)))
    check = check_labels(labels, replace(by_person, notes=("a.json: 2 crowd regions ignored",)))
    assert (check.images.judged, check.images.without_object, check.images.left_out) == (1, 2, ())
    assert value(check, "box_precision") == 1
    told = check_table(check)
    assert "  2 images without an object in the annotation: not judged\n" in told
    assert "  a.json: 2 crowd regions ignored\n" in told


def test_nested_boxes_are_of_one_class():
    inner = (1, 1, 9, 9)
    both = labelled("a", (0, UNIT, 0.9), (1, inner, 0.8), (1, UNIT, 0.7))
    check = check_labels(label_set(both), truths(drawn("a", {CAT: [UNIT]})))
    assert value(check, "nested_boxes") == pytest.approx(1 / 3)  # in the other box of the strays' class


# ---- which images --------------------------------------------------------------------------------------------------


def test_images_are_found_by_the_end_of_their_path():
    check = check_labels(
        label_set(
            labelled("tench/v_10.JPEG", (0, UNIT, 0.9)),
            labelled("cat/a.jpg", (0, UNIT, 0.9)),
            labelled("dog/a.jpg", (0, UNIT, 0.9)),
            labelled("b.jpg", (0, UNIT, 0.9)),
        ),
        truths(*(drawn(name, {CAT: [UNIT]}) for name in ("n01440764/v_10", "a.jpg", "b.jpg", "c.jpg"))),
    )
    assert (check.images.judged, check.images.by_path_end) == (2, 1)
    assert check.images.ambiguous == ("a.jpg may be cat/a.jpg or dog/a.jpg",)
    assert check.images.unmatched == ("c.jpg",)
    told = check_table(check)
    assert "1 image found by the end of the path" in told
    assert "1 not among the labelled images:\n    c.jpg" in told
    assert "1 may be several labelled images:\n    a.jpg may be" in told


def test_copies_are_counted_apart():
    check = check_labels(
        label_set(labelled("cat/a.jpg", (0, UNIT, 0.9)), labelled("b.jpg", (0, UNIT, 0.9))),
        truths(*(drawn(name, {CAT: [UNIT]}) for name in ("images/7ea30258__a.jpg", "data/local-files/?d=p/b.jpg"))),
    )
    assert (check.images.judged, check.images.by_path_end, check.images.copies) == (2, 1, 1)
    assert "  1 image found without the eight hex digits before the name of a copy\n" in check_table(check)


def test_images_are_found_by_the_names_of_files_that_a_form_wrote():
    images = [replace(labelled(f"a.{kind}", (0, UNIT, 0.9)), name=f"a_{kind}") for kind in ("jpg", "png")]
    check = check_labels(label_set(*images), truths(drawn("images/a_png.png", {CAT: [UNIT]})))
    assert (check.images.judged, check.images.unmatched) == (1, ())


def test_no_image_in_common():
    with pytest.raises(DatasetError, match=r"the annotation names x/b\.jpg, for example, and the labels a\.jpg;"):
        check_labels(label_set(labelled("a.jpg")), truths(drawn("x/b.jpg", {CAT: [UNIT]})))


def test_only_ambiguous_images():
    with pytest.raises(DatasetError, match=r"no annotated image can be told .*: a\.jpg may be x/a\.jpg or y/a\.jpg"):
        check_labels(label_set(labelled("x/a.jpg"), labelled("y/a.jpg")), truths(drawn("a.jpg", {CAT: [UNIT]})))


def test_no_labelled_image():
    with pytest.raises(DatasetError, match="there are no labelled images to check"):
        check_labels(label_set(), truths(drawn("a.jpg", {CAT: [UNIT]})))


def test_no_usable_annotation():
    with pytest.raises(DatasetError, match="no annotated image can be used; the first of 1: a: it is annotated as 7×7"):
        check_labels(label_set(labelled("a")), truths(drawn("a", {CAT: [UNIT]}, size=(7, 7))))


def test_pictures_that_are_stored_turned():
    turned = Orientation(6, (100, 80))  # upright 80×100; the stored corner (0, 0, 10, 5) is (75, 0, 80, 10)
    upright = {"size": (80, 100), "orientation": turned}
    check = check_labels(
        label_set(
            labelled("stored", (0, (75, 0, 80, 10), 0.9), **upright),
            labelled("upright", (0, (75, 0, 80, 10), 0.9), **upright),
            labelled("unknown", (0, (75, 0, 80, 10), 0.9), **upright),
            labelled("scaled", (0, (75, 0, 80, 10), 0.9), **upright),
        ),
        truths(
            drawn("stored", {CAT: [(0, 0, 10, 5)]}, size=(100, 80)),
            drawn("upright", {CAT: [(75, 0, 80, 10)]}, size=(80, 100)),
            drawn("unknown", {CAT: [(75, 0, 80, 10)]}, size=None),
            drawn("scaled", {CAT: [(75, 0, 80, 10)]}, size=(160, 200)),
        ),
    )
    assert check.images.judged == 2
    assert check.corrections[1].images_untouched.value == 1
    assert [line.partition(":")[0] for line in check.images.left_out] == ["scaled", "unknown"]


def test_a_stored_size_is_doubtful_in_all_images_of_an_annotation():
    # The second image's boxes fit both sizes. The first one shows that sizes are stored and boxes upright.
    upright = {"size": (80, 100), "orientation": Orientation(6, (100, 80))}
    names = ("shows.jpg", "fits.jpg", "plain.jpg")
    check = check_labels(
        label_set(*(labelled(name, (0, UNIT, 0.9), **({} if name == "plain.jpg" else upright)) for name in names)),
        truths(
            drawn("shows.jpg", {CAT: [(0, 0, 10, 95)]}),
            *(drawn(name, {CAT: [UNIT]}) for name in names[1:]),
        ),
    )
    assert check.images.judged == 1
    assert [line.partition(":")[0] for line in check.images.left_out] == ["fits.jpg", "shows.jpg"]


def test_what_the_annotation_lacks_is_told():
    # An object that is left out makes the recall too good.
    by_person = replace(
        truths(drawn("a", {CAT: [UNIT]})), problems=("boxes.csv: a: unknown class 'unicorn', left out",)
    )
    check = check_labels(label_set(labelled("a", (0, UNIT, 0.9))), by_person)
    assert check.images.problems == by_person.problems
    assert "  1 that could not be read in the annotation:\n    boxes.csv: a: unknown class" in check_table(check)


def test_names_cannot_steer_the_terminal():
    evil = "red\x1b[31m\n.jpg"
    check = check_labels(
        label_set(labelled("a", (0, UNIT, 0.9))), truths(drawn("a", {CAT: [UNIT]}), drawn(evil, {CAT: [UNIT]}))
    )
    assert "\x1b" not in check_table(check)
    assert "\x1b" not in json.dumps(check.as_json(), ensure_ascii=False)


# ---- slow second derivations ---------------------------------------------------------------------------------------


def a_box(least=0):
    side = st.tuples(st.integers(0, 12 - least), st.integers(least, 12)).map(
        lambda ends: (ends[0], min(12, ends[0] + ends[1]))
    )
    return st.tuples(side, side).map(lambda sides: (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))


@st.composite
def an_image(draw):
    """Boxes of classes 0 … 2 (class, box, score), and truths by class; many boxes are those of truths."""
    drawn_boxes = draw(st.dictionaries(st.integers(0, 2), st.lists(a_box(1), min_size=1, max_size=3), min_size=1))
    near = st.sampled_from([box for boxes in drawn_boxes.values() for box in boxes])
    score = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    boxes = draw(st.lists(st.tuples(st.integers(0, 2), st.one_of(a_box(), near), score), max_size=5))
    return sorted(boxes, key=lambda each: -each[2]), drawn_boxes


def checked(images):
    names = [f"{number:03d}" for number in range(len(images))]
    return check_labels(
        label_set(*(labelled(name, *boxes) for name, (boxes, _) in zip(names, images, strict=True))),
        truths(
            *(
                drawn(name, {CLASSES[key].index: boxes for key, boxes in by_class.items()})
                for name, (_, by_class) in zip(names, images, strict=True)
            )
        ),
    )


def slow_iou(one, other):
    pixels = [{(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (one, other)]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1]) if pixels[0] | pixels[1] else 0.0


def slow_rounds(boxes, by_class, levels):
    """For each level, the places of the boxes that are matched in a round of their own; truths are matched once."""
    free = [(key, box) for key, own in by_class.items() for box in own]
    done, rounds = set(), []
    for level in levels:
        taken = set()
        for place, (key, box, _) in enumerate(boxes):
            fitting = [truth for truth in free if truth[0] == key and place not in done]
            best = max(fitting, key=lambda truth: slow_iou(box, truth[1]), default=None)
            best = next((each for each in reversed(fitting) if slow_iou(box, each[1]) == slow_iou(box, best[1])), None)
            if best is not None and slow_iou(box, best[1]) >= level:
                del free[len(free) - 1 - free[::-1].index(best)]
                taken.add(place)
        done |= taken
        rounds.append(taken)
    return rounds, len(free)


@settings(max_examples=150, deadline=None)
@given(st.lists(an_image(), min_size=1, max_size=5))
def test_corrections_and_measures_are_those_of_plain_loops(images):
    check = checked(images)
    boxes = sum(len(each) for each, _ in images)
    objects = sum(len(own) for _, by_class in images for own in by_class.values())
    for corrections in check.corrections:
        stand = moved = drawn_anew = untouched = 0
        for found, by_class in images:
            (kept, shifted), missed = slow_rounds(found, by_class, (corrections.iou, 0.1))
            stand, moved, drawn_anew = stand + len(kept), moved + len(shifted), drawn_anew + missed
            untouched += len(kept) == len(found) and missed == 0
        expected = [stand / (boxes or 1), moved / (boxes or 1), (boxes - stand - moved) / (boxes or 1)]
        expected += [drawn_anew / objects, untouched / len(images)]
        names = ("boxes_stand", "boxes_moved", "boxes_deleted", "objects_drawn", "images_untouched")
        assert [getattr(corrections, name).value for name in names] == pytest.approx(expected, abs=2e-9)
        if corrections.iou == 0.5:
            assert value(check, "box_precision") == pytest.approx(stand / (boxes or 1), abs=2e-9)
            assert value(check, "box_recall") == pytest.approx(stand / objects, abs=2e-9)


def coco_ap50(images):
    """AP50 by pycocotools, class-agnostic. Each image and class is an image; strays lie far from all truths."""
    truth, found, place = [], [], 0

    def corners(box, shift=0):
        return [float(box[0] + shift), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    for boxes, by_class in images:
        for key in sorted(by_class, key=lambda key: CLASSES[key].index):
            place += 1
            truth += [{"image_id": place, "bbox": corners(box)} for box in by_class[key]]
            own = [(box, score, 0) for each, box, score in boxes if each == key]
            if key == next(iter(by_class)):
                others = [each for each in boxes if each[0] not in by_class]
                others.sort(key=lambda each: CLASSES[each[0]].index)
                own += [(box, score, 1000) for _, box, score in others]
            found += [{"image_id": place, "bbox": corners(box, shift), "score": score} for box, score, shift in own]
    with contextlib.redirect_stdout(io.StringIO()):
        holders = []
        for annotations in (truth, found):
            holder = COCO()
            for number, each in enumerate(annotations, start=1):
                area = each["bbox"][2] * each["bbox"][3]
                each |= {"id": number, "category_id": 1, "iscrowd": 0, "area": area}
            images = [{"id": number} for number in range(1, place + 1)]
            holder.dataset = {"images": images, "categories": [{"id": 1}], "annotations": annotations}
            holder.createIndex()
            holders.append(holder)
        judge = COCOeval(*holders, "bbox")
        judge.params.useCats, judge.params.iouThrs, judge.params.maxDets = 0, np.array([0.5]), [1, 10, 100]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    return float(judge.eval["precision"][0, :, 0, 0, -1].mean())


@settings(max_examples=60, deadline=None)
@given(st.lists(an_image(), min_size=1, max_size=5))
def test_ap50_is_that_of_pycocotools(images):
    assert value(checked(images), "box_ap50") == pytest.approx(coco_ap50(images), abs=2e-9)


# ---- the least score -----------------------------------------------------------------------------------------------


def judged(count, right_from=0.0, seed=0):
    """Images of one object with three boxes of random scores; a box is right if its score is ``right_from`` or more."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(count):
        spots = [(20 * place, 0, 20 * place + 10, 10) for place in range(3)]
        scores = rng.random(3)
        image = labelled(f"{number}", *((0, box, score) for box, score in zip(spots, scores, strict=True)))
        right = [box for box, score in zip(spots, scores, strict=True) if score >= right_from]
        sample = drawn(f"{number}", {CAT: right or [(90, 70, 100, 80)]})
        images.append(judge_image(FoundBoxes.of(image, [CAT]), sample))
    return images


def slow_f1(images, least):
    right = boxes = objects = 0
    for image in images:
        for label in image.labels:
            kept = label.scores >= least
            right += int((label.matches()[kept] >= 0).sum())
            boxes, objects = boxes + int(kept.sum()), objects + len(label.truths)
    return 2 * right / (boxes + objects)


def test_the_least_score_is_the_best_of_the_grid():
    images = judged(60, right_from=0.4)
    found = choose_min_score(images)
    f1s = [slow_f1(images, least) for least in GRID]
    assert found.min_score == GRID[int(np.argmax(f1s))]
    assert found.f1_here == pytest.approx(max(f1s), abs=1e-9)
    assert found.f1_all_boxes.value == pytest.approx(slow_f1(images, 0), abs=1e-9)
    assert abs(found.min_score - 0.4) < 0.03
    assert found.f1_elsewhere.value <= found.f1_here
    assert found.gain.value == pytest.approx(found.f1_elsewhere.value - found.f1_all_boxes.value, abs=2e-9)
    assert found.gain.low > 0
    assert len(found.of_parts) == 5


def test_no_part_is_judged_with_a_score_chosen_on_itself():
    # Each part's least score must not change if the boxes of that part do.
    images = judged(40, right_from=0.5)
    before = choose_min_score(images).of_parts
    for part in range(5):
        worse = judged(40, right_from=2.0)
        mixed = [worse[place] if _part(image.id) == part else image for place, image in enumerate(images)]
        assert choose_min_score(mixed).of_parts[part] == before[part]


def test_if_all_boxes_are_right_none_is_cut():
    found = choose_min_score(judged(30))
    assert found.min_score == 0
    assert found.gain.value == found.gain.low == found.gain.high == 0


def test_too_few_images_to_choose_on():
    assert isinstance(choose_min_score(judged(20)), MinScore)
    found = choose_min_score(judged(19))
    assert found.reason == "19 images are too few to choose a least score; draw boxes on 20 or more"


def test_without_boxes_no_score_is_chosen():
    names = [str(number) for number in range(20)]
    check = check_labels(label_set(*map(labelled, names)), truths(*(drawn(name, {CAT: [UNIT]}) for name in names)))
    assert check.min_score == Undefined("there is no box to choose a least score for")


# ---- an evaluation of the same boxes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twenty pictures with one or two labels that have boxes; one has a third without, and two have no box at all."""
    folder = draw(tmp_path_factory.mktemp("pictures"), 22)
    lines = (folder / "images.csv").read_text().splitlines()
    bare = ("002.png", "021.png")
    kept = [line for line in lines if not line.startswith(bare)]
    (folder / "images.csv").write_text("\n".join([*kept, "005.png,3,,,,", *(f"{name},1,,,," for name in bare)]) + "\n")
    return load_dataset(folder, "csv")


@pytest.mark.parametrize(
    ("network", "rule"),
    [
        (colours, BoxRule("objects", min_score=0.01)),
        (colours, BoxRule("contour", threshold=0.5)),
        (lambda: load_model("squeezenet1_1", weights="random"), BoxRule("objects", min_score=0.05)),
    ],
)
def test_the_numbers_are_those_of_an_evaluation_to_the_last_digit(pictures, tmp_path, network, rule):
    methods = {"gradient": {"blur": 0.03}}
    run_on(pictures, tmp_path / "run", model=network(), methods=methods, rule=rule, target="true", batch_size=22)
    expected = summary_of(tmp_path / "run")
    objects, sizes = {}, {}
    for row in rows_of(tmp_path / "run").to_pylist():
        if row["method"] == "gradient":
            found = [(5 - row["target"], tuple(map(box.get, ("x1", "y1", "x2", "y2"))), box["score"])
                     for box in row["boxes"]]  # fmt: skip
            objects.setdefault(row["sample"], []).extend(found)
            sizes[row["sample"]] = row["width"], row["height"]
    # The labels have their classes and images in another order, and their images in a folder of their own.
    classes = tuple(LabelClass(key, str(5 - key), 5 - key) for key in range(6))
    images = [labelled(f"all/{name}", *objects[name], size=sizes[name]) for name in sorted(objects, reverse=True)]
    check = check_labels(label_set(*images, classes=classes), pictures)
    numbers = check.as_json()["scores"]
    assert numbers == {name: expected["methods"]["gradient"][name] for name in numbers}
    assert len(numbers) == 14
    assert numbers["box_ap50_several"]["value"] is None
    assert numbers["box_recall"]["n"] > check.images.judged == 20 == check.images.by_path_end
    assert len(check.images.left_out) == expected["images_without_boxes"] == 2


# ---- files and text ------------------------------------------------------------------------------------------------


def test_the_file_of_a_check_holds_every_number():
    check = by_hand()
    content = json.loads(json.dumps(check.as_json(), allow_nan=False))
    assert content["images"] == {
        "judged": 4, "by_path_end": 0, "unmatched": [], "ambiguous": [], "left_out": [], "notes": [],
        "problems": [], "without_object": 0, "remarks": [], "copies": 0,
    }  # fmt: skip
    assert content["scores"]["box_f1"]["value"] == 0.4
    assert content["min_score"]["value"] is None
    assert "too few" in content["min_score"]["reason"]
    assert content["corrections"][1]["iou"] == 0.75
    assert content["score_groups"][0]["right"] is None
    assert content["score_groups"][4]["right"]["value"] == 0.5


def test_the_table_says_what_was_found():
    told = check_table(by_hand())
    lines = dict(line.strip().split("  ", 1) for line in told.splitlines() if line.startswith("  ") and "(" in line)
    assert "40.0 (" in lines["precision"]
    assert lines["images with a right class"].strip().startswith("75.0 (")
    assert "50 % of the boxes with a score of 0.8 or more are right." in told
    assert "No least score: 4 images are too few" in told
    assert max(map(len, told.splitlines())) <= 90


def test_the_table_says_what_a_least_score_is_worth():
    names = [f"{number}.png" for number in range(40)]
    found = [labelled(name, (0, UNIT, 0.9), (0, FAR, 0.3)) for name in names]
    told = check_table(check_labels(label_set(*found), truths(*(drawn(name, {CAT: [UNIT]}) for name in names))))
    assert "Without the boxes below a score of 0.31, F1 is best on these images: 100.0." in told
    assert "F1 is 100.0 (100.0…100.0); with all boxes it is\n66.7 (66.7…66.7)" in told
    assert "The difference is +33.3 (+33.3…+33.3)." in told


def test_the_table_says_that_all_boxes_are_best():
    names = [f"{number}.png" for number in range(40)]
    found = [labelled(name, (0, UNIT, 0.9)) for name in names]
    told = check_table(check_labels(label_set(*found), truths(*(drawn(name, {CAT: [UNIT]}) for name in names))))
    assert "F1 is best on these images with all boxes: no least score makes it better." in told
    assert "Without the boxes" not in told


def test_columns_of_the_table_do_not_run_into_each_other():
    # Each share is at its widest: 100.0 (100.0…100.0).
    names = [f"{number}.png" for number in range(40)]
    found = [labelled(name, (0, UNIT, 1.0), (1, FAR, 1.0), (1, UNIT, 1.0)) for name in names]
    by_person = truths(*(drawn(name, {CAT: [UNIT], DOG: [FAR, UNIT]}) for name in names))
    told = check_table(check_labels(label_set(*found), by_person))
    assert re.search(r"precision +100\.0 \(100\.0…100\.0\)  100\.0 \(100\.0…100\.0\)  100\.0 \(100\.0…100\.0\)\n", told)
    assert max(map(len, told.splitlines())) <= 90


def test_long_names_and_reasons_are_wrapped():
    by_person = truths(drawn("a", {CAT: [UNIT]}), drawn("b" * 200, {CAT: [UNIT]}))
    by_person = replace(by_person, problems=("boxes.csv: " + "a class that is unknown " * 12,))
    told = check_table(check_labels(label_set(labelled("a", (0, UNIT, 0.9))), by_person))
    assert max(map(len, told.splitlines())) <= 90
    assert "".join(told.split()).count("b" * 200) == 1


def test_a_check_needs_neither_torch_nor_pyarrow():
    loaded = "import sys, looktwice.labelling.check_table; print({'torch', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_one_image_at_a_time_is_kept(monkeypatch):
    # What is kept of an image has neither regions nor pixels, and only images that may be annotated are kept.
    kept = []
    monkeypatch.setattr(
        FoundBoxes,
        "of",
        classmethod(lambda cls, image, indices, of=FoundBoxes.of: kept.append(image.id) or of(image, indices)),
    )
    check_labels(label_set(*(labelled(f"{n}.jpg") for n in range(100))), truths(drawn("7.jpg", {CAT: [UNIT]})))
    assert kept == ["7.jpg"]

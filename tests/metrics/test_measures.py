"""The table of measures: what summaries count of many maps is what the functions of single images say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from looktwice.metrics import MEASURES, Guess, gt_known_hit, iou, max_box_acc, max_box_acc_v2, top1_hit, top5_hit
from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds, Undefined
from looktwice.metrics.localization_error import is_hit, is_right
from looktwice.metrics.max_box_acc import V2_LEVELS_IN_SINGLE
from looktwice.metrics.measures import MAP_NUMBERS, NETWORK_NUMBERS, TABLED
from looktwice.runs.columns import COLUMNS
from squares import boxes_within

AT = Thresholds(0.2, 0.2, (0.2, 0.2, 0.2))


def judged_maps(**arrays):
    """Maps with these arrays; every other array is of a right first guess without overlap."""
    count = len(next(iter(arrays.values())))
    zeros, flat = np.zeros(count, dtype=np.int64), np.zeros((count, 100), dtype=np.float32)
    given = {"image": np.arange(count), "rank": zeros, "target_place": zeros, "label_place": zeros, "judged": zeros}
    given |= {"right": np.ones(count, dtype=np.bool_), "seconds": np.ones(count), "measured": {}}
    given |= {"curve": flat, "energy_box": flat, "largest": flat, "best": flat}
    given |= arrays
    return JudgedMaps(images=int(given["image"].max()) + 1, **given)


def at_every_threshold(values):
    return np.repeat(np.asarray(values, dtype=np.float32)[:, None], 100, axis=1)


@st.composite
def images(draw):
    """Some images: for each the boxes of its label, and five guesses with a class and a box."""
    truths = st.lists(boxes_within(), min_size=1, max_size=2)
    guess = st.tuples(st.integers(0, 6), boxes_within())
    return draw(st.lists(st.tuples(truths, st.lists(guess, min_size=5, max_size=5)), min_size=1, max_size=4))


@settings(max_examples=200)
@given(images())
def test_localization_errors_of_maps_are_misses_of_guesses(found):
    label = 3
    rows = [
        (image, place, guessed == label, iou([box], truths).max())
        for image, (truths, guesses) in enumerate(found)
        for place, (guessed, box) in enumerate(guesses)
    ]
    image, place, right, overlap = (np.array(column) for column in zip(*rows, strict=True))
    maps = judged_maps(image=image, target_place=place, rank=place, right=right, curve=at_every_threshold(overlap))
    for name, hit in (("top1_loc_error", top1_hit), ("top5_loc_error", top5_hit)):
        errors = MEASURES[name].values(maps, AT).values
        missed = [not hit([Guess(k, [box]) for k, box in guesses], {label: truths}) for truths, guesses in found]
        assert errors.tolist() == missed
    known = MEASURES["gt_known_loc_error"].values(maps, AT).values  # of the maps of first guesses
    assert known.tolist() == [not gt_known_hit([guesses[0][1]], truths) for truths, guesses in found]


def test_exactly_half_the_overlap_is_right():
    assert is_right([0.5, np.float32(0.5), 0.49]).tolist() == [True, True, False]
    place, right = np.array([0, 1, 0]), np.array([True, True, False])
    assert is_hit(place, right, np.ones(3), among=1).tolist() == [True, False, False]
    assert is_hit(place, right, np.ones(3), among=5).tolist() == [True, True, False]


def test_the_levels_in_single_precision_are_reached_by_their_own_numbers():
    curve = np.array([0.3, 0.5, 0.7], dtype=np.float32)
    assert (curve >= V2_LEVELS_IN_SINGLE).all()


def test_oracles_of_maps_are_those_of_their_curves():
    drawn = np.random.default_rng(0).random((2, 7, 100), dtype=np.float32)
    maps = judged_maps(largest=drawn[0], best=drawn[1], rank=np.array([0, 0, 1, 0, 0, 0, 2]))
    counted = maps.rank == 0
    for name, expected in (
        ("oracle_max_box_acc", max_box_acc(drawn[0][counted])),
        ("oracle_max_box_acc_v2", max_box_acc_v2(drawn[1][counted])),
    ):
        sample = MEASURES[name].values(maps, AT)
        assert sample.statistic(np.mean(sample.values, axis=0)) == pytest.approx(expected)


def test_a_map_of_no_label_counts_for_no_localization_error():
    maps = judged_maps(right=np.array([True, False]), curve=at_every_threshold([0.9, 0.9]))
    assert MEASURES["top1_loc_error"].values(maps, AT).values.tolist() == [False, True]


def test_what_is_needed_is_said():
    maps = judged_maps(rank=np.zeros(2, dtype=np.int64))
    assert isinstance(MEASURES["gt_known_loc_error"].values_of(maps, AT, "true"), Sample)
    for target in ("predicted", "top5"):
        assert "--target true" in MEASURES["gt_known_loc_error"].values_of(maps, AT, target).reason
    assert isinstance(MEASURES["top5_loc_error"].values_of(maps, AT, "top5"), Sample)
    assert "--target top5" in MEASURES["top5_loc_error"].values_of(maps, AT, "predicted").reason
    for name in ("max_box_acc", "max_box_acc_v2"):
        assert "--tune-on" in MEASURES[name].values_of(maps, Thresholds(0.2), "true").reason


def test_a_map_that_points_nowhere_leaves_the_pointing_game_undefined():
    maps = judged_maps(measured={"pointing_hit": np.array([1.0, np.nan])}, judged=np.array([2, 3]))
    assert isinstance(MEASURES["pointing_game"].values(maps, AT), Undefined)
    seen = judged_maps(measured={"pointing_hit": np.array([1.0, np.nan])}, judged=np.array([2, -1]))
    sample = MEASURES["pointing_game"].values(seen, AT)
    assert (sample.values.tolist(), sample.classes.tolist()) == ([1.0], [2])  # without boxes there is no target


def test_the_table():
    assert list(MEASURES) == [measure.name for measure in MEASURES.values()]
    titles = [measure.short_title for measure in MEASURES.values()]
    assert len(set(titles)) == len(titles)
    assert all(name.isidentifier() for name in MEASURES)  # they are keys of files
    assert all(measure.title and measure.meaning for measure in MEASURES.values())
    assert all(measure.otherwise for measure in MEASURES.values() if len(measure.targets) < 3)
    assert [measure.kind for measure in TABLED] == sorted(
        (each.kind for each in TABLED), key=["result", "oracle"].index
    )
    assert {each.name for each in MEASURES.values() if not each.is_paired} == {
        "top1_class_error",
        "top5_class_error",
        "seconds_per_image",
    }
    assert {name: number.kind for name, number in MAP_NUMBERS.items()} == {
        "pointing_hit": "bool",
        "energy_in_box": "double",
    }
    assert all(COLUMNS[name] == number.kind for name, number in MAP_NUMBERS.items())
    assert NETWORK_NUMBERS == ("insertion", "deletion")
    assert not {*NETWORK_NUMBERS} & {*COLUMNS}  # a run has them only if it is asked for them


@pytest.mark.parametrize("name", [each.name for each in MEASURES.values() if each.lower_is_better])
def test_errors_and_costs_are_better_when_lower(name):
    assert "error" in name or "seconds" in name or name == "deletion_auc"


def test_a_measure_is_defined_on_its_own_subject_only():
    """Of images and of squares of four: no number of the one passes as a number of the other."""
    shares = np.array([0.5, 0.125])
    maps = judged_maps(image=np.zeros(2, dtype=np.int64), measured={"energy_in_box": shares})
    game = MEASURES["grid_pointing_game"]
    assert game.values_of(maps, AT, "true", "squares").values.tolist() == shares.tolist()
    assert "--measure grid" in game.values_of(maps, AT, "true").reason
    for measure in MEASURES.values():
        if measure.name not in ("grid_pointing_game", "seconds_per_image"):
            assert "squares" in measure.values_of(maps, AT, "true", "squares").reason
    assert MEASURES["seconds_per_image"].values_of(maps, AT, "true", "squares").values.tolist() == [2.0]

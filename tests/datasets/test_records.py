"""Records: fitted to their image, hashed, split and shuffled."""

import itertools
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import looktwice
from layouts import names, sample, write
from looktwice.datasets import (
    Dataset,
    Sample,
    fit_to_image,
    load_dataset,
    shuffled,
    split_by_hash,
)
from looktwice.errors import OptionError


def test_fit_to_image_by_hand():
    sample = Sample(
        "a", Path("a.jpg"), (3, 1), (((-4.0, 0.0, 5.0, 5.0), (90.0, 0.0, 95.0, 5.0)), ((0.0, 0.0, 51.0, 5.0),))
    )
    fitted, faults = fit_to_image(sample, 50, 40)
    assert fitted == replace(sample, boxes=(((0, 0, 5, 5),), ((0, 0, 50, 5),)), width=50, height=40)
    assert len(faults) == 2
    assert "a.jpg: box (-4, 0, 5, 5) reaches 4 px out" in faults[0]
    assert "dropped" in faults[1]


def test_fit_to_image_says_that_the_stated_size_is_wrong():
    sample = Sample("a", Path("a.jpg"), (3,), (((0.0, 0.0, 5.0, 5.0),),), 500, 375)
    assert fit_to_image(sample, 500, 375) == (sample, ())
    fitted, faults = fit_to_image(sample, 375, 500)
    assert (fitted.width, fitted.height) == (375, 500)
    assert faults == ("a.jpg: the annotation states 500×375 pixels, the image has 375×500",)


coordinates = st.integers(-6, 12)


@given(st.tuples(coordinates, coordinates, coordinates, coordinates), st.integers(1, 7), st.integers(1, 7))
def test_clipping_keeps_exactly_the_pixels_inside(box, width, height):
    x1, y1, x2, y2 = box
    pixels = {(x, y) for x in range(x1, x2) for y in range(y1, y2)}
    inside = {(x, y) for x, y in pixels if 0 <= x < width and 0 <= y < height}
    fitted, faults = fit_to_image(Sample("a", Path("a"), (0,), ((tuple(map(float, box)),),)), width, height)
    found = {
        (x, y)
        for fit in fitted.boxes[0]
        for x in range(int(fit[0]), int(fit[2]))
        for y in range(int(fit[1]), int(fit[3]))
    }
    assert found == inside
    widened = {(x, y) for x in range(-1, width + 1) for y in range(-1, height + 1)}
    assert bool(faults) == (not inside or not pixels <= widened)


def test_fingerprint_by_hand_and_what_changes_it():
    one = sample("a", (1,), (((0.0, 0.0, 2.0, 2.5),),))
    base = Dataset((one, sample("b")))
    # printf '["a", [1], [[[0.0, 0.0, 2.0, 2.5]]]]\n["b", [0], [[]]]\n' | sha256sum
    assert base.fingerprint() == "5c91126aac9e35a1aadcf1240d0dbac7601d3f179631c6eedeeaddff90aaf5dc"
    moved = Dataset((replace(one, image=Path("elsewhere/a"), width=9, height=9), sample("b")), problems=("p",))
    assert moved.fingerprint() == base.fingerprint()
    others = [
        (sample("b"), one),
        (one,),
        (replace(one, id="c"), sample("b")),
        (replace(one, labels=(2,)), sample("b")),
        (replace(one, boxes=(((0.0, 0.0, 2.0, 2.5000001),),)), sample("b")),
        (replace(one, labels=(1, 3), boxes=((), one.boxes[0])), sample("b")),
    ]
    assert len({Dataset(samples).fingerprint() for samples in others} | {base.fingerprint()}) == 7


@given(names, st.floats(0, 1), st.text(max_size=3), st.randoms(use_true_random=False))
def test_split_is_a_partition_that_ignores_order_and_company(ids, share, salt, rng):
    samples = [sample(name) for name in ids]
    first, second = split_by_hash(samples, share, salt)
    assert [s for s in samples if s in first] == list(first)
    assert [s for s in samples if s not in first] == list(second)
    some = [s for s in samples if rng.random() < 0.5]
    rng.shuffle(some)
    assert set(split_by_hash(some, share, salt)[0]) == set(some) & set(first)


def test_split_share_salt_and_file_name():
    samples = [sample(f"{n}.jpg") for n in range(4000)]
    first, _ = split_by_hash(samples, 0.25)
    assert 0.22 < len(first) / 4000 < 0.28  # four standard deviations of a fair draw
    smaller, _ = split_by_hash(samples, 0.1)
    assert set(smaller) < set(first)
    salted, _ = split_by_hash(samples, 0.25, "again")
    assert 0.15 < len(set(salted) & set(first)) / len(first) < 0.35
    assert [len(part) for part in split_by_hash(samples, 1)] == [4000, 0]
    assert [len(part) for part in split_by_hash(samples, 0)] == [0, 4000]
    elsewhere = [Sample(f"val/{s.id}", Path("val") / s.id, (5,), ((),)) for s in samples]
    assert [s.image.name for s in split_by_hash(elsewhere, 0.25)[0]] == [s.image.name for s in first]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_split_share_out_of_range(share):
    with pytest.raises(OptionError, match="share"):
        split_by_hash([], share)


@given(names, st.integers(-5, 5), st.randoms(use_true_random=False))
def test_order_depends_on_seed_and_ids_alone(ids, seed, rng):
    samples = [sample(name) for name in ids]
    order = shuffled(samples, seed)
    assert sorted(s.id for s in order) == sorted(ids)
    some = [s for s in samples if rng.random() < 0.5]
    rng.shuffle(some)
    assert list(shuffled(some, seed)) == [s for s in order if s in some]


def test_order_looks_random_and_is_the_same_in_another_process():
    samples = [sample(f"{n:04d}") for n in range(1000)]
    orders = [[int(s.id) for s in shuffled(samples, seed)] for seed in (0, 1)]
    assert orders[0] != orders[1]
    for order in orders:
        rising = sum(a < b for a, b in itertools.pairwise(order))
        assert 460 < rising < 540  # 500 ± 9 for a random order, 999 for a sorted one
    code = (
        "from pathlib import Path; from looktwice.datasets import *\n"
        "s = [Sample(f'{n:04d}', Path('x') / f'{n:04d}', (0,), ((),)) for n in range(1000)]\n"
        "print([int(x.id) for x in shuffled(s, 1)], len(split_by_hash(s, 0.5)[0]))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(looktwice.__file__).parents[1])}
    for hash_seed in ("1", "2"):
        output = subprocess.check_output(
            [sys.executable, "-c", code], env=environment | {"PYTHONHASHSEED": hash_seed}, text=True
        )
        assert output.strip() == f"{orders[1]} {len(split_by_hash(samples, 0.5)[0])}"


def test_load_order_does_not_depend_on_how_files_were_written(tmp_path):
    made = [f"c{n % 3}/{n}.jpg" for n in range(30)]
    for folder, seed in (("one", 1), ("two", 2)):
        random.Random(seed).shuffle(made)
        for name in made:
            write(tmp_path / folder / name)
    one, two = (load_dataset(tmp_path / folder, "folders") for folder in ("one", "two"))
    assert one.fingerprint() == two.fingerprint()
    assert [sample.id for sample in one.samples] == sorted(made)

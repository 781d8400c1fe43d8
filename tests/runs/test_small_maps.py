"""Small maps in a run's rows: they look like the maps, and they are small."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from looktwice.runs.merge import merge
from looktwice.runs.small_maps import LEVELS, SMALL_SIDE, heat_of, small_map
from report_runs import make_data, make_run


def bell(height, width, *, spread=0.2):
    y, x = ((np.arange(side) + 0.5) / side - 0.4 for side in (height, width))
    return np.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * spread**2)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "small"),
    [((224, 224), (28, 28)), ((300, 200), (28, 19)), ((7, 7), (7, 7)), ((3, 300), (1, 28)), ((1, 1), (1, 1))],
)
def test_a_small_map_is_the_mean_of_what_it_covers(shape, small):
    heat = bell(*shape)
    found = heat_of(small_map(heat))
    assert found.shape == small
    assert max(found.shape) <= SMALL_SIDE
    if all(big % little == 0 for big, little in zip(shape, small, strict=True)):
        blocks = heat.reshape(small[0], shape[0] // small[0], small[1], shape[1] // small[1]).mean(axis=(1, 3))
        assert np.abs(found - blocks).max() <= 0.5 / (LEVELS - 1) + 1e-6


def test_its_ends_are_0_and_1_and_nothing_lies_beyond():
    assert heat_of(small_map(np.zeros((9, 9)))).max() == 0
    assert heat_of(small_map(np.full((9, 9), 1.0))).min() == 1
    assert heat_of(small_map(np.full((9, 9), 1.5))).max() == 1
    assert heat_of(small_map(np.full((9, 9), -0.5))).min() == 0


def test_even_noise_is_below_two_kilobytes():
    assert len(small_map(np.random.default_rng(0).random((224, 224)))) < 2000


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG"])
def test_what_is_no_picture_is_no_map(content):
    assert heat_of(content) is None


def rows_of(run):
    return [
        row for part in sorted((run / "rows").iterdir()) for row in pq.read_table(part, partitioning=None).to_pylist()
    ]


def test_which_rows_have_one(tmp_path):
    """A report shows reported images, and the first guess of each."""
    data = make_data(tmp_path / "data")
    rows = rows_of(make_run(tmp_path / "run", data, maps=False))
    for row in rows:
        is_shown = not row["tuning"] and row["method"] not in ("center_box", "full_image")
        assert (row["small_map"] is not None) == is_shown
    assert sum(row["small_map"] is not None for row in rows) == 10 * 3


def test_merged_runs_keep_them(tmp_path):
    data = make_data(tmp_path / "data")
    runs = [
        make_run(tmp_path / "-".join(methods), data, maps=False, methods=methods)
        for methods in (("gradient", "feedback"), ("global_feedback",))
    ]
    merge(runs, tmp_path / "all")
    whole = make_run(tmp_path / "whole", data, maps=False)

    def maps_in(run):
        return {(row["sample"], row["method"]): row["small_map"] for row in rows_of(run)}

    assert maps_in(tmp_path / "all") == maps_in(whole)

"""Rows as arrays: what a summary counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.localization.sweep import GRID, Floats
from looktwice.runs.folder import of_method
from looktwice.runs.scoring import Scoring


@dataclass(frozen=True)
class JudgedMaps:
    """One method's rows without error, sorted by image, rank and target: (U,) each, curves (U, T).

    ``image`` numbers the images from 0.
    """

    image: NDArray[np.int64]
    images: int
    rank: NDArray[np.int64]
    target_place: NDArray[np.int64]
    label_place: NDArray[np.int64]
    right: NDArray[np.bool_]
    judged: NDArray[np.int64]
    pointing: Floats
    energy: Floats
    seconds: Floats
    curve: NDArray[np.float32]
    energy_box: NDArray[np.float32]
    largest: NDArray[np.float32]
    best: NDArray[np.float32]

    @property
    def boxed(self) -> NDArray[np.bool_]:
        """Which rows have boxes to be judged by."""
        return np.asarray(self.judged >= 0)

    def per_image(self, values: ArrayLike) -> Floats:
        """Values (U,) summed over each image's rows (N,)."""
        weights = np.asarray(values, dtype=np.float64)
        return np.asarray(np.bincount(self.image, weights=weights, minlength=self.images), dtype=np.float64)


def maps_by_method(rows: Any, scoring: Scoring) -> Iterator[tuple[str, JudgedMaps]]:
    """One method after the other, to hold the curves of one only; all of the same images."""
    arrow = arrow_compute()
    broken = rows.filter(arrow.is_valid(rows["error"]))["sample"]
    whole = rows.filter(arrow.invert(arrow.is_in(rows["sample"], value_set=arrow.unique(broken))))
    for name in scoring.methods:
        yield name, _as_units(of_method(whole, name), scoring)


def _as_units(rows: Any, scoring: Scoring) -> JudgedMaps:
    rows = rows.sort_by([(name, "ascending") for name in ("sample", "rank", "target")])
    samples, image = np.unique(rows["sample"].to_numpy(), return_inverse=True)

    def column(name: str, missing: float) -> Floats:
        return np.asarray(rows[name].cast("double").fill_null(missing).to_numpy(), dtype=np.float64)

    return JudgedMaps(
        image=image,
        images=len(samples),
        rank=column("rank", 0).astype(np.int64),
        target_place=column("target_place", 0).astype(np.int64),
        label_place=column("label_place", 0).astype(np.int64),
        right=column("right", 0).astype(np.bool_),
        judged=column("judged", -1).astype(np.int64),
        pointing=column("pointing_hit", np.nan),
        energy=column("energy_in_box", np.nan),
        seconds=column("seconds_method", 0),
        curve=_curves(rows[scoring.curve]),
        energy_box=_curves(rows["iou_energy_box"]),
        largest=_curves(rows["max_box_acc_iou"]),
        best=_curves(rows["max_box_acc_v2_iou"]),
    )


def _curves(column: Any) -> NDArray[np.float32]:
    """A column of lists as (U, T); a row without boxes to be judged by has a curve of zeros."""
    values = np.zeros((len(column), len(GRID)), dtype=np.float32)
    there = column.is_valid().to_numpy().astype(np.bool_)
    values[there] = column.combine_chunks().flatten().to_numpy().reshape(-1, len(GRID))
    return values


def count_images(rows: Any, column: str | None = None) -> int:
    """How many images there are, or how many have something in a column."""
    chosen = rows if column is None else rows.filter(rows[column].is_valid())
    return len(chosen["sample"].unique())


def arrow_compute() -> Any:
    import pyarrow.compute  # type: ignore[import-untyped]

    return pyarrow.compute

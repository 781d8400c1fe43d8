"""Whether the rows of a part are those that its run has there: none is missing, none is there twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.localization.sweep import GRID
from looktwice.metrics.judged_maps import TOP_CLASSES, Target
from looktwice.runs.arrow import arrow
from looktwice.runs.columns import ALL_BOXES, CURVES, MAY_LACK, options_hash
from looktwice.runs.manifest import Manifest

CHECKED = ("sample", "order", "method", "options", "rank", "target", "labels", "error")
"""The columns that tell."""


OTHER_IMAGES, OTHER_OPTIONS = "its rows are of other images", "it is of an evaluation with other options"
"""The faults of a part that only those can see who know the data set, and the options that are wanted."""


class WrongRowsError(Exception):
    """The rows of a part are not those of its run. The text says why."""


def options_of(manifest: Manifest) -> dict[str, str]:
    """For each method and baseline of a run the hash of its options."""
    everyone = {**manifest.run.methods, **manifest.run.baselines}
    return {name: options_hash(name, values) for name, values in everyone.items()}


def check_rows(rows: Any, manifest: Manifest, index: int) -> dict[str, str]:
    """Checks the rows of a part (a pyarrow table with the columns ``CHECKED``).

    Args:
        rows: the rows.
        manifest: of the run.
        index: of the part.

    Returns:
        For each method and baseline the hash of its options.

    Raises:
        WrongRowsError: the rows are of other methods or images, are missing, or are there twice.
    """
    size = manifest.run.batch_size
    orders = range(index * size, min((index + 1) * size, manifest.run.images.count))
    options: dict[str, str] = {}
    samples: dict[int, str] = {}
    found: dict[tuple[str, int], list[_Found]] = {}
    for sample, order, method, own, rank, target, labels, error in zip(
        *(rows[name].to_pylist() for name in CHECKED), strict=True
    ):
        if options.setdefault(method, own) != own or samples.setdefault(order, sample) != sample:
            raise WrongRowsError("its rows are of several runs")
        has_image = not (error is not None and target is None)
        found.setdefault((method, order), []).append(_Found((rank, target), has_image, len(labels or ())))
    if not found:
        raise WrongRowsError("it has no rows")
    if set(found) != {(method, order) for method in manifest.run.names for order in orders}:
        raise WrongRowsError("its rows are not of the run's methods and images")
    for each in found.values():
        if len({one.guess for one in each}) != len(each):
            raise WrongRowsError("it has rows twice")
        if len(each) != each[0].expected(manifest.run.target, manifest.run.model.classes):
            raise WrongRowsError("rows are missing")
    return options


@dataclass(frozen=True)
class _Found:
    """A row: its place and class, whether its image could be decoded, and how many labels the image has."""

    guess: tuple[int | None, int | None]
    has_image: bool
    labels: int

    def expected(self, target: Target, classes: int) -> int:
        """How many rows a method has of this image."""
        if not self.has_image or target == "predicted":
            return 1
        return self.labels if target == "true" else min(TOP_CLASSES, classes)


def check_schema(found: Any, wanted: Any) -> None:
    """Checks that a part has the columns of its run. It may lack columns that are younger than the part.

    Args:
        found: the part's schema, of pyarrow.
        wanted: that of a part which this version writes.

    Raises:
        WrongRowsError: a column is missing, is too many, has another type or another place.
    """
    there = set(found.names)
    lacking = [name for name in wanted.names if name not in there | MAY_LACK]
    if lacking:
        raise WrongRowsError(f"it lacks the column {', '.join(lacking)}")
    expected = [field for field in wanted if field.name in there]
    if list(found) != expected:
        odd = next((field for field, own in zip(found, expected, strict=False) if field != own), found[-1])
        raise WrongRowsError(f"its column {odd.name} ({odd.type}) is not one of this version")


def check_lists(rows: Any, columns: Sequence[str]) -> None:
    """Checks the lengths of lists: a curve has a number for each threshold, and the largest boxes have four numbers.

    A row that says which of its boxes are right, or nested, says it of each of them.

    Raises:
        WrongRowsError: a list has another length.
    """
    needed = dict.fromkeys(CURVES, len(GRID)) | {"largest_boxes": 4 * len(GRID)}
    for name in set(columns) & set(needed):
        lengths = arrow("compute").list_value_length(rows[name]).drop_null().unique().to_pylist()
        if lengths not in ([], [needed[name]]):
            raise WrongRowsError(f"{name} has {lengths} numbers; {needed[name]} are needed")
    if {"boxes", *ALL_BOXES} <= set(columns):
        boxes, *told = (_lengths(rows[name]) for name in ("boxes", *ALL_BOXES))
        if any(((each != told[0]) | ((each >= 0) & (each != boxes))).any() for each in told):
            raise WrongRowsError(f"{' and '.join(ALL_BOXES)} do not have an entry for each box")


def _lengths(lists: Any) -> NDArray[np.int64]:
    """How long each list of a column is; −1 where there is none."""
    lengths = arrow("compute").fill_null(arrow("compute").list_value_length(lists), -1)
    return np.asarray(lengths.to_numpy(), dtype=np.int64)

"""A finished run's rows as arrays for looking at: one entry a judged map, the same ones of every method.

What is counted is what the summary counts: no tuning image, no image that failed with any method, of the network's
guesses the first, and only maps with boxes to be judged by.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice import runs
from looktwice.curves import GRID, Floats, grid_index
from looktwice.errors import RunError
from looktwice.localization import BoxRule
from looktwice.metrics import V1_LEVELS
from looktwice.summary import Scoring

Corners = tuple[float, float, float, float]
"""(x1, y1, x2, y2), half-open pixels of the original image."""

HIT = float(np.float32(V1_LEVELS[0]))
"""IoU at which a box is right, as single-precision curves hold it."""

_READ = (
    *("sample", "tuning", "method", "rank", "target", "probability", "predicted", "predicted_probability"),
    *("judged", "width", "height", "threshold", "boxes", "iou_per_truth", "iou", "error"),
)


@dataclass(frozen=True)
class Seen:
    """A map's image and classes, the same for all methods."""

    sample: str
    target: int
    probability: float
    predicted: int
    predicted_probability: float
    judged: int
    width: int
    height: int


@dataclass(frozen=True)
class FinishedRun:
    """A run and its U judged maps.

    ``objects`` (U,) counts the judged class's boxes, ``size`` (U,) is the largest one's share of the image. By method:
    ``overlap`` (U, T) the IoU at each threshold of ``GRID``, ``boxes`` (U,) those the rows hold as a column of pyarrow,
    ``chosen`` the place of the threshold that counts, and the threshold that the rows' boxes were ``drawn_at``.
    """

    folder: Path
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    rule: BoxRule
    methods: tuple[str, ...]
    baselines: tuple[str, ...]
    seen: tuple[Seen, ...]
    objects: NDArray[np.int64]
    size: Floats
    overlap: Mapping[str, NDArray[np.float32]]
    boxes: Mapping[str, Any]
    drawn_at: Mapping[str, float | None]
    chosen: Mapping[str, int]

    @property
    def parts(self) -> range:
        """The numbers of its parts."""
        return range(_parts(self.manifest))

    def iou(self, method: str) -> NDArray[np.float32]:
        """IoU (U,) at the threshold that counts."""
        return self.overlap[method][:, self.chosen[method]]

    def boxes_of(self, method: str, index: int) -> tuple[Corners, ...]:
        """The boxes that the rows hold of a map."""
        return tuple((box["x1"], box["y1"], box["x2"], box["y2"]) for box in self.boxes[method][index].as_py())

    def hits(self, method: str) -> NDArray[np.bool_]:
        """Which boxes (U,) are right at the threshold that counts."""
        return np.asarray(self.iou(method) >= HIT)

    def success(self, method: str) -> Floats:
        """The share of right boxes (T,) at each threshold."""
        return np.asarray((self.overlap[method] >= HIT).mean(axis=0), dtype=np.float64)

    def rule_of(self, method: str) -> BoxRule:
        """The box rule with the threshold that counts."""
        return replace(self.rule, threshold=float(GRID[self.chosen[method]]))


def read_run(folder: Path) -> FinishedRun:
    """A finished run from its folder.

    Raises:
        RunError: it is not finished, damaged, or has no map with boxes to be judged by.
    """
    manifest, summary = runs.read_manifest(folder), runs.read_summary(folder)
    scoring = Scoring.of_manifest(manifest)
    by_method = _judged(folder, range(_parts(manifest)), scoring)
    whole = by_method["full_image"]
    if not len(whole):
        raise RunError(f"{folder}: no reported image has boxes, so there is nothing to show; give boxes with the data")
    return FinishedRun(
        folder=folder,
        manifest=manifest,
        summary=summary,
        rule=scoring.rule,
        methods=tuple(manifest[runs.COMPARED]["methods"]),
        baselines=tuple(manifest[runs.COMPARED]["baselines"]),
        seen=_seen(whole),
        objects=np.array([len(each) for each in whole["iou_per_truth"].to_pylist()], dtype=np.int64),
        # The whole image's IoU with a box within it is that box's share of the image.
        size=np.asarray(whole["iou"].to_numpy(), dtype=np.float64),
        overlap={method: _curves(rows[scoring.curve]) for method, rows in by_method.items()},
        boxes={method: rows["boxes"] for method, rows in by_method.items()},
        drawn_at={method: rows["threshold"][0].as_py() for method, rows in by_method.items()},
        chosen={method: grid_index(each["box"]) for method, each in summary["thresholds"].items()},
    )


def _parts(manifest: Mapping[str, Any]) -> int:
    run = manifest[runs.COMPARED]
    count, size = int(run["images"]["count"]), int(run["batch_size"])
    return math.ceil(count / size)


def _judged(folder: Path, parts: Sequence[int], scoring: Scoring) -> dict[str, Any]:
    """By method the rows that count, in one order. Parts are read one by one, so that no more than these are held."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import compute

    pieces: dict[str, list[Any]] = {method: [] for method in scoring.methods}
    for part in parts:
        rows = _counted(runs.read_rows(folder, [part], [*_READ, scoring.curve]))
        for method, own in pieces.items():
            own.append(rows.filter(compute.equal(rows["method"], method)))
    order = [("sample", "ascending"), ("target", "ascending")]
    return {method: pyarrow.concat_tables(pieces.pop(method)).sort_by(order) for method in scoring.methods}


def _counted(rows: Any) -> Any:
    """Of a part's rows, which are all there are of its images, those that the summary counts and that have boxes."""
    from pyarrow import compute

    broken = compute.unique(rows.filter(compute.is_valid(rows["error"]))["sample"])
    kept = compute.and_(compute.equal(rows["rank"], 0), compute.invert(rows["tuning"]))
    kept = compute.and_(kept, compute.is_valid(rows["judged"]))
    return rows.filter(compute.and_(kept, compute.invert(compute.is_in(rows["sample"], value_set=broken))))


def _seen(rows: Any) -> tuple[Seen, ...]:
    names = list(Seen.__dataclass_fields__)
    return tuple(Seen(**row) for row in rows.select(names).to_pylist())


def _curves(column: Any) -> NDArray[np.float32]:
    values = column.combine_chunks().flatten().to_numpy()
    return np.asarray(values.reshape(len(column), len(GRID)), dtype=np.float32)

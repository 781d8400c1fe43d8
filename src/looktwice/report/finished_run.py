"""A finished run's rows as arrays for looking at: one entry a judged map, the same ones of every method.

What is counted is what the summary counts: no tuning image, no image that failed with any method, of the network's
guesses the first, and only maps with boxes to be judged by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.errors import RunError
from looktwice.localization.boxes import BoxRule
from looktwice.localization.sweep import GRID, Floats, grid_index
from looktwice.metrics.max_box_acc import V1_LEVELS
from looktwice.runs.folder import COMPARED, part_count, read_manifest, read_rows, read_summary
from looktwice.runs.scoring import Scoring

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


_SEEN = tuple(Seen.__dataclass_fields__)


@dataclass(frozen=True)
class FinishedRun:
    """A run and its U judged maps.

    ``objects`` (U,) counts the judged class's boxes, ``size`` (U,) is the largest one's share of the image. By method:
    ``chosen`` the place in ``GRID`` of the threshold that counts, ``iou`` (U,) at it, ``success`` (T,) the share of
    right boxes at each threshold of ``GRID``, ``boxes`` (U,) those the rows hold as an array of pyarrow, and the
    threshold these were ``drawn_at``.
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
    chosen: Mapping[str, int]
    iou: Mapping[str, NDArray[np.float32]]
    success: Mapping[str, Floats]
    boxes: Mapping[str, Any]
    drawn_at: Mapping[str, float | None]

    @property
    def parts(self) -> range:
        """The numbers of its parts."""
        return range(part_count(self.manifest))

    def boxes_of(self, method: str, index: int) -> tuple[Corners, ...]:
        """The boxes that the rows hold of a map."""
        return tuple((box["x1"], box["y1"], box["x2"], box["y2"]) for box in self.boxes[method][index].as_py())

    def hits(self, method: str) -> NDArray[np.bool_]:
        """Which boxes (U,) are right at the threshold that counts."""
        return np.asarray(self.iou[method] >= HIT)

    def rule_of(self, method: str) -> BoxRule:
        """The box rule with the threshold that counts."""
        return replace(self.rule, threshold=float(GRID[self.chosen[method]]))


def read_run(folder: Path) -> FinishedRun:
    """A finished run from its folder.

    Raises:
        RunError: it is not finished, damaged, or has no map with boxes to be judged by.
    """
    manifest, summary = read_manifest(folder), read_summary(folder)
    scoring = Scoring.of_manifest(manifest)
    tallies = {method: _Tally(grid_index(summary["thresholds"][method]["box"])) for method in scoring.methods}
    whole = []
    for part in range(part_count(manifest)):
        rows = _by_method(_counted(read_rows(folder, [part], [*_READ, scoring.curve])), scoring.methods)
        for method, tally in tallies.items():
            tally.add(rows[method], scoring.curve)
        whole += rows["full_image"].select([*_SEEN, "iou_per_truth", "iou"]).to_pylist()
    if not whole:
        raise RunError(f"{folder}: no reported image has boxes, so there is nothing to show; give boxes with the data")
    order = sorted(range(len(whole)), key=lambda place: (whole[place]["sample"], whole[place]["target"]))
    return FinishedRun(
        folder=folder,
        manifest=manifest,
        summary=summary,
        rule=scoring.rule,
        methods=tuple(manifest[COMPARED]["methods"]),
        baselines=tuple(manifest[COMPARED]["baselines"]),
        seen=tuple(Seen(**{name: whole[place][name] for name in _SEEN}) for place in order),
        objects=np.array([len(whole[place]["iou_per_truth"]) for place in order], dtype=np.int64),
        # The whole image's IoU with a box within it is that box's share of the image.
        size=np.array([whole[place]["iou"] for place in order], dtype=np.float64),
        chosen={method: tally.at for method, tally in tallies.items()},
        iou={method: np.concatenate(tally.iou)[order] for method, tally in tallies.items()},
        success={method: tally.right / len(whole) for method, tally in tallies.items()},
        boxes={method: tally.boxes_in(order) for method, tally in tallies.items()},
        drawn_at={method: tally.drawn_at for method, tally in tallies.items()},
    )


class _Tally:
    """What is kept of a method's rows, part after part: a run's curves need more memory than there may be."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.iou: list[NDArray[np.float32]] = []
        self.right = np.zeros(len(GRID))
        self.boxes: list[Any] = []
        self.drawn_at: float | None = None

    def add(self, rows: Any, curve: str) -> None:
        """Takes what counts of a part's rows in."""
        if not len(rows):
            return
        values = rows[curve].combine_chunks().flatten().to_numpy().reshape(len(rows), len(GRID))
        self.iou.append(values[:, self.at].copy())  # not the whole part's
        self.right += (values >= HIT).sum(axis=0)
        self.boxes.append(rows["boxes"].combine_chunks())
        self.drawn_at = rows["threshold"][0].as_py()

    def boxes_in(self, order: Sequence[int]) -> Any:
        """The boxes of all parts, map after map in this order, as an array of pyarrow."""
        import pyarrow  # type: ignore[import-untyped]

        return pyarrow.concat_arrays(self.boxes).take(order)


def _counted(rows: Any) -> Any:
    """Of a part's rows, which are all there are of its images, those that the summary counts and that have boxes."""
    from pyarrow import compute

    broken = compute.unique(rows.filter(compute.is_valid(rows["error"]))["sample"])
    kept = compute.and_(compute.equal(rows["rank"], 0), compute.invert(rows["tuning"]))
    kept = compute.and_(kept, compute.is_valid(rows["judged"]))
    return rows.filter(compute.and_(kept, compute.invert(compute.is_in(rows["sample"], value_set=broken))))


def _by_method(rows: Any, methods: Sequence[str]) -> dict[str, Any]:
    from pyarrow import compute

    return {method: rows.filter(compute.equal(rows["method"], method)) for method in methods}

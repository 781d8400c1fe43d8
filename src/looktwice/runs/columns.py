"""The columns of a run's rows. A row is one image, one class and one method."""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from looktwice.metrics.measures import MAP_NUMBERS, NETWORK_NUMBERS
from looktwice.runs.manifest import RunFacts

CURVES = (
    "iou_by_max_largest",
    "iou_by_max_any",
    "iou_by_energy_largest",
    "iou_by_energy_any",
    "iou_energy_box",
    "max_box_acc_iou",
    "max_box_acc_v2_iou",
)
"""Columns with an IoU for each of the thresholds 0.00, 0.01 … 0.99.

The first four are of contours, with thresholds that are shares of the maximum or of the energy: of the largest box, or
of any box. (By energy only if the run's own rule is.) Then comes the energy box. The last two are of the boxes of
MaxBoxAcc and MaxBoxAccV2, which wsolevaluation draws by rules of its own."""


ALL_BOXES: Mapping[str, str] = MappingProxyType(
    {
        "box_truths": "list<int32>",  # for each box the place of its ground truth in iou_per_truth; -1 if it is wrong
        "box_nested": "list<bool>",  # for each box whether it lies inside another one
    }
)
"""The columns that say of each of the ``boxes`` what it is worth; null without boxes to judge by."""


COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "sample": "string",
        "order": "int32",  # the image's place in the run's order of images
        "tuning": "bool",  # thresholds are chosen on this image; it is not judged
        "method": "string",
        "options": "string",  # hash of the method's options
        "rank": "int32",  # the guess's place: 0 … 4 with target top5, else 0
        "target": "int32",  # the class that the map shows
        "target_place": "int32",  # the target's place among all classes by score, from 0
        "probability": "double",  # the target's
        "predicted": "int32",
        "predicted_probability": "double",
        "labels": "list<int32>",
        "label_place": "int32",  # the place of the best label among all classes by score
        "correct": "bool",  # the predicted class is a label
        "right": "bool",  # the target is a label
        "judged": "int32",  # the label whose boxes judge the map; null without boxes
        "width": "int32",
        "height": "int32",
        "threshold": "double",  # at which the boxes were drawn; null if they have none
        "boxes": "boxes",  # half-open pixels of the original image: the largest contour or the best object first
        **ALL_BOXES,
        "iou_per_truth": "list<double>",  # the first box's IoU with each box of the judged label
        "iou": "double",  # the best of these
        "iou_any": "double",  # the best IoU of any box with any of them
        **{name: number.kind for name, number in MAP_NUMBERS.items()},
        **dict.fromkeys(CURVES, "list<float>"),
        "largest_boxes": "list<float>",  # by the rule at each threshold: x1, y1, x2, y2; zeros are no box
        "small_map": "binary",  # the map as a small gray PNG; null for tuning images, baselines and later guesses
        "note": "string",  # what was wrong with the annotation
        "error": "string",  # why there are no values
        "seconds_method": "double",
        "overhead_seconds": "double",  # decoding the image and measuring the row
    }
)


FAITHFULNESS: Mapping[str, str] = MappingProxyType(dict.fromkeys(NETWORK_NUMBERS, "double"))
"""The columns that a run has besides if it measures faithfulness: areas under curves, null for tuning images."""


def columns_of(run: RunFacts) -> dict[str, str]:
    """The names and types of the columns of a run's rows."""
    return {**COLUMNS, **({} if run.faithfulness is None else FAITHFULNESS)}


TIMES = ("seconds_method", "overhead_seconds")
"""The columns in which two evaluations of the same images and methods differ."""


YOUNGER: Mapping[str, str] = MappingProxyType(
    {**ALL_BOXES, **{name: COLUMNS[name] for name in ("largest_boxes", "small_map")}}
)
"""Columns that a run of an older version may lack, besides the numbers of maps; then they have no values."""


MAY_LACK = frozenset({*MAP_NUMBERS, *YOUNGER})
"""The names of all columns that a part may lack. Each new column belongs here, or older runs are computed again."""


FORMER_NAMES: Mapping[str, str] = MappingProxyType({"seconds_frame": "overhead_seconds"})
"""Names of columns in runs that older versions wrote → their names today."""


BASELINES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"center_box": MappingProxyType({"sigma": 0.2}), "full_image": MappingProxyType({})}
)
"""Two baselines that look at no picture: a Gaussian in the middle of the map, with its σ as a share of the map's sides,
and one box around the whole image. At the default threshold of contours the Gaussian's box covers half of the map. It
has this box too where the run draws objects."""


def options_hash(method: str, options: Mapping[str, Any]) -> str:
    """16 hex digits; two rows have the same ones if their methods had the same options."""
    return hashlib.sha256(json.dumps([method, dict(options)], sort_keys=True).encode()).hexdigest()[:16]

"""The columns of a run's rows."""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

CURVES = (
    "iou_by_max_largest",
    "iou_by_max_any",
    "iou_by_energy_largest",
    "iou_by_energy_any",
    "iou_energy_box",
    "max_box_acc_iou",
    "max_box_acc_v2_iou",
)
"""Columns with an IoU for each threshold 0.00, 0.01 … 0.99: of the largest or the best box by either contour rule (by
energy only where the run's own rule is), of the energy box, and of the boxes of MaxBoxAcc and MaxBoxAccV2, which
wsolevaluation draws by rules of its own."""


COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "sample": "string",
        "order": "int32",  # place in the run's order of images
        "tuning": "bool",  # an image on which thresholds are chosen, and on which none is judged
        "method": "string",
        "options": "string",  # hash of the method's options
        "rank": "int32",  # of the guess: 0 … 4 with target top5, else 0
        "target": "int32",
        "target_place": "int32",  # of the target among all classes by score, from 0
        "probability": "double",  # of the target
        "predicted": "int32",
        "predicted_probability": "double",
        "labels": "list<int32>",
        "label_place": "int32",  # of the best placed label
        "correct": "bool",  # the predicted class is a label
        "right": "bool",  # the target is a label
        "judged": "int32",  # the label whose boxes the map is judged by; null without boxes
        "width": "int32",
        "height": "int32",
        "threshold": "double",  # at which boxes were drawn
        "boxes": "boxes",  # half-open pixels of the original image, the largest contour first
        "iou_per_truth": "list<double>",  # of the first box with each of the judged label's boxes
        "iou": "double",  # the best of these
        "iou_any": "double",  # the best of any box with any of them
        "pointing_hit": "bool",
        "energy_in_box": "double",
        **dict.fromkeys(CURVES, "list<float>"),
        "note": "string",  # what was amiss with the annotation
        "error": "string",  # why there are no values
        "seconds_method": "double",
        "overhead_seconds": "double",  # decoding the image and measuring the row
    }
)


TIMES = ("seconds_method", "overhead_seconds")
"""The columns that differ between two evaluations of the same."""

BASELINES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"center_box": MappingProxyType({"sigma": 0.2}), "full_image": MappingProxyType({})}
)
"""Two that see no picture: a Gaussian in the middle of the map, its σ as a share of the map's sides (at the default
threshold its box covers half of the map), and one box around the whole image."""


def options_hash(method: str, options: Mapping[str, Any]) -> str:
    """16 hex digits that two rows share when their methods had the same options."""
    return hashlib.sha256(json.dumps([method, dict(options)], sort_keys=True).encode()).hexdigest()[:16]

"""How rows are scored: box rule, target and thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from looktwice.localization.boxes import BoxRule
from looktwice.metrics.max_box_acc import V1_LEVELS, V2_LEVELS

Target = Literal["predicted", "true", "top5"]
"""Which classes an image is looked at for: the network's first guess, the labels, the network's first five."""


Boxes = Literal["largest", "any"]
"""Which boxes of a map count: the largest contour's, as ILSVRC has it (one box a guess), or the best one."""


V1_IOUS, V2_IOUS = (tuple(float(np.float32(level)) for level in levels) for levels in (V1_LEVELS, V2_LEVELS))
"""The IoU levels as the curves hold them, in single precision: one of exactly 0.7 must not fail by rounding."""


HIT_IOU = V1_IOUS[0]
"""IoU at which a box is right."""


CAO_ENERGY = 0.95
"""Share of the energy in the box of Cao et al. (2015)."""


READ = (
    *("sample", "tuning", "method", "rank", "target", "target_place", "predicted", "label_place", "right", "judged"),
    *("pointing_hit", "energy_in_box", "max_box_acc_iou", "max_box_acc_v2_iou", "iou_energy_box"),
    *("note", "error", "seconds_method"),
)
"""The columns a summary reads, besides the curve of the box rule."""


@dataclass(frozen=True)
class Thresholds:
    """At which shares a method's maps are cut: by the box rule, for MaxBoxAcc, and for each IoU of MaxBoxAccV2.

    Without the latter two there is none to judge by: the box rule's share is one of the energy, theirs of the maximum.
    """

    box: float
    max_box_acc: float | None = None
    max_box_acc_v2: tuple[float, float, float] | None = None

    @classmethod
    def given(cls, rule: BoxRule) -> "Thresholds":
        """The box rule's own threshold, wherever it means the same."""
        if rule.rule == "contour" and rule.by == "max":
            return cls(rule.threshold, rule.threshold, (rule.threshold,) * 3)
        return cls(rule.threshold)


@dataclass(frozen=True)
class Scoring:
    """How rows are scored; ``thresholds`` by method, or None: chosen on the rows of the tuning images."""

    methods: tuple[str, ...]
    target: Target
    rule: BoxRule
    boxes: Boxes
    thresholds: Mapping[str, Thresholds] | None

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> "Scoring":
        """What a run's manifest says of it."""
        run = manifest["run"]
        box = run["box"]
        rule = BoxRule(box["rule"], box["threshold"], box["by"], box["smallest"])
        thresholds = box["thresholds"]
        if thresholds is not None:
            thresholds = {
                method: Thresholds(
                    each["box"], each["max_box_acc"], each["max_box_acc_v2"] and tuple(each["max_box_acc_v2"])
                )
                for method, each in thresholds.items()
            }
        return cls((*run["methods"], *run["baselines"]), run["target"], rule, box["boxes"], thresholds)

    @property
    def curve(self) -> str:
        """The column that holds the box rule's IoU at every threshold."""
        return "iou_energy_box" if self.rule.rule == "energy" else f"iou_by_{self.rule.by}_{self.boxes}"

    @property
    def columns(self) -> list[str]:
        """The columns that ``summarise`` and ``choose_thresholds`` read."""
        return list(dict.fromkeys((*READ, self.curve)))

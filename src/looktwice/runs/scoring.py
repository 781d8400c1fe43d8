"""How the rows of a run are scored: box rule, target and thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass

from looktwice.localization.boxes import BoxRule
from looktwice.metrics.judged_maps import Target, Thresholds
from looktwice.metrics.measures import MAP_NUMBERS, NETWORK_NUMBERS, Subject
from looktwice.runs.columns import ALL_BOXES
from looktwice.runs.manifest import Boxes, Manifest

READ = (
    *("sample", "tuning", "method", "rank", "target", "target_place", "predicted", "label_place", "right", "judged"),
    *MAP_NUMBERS,
    *("max_box_acc_iou", "max_box_acc_v2_iou", "iou_energy_box", "note", "error", "seconds_method"),
    *("labels", "predicted_probability", "threshold", "boxes", "iou_per_truth", *ALL_BOXES),
)
"""The columns that a summary reads, besides the curve of the box rule."""


@dataclass(frozen=True)
class Scoring:
    """How rows are scored.

    Attributes:
        methods: methods and baselines.
        target: the classes that the maps show.
        rule: how boxes are drawn.
        boxes: which boxes of a map count.
        thresholds: by method; None: they are chosen on the rows of the tuning images.
        subject: what the rows are of; it decides which measures there are.
        faithfulness: whether the rows have the numbers that only the network can tell.
    """

    methods: tuple[str, ...]
    target: Target
    rule: BoxRule
    boxes: Boxes
    thresholds: Mapping[str, Thresholds] | None
    subject: Subject = "images"
    faithfulness: bool = False

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> "Scoring":
        """As the run's manifest says."""
        run = manifest.run
        return cls(
            run.names,
            run.target,
            run.box.box_rule,
            run.box.boxes,
            run.box.thresholds,
            run.subject,
            run.faithfulness is not None,
        )

    @property
    def curve(self) -> str | None:
        """The column with the IoU of the box rule's boxes at every threshold; None if it has no threshold."""
        if not self.rule.has_threshold:
            return None
        return "iou_energy_box" if self.rule.rule == "energy" else f"iou_by_{self.rule.by}_{self.boxes}"

    @property
    def drawn(self) -> str | None:
        """The column with the IoU of the box that was drawn; None if its threshold is chosen among others."""
        return None if self.rule.has_threshold else {"largest": "iou", "any": "iou_any"}[self.boxes]

    @property
    def overlaps(self) -> tuple[str, ...]:
        """The columns with the IoU that localization errors are of: ``curve`` or ``drawn``."""
        return tuple(filter(None, (self.curve, self.drawn)))

    @property
    def network_numbers(self) -> tuple[str, ...]:
        """The columns with numbers that only the network can tell, if the rows have them."""
        return NETWORK_NUMBERS if self.faithfulness else ()

    @property
    def columns(self) -> list[str]:
        """The columns that ``summarise`` and ``choose_thresholds`` read."""
        return list(dict.fromkeys((*READ, *self.network_numbers, *self.overlaps)))

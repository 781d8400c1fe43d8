"""The table of measures: everything that a summary counts and a report shows.

A new measure is one new file with its function, and one row here. A row says what the measure is called, what it
means, whether less is better, what it needs, and which values it averages. If a map must be looked at for it, the row
also names the column of a run's rows that keeps the number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from numpy.typing import ArrayLike

from looktwice.images import Window
from looktwice.metrics.all_boxes import (
    BoxValues,
    Objects,
    box_ap50s,
    box_f1s,
    box_precisions,
    box_recalls,
    boxes_of_images,
    nested_shares,
    of_objects,
)
from looktwice.metrics.classification_error import top1_class_errors, top5_class_errors
from looktwice.metrics.energy_in_box import energies_in_box, energy_in_box
from looktwice.metrics.judged_maps import JudgedMaps, PooledSample, Sample, Target, Thresholds, Undefined
from looktwice.metrics.localization_error import (
    energy_box_loc_errors,
    gt_known_loc_errors,
    oracle_top1_loc_errors,
    top1_loc_errors,
    top5_loc_errors,
)
from looktwice.metrics.max_box_acc import (
    max_box_acc_hits,
    max_box_acc_v2_hits,
    oracle_max_box_acc_hits,
    oracle_max_box_acc_v2_hits,
)
from looktwice.metrics.mean_iou import overlaps
from looktwice.metrics.perturbation import deletion_aucs, insertion_aucs
from looktwice.metrics.pointing import pointing_hits, points_at_object
from looktwice.metrics.seconds import seconds_of_images

Kind = Literal["result", "oracle", "other_box", "all_boxes", "box_count", "network", "cost"]
"""``"result"``: judges a method. ``"oracle"``: judges it at the best threshold for these very images, so it is a bound.
``"other_box"``: judges it with another box than the run's. ``"all_boxes"``: judges it by all boxes of its maps.
``"box_count"``: describes these boxes, and neither more nor less is better. ``"network"``: no method changes it.
``"cost"``: time."""


Subject = Literal["images", "squares"]
"""What a run's rows are of: images of a data set, or squares of four of them (the grid pointing game)."""


@dataclass(frozen=True)
class MapNumber:
    """A number that is taken from each map while the map is there.

    Attributes:
        column: the column of a run's rows that keeps it.
        kind: the type of the column.
        of: the function of a map (H, W), the object's boxes (B, 4) in the image, and the window that the map covers.
    """

    column: str
    kind: Literal["bool", "double"]
    of: Callable[[ArrayLike, ArrayLike, Window], float]


@dataclass(frozen=True)
class Measure:
    """A number that a summary has of each method.

    Attributes:
        name: its name in files.
        title: its name in headings.
        short_title: its name at the top of a column.
        meaning: what it is a share or a mean of.
        values: the values that it averages, of all maps of a method at the thresholds that count.
        kind: what it judges.
        lower_is_better: an error or a cost.
        in_per_cent: it is a share; else it is a plain number.
        targets: the classes of maps with which it is defined.
        otherwise: why it is not defined with other classes.
        from_map: the number of each map that it needs, if any.
        from_network: the column of a run's rows with the number of each map that it needs, if only the network can tell
            it. A run has this column if it was asked for.
        subjects: what it is measured on.
        images: the images that a measure of all boxes counts, by their number of objects; else empty.
    """

    name: str
    title: str
    short_title: str
    meaning: str
    values: Callable[[JudgedMaps, Thresholds], Sample | PooledSample | Undefined]
    kind: Kind = "result"
    lower_is_better: bool = False
    in_per_cent: bool = True
    targets: tuple[Target, ...] = get_args(Target)
    otherwise: str = ""
    from_map: MapNumber | None = None
    from_network: str | None = None
    subjects: tuple[Subject, ...] = ("images",)
    images: str = ""

    @property
    def is_paired(self) -> bool:
        """Whether the difference of two methods, image by image, says something."""
        return self.kind not in {"network", "cost"}

    def values_of(
        self, maps: JudgedMaps, at: Thresholds, target: Target, subject: Subject = "images"
    ) -> Sample | PooledSample | Undefined:
        """The values to average, or why there are none.

        Args:
            maps: all maps of a method.
            at: the thresholds that count.
            target: which classes the maps show.
            subject: what they are maps of.
        """
        if subject not in self.subjects:
            return Undefined(_NOT_OF[subject])
        return self.values(maps, at) if target in self.targets else Undefined(self.otherwise)


_NOT_OF: Mapping[Subject, str] = MappingProxyType(
    {
        "images": "the maps are of single images; --measure grid makes squares of four",
        "squares": "the maps are of squares of four images, in a grid pointing game",
    }
)
"""Why a measure of the one subject is not defined on the other."""


def _box_rows(objects: Objects, ending: str, images: str, short: str) -> tuple[Measure, ...]:
    """Precision, recall, F1 and AP50 of all boxes of the images with that number of objects."""

    def row(name: str, title: str, short_title: str, meaning: str, values: BoxValues) -> Measure:
        return Measure(
            f"{name}{ending}",
            f"{title} of all boxes, {images}",
            f"{short_title}{short}",
            f"{meaning}; {images}",
            of_objects(values, objects),
            kind="all_boxes",
            images=images,
        )

    return (
        row("box_precision", "Precision", "P", "share of all boxes that are matched with IoU ≥ 0.5", box_precisions),
        row("box_recall", "Recall", "R", "share of all objects that a box is matched with", box_recalls),
        row("box_f1", "F1", "F1", "harmonic mean of precision and recall of all boxes", box_f1s),
        row(
            "box_ap50",
            "Average precision",
            "AP50",
            "COCO’s average precision at IoU 0.5, boxes ordered by score",
            box_ap50s,
        ),
    )


_ROWS = (
    Measure(
        "top1_class_error",
        "Classification error (top-1)",
        "top-1 class error",
        "share of images whose most probable class is none of their labels",
        top1_class_errors,
        kind="network",
        lower_is_better=True,
    ),
    Measure(
        "top5_class_error",
        "Classification error (top-5)",
        "top-5 class error",
        "share of images with none of their labels among the five most probable classes",
        top5_class_errors,
        kind="network",
        lower_is_better=True,
    ),
    Measure(
        "top1_loc_error",
        "Localization error, class predicted",
        "top-1 loc. error",
        "share of images whose first guess has a wrong class, or a box with IoU < 0.5",
        top1_loc_errors,
        lower_is_better=True,
    ),
    Measure(
        "top5_loc_error",
        "Localization error, class among five predicted",
        "top-5 loc. error",
        "share of images whose first five guesses all have a wrong class, or a box with IoU < 0.5",
        top5_loc_errors,
        lower_is_better=True,
        targets=("true", "top5"),
        otherwise="only the first guess is mapped; --target top5 or true maps enough",
    ),
    Measure(
        "top1_loc_error_energy_box",
        "Localization error, class predicted, box of 95 % of the energy",
        "top-1 loc. error, energy box",
        "the top-1 localization error with the tightest box around 95 % of the map’s sum (Cao et al. 2015)",
        energy_box_loc_errors,
        kind="other_box",
        lower_is_better=True,
    ),
    Measure(
        "oracle_top1_loc_error",
        "Localization error, class predicted, best threshold",
        "oracle top-1",
        "the top-1 localization error at the best threshold for these very images",
        oracle_top1_loc_errors,
        kind="oracle",
        lower_is_better=True,
    ),
    Measure(
        "gt_known_loc_error",
        "Localization error, class known",
        "GT-known error",
        "share of maps of the true class whose box has IoU < 0.5",
        gt_known_loc_errors,
        lower_is_better=True,
        targets=("true",),
        otherwise="the maps are of the network's guesses; --target true is needed",
    ),
    Measure(
        "max_box_acc",
        "Box accuracy (MaxBoxAcc)",
        "MaxBoxAcc",
        "share of maps whose box has IoU ≥ 0.5 (Choe et al. 2020)",
        max_box_acc_hits,
    ),
    Measure(
        "max_box_acc_v2",
        "Box accuracy at three overlaps (MaxBoxAccV2)",
        "MaxBoxAccV2",
        "share of maps whose best box has IoU ≥ 0.3, 0.5 and 0.7: the mean of the three (Choe et al. 2020)",
        max_box_acc_v2_hits,
    ),
    Measure(
        "oracle_max_box_acc",
        "Box accuracy (MaxBoxAcc), best threshold",
        "oracle MBA",
        "MaxBoxAcc at the best threshold for these very images",
        oracle_max_box_acc_hits,
        kind="oracle",
    ),
    Measure(
        "oracle_max_box_acc_v2",
        "Box accuracy at three overlaps (MaxBoxAccV2), best thresholds",
        "oracle V2",
        "MaxBoxAccV2 at the best thresholds for these very images",
        oracle_max_box_acc_v2_hits,
        kind="oracle",
    ),
    Measure(
        "pointing_game",
        "Pointing game",
        "pointing",
        "share of maps whose maximum lies on the object, averaged over classes",
        pointing_hits,
        from_map=MapNumber("pointing_hit", "bool", points_at_object),
    ),
    Measure(
        "energy_in_box",
        "Energy in the object’s box",
        "energy in box",
        "share of the map’s sum that lies in the object’s box",
        energies_in_box,
        from_map=MapNumber("energy_in_box", "double", energy_in_box),
    ),
    Measure(
        "grid_pointing_game",
        "Grid pointing game, share in the own quarter",
        "share in own quarter",
        "share of the map’s sum in the quarter of its own class, where four images make a square (Böhle et al. 2021)",
        energies_in_box,
        subjects=("squares",),
    ),
    Measure(
        "mean_iou",
        "Mean overlap (IoU)",
        "mean IoU",
        "mean IoU of the map’s box with the object",
        overlaps,
    ),
    Measure(
        "insertion_auc",
        "Insertion, area under the curve",
        "insertion",
        "mean probability of the class while a blurred picture gets back its pixels, the map’s highest first (RISE)",
        insertion_aucs,
        from_network="insertion",
    ),
    Measure(
        "deletion_auc",
        "Deletion, area under the curve",
        "deletion",
        "mean probability of the class while the picture’s pixels are blurred, the map’s highest first (RISE)",
        deletion_aucs,
        lower_is_better=True,
        from_network="deletion",
    ),
    *_box_rows("one", "_one", "images with one object", ", one"),
    *_box_rows("several", "_several", "images with several objects", ", several"),
    *_box_rows("all", "", "all images", ""),
    Measure(
        "boxes_per_image",
        "Boxes an image",
        "boxes an image",
        "mean number of boxes of an image and class",
        boxes_of_images,
        kind="box_count",
        in_per_cent=False,
    ),
    Measure(
        "nested_boxes",
        "Nested boxes",
        "nested",
        "share of boxes that lie to 70 % of their area or more inside another box of the same map",
        nested_shares,
        kind="box_count",
    ),
    Measure(
        "seconds_per_image",
        "Seconds per image",
        "seconds per image",
        "mean time of the method for all maps of an image, without the first pass that all methods share",
        seconds_of_images,
        kind="cost",
        lower_is_better=True,
        in_per_cent=False,
        subjects=get_args(Subject),
    ),
)

MEASURES: Mapping[str, Measure] = MappingProxyType({measure.name: measure for measure in _ROWS})
"""All measures by name, in the order of a summary."""


MAP_NUMBERS: Mapping[str, MapNumber] = MappingProxyType(
    {measure.from_map.column: measure.from_map for measure in _ROWS if measure.from_map}
)
"""The numbers that are taken from each map, by the column of a run's rows, in the order of the columns."""


NETWORK_NUMBERS: tuple[str, ...] = tuple(measure.from_network for measure in _ROWS if measure.from_network)
"""The columns with numbers that only the network can tell, in the order of the columns."""


TABLED: tuple[Measure, ...] = tuple(
    measure for kind in ("result", "oracle") for measure in _ROWS if measure.kind == kind
)
"""The measures of a table of methods, the oracles last."""


ALL_BOXES: tuple[Measure, ...] = tuple(measure for measure in _ROWS if measure.kind in {"all_boxes", "box_count"})
"""The measures of all boxes of an image, which have a table of their own."""

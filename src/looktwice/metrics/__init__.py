"""Measures: from boxes and maps to numbers. One measure a file, all of them in the table ``measures``.

The functions of single images are for direct use. The table serves finished runs: it says what a summary counts and
what a report calls it.

Ground truths are boxes (B, 4) in half-open pixels of the original image: (x1, y1, x2, y2) holds the pixels x1 … x2 − 1
and is x2 − x1 wide. An *inclusive* box names its last pixel instead: (x1, y1, x2 − 1, y2 − 1). The IoU of the same
pixels is the same number in both forms. Only the rules of wsolevaluation need inclusive boxes, because they scale and
clip them.
"""

from looktwice.metrics.all_boxes import average_precision as average_precision
from looktwice.metrics.all_boxes import match_boxes as match_boxes
from looktwice.metrics.all_boxes import nested_boxes as nested_boxes
from looktwice.metrics.curves import BoxCurve as BoxCurve
from looktwice.metrics.curves import overlap_curve as overlap_curve
from looktwice.metrics.energy_in_box import energy_in_box as energy_in_box
from looktwice.metrics.intervals import Interval as Interval
from looktwice.metrics.intervals import binomial_interval as binomial_interval
from looktwice.metrics.intervals import bootstrap as bootstrap
from looktwice.metrics.intervals import class_mean as class_mean
from looktwice.metrics.intervals import paired_difference as paired_difference
from looktwice.metrics.intervals import resampled_means as resampled_means
from looktwice.metrics.localization_error import Guess as Guess
from looktwice.metrics.localization_error import gt_known_hit as gt_known_hit
from looktwice.metrics.localization_error import top1_hit as top1_hit
from looktwice.metrics.localization_error import top5_hit as top5_hit
from looktwice.metrics.max_box_acc import V1_LEVELS as V1_LEVELS
from looktwice.metrics.max_box_acc import V2_LEVELS as V2_LEVELS
from looktwice.metrics.max_box_acc import ProtocolBoxes as ProtocolBoxes
from looktwice.metrics.max_box_acc import best_share as best_share
from looktwice.metrics.max_box_acc import best_thresholds as best_thresholds
from looktwice.metrics.max_box_acc import box_curve as box_curve
from looktwice.metrics.max_box_acc import box_hits as box_hits
from looktwice.metrics.max_box_acc import max_box_acc as max_box_acc
from looktwice.metrics.max_box_acc import max_box_acc_v2 as max_box_acc_v2
from looktwice.metrics.max_box_acc import protocol_boxes as protocol_boxes
from looktwice.metrics.max_box_acc import protocol_curve as protocol_curve
from looktwice.metrics.max_box_acc import threshold_grid as threshold_grid
from looktwice.metrics.measures import MEASURES as MEASURES
from looktwice.metrics.measures import Measure as Measure
from looktwice.metrics.overlap import iou as iou
from looktwice.metrics.overlap import iou_inclusive as iou_inclusive
from looktwice.metrics.pointing import pointing_hit as pointing_hit

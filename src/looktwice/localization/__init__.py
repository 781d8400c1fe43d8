"""From a map to boxes."""

from looktwice.localization.boxes import Box as Box
from looktwice.localization.boxes import BoxKind as BoxKind
from looktwice.localization.boxes import BoxRule as BoxRule
from looktwice.localization.boxes import Foreground as Foreground
from looktwice.localization.boxes import check_map as check_map
from looktwice.localization.boxes import contour_boxes as contour_boxes
from looktwice.localization.boxes import energy_box as energy_box
from looktwice.localization.boxes import find_boxes as find_boxes
from looktwice.localization.boxes import locate as locate
from looktwice.localization.boxes import to_image as to_image

"""From a map to boxes, and to the region that each box was drawn around.

A map is cut at a threshold; each piece that is left has a contour and a box. Or it is cut at all thresholds, and the
pieces that are probably objects are chosen: ``components`` has the tree of all pieces, ``region_numbers`` what is
measured of them, ``objects`` their scores and the choice. ``boxes`` has the rules, ``regions`` the pixels of a box, and
``sweep`` all boxes of a map at every threshold, for evaluation.
"""

from looktwice.images import check_map as check_map
from looktwice.localization.boxes import Box as Box
from looktwice.localization.boxes import BoxKind as BoxKind
from looktwice.localization.boxes import BoxRule as BoxRule
from looktwice.localization.boxes import Foreground as Foreground
from looktwice.localization.boxes import contour_boxes as contour_boxes
from looktwice.localization.boxes import energy_box as energy_box
from looktwice.localization.boxes import find_boxes as find_boxes
from looktwice.localization.boxes import locate as locate
from looktwice.localization.boxes import object_boxes as object_boxes
from looktwice.localization.boxes import to_image as to_image
from looktwice.localization.regions import Region as Region
from looktwice.localization.regions import RunLengths as RunLengths
from looktwice.localization.regions import run_lengths as run_lengths

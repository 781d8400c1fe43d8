"""The mean overlap of boxes with objects."""

from looktwice.localization.sweep import grid_index
from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds


def overlaps(maps: JudgedMaps, at: Thresholds) -> Sample:
    """For each map the IoU of its box with the object, at the threshold."""
    return Sample(maps.curve[maps.first, grid_index(at.box)])

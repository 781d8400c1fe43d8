"""The mean overlap of boxes with objects."""

from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds


def overlaps(maps: JudgedMaps, at: Thresholds) -> Sample:
    """For each map the IoU of its box with the object, at the threshold if there is one."""
    return Sample(maps.overlap_at(at.box)[maps.first])

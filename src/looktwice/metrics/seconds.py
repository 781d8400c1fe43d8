"""What a method costs."""

from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds


def seconds_of_images(maps: JudgedMaps, _: Thresholds) -> Sample:
    """The seconds that the method took for all maps of each image, without the first pass that all methods share."""
    return Sample(maps.per_image(maps.seconds), empty="no image")

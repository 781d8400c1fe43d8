"""Classification errors of the network itself: no method changes them."""

from looktwice.metrics.judged_maps import JudgedMaps, Sample, Thresholds


def top1_class_errors(maps: JudgedMaps, _: Thresholds) -> Sample:
    """For each image whether the network's first guess is no label of it."""
    return _errors(maps, guesses=1)


def top5_class_errors(maps: JudgedMaps, _: Thresholds) -> Sample:
    """For each image whether none of the network's first five guesses is a label of it."""
    return _errors(maps, guesses=5)


def _errors(maps: JudgedMaps, *, guesses: int) -> Sample:
    return Sample(maps.label_place[maps.first_of_image] >= guesses, empty="no image")

"""How good labels are: they are held against a few images with boxes drawn by hand.

Precision, recall, F1 and AP50 are the measures of all boxes of an evaluation, by the same code. If the same images have
the same boxes, and the class is known, ``looktwice evaluate --target true`` gives the same numbers to the last digit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from looktwice.datasets.records import Dataset
from looktwice.errors import DatasetError, cut, printable
from looktwice.export.label_set import LabelSet
from looktwice.labelling.box_scores import MinScore, ScoreGroup, choose_min_score, group_by_score
from looktwice.labelling.corrections import LEVELS, Corrections, count_corrections
from looktwice.labelling.judged import FoundBoxes, JudgedImage, as_judged_boxes, judge_image
from looktwice.labelling.matching import AnnotatedNames, FileNames, Pairing
from looktwice.labelling.truths import UnplacedError, has_wrong_size, names_files, placed, states_stored_size
from looktwice.metrics.judged_maps import JudgedBoxes, JudgedMaps, Sample, Thresholds, Undefined
from looktwice.metrics.measures import ALL_BOXES
from looktwice.runs.json_forms import to_json
from looktwice.runs.resampled import Resampled, resample
from looktwice.runs.summary import Score


@dataclass(frozen=True)
class CheckedImages:
    """Which images were judged, and what became of the other annotated ones.

    Attributes:
        judged: how many were judged.
        by_path_end: how many of these have another name in the annotation, and were found by the end of their path.
        unmatched: the annotated images that are not among the labelled ones, by name.
        ambiguous: a line for each annotated image that may be several labelled ones.
        left_out: a line for each image whose boxes drawn by hand cannot be used, with the reason.
        notes: a line for each box drawn by hand that was mended.
        problems: a line for each part of the annotation that could not be read, such as a class that is unknown.
        without_object: how many images the annotation lists without an object. They are not judged: either there is
            nothing on them, or nobody has annotated them yet.
        remarks: what the annotation's layout leaves out or keeps by its own rules, such as crowd regions.
        copies: how many of the judged images were found without the eight hex digits that Label Studio puts before the
            name of a copy.
    """

    judged: int
    by_path_end: int = 0
    unmatched: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    without_object: int = 0
    remarks: tuple[str, ...] = ()
    copies: int = 0


@dataclass(frozen=True)
class LabelCheck:
    """How good labels are.

    Attributes:
        images: the images that were judged.
        scores: the measures of all boxes by name, as a run's summary has them. Each is of images and their classes.
        right_class: the share of images whose first class is in the image.
        min_score: the least score with the best F1; or why none is chosen.
        score_groups: how often boxes of a score are right.
        corrections: what a person would have to correct, at each IoU of ``LEVELS``.
    """

    images: CheckedImages
    scores: Mapping[str, Score | Undefined]
    right_class: Score
    min_score: MinScore | Undefined
    score_groups: tuple[ScoreGroup, ...]
    corrections: tuple[Corrections, ...]

    def as_json(self) -> dict[str, Any]:
        """As a file holds it. A number that is not defined has the value null and a reason."""
        content: dict[str, Any] = to_json(self)
        content["scores"] = {name: _score_as_json(score) for name, score in self.scores.items()}
        content["min_score"] = _score_as_json(self.min_score)
        return content


def _score_as_json(score: Score | MinScore | Undefined) -> Any:
    return {"value": None, "reason": score.reason} if isinstance(score, Undefined) else to_json(score)


def check_labels(labels: LabelSet, truths: Dataset) -> LabelCheck:
    """Holds labels against the boxes drawn by hand for some of the images.

    Args:
        labels: the labels. They are read once, one by one.
        truths: the images with boxes drawn by hand. Their classes are the network's indices.

    Raises:
        DatasetError: no image of the labels has boxes drawn by hand.
    """
    samples = {sample.id: sample for sample in truths.samples if sample.labels}
    named = names_files(truths)
    found, pairing = _paired(labels, FileNames(samples) if named else AnnotatedNames(samples))
    if not pairing.pairs:
        raise _none_matched(labels, pairing, truths)
    doubtful = {
        states_stored_size(samples[one], found[other].orientation)
        for one, other in pairing.pairs
        if has_wrong_size(samples[one], found[other].orientation)
    }
    judged: list[JudgedImage] = []
    left_out: list[str] = []
    notes: list[str] = []
    by_path_end = copies = 0
    for annotated, labelled in pairing.pairs:
        boxes = found[labelled]
        is_doubtful = states_stored_size(samples[annotated], boxes.orientation) in doubtful
        try:
            sample, faults = placed(samples[annotated], boxes.size, boxes.orientation, is_doubtful=is_doubtful)
        except UnplacedError as error:
            left_out.append(f"{annotated}: {error}")
            continue
        notes += [f"{annotated}: {fault.removeprefix(f'{sample.image}: ')}" for fault in faults]
        image_judged = judge_image(boxes, sample)
        if image_judged is None:
            left_out.append(f"{annotated}: no box was drawn on it by hand")
        else:
            judged.append(image_judged)
            copies += annotated in pairing.copies
            by_path_end += not named and annotated != labelled and annotated not in pairing.copies
    if not judged:
        raise DatasetError(f"no annotated image can be used; the first of {len(left_out)}: {printable(left_out[0])}")
    images = CheckedImages(
        judged=len(judged),
        by_path_end=by_path_end,
        copies=copies,
        unmatched=_printable(pairing.unmatched),
        ambiguous=_printable(pairing.ambiguous),
        left_out=_printable(left_out),
        notes=_printable(notes),
        problems=_printable(truths.problems),
        without_object=len(truths.samples) - len(samples),
        remarks=_printable(truths.notes),
    )
    return _counted(sorted(judged, key=lambda each: each.id), images)


def _paired(labels: LabelSet, names: AnnotatedNames | FileNames) -> tuple[dict[str, FoundBoxes], Pairing]:
    """The labelled images that may be annotated, and which annotated image is which of them."""
    indices = [each.index for each in labels.classes]
    found: dict[str, FoundBoxes] = {}
    written: dict[str, tuple[str, ...]] = {}
    for image in labels.images():
        others = names.written(image)
        if names.may_hold(image.id, others):
            found[image.id], written[image.id] = FoundBoxes.of(image, indices), others
    return found, names.pair(found, written)


def _printable(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(printable, lines))


def _none_matched(labels: LabelSet, pairing: Pairing, truths: Dataset) -> DatasetError:
    example = next((image.id for image in labels.images()), None)
    if example is None:
        return DatasetError("there are no labelled images to check; label some images first")
    if pairing.ambiguous:
        return DatasetError(
            f"no annotated image can be told from the others: {printable(cut(pairing.ambiguous[0], most=300))}; "
            "name images in the annotation as the labels do"
        )
    other = next((sample.id for sample in truths.samples if sample.labels), "none")
    return DatasetError(
        f"no annotated image is among the labelled ones: the annotation names {printable(cut(other, most=200))}, for "
        f"example, and the labels {printable(cut(example, most=200))}; the ends of the paths must be the same"
    )


def _counted(judged: Sequence[JudgedImage], images: CheckedImages) -> LabelCheck:
    boxes = as_judged_boxes(judged)
    right = resample({"right_class": Sample([float(image.right_class) for image in judged])})["right_class"]
    assert isinstance(right, Resampled)
    return LabelCheck(
        images=images,
        scores=_box_scores(boxes),
        right_class=right.score,
        min_score=choose_min_score(judged),
        score_groups=group_by_score(boxes.score, boxes.right),
        corrections=tuple(count_corrections(judged, level) for level in LEVELS),
    )


def _box_scores(boxes: JudgedBoxes) -> dict[str, Score | Undefined]:
    """The measures of all boxes, resampled over the same maps as an evaluation resamples them."""
    maps, at = JudgedMaps.of_boxes(boxes), Thresholds(None)
    found = resample({measure.name: measure.values_of(maps, at, "true") for measure in ALL_BOXES})
    return {name: each if isinstance(each, Undefined) else each.score for name, each in found.items()}

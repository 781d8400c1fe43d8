"""What a check of labels found, as text for a terminal."""

import textwrap
from collections.abc import Iterator, Sequence

from looktwice.labelling.box_scores import FOLDS, MinScore, ScoreGroup
from looktwice.labelling.check import CheckedImages, LabelCheck
from looktwice.labelling.corrections import Corrections
from looktwice.metrics.intervals import Interval
from looktwice.metrics.judged_maps import Undefined
from looktwice.runs.summary import Score

_MEASURES = (("box_precision", "precision"), ("box_recall", "recall"), ("box_f1", "F1"), ("box_ap50", "AP50"))
_GROUPS = (("_one", "one object"), ("_several", "several objects"), ("", "all images"))
_CORRECTIONS = (
    ("boxes_stand", "boxes that stand"),
    ("boxes_moved", "boxes to move"),
    ("boxes_deleted", "boxes to delete"),
    ("objects_drawn", "objects to draw"),
    ("images_untouched", "images that need nothing"),
)
_WIDTH = 90
"""Characters of a line at most."""

_FIRST, _OTHER = 27, 21
"""Characters of the first column, and of each other one with the two blanks before it."""

_SHOWN = 3
"""Lines of a list that are shown; the file of the check has all of them."""


def check_table(check: LabelCheck) -> str:
    """What the check found, in lines of at most 90 characters. Shares are in per cent, with their 95 % intervals."""
    return "\n".join(
        [
            *_about_images(check.images),
            "",
            *_about_boxes(check),
            "",
            *_about_scores(check.score_groups),
            *_about_min_score(check.min_score),
            "",
            *_about_corrections(check.corrections),
        ]
    )


def _about_images(images: CheckedImages) -> Iterator[str]:
    yield f"Labels of {_counted(images.judged, 'image')}, held against boxes drawn by hand (%, 95 % intervals)"
    if images.by_path_end:
        yield f"  {_counted(images.by_path_end, 'image')} found by the end of the path: the names differ"
    if images.copies:
        count = _counted(images.copies, "image")
        yield f"  {count} found without the eight hex digits before the name of a copy"
    if images.without_object:
        count = _counted(images.without_object, "image")
        yield f"  {count} without an object in the annotation: not judged"
    yield from _listed("not among the labelled images", images.unmatched)
    yield from _listed("may be several labelled images", images.ambiguous)
    yield from _listed("left out", images.left_out)
    yield from _listed("with a box drawn by hand that was mended", images.notes)
    yield from _listed("that could not be read in the annotation", images.problems)
    for remark in images.remarks:
        yield from _wrapped(remark, first="  ", others="    ")


def _listed(what: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"  {len(lines)} {what}:"
        for line in lines[:_SHOWN]:
            yield from _wrapped(line, first="    ", others="      ")
        if len(lines) > _SHOWN:
            yield f"    … and {len(lines) - _SHOWN} more"


def _about_boxes(check: LabelCheck) -> Iterator[str]:
    yield _row("boxes are right at IoU ≥ 0.5", *(title for _, title in _GROUPS))
    for name, title in _MEASURES:
        yield _row(title, *(_share(check.scores[f"{name}{ending}"]) for ending, _ in _GROUPS))
    yield _row("nested boxes", "", "", _share(check.scores["nested_boxes"]))
    yield _row("boxes an image and class", "", "", _number(check.scores["boxes_per_image"]))
    yield _row("images with a right class", "", "", _share(check.right_class))


def _about_scores(groups: Sequence[ScoreGroup]) -> Iterator[str]:
    yield _row("score", "boxes", "mean score", "right")
    for group in groups:
        mean = "" if group.mean_score is None else f"{group.mean_score:.2f}"
        right = "" if group.right is None else _share(group.right)
        yield _row(f"{group.low:.1f} … {group.high:.1f}", str(group.boxes), mean, right)
    best = next((group for group in reversed(groups) if group.right is not None), None)
    if best is not None and best.right is not None:
        until = "or more" if best is groups[-1] else f"to {best.high:.1f}"
        yield f"{100 * best.right.value:.0f} % of the boxes with a score of {best.low:.1f} {until} are right."


def _about_min_score(chosen: MinScore | Undefined) -> Iterator[str]:
    if isinstance(chosen, Undefined):
        yield from _wrapped(f"No least score: {chosen.reason}.")
        return
    low, high = min(chosen.of_parts), max(chosen.of_parts)
    if chosen.min_score == 0:
        yield "F1 is best on these images with all boxes: no least score makes it better."
        return
    yield (
        f"Without the boxes below a score of {chosen.min_score:.2f}, F1 is best on these images: "
        f"{100 * chosen.f1_here:.1f}."
    )
    yield f"On images that it is not chosen on, F1 is {_share(chosen.f1_elsewhere)}; with all boxes it is"
    yield f"{_share(chosen.f1_all_boxes)}. The difference is {_share(chosen.gain, sign='+')}."
    yield f"(The images are in {FOLDS} parts. For each part the least score is chosen on the others:"
    yield f"{low:.2f} … {high:.2f}.)"


def _about_corrections(corrections: Sequence[Corrections]) -> Iterator[str]:
    yield _row("what a person would correct", *(f"IoU ≥ {each.iou:g}" for each in corrections))
    for name, title in _CORRECTIONS:
        yield _row(title, *(_share(getattr(each, name)) for each in corrections))


def _row(*cells: str) -> str:
    """The cells in columns; two blanks at least are between them."""
    first, *others = cells
    text = f"  {first}"
    for column, cell in enumerate(others, start=1):
        text += f"  {cell}".rjust(_FIRST + _OTHER * column - len(text))
    return text.rstrip()


def _wrapped(text: str, *, first: str = "", others: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def _share(score: Score | Interval | Undefined, *, sign: str = "") -> str:
    if isinstance(score, Undefined):
        return "–"
    return f"{100 * score.value:{sign}.1f} ({100 * score.low:{sign}.1f}…{100 * score.high:{sign}.1f})"


def _number(score: Score | Undefined) -> str:
    return "–" if isinstance(score, Undefined) else f"{score.value:.2f} ({score.low:.2f}…{score.high:.2f})"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

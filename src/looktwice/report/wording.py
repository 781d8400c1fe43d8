"""Numbers as reports print them, and a sentence that several reports have."""

from looktwice.metrics.measures import Measure
from looktwice.runs.summary import Score, Summary


def signed(number: float, digits: int) -> str:
    """A difference: with its sign, a true minus, and no sign at zero.

    >>> signed(-1.26, 1), signed(0.04, 1)
    ('−1.3', '0.0')
    """
    rounded = round(number, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def per_cent(share: float) -> str:
    """A share in per cent, with one digit.

    >>> per_cent(0.596)
    '59.6'
    """
    return f"{100 * share:.1f}"


def sentence(text: str) -> str:
    """A text as a sentence of its own: it begins with a capital letter and ends with a point.

    >>> sentence("share of images without a box")
    'Share of images without a box.'
    """
    return text[:1].upper() + text[1:] + "." * (not text.endswith("."))


def better_arrow(lower_is_better: bool) -> str:
    """The direction in which a number gets better."""
    return "↓" if lower_is_better else "↑"


def shown(measure: Measure, number: float) -> str:
    """A measure's number as tables print it: a share in per cent with one digit, another number with two."""
    return per_cent(number) if measure.in_per_cent else f"{number:.2f}"


def shown_score(measure: Measure, score: Score | None) -> str:
    """A measure's value as tables print it; a dash if it has none."""
    return "–" if score is None else shown(measure, score.value)


def where_boxes_were_drawn(summary: Summary) -> str:
    """Where the boxes of the measures of all boxes come from, if they were not drawn at the thresholds that count."""
    if not summary.drawn_elsewhere:
        return ""
    at = " and ".join(f"{threshold:.2f}" for threshold in summary.drawn_elsewhere)
    return (
        f"All boxes were drawn at the box rule’s own threshold, {at}, before thresholds were chosen. So the chosen "
        "thresholds do not hold for them."
    )

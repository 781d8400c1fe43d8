"""A finding as a picture to look at: the map and the boxes over the image, with a caption."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from looktwice.export.finding import Finding
from looktwice.export.results import write_result
from looktwice.figures.caption import caption
from looktwice.figures.encode import png_bytes
from looktwice.figures.frames import draw_boxes
from looktwice.figures.overlay import overlay
from looktwice.labels import network_label


def write_picture(finding: Finding, stem: Path) -> Path:
    """Writes ``STEM.png``.

    Raises:
        InputError: there is a file of the user's own.
        LooktwiceError: the file cannot be written.
    """
    return write_result(stem.with_name(f"{stem.name}.png"), png_bytes(picture(finding)))


def picture(finding: Finding) -> Image.Image:
    """The map and its boxes over the image, with a caption."""
    count = len(finding.boxes)
    details = [
        finding.method_title,
        network_label(finding.model),
        *_score(finding.scores),
        f"{count} box{'es' * (count != 1)}",
    ]
    drawn = overlay(finding.picture, finding.heat, finding.window)
    boxed = draw_boxes(drawn, [box.corners for box in finding.boxes], finding.window)
    return caption(
        boxed, finding.class_title, [" · ".join(details)], warnings=finding.doubts, found=bool(finding.boxes)
    )


def _score(scores: Sequence[float]) -> list[str]:
    """The class score in words, at the start and after the last step; nothing if the method gives none."""
    ends = [f"{scores[step]:.1f}" for step in ([0, -1] if len(scores) > 1 else range(len(scores)))]
    return [f"score {' to '.join(ends)}"] if ends else []

"""A contact sheet of a labelled data set: one HTML file with the images in most doubt and their boxes.

The page needs no network and no package. It holds small pictures, and the data as JSON that its script reads. Names of
files and classes are text from outside: the script puts them on the page as text only, and a policy in the page lets no
other script run.
"""

import base64
import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from looktwice.atomic_files import write_atomically
from looktwice.errors import LooktwiceError, OptionError, one_line, printable
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.figures.encode import data_uri
from looktwice.figures.look import page_look
from looktwice.images import read_picture

REVIEW = "review.html"
"""The name of the page."""


THUMBNAIL = 240
"""Longer side of a picture on the page, in pixels."""


QUALITY = 68
"""JPEG quality of the pictures. 500 photos take about 7 MB."""


_TEMPLATES = Path(__file__).with_name("templates")


def write_review(labels: LabelSet, folder: Path, *, most: int = 500) -> Path:
    """Writes the page review.html into a folder, complete or not at all.

    The same labels and pictures give the same bytes.

    Args:
        labels: the labels. Their images are gone through twice, and only what the page shows is kept in memory.
        folder: where to; it is made if it is missing.
        most: how many images the page shows at most: those in most doubt, see ``certainty``.

    Returns:
        The file.

    Raises:
        OptionError: ``most`` is below 1.
        RunError: the file cannot be written.
    """
    if most < 1:
        raise OptionError(f"most is {most}; the page needs one image or more")
    tally = _Tally()
    order = [index for _, index in heapq.nsmallest(most, tally.certainties(labels.images()))]
    chosen = frozenset(order)
    tiles = {index: _tile(image) for index, image in enumerate(labels.images()) if index in chosen}
    shown = [tiles[index] for index in order if index in tiles]
    used = {each[0] for tile in shown for each in (*tile["classes"], *tile["boxes"])}
    about = {printable(name): printable(value) for name, value in labels.about.items() if isinstance(value, str | int)}
    data = {
        "images": shown,
        "classes": {each.id: printable(each.name) for each in labels.classes if each.id in used},
        "total": tally.images,
        "without": tally.without_box,
        "about": about,
    }
    path = folder / REVIEW
    write_atomically(path, _page(data).encode())
    return path


def certainty(image: LabelledImage) -> float:
    """How sure the labels of an image are, 0 … 1. The page shows the least sure images first.

    It is the score of a class's best box, and 0 if the class has no box. Of several classes the least sure one counts.
    """
    best: dict[int, float] = {}
    for each in image.objects:
        best[each.id] = max(each.box.score, best.get(each.id, 0.0))
    return min((best.get(each.id, 0.0) for each in image.classes), default=0.0)


class _Tally:
    """Counts images while their certainties are taken."""

    def __init__(self) -> None:
        self.images = self.without_box = 0

    def certainties(self, images: Iterable[LabelledImage]) -> Iterator[tuple[float, int]]:
        """(certainty, place) of each image; of equally sure images the earlier one is first."""
        for place, image in enumerate(images):
            self.images += 1
            self.without_box += not image.objects
            yield certainty(image), place


def _tile(image: LabelledImage) -> dict[str, Any]:
    """What the page needs of an image."""
    picture, reason = _thumbnail(image)
    return {
        "name": printable(image.id),
        "width": image.width,
        "height": image.height,
        "picture": picture,
        "reason": reason,
        "certainty": round(certainty(image), 3),
        "classes": [[each.id, round(each.probability, 3), each.given] for each in image.classes],
        "boxes": [
            [each.id, *(round(side, 1) for side in each.box.corners), round(each.box.score, 3)]
            for each in image.objects
        ],
        "notes": [printable(note) for note in image.notes],
    }


def _thumbnail(image: LabelledImage) -> tuple[str | None, str | None]:
    """The picture as a small upright JPEG in a data URI; or the reason why there is none."""
    try:
        picture = read_picture(printable(image.id), image.read()).image
    except LooktwiceError as error:
        return None, one_line(error)
    except OSError as error:
        return None, f"it cannot be read any more ({error.strerror or one_line(error)})"
    if picture.size != (image.width, image.height):
        return None, (
            f"it has {picture.width}×{picture.height} pixels now, and had {image.width}×{image.height} when it was "
            "labelled"
        )
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    content = BytesIO()
    picture.save(content, "JPEG", quality=QUALITY, optimize=True)
    return data_uri("jpeg", content.getvalue()), None


def _page(data: dict[str, Any]) -> str:
    kinds = ("html", "css", "js")
    page, style, script = ((_TEMPLATES / f"review.{kind}").read_text(encoding="utf-8") for kind in kinds)
    style = page_look() + style
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # In JSON these three letters may be escapes. So no text can end the script element or begin a comment.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    parts = {"POLICY": policy, "STYLE": style, "SCRIPT": script, "DATA": text}
    for name, content in parts.items():
        page = page.replace(f"{{{{{name}}}}}", content, 1)
    return page


def _digest(text: str) -> str:
    """What a content security policy calls an inline element with this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

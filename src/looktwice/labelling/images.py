"""The images of a data set that is labelled, and how they are decoded: always upright."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from looktwice.atomic_files import digest_of
from looktwice.datasets.records import Sample
from looktwice.decoding import Orientation
from looktwice.errors import InputError, printable
from looktwice.images import Window, read_picture
from looktwice.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class RunImage:
    """An image of the run.

    Attributes:
        sample: its file, or its content, and its labels.
        name: of its files; see ``LabelledImage.name``.
        window: the part of the upright picture that the network sees; ``None`` before it is decoded, or if it cannot
            be.
        orientation: how it is stored; ``None`` if upright.
        note: what is doubtful about it.
        error: why it cannot be decoded.
        digest: of the file's bytes, 32 hex digits; ``None`` before it is decoded, or if there is no file.
    """

    sample: Sample
    name: str
    window: Window | None = None
    orientation: Orientation | None = None
    note: str | None = None
    error: str | None = None
    digest: str | None = None


def decode_upright(image: RunImage, preprocessing: Preprocessing) -> tuple[RunImage, Tensor]:
    """An image with what decoding it showed, and its pixels (1, C, H, W): zeros if it cannot be decoded."""
    sample = image.sample
    image = replace(image, digest=file_digest(sample.image) if sample.content is None else None)
    try:
        content = None if sample.content is None else sample.content.read()
        picture = read_picture(sample.image, content, mode=preprocessing.mode)
        pixels, window = preprocessing.prepare(picture.image)
    except (InputError, OSError) as error:
        return replace(image, error=_by_id(str(error), sample)), torch.zeros(1, *preprocessing.input_shape)
    note = "; ".join(f"{sample.id}: {note}" for note in picture.notes) or None
    return replace(image, window=window, orientation=picture.orientation, note=note), pixels


def file_digest(path: Path) -> str | None:
    """The ``digest_of`` a file; ``None`` if there is no file that can be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return digest_of(file)
    except OSError:
        return None


def is_changed(image: RunImage, since: int) -> bool:
    """Whether an image's file is another one than the one that was decoded.

    Args:
        image: as it was decoded.
        since: when that was written down, in nanoseconds. A file that is older is not read again.
    """
    if image.sample.content is not None:
        return False
    try:
        if image.sample.image.stat().st_ctime_ns < since:
            return False
    except OSError:
        return False  # it is gone: what was found in it stays
    return file_digest(image.sample.image) != image.digest


def _by_id(text: str, sample: Sample) -> str:
    """The text with the image's id in place of its path: what a run writes must not depend on its folder."""
    return printable(text.replace(str(sample.image), sample.id))

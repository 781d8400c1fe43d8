"""Samples and data sets, and what needs nothing more than them: check boxes, split, shuffle."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from looktwice.errors import OptionError

Corners = tuple[float, float, float, float]
"""A box (x1, y1, x2, y2) in half-open pixels of the original image."""


class ImageContent(Protocol):
    """How the bytes of an image are read that lies in no file of its own, such as a member of an archive.

    It can be pickled, so that other processes can read the image.
    """

    def read(self) -> bytes:
        """The bytes of the image file.

        Raises:
            InputError: they cannot be read.
        """
        ...


@dataclass(frozen=True)
class Sample:
    """One annotated image.

    Attributes:
        id: its name, unique in the data set. It is a relative path without "..", so it can name an output file.
        image: the image file. Where the image has no file of its own, this path only names it.
        labels: its classes as class indices, each once, in the order of their first object. At least one, unless the
            data set was read with ``unlabelled=True``.
        boxes: ``boxes[i]`` are the boxes of class ``labels[i]``, as (x1, y1, x2, y2) in half-open pixels of the
            original image; empty if the class has no box.
        width: of the image in pixels, as the annotation states it, or ``None``.
        height: the same way.
        content: how its bytes are read; ``None``: they are in the file ``image``.
        upright: whether the annotation tells that its boxes are in pixels of the upright picture. With ``False``
            nothing is known.
    """

    id: str
    image: Path
    labels: tuple[int, ...]
    boxes: tuple[tuple[Corners, ...], ...]
    width: int | None = None
    height: int | None = None
    content: ImageContent | None = None
    upright: bool = False

    @property
    def stated_size(self) -> tuple[int, int] | None:
        """(width, height) of the image in pixels, if the annotation states them."""
        return None if self.width is None or self.height is None else (self.width, self.height)

    def boxes_of(self, label: int) -> tuple[Corners, ...]:
        """The boxes of one class.

        Args:
            label: its class index.

        Returns:
            The boxes; empty if the image does not have this label.
        """
        return self.boxes[self.labels.index(label)] if label in self.labels else ()


@dataclass(frozen=True)
class Source:
    """Where a data set was read from, so that it can be read again; paths are absolute.

    Attributes:
        root: the folder or file.
        layout: how its files are arranged.
        split: the part of the data set, if one was named.
        classes: the classes file, if one was named.
        metadata: the metadata folder, if one was named.
    """

    root: str
    layout: str
    split: str | None = None
    classes: str | None = None
    metadata: str | None = None


@dataclass(frozen=True)
class Dataset:
    """The samples of one split in a fixed order, and what was wrong with the other images.

    Attributes:
        samples: the usable images.
        problems: one line for each problem; it names the file.
        notes: what the layout leaves out or keeps by its own rules, such as crowd regions and difficult objects.
        class_names: class index → name, if the layout or the classes file names the class.
        source: where it was read from, if it was read from files.
    """

    samples: tuple[Sample, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    class_names: Mapping[int, str] = field(default_factory=dict)
    source: Source | None = None

    def fingerprint(self) -> str:
        """The SHA-256, in hex digits, of all ids, labels and boxes in their order.

        It does not depend on the folder that the images lie in.
        """
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(json.dumps([sample.id, sample.labels, sample.boxes]).encode() + b"\n")
        return digest.hexdigest()


def clip(box: Corners, size: tuple[int, int] | None, slack: float) -> tuple[Corners | None, str | None]:
    """Clips a box to its image.

    Args:
        box: (x1, y1, x2, y2), half-open.
        size: (width, height) of the image in pixels. Without it, only x < 0 and y < 0 are outside.
        slack: the box may reach out of the image by this many pixels without a fault.

    Returns:
        The clipped box, or ``None`` if nothing is left of it; and what was wrong with it, or ``None``.
    """
    shown = "({:g}, {:g}, {:g}, {:g})".format(*box)
    if not all(map(math.isfinite, box)):
        return None, f"box {shown} has a number that is not finite; dropped"
    width, height = size or (math.inf, math.inf)
    image = f"the {width}×{height} image" if size else "the image"
    x1, y1, x2, y2 = box
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None, f"box {shown} is empty or outside {image}; dropped"
    overhang = max(-x1, -y1, x2 - width, y2 - height)
    return inside, f"box {shown} reaches {overhang:g} px out of {image}; clipped" if overhang > slack else None


def fit_to_image(sample: Sample, width: int, height: int) -> tuple[Sample, tuple[str, ...]]:
    """Checks a sample against the real size of its image. The annotation may state no size, or a wrong one.

    Args:
        sample: the sample.
        width: of the decoded image, in pixels.
        height: of the decoded image, in pixels.

    Returns:
        The sample with this size and with its boxes clipped to it; and one line for each thing that was wrong. As in
        the layouts, a box may reach out of the image by one pixel without a fault.
    """
    faults = []
    if sample.width is not None and (sample.width, sample.height) != (width, height):
        faults.append(f"the annotation states {sample.width}×{sample.height} pixels, the image has {width}×{height}")
    kept: list[tuple[Corners, ...]] = []
    for boxes in sample.boxes:
        clipped = [clip(box, (width, height), slack=1.0) for box in boxes]
        kept.append(tuple(box for box, _ in clipped if box is not None))
        faults += [fault for _, fault in clipped if fault]
    fitted = replace(sample, boxes=tuple(kept), width=width, height=height)
    return fitted, tuple(f"{sample.image}: {fault}" for fault in faults)


def split_by_hash(
    samples: Iterable[Sample], share: float, salt: str = ""
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Splits samples in two parts; each part keeps the order.

    The SHA-256 of the image's file name decides. So an image is in the same part in every layout, subset and process,
    and images with the same name are in the same part.

    Args:
        samples: the samples.
        share: about how much of all samples the first part gets, from 0 to 1.
        salt: another text gives another split.

    Returns:
        The first part and the second part.

    Raises:
        OptionError: the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise OptionError(f"share is {share}; a number from 0 to 1 is needed")
    first: list[Sample] = []
    second: list[Sample] = []
    for sample in samples:
        # Comparing whole numbers below 2**64 is exact: a share of 0 gives no sample and a share of 1 gives all.
        side = first if _hash(salt, sample.image.name) < int(share * 2**64) else second
        side.append(sample)
    return tuple(first), tuple(second)


def shuffled(samples: Iterable[Sample], seed: int) -> tuple[Sample, ...]:
    """Samples in a random order that depends only on the seed and the ids.

    Args:
        samples: the samples, in any order.
        seed: another number gives another order.

    Returns:
        The samples in this order. If more samples are added, the others keep their order among themselves.
    """
    return tuple(sorted(samples, key=lambda sample: (_hash(str(seed), sample.id), sample.id)))


def _hash(salt: str, text: str) -> int:
    content = f"{salt}\n{text}".encode(errors="surrogatepass")  # a file name need not be text
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")

"""The record every layout is read into, and what can be done with records alone: check, split, shuffle."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from looktwice.errors import OptionError

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sample:
    """One annotated image.

    `id` is unique in its data set and a relative path without "..", so it can name an output file. `labels` are class
    indices, distinct, in order of appearance, at least one. `boxes[i]` are the boxes (x1, y1, x2, y2) of `labels[i]`,
    possibly none: half-open pixels of the original image. `width` and `height` are those the annotation states, in
    pixels, or None.
    """

    id: str
    image: Path
    labels: tuple[int, ...]
    boxes: tuple[tuple[Corners, ...], ...]
    width: int | None = None
    height: int | None = None

    def boxes_of(self, label: int) -> tuple[Corners, ...]:
        """Return the boxes of class index `label`; none when the image is not labelled with it."""
        return self.boxes[self.labels.index(label)] if label in self.labels else ()


@dataclass(frozen=True)
class Dataset:
    """The samples of one split in a fixed order, and what was wrong with the others.

    `problems` are one-line strings, each naming the file. `notes` count what a layout leaves out or keeps by its own
    rules (crowd regions, difficult objects). `class_names` maps class index to name, as far as the layout or the
    classes file names them.
    """

    samples: tuple[Sample, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    class_names: Mapping[int, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of ids, labels and boxes in order, the same wherever the images lie."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(json.dumps([sample.id, sample.labels, sample.boxes]).encode() + b"\n")
        return digest.hexdigest()


def clip(box: Corners, size: tuple[int, int] | None, slack: float) -> tuple[Corners | None, str | None]:
    """Return `box` clipped to an image of `size` (width, height), or None when nothing is left, and its fault, or None.

    Reaching out of the image by at most `slack` pixels is no fault. Without a size only x < 0 and y < 0 are outside.
    """
    shown = "({:g}, {:g}, {:g}, {:g})".format(*box)
    if not all(map(math.isfinite, box)):
        return None, f"box {shown} is not made of finite numbers; dropped"
    width, height = size or (math.inf, math.inf)
    image = f"the {width}×{height} image" if size else "the image"
    x1, y1, x2, y2 = box
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None, f"box {shown} is empty or outside {image}; dropped"
    overhang = max(-x1, -y1, x2 - width, y2 - height)
    return inside, f"box {shown} reaches {overhang:g} px out of {image}; clipped" if overhang > slack else None


def fit_to_image(sample: Sample, width: int, height: int) -> tuple[Sample, tuple[str, ...]]:
    """Check `sample` against the size its image turned out to have, for layouts that state none (or a wrong one).

    Returns the sample with that size, its boxes clipped to it, and one line for each thing that was wrong. An overhang
    of at most one pixel is no fault, as in the layouts.
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
    """Part the samples in two, the first part about `share` (0 to 1) of the whole; the order is kept.

    The SHA-256 of the image's file name decides, so an image falls on the same side in every layout, subset and
    process, and images of one name are never parted. Another `salt` draws another split.
    """
    if not 0 <= share <= 1:
        raise OptionError(f"share is {share}; a number from 0 to 1 is needed")
    first: list[Sample] = []
    second: list[Sample] = []
    for sample in samples:
        # Whole numbers below 2**64: a share of 0 or 1 is exact, and no rounding has a say.
        side = first if _hash(salt, sample.image.name) < int(share * 2**64) else second
        side.append(sample)
    return tuple(first), tuple(second)


def shuffled(samples: Iterable[Sample], seed: int) -> tuple[Sample, ...]:
    """Return the samples in the one order that belongs to `seed`; more samples never change the order of the others."""
    return tuple(sorted(samples, key=lambda sample: (_hash(str(seed), sample.id), sample.id)))


def _hash(salt: str, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}\n{text}".encode()).digest()[:8], "big")

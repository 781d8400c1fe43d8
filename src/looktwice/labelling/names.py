"""A name for the files of each image."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from looktwice.datasets.records import Sample

_LONGEST = 200
"""Bytes of a name's last part at most: file systems allow 255, and a form adds its own ending."""


def image_names(samples: Sequence[Sample]) -> list[str]:
    """A relative path without suffix for each image: unique, also where a file system does not tell cases apart.

    ``a/1.jpg`` is ``a/1``. Images in one folder that share a stem keep their suffix: ``1_jpg`` and ``1_png``. If two
    names are still the same, the later one gets a number. So an image's name does not depend on images in other
    folders.
    """
    stems = [_stem(sample) for sample in samples]
    shared = Counter(stem.casefold() for stem in stems)
    names, taken, last = [], set[str](), dict[str, int]()
    for sample, stem in zip(samples, stems, strict=True):
        alone = shared[stem.casefold()] == 1
        name = base = stem if alone else f"{stem}_{sample.image.suffix.removeprefix('.')}".removesuffix("_")
        while name.casefold() in taken:
            last[base] = last.get(base, 1) + 1
            name = f"{base}-{last[base]}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _stem(sample: Sample) -> str:
    """The id without the suffix of the image file, with a last part that is short enough."""
    path = PurePosixPath(sample.id)
    suffix = sample.image.suffix
    stem = path.name.removesuffix(suffix) if suffix and path.name != suffix else path.name
    return str(path.with_name(os.fsdecode(os.fsencode(stem)[:_LONGEST])))

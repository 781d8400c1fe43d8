"""A name for the files of each image."""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import PurePosixPath

from looktwice.datasets.records import Sample
from looktwice.images import SUFFIXES

_LONGEST = 200
"""Bytes of a name's last part at most: file systems allow 255, and a form adds its own ending."""


_ENDINGS = frozenset({*SUFFIXES, ".json", ".npy", ".txt", ".xml"})
"""Endings of the files that the forms write. A folder must not have the name of such a file."""


def image_names(samples: Sequence[Sample]) -> list[str]:
    """A relative path without suffix for each image: unique, also where a file system does not tell cases apart.

    ``a/1.jpg`` is ``a/1``. Images in one folder that share a stem keep their suffix: ``1_jpg`` and ``1_png``. If two
    names are still the same, the later one gets a number. A folder that is named like a file of a form gets another
    name: ``x.png/1.jpg`` is ``x_png/1``, because ``x.bmp`` may have the file ``x.png`` in a form.
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
    """The id without the suffix of the image file, in folders without an ending, and short enough in its last part."""
    path = PurePosixPath(sample.id)
    suffix = sample.image.suffix
    stem = path.name.removesuffix(suffix) if suffix and path.name != suffix else path.name
    return str(PurePosixPath(*map(_folder, path.parts[:-1]), _short(stem)))


def _folder(part: str) -> str:
    name, ending = os.path.splitext(part)  # noqa: PTH122 - names of millions of files: no Path for each
    return f"{name}_{ending[1:]}" if ending.lower() in _ENDINGS else part


def _short(stem: str) -> str:
    """As many whole letters as have room. A byte that is no text is one letter."""
    sizes = accumulate(len(os.fsencode(letter)) for letter in stem)
    return stem[: sum(size <= _LONGEST for size in sizes)]

"""The image files below a folder."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from looktwice.images import SUFFIXES

_LABELS = {"labels.json", "parts"}
"""A folder with these holds the labels of other images, and copies or drawings of them."""


@dataclass(frozen=True)
class ImageFolder:
    """A folder with image files.

    Attributes:
        parts: its path from the folder that was searched, name by name; empty for that folder itself.
        images: the names of its image files, sorted.
    """

    parts: tuple[str, ...]
    images: tuple[str, ...]


def image_folders(
    root: Path, *, leave_out: Path | None = None, unreadable: Callable[[Path, str], None] = lambda _folder, _why: None
) -> Iterator[ImageFolder]:
    """The folders with images: the root first, then the folders below it, in the order of their names.

    Hidden files and folders are left out, and folders that ``looktwice label`` wrote. Links are followed, but each
    folder is read once. No file is opened.

    Args:
        root: the folder to search.
        leave_out: a folder below the root that is not read.
        unreadable: gets each folder that cannot be read, and why.
    """
    read = set() if leave_out is None or _same(leave_out, root) else {os.path.realpath(leave_out)}
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        parts = waiting.pop()
        folder = root.joinpath(*parts)
        place = os.path.realpath(folder)
        if place in read:
            continue
        read.add(place)
        try:
            with os.scandir(folder) as entries:
                shown = [(entry.name, is_folder(entry)) for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            unreadable(folder, error.strerror or str(error))
            continue
        if parts and {name for name, _ in shown} >= _LABELS:
            continue
        shown.sort()
        waiting += [(*parts, name) for name, is_dir in reversed(shown) if is_dir]
        images = tuple(name for name, is_dir in shown if not is_dir and has_image_suffix(name))
        if images:
            yield ImageFolder(parts, images)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder or leads to one; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def has_image_suffix(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - names of millions of files: no Path for each


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)

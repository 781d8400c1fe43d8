"""Which layout a folder or file has, by the files that are there."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from looktwice.datasets.classes import Classes
from looktwice.datasets.files import read_csv
from looktwice.datasets.layouts import LAYOUTS
from looktwice.datasets.layouts.csv import CSV_HEADERS, IMAGES_HEADER
from looktwice.datasets.layouts.huggingface import has_parquet, is_saved
from looktwice.datasets.layouts.webdataset import tar_files_in
from looktwice.datasets.walk import has_image_suffix, image_folders
from looktwice.errors import DatasetError


def find_layout(
    root: str | Path, known: Classes, *, split: str | None = None, leave_out: str | Path | None = None
) -> str:
    """The layout of what lies in a folder or file.

    Args:
        root: the folder or file, or what else a layout takes as its root.
        known: the classes that the names of class folders may have: the network's, or those of a classes file.
        split: the part of the data set, if one is named.
        leave_out: a folder below the root in which nothing is read, such as one for results.

    Returns:
        A name of ``LAYOUTS``.

    Raises:
        DatasetError: there is nothing, several layouts fit, or only some of the folders with images name a class.
    """
    by_name = [name for name, layout in LAYOUTS.items() if layout.takes_name(str(root)) and not Path(root).exists()]
    if by_name:
        return by_name[0]
    place = Path(root)
    try:
        if place.is_dir():
            fits = [name for name, mark in _MARKS.items() if mark(place, split)]
            if not fits:
                return _by_images(place, known, split, leave_out)
            beside = ["pictures"] if _HOLDS_IMAGES.intersection(fits) and _found(place, leave_out) else []
            return _only(place, [*fits, *beside])
        if place.is_file():
            return _of_file(place)
    except OSError as error:
        raise DatasetError(f"{root} cannot be read ({error.strerror}); check its permissions") from error
    raise DatasetError(f"{root} does not exist; give the folder or file that holds the images")


def _only(root: Path, fits: Sequence[str]) -> str:
    if len(fits) > 1:
        shown = " and ".join(f"{name} ({LAYOUTS[name].title or name})" for name in fits)
        raise DatasetError(f"{root} can be read as {shown}; say which one is meant with --layout")
    return fits[0]


def _of_file(file: Path) -> str:
    for pattern, layout in _FILES.items():
        if re.search(pattern, file.name.lower()):
            return layout
    if has_image_suffix(file.name):
        return "pictures"
    raise DatasetError(
        f"{file} is a file of an unknown kind; give a folder, an image, a .csv file or COCO's .json file, or name its "
        "--layout"
    )


_FILES: Mapping[str, str] = MappingProxyType(
    {r"\.json$": "coco", r"\.csv$": "csv", r"\.(tar|tar\.(gz|bz2|xz|zst)|tgz|txz)$": "webdataset"}
)
"""The layout of a file, by a regular expression that its name in lower case has."""


def _has_ilsvrc(root: Path, _: str | None) -> bool:
    return any((base / "ImageSets" / "CLS-LOC").is_dir() for base in (root, root / "ILSVRC"))


def _has_voc(root: Path, _: str | None) -> bool:
    return (root / "ImageSets" / "Main").is_dir()


def _has_wsol(root: Path, split: str | None) -> bool:
    folder = root / "metadata" / split if split else root / "metadata"
    return (folder / "image_ids.txt").is_file()


def _has_coco(root: Path, split: str | None) -> bool:
    return (root / (split or "") / "_annotations.coco.json").is_file() or any(
        (root / "annotations").glob("instances_*.json")
    )


def _has_csv(root: Path, split: str | None) -> bool:
    """Whether there is a CSV file with the layout's header. Several such files are too many."""
    if split and (root / f"{split}.csv").is_file():
        return True
    found = [file for file in sorted(root.glob("*.csv")) if _has_header(file)]
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:_SHOWN])
        raise DatasetError(f"{root} holds {len(found)} lists of images ({names}); give one of these files instead")
    return bool(found)


def _has_header(file: Path) -> bool:
    try:
        _, first = next(read_csv(file, lambda _line, _why: None), (0, []))
    except DatasetError:
        return False
    return [cell.strip() for cell in first] in (*CSV_HEADERS, IMAGES_HEADER)


_MARKS: Mapping[str, Callable[[Path, str | None], bool]] = MappingProxyType(
    {
        "ilsvrc": _has_ilsvrc,
        "wsol": _has_wsol,
        "voc": _has_voc,
        "coco": _has_coco,
        "csv": _has_csv,
        "webdataset": lambda root, split: bool(tar_files_in(root, split)),
        "huggingface": lambda root, _: is_saved(root) or has_parquet(root),
    }
)
"""Which files a folder with a layout has. A folder that has none of them is judged by its images."""


_HOLDS_IMAGES = frozenset({"webdataset", "huggingface"})
"""Layouts whose images lie in no files of their own. Beside image files, it is not clear which of both is meant."""


_SHOWN = 3
"""Names that a message shows."""


def _by_images(root: Path, known: Classes, split: str | None, leave_out: str | Path | None) -> str:
    base = root / split if split else root
    if not base.is_dir():
        raise DatasetError(f"{base} does not exist; check the folder and the split")
    os.listdir(base)  # noqa: PTH208 - a folder that cannot be read is an error, one below it is none
    found = _found(base, leave_out)
    if not found:
        raise DatasetError(f"{base} holds no image and no data set of a known layout; check the path")
    folders = [parts for parts in found if parts]
    named = [parts for parts in folders if known.knows(parts[-1])]
    if not named:
        return "pictures"
    if len(named) == len(folders) and all(len(parts) == 1 for parts in folders):
        return "folders"
    if len(named) == len(folders) and all(len(parts) == 2 for parts in folders):
        splits = list(dict.fromkeys(parts[0] for parts in folders))
        raise DatasetError(
            f"{base}: the class folders lie one folder deeper, in {_some(splits)}; name one of these with --split, or "
            "read all images without labels: --layout pictures"
        )
    others = [parts for parts in folders if len(parts) > 1 or not known.knows(parts[0])]
    raise DatasetError(
        f"{base}: some folders are named like classes ({_some(map('/'.join, named))}), others are not "
        f"({_some(map('/'.join, others))}); give the folders' classes with --classes FILE, read all images without "
        "labels with --layout pictures, or leave the other folders out with --layout folders"
    )


def _found(folder: Path, leave_out: str | Path | None) -> list[tuple[str, ...]]:
    """The folders with image files, each as the names on the way to it."""
    left_out = None if leave_out is None else Path(leave_out)
    return [each.parts for each in image_folders(folder, leave_out=left_out)]


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(map(repr, shown[:_SHOWN])) + (" …" if len(shown) > _SHOWN else "")

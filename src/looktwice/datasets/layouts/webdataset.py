"""The layout ``webdataset``: tar files in which the members of a sample have one name (WebDataset)."""

import glob
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product, takewhile
from pathlib import Path
from typing import Any

from looktwice.datasets.classes import Classes
from looktwice.datasets.items import Item, Log, Object, Request, normal_id, numeric_classes
from looktwice.datasets.tar_members import MOST_LABEL_BYTES, TarMember, tar_members
from looktwice.datasets.walk import has_image_suffix
from looktwice.errors import DatasetError, InputError

_MOST_FILES = 100_000
"""Tar files that a pattern with braces may name."""

_COMPRESSED_NAMES = re.compile(r"\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)$", re.IGNORECASE)

_LABEL_ENDINGS = ("cls", "json")
"""Members that can have the label; the first of them counts."""

_LABEL_KEYS = ("label", "cls", "class")
"""Where a member NAME.json has the label; the first of them counts."""


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads tar files: one, those in a folder, or those that a pattern names, such as train-{000..099}.tar.

    Members whose names are alike up to the first dot of the file name belong to one sample. Its image is the member
    NAME.jpg, .jpeg, .png, .webp …, or else the only one with a longer ending, such as NAME.input.png. There are no
    boxes. Its label is the text of NAME.cls, or else the entry label, cls or class of NAME.json: a class index, a name,
    or in JSON a list of these. Digits in NAME.cls are an index. In JSON, digits in quotation marks are
    a name first. No other member is read.

    An image's id is its name in a single tar file, else TAR/NAME. Only the tar files' headers and the labels are read;
    the images are read later, each by itself. So compressed tar files are refused.

    Args:
        request: its root is a tar file, a folder or a pattern. With SPLIT, the tar files are root/SPLIT*.tar or lie in
            root/SPLIT.
        log: takes problems.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: there is no tar file, or one is compressed.
    """
    base, files = _tar_files(request)
    if not files:
        raise DatasetError(f"{request.root} holds no .tar file; check root and split")
    present = [file for file in files if file.exists()]
    if not present:
        raise DatasetError(f"{files[0]} does not exist; check the pattern")
    for file in files:
        if not file.exists():
            log.problem(file, "the tar file is missing; left out")
    return _tar_items(base, present, log), numeric_classes(request)


def is_pattern(root: str) -> bool:
    """Whether a root is a pattern of tar files: with braces, or with *, ? or [ ]."""
    return root.endswith(".tar") and (glob.has_magic(root) or "{" in root)


def tar_files_in(folder: Path, split: str | None) -> list[Path]:
    """The tar files of a folder, sorted; compressed ones too."""
    places = [folder / split, folder] if split else [folder]
    for place in places:
        start = split if split and place == folder else ""
        found = place.iterdir() if place.is_dir() else ()
        names = [file for file in found if file.name.startswith(start or "") and not file.name.startswith(".")]
        tars = [file for file in names if file.suffix.lower() == ".tar" or _COMPRESSED_NAMES.search(file.name)]
        if tars:
            return sorted(file for file in tars if file.is_file())
    return []


def _tar_files(request: Request) -> tuple[Path, list[Path]]:
    """The folder that ids begin from, and the tar files."""
    root = request.root
    if root.is_dir():
        return root, tar_files_in(root, request.split)
    if request.split is not None:
        raise DatasetError(f"{root} names tar files, so it takes no split; leave the split out, or give the folder")
    if root.exists():
        return root, [root]
    files: list[Path] = []
    for text in _braces(str(root)):
        # Names from braces stay if the file is missing: a missing part of a data set is a problem.
        files += sorted(map(Path, glob.glob(text, recursive=True))) if glob.has_magic(text) else [Path(text)]  # noqa: PTH207
    base = Path(*takewhile(lambda part: not is_pattern(f"{part}.tar"), root.parts[:-1]))
    return base, list(dict.fromkeys(files))


def _braces(text: str) -> list[str]:
    """A text with {a,b} and {00..12} → all texts that it stands for.

    >>> _braces("t-{08..10}.tar")
    ['t-08.tar', 't-09.tar', 't-10.tar']
    """
    parts = re.split(r"\{([^{}]*)\}", text)
    choices = [[part] if number % 2 == 0 else _alternatives(part) for number, part in enumerate(parts)]
    count = 1
    for each in choices:
        count *= len(each)
        if count > _MOST_FILES:
            raise DatasetError(f"{text} stands for more than {_MOST_FILES} files; name a folder instead")
    return ["".join(chosen) for chosen in product(*choices)]


def _alternatives(part: str) -> Sequence[str]:
    numbers = re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", part)
    if numbers is None:
        return part.split(",") if "," in part else [f"{{{part}}}"]
    first, last = numbers.groups()
    if int(last) - int(first) >= _MOST_FILES:
        raise DatasetError(f"{{{part}}} stands for more than {_MOST_FILES} files; name a folder instead")
    return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]


def _tar_items(base: Path, files: Sequence[Path], log: Log) -> Iterator[Item]:
    for file in files:
        place = file.relative_to(base) if file.is_relative_to(base) else file
        prefix = "" if file == base else f"{place.with_suffix('').as_posix()}/"
        for key, members in _grouped(file, log).items():
            item = _item(file, prefix, key, members, log)
            if item is not None:
                yield item


def _grouped(file: Path, log: Log) -> dict[str, dict[str, TarMember]]:
    """The members of a tar file by the name of their sample, and by the ending of their own name."""
    samples: dict[str, dict[str, TarMember]] = {}
    for name, member in tar_members(file, lambda what: log.problem(file, what)):
        folder, slash, file_name = name.rpartition("/")
        key, dot, ending = file_name.partition(".")
        if not (key and dot and ending):  # a hidden file, or one without an ending
            continue
        if name.startswith("/") or ".." in folder.split("/"):
            log.problem(file, f"{name} leads out of the tar file, which is not allowed; left out")
            continue
        if ending.lower() not in _LABEL_ENDINGS and not has_image_suffix(file_name):
            continue
        members = samples.setdefault(normal_id(folder + slash + key), {})
        if members.setdefault(ending.lower(), member) is not member:
            log.problem(file, f"{name} is there twice; the first is kept")
    return samples


def _item(file: Path, prefix: str, key: str, members: Mapping[str, TarMember], log: Log) -> Item | None:
    images = [ending for ending in members if has_image_suffix(f"x.{ending}")]
    plain = [ending for ending in images if "." not in ending]
    chosen = plain or images
    label = next((ending for ending in _LABEL_ENDINGS if ending in members), None)
    if len(chosen) != 1:
        if chosen:
            log.problem(file, f"{key} has {len(chosen)} images ({', '.join(chosen)}), but one is needed; left out")
        elif label == "cls":
            log.problem(file, f"{key} has a label but no image; left out")
        return None
    try:
        objects = [] if label is None else _objects(label, members[label])
    except (InputError, ValueError, RecursionError) as error:
        log.problem(file, f"{key}.{label}: no label can be read ({error}); image left out")
        return None
    name = f"{key}.{chosen[0]}"
    return Item(f"{prefix}{name}", file / name, file, objects, content=members[chosen[0]])


def _objects(ending: str, member: TarMember) -> list[Object]:
    """The labels in a member. An empty text and JSON without a label give none."""
    if member.size > MOST_LABEL_BYTES:
        raise ValueError(f"it has {member.size} bytes")
    text = member.read().decode("utf-8-sig").strip()
    if ending == "cls":
        return [(int(text) if re.fullmatch("[0-9]{1,9}", text) else text, None)] if text else []
    content = json.loads(text)
    entries = content if isinstance(content, dict) else {}
    found = next((entries[key] for key in _LABEL_KEYS if key in entries), None)
    labels = found if isinstance(found, list) else [found]
    return [(_label(each), None) for each in labels if each not in (None, "")]


def _label(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{str(value)[:60]!r} is no class index and no name")
    return value

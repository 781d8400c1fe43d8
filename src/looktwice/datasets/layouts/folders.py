"""The layout ``folders``: a folder with one folder for each class."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from looktwice.datasets.classes import Classes, mapped_classes, read_classes
from looktwice.datasets.items import Folders, Item, Log, Request
from looktwice.errors import DatasetError

_IMAGE_ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads the images in the class folders; there are no boxes.

    With a classes file, the name of a class folder is a synset or a name of that file. Without one, the class index is
    the folder's place in the sorted names, from 0.

    Args:
        request: with SPLIT, the class folders lie in root/SPLIT, else in the root.
        log: takes problems and notes.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: the root is not a folder.
    """
    root = request.root / request.split if request.split else request.root
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder, but a folder with class folders is needed; check root and split")
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    own = mapped_classes((name, number) for number, name in enumerate(names))
    classes = own if request.classes is None else read_classes(request.classes)
    return _folder_items(root, names, classes, request.folders, log), classes


def _folder_items(root: Path, names: Iterable[str], classes: Classes, folders: Folders, log: Log) -> Iterator[Item]:
    others = 0
    for name in names:
        folder = root / name
        files = sorted(file for file in folders.names(folder) if not file.startswith("."))
        images = [file for file in files if Path(file).suffix.lower() in _IMAGE_ENDINGS]
        others += len(files) - len(images)
        if not images:
            log.problem(folder, "the class folder holds no image")
        elif name not in classes.index:
            log.problem(folder, f"unknown class {name!r}, {len(images)} images left out; name it in the classes file")
        else:
            yield from (Item(f"{name}/{file}", folder / file, folder, [(name, None)]) for file in images)
    if others:
        log.note(root, f"{others} files ignored: their names do not end like an image's")

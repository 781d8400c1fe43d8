"""The layout ``folders``: a folder with one folder for each class."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from looktwice.datasets.classes import Classes, mapped_classes
from looktwice.datasets.items import Item, Log, Request, chosen_classes
from looktwice.datasets.walk import is_folder
from looktwice.errors import DatasetError

_IMAGE_ENDINGS = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads the images in the class folders; there are no boxes.

    With a classes file, the name of a class folder is a synset or a name of that file. Without one, it is a name of the
    network's classes, if the caller gives these. Else the class index is the folder's place in the sorted names, from
    0. If images without a label are kept, those that lie beside the class folders are read too.

    Args:
        request: with SPLIT, the class folders lie in root/SPLIT, else in the root.
        log: takes problems and notes.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: the root is not a folder, or cannot be read.
    """
    root = request.root / request.split if request.split else request.root
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder, but a folder with class folders is needed; check root and split")
    left_out = None if request.leave_out is None else os.path.realpath(request.leave_out)
    try:
        found = [entry for entry in os.scandir(root) if is_folder(entry) and not entry.name.startswith(".")]
    except OSError as error:
        raise DatasetError(f"{root} cannot be read ({error.strerror}); check its permissions") from error
    names = sorted(entry.name for entry in found if left_out is None or os.path.realpath(entry.path) != left_out)
    own = mapped_classes((name, number) for number, name in enumerate(names))
    classes = chosen_classes(request, own)
    return _folder_items(root, names, classes, request, log), classes


def _folder_items(root: Path, names: Iterable[str], classes: Classes, request: Request, log: Log) -> Iterator[Item]:
    if request.unlabelled:
        loose = sorted(file for file in request.folders.names(root) if not file.startswith("."))
        images = [file for file in loose if _looks_like_image(file) and (root / file).is_file()]
        yield from (Item(file, root / file, root, ()) for file in images)
    others = 0
    for name in names:
        folder = root / name
        files = sorted(file for file in request.folders.names(folder) if not file.startswith("."))
        images = [file for file in files if _looks_like_image(file)]
        others += len(files) - len(images)
        if (fault := request.folders.fault(folder)) is not None:
            log.problem(folder, f"the class folder cannot be read ({fault}); its images are left out")
        elif not images:
            log.problem(folder, "the class folder holds no image")
        elif not classes.finds(name):
            log.problem(folder, classes.fault(name, lost=f"{len(images)} images left out"))
        else:
            yield from (Item(f"{name}/{file}", folder / file, folder, [(name, None)]) for file in images)
    if others:
        log.note(root, f"{others} files ignored: their names do not end like an image's")


def _looks_like_image(file: str) -> bool:
    return Path(file).suffix.lower() in _IMAGE_ENDINGS

"""The layout ``pictures``: a folder of images, or one image, without labels."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from looktwice.datasets.classes import Classes
from looktwice.datasets.items import Item, Log, Request, numeric_classes
from looktwice.datasets.walk import image_folders
from looktwice.errors import DatasetError


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads all images in a folder and in the folders below it. None has a label.

    Hidden files and folders are left out. An image's id is its path from the folder.

    Args:
        request: its root is the folder, or one image file. With SPLIT, the images lie in root/SPLIT.
        log: takes folders that cannot be read.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: images without a label are not kept, or there is no such folder.
    """
    root = request.root / request.split if request.split else request.root
    if not request.unlabelled:
        raise DatasetError(
            f"{root}: images of layout 'pictures' have no labels, but labels are needed here; sort the images into a "
            "folder for each class (folders), list them with their labels (csv), or predict classes: looktwice label"
        )
    if root.is_file():
        return iter([Item(root.name, root, root, ())]), numeric_classes(request)
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder, but a folder with images is needed; check root and split")
    _note_folders(root, request, log)
    return _picture_items(root, request, log), numeric_classes(request)


def _note_folders(root: Path, request: Request, log: Log) -> None:
    """Says so where all images lie in folders of the root: their names may be meant as labels."""
    found = [each.parts for each in image_folders(root, leave_out=request.leave_out)]
    if found and all(len(parts) == 1 for parts in found):
        names = ", ".join(parts[0] for parts in found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
        log.note(
            root,
            f"the names of its {len(found)} folders ({names}) are not taken as labels; if they are labels, give "
            "--classes FILE with the network's index of each",
        )


_SHOWN = 3
"""Names of folders that a note shows."""


def _picture_items(root: Path, request: Request, log: Log) -> Iterator[Item]:
    def unreadable(folder: Path, why: str) -> None:
        log.problem(folder, f"the folder cannot be read ({why}); its images are left out")

    for found in image_folders(root, leave_out=request.leave_out, unreadable=unreadable):
        folder = root.joinpath(*found.parts)
        yield from (Item("/".join((*found.parts, name)), folder / name, folder, ()) for name in found.images)

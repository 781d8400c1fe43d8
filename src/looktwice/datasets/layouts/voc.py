"""The layout ``voc``: PASCAL VOC (Everingham et al. 2010)."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from looktwice.datasets.classes import Classes, ordered_classes
from looktwice.datasets.files import list_ids, read_lines
from looktwice.datasets.items import Item, Log, Request, chosen_classes, xml_items
from looktwice.errors import DatasetError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes in alphabetical order."""

_OTHER_LISTS = ("train", "trainval", "test")
"""The usual lists beside "val"."""


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads the folder of one year: Annotations, JPEGImages, ImageSets/Main/SPLIT.txt.

    Each line of the list is an image id. In the lists of one class, −1, 0 or 1 comes after the id.

    If SPLIT is not named, it is "val", and a note counts the images of the other usual lists. Where the image files do
    not matter, as for boxes drawn by hand, it is "trainval"; without that list every XML file is read.

    Objects marked "difficult" are kept like any other, because a map that finds one is right. A note counts them.

    Args:
        request: without a classes file or the network's classes, a class index is the place in ``VOC_CLASSES``.
        log: takes problems and notes.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: the list of images is missing.
    """
    root = request.root

    def image(name: str) -> Path:
        return root / "JPEGImages" / f"{name}.jpg"

    ids = _ids(request, lambda name: request.folders.have(image(name)), log)
    paths = [(name, image(name)) for name in ids]
    classes = chosen_classes(request, ordered_classes(VOC_CLASSES))
    return xml_items(request, paths, root / "Annotations", 1, log), classes


def _ids(request: Request, has_image: Callable[[str], bool], log: Log) -> list[str]:
    lists, annotations = request.root / "ImageSets" / "Main", request.root / "Annotations"

    def listed(name: str) -> list[str]:
        return list_ids(read_lines(lists / f"{name}.txt"), "-1|0|1", has_image)

    if request.split is not None:
        return listed(request.split)
    if request.images_needed:
        ids = listed("val")
        left: set[str] = set()
        for name in _OTHER_LISTS:
            with suppress(DatasetError):  # a list that nobody asked for may be missing or broken
                left.update(listed(name))
        left -= set(ids)
        if left:
            log.note(
                lists, f"val is read; {len(left)} images of other lists (train, trainval or test) are not; name a split"
            )
        return ids
    files = sorted(annotations.rglob("*.xml"))
    every = [file.relative_to(annotations).with_suffix("").as_posix() for file in files]
    if not (lists / "trainval.txt").is_file():
        return every or listed("val")  # which says what is missing
    ids = listed("trainval")
    unlisted = set(every) - set(ids)
    if unlisted:
        log.note(annotations, f"{len(unlisted)} XML files are not in the list trainval and are not read; name a split")
    return ids

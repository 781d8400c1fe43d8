"""The layout ``voc``: PASCAL VOC (Everingham et al. 2010)."""

from collections.abc import Iterable
from pathlib import Path

from looktwice.datasets.classes import Classes, ordered_classes
from looktwice.datasets.files import list_ids, read_lines
from looktwice.datasets.items import Item, Log, Request, chosen_classes, xml_items

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes in alphabetical order."""


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads the folder of one year: Annotations, JPEGImages, ImageSets/Main/SPLIT.txt.

    Each line of the list is an image id. In the lists of one class, −1, 0 or 1 comes after the id.

    Objects marked "difficult" are kept like any other, because a map that finds one is right. A note counts them.

    Args:
        request: SPLIT is "val" by default. Without a classes file or the network's
            classes, a class index is the place in ``VOC_CLASSES``.
        log: takes problems and notes.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: the list of images is missing.
    """
    root = request.root

    def image(name: str) -> Path:
        return root / "JPEGImages" / f"{name}.jpg"

    lines = read_lines(root / "ImageSets" / "Main" / f"{request.split or 'val'}.txt")
    ids = list_ids(lines, "-1|0|1", lambda name: request.folders.have(image(name)))
    paths = [(name, image(name)) for name in ids]
    classes = chosen_classes(request, ordered_classes(VOC_CLASSES))
    return xml_items(request, paths, root / "Annotations", 1, log), classes

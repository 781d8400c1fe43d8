"""The layout ``voc``: PASCAL VOC (Everingham et al. 2010)."""

from collections.abc import Iterable

from looktwice.datasets.classes import Classes, ordered_classes, read_classes
from looktwice.datasets.files import read_lines
from looktwice.datasets.items import Item, Log, Request, xml_items

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes in alphabetical order."""


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads the folder of one year: Annotations, JPEGImages, ImageSets/Main/SPLIT.txt.

    Objects marked "difficult" are kept like any other, because a map that finds one is right. A note counts them.

    Args:
        request: SPLIT is "val" by default. Without a classes file, a class index is the place in ``VOC_CLASSES``.
        log: takes problems and notes.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: the list of images is missing.
    """
    root = request.root
    ids = [line.split()[0] for line in read_lines(root / "ImageSets" / "Main" / f"{request.split or 'val'}.txt")]
    paths = [(name, root / "JPEGImages" / f"{name}.jpg") for name in ids]
    classes = read_classes(request.classes) if request.classes else ordered_classes(VOC_CLASSES)
    return xml_items(paths, root / "Annotations", 1, log), classes

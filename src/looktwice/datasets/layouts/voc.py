"""The layout of PASCAL VOC."""

from collections.abc import Iterable

from looktwice.datasets.classes import Classes, ordered_classes, read_classes
from looktwice.datasets.files import read_lines
from looktwice.datasets.items import Item, Log, Request, xml_items

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def read_voc(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Read PASCAL VOC, one year's folder: Annotations, JPEGImages, ImageSets/Main/SPLIT.txt.

    Class indices are those of the 20 VOC names in alphabetical order unless classes are given. Objects marked difficult
    are labels and boxes like any other, because a map that finds one is right; a note counts them.
    """
    root = request.root
    ids = [line.split()[0] for line in read_lines(root / "ImageSets" / "Main" / f"{request.split or 'val'}.txt")]
    paths = [(name, root / "JPEGImages" / f"{name}.jpg") for name in ids]
    classes = read_classes(request.classes) if request.classes else ordered_classes(VOC_CLASSES)
    return xml_items(paths, root / "Annotations", 1, log), classes

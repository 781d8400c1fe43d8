"""Boxes drawn by hand: reading them, and laying them over an image that was labelled."""

from dataclasses import replace
from pathlib import Path

from looktwice.datasets.classes import Classes
from looktwice.datasets.load import load_dataset
from looktwice.datasets.records import Dataset, Sample, fit_to_image
from looktwice.decoding import Orientation, Size
from looktwice.errors import DatasetError
from looktwice.labelling.find_truths import find_truths


class UnplacedError(Exception):
    """The boxes of an annotation cannot be laid over its image. The text says why."""


def read_truths(
    path: str | Path,
    layout: str | None = None,
    *,
    split: str | None = None,
    classes: str | Path | None = None,
    known: Classes | None = None,
) -> Dataset:
    """Reads the images with boxes drawn by hand. The image files need not lie there.

    Images that are listed without an object are kept too; their samples have no labels.

    Args:
        path: a COCO file (.json), a CSV file (.csv), or the folder of a data set.
        layout: of the folder, a name of ``LAYOUTS``; found out by default. A file needs none.
        split: the part of the data set, as for ``load_dataset``.
        classes: the classes file, as for ``load_dataset``.
        known: the network's own classes, as for ``load_dataset``: without a classes file, labels are their names.

    Raises:
        DatasetError: there is no usable annotation, or it names no box.
        OptionError: the layout is unknown, or nothing tells it, or it does not fit the file.
    """
    if layout is None and not Path(path).exists():
        raise DatasetError(f"{path} does not exist; name the file or folder with the boxes that were drawn by hand")
    place, own = find_truths(Path(path), layout, split, known)
    dataset = load_dataset(place, own, split=split, classes=classes, known=known, unlabelled=True, images_needed=False)
    if not any(boxes for sample in dataset.samples for boxes in sample.boxes):
        raise DatasetError(f"{path} has images and no box; name annotations with boxes that were drawn by hand")
    return dataset


def placed(sample: Sample, size: Size, orientation: Orientation | None) -> tuple[Sample, tuple[str, ...]]:
    """An annotation with its boxes in pixels of the upright picture, clipped to it.

    Annotation tools count pixels upright or as they are stored. The size that the annotation states tells the two
    apart, if a quarter turn swaps width and height.

    Args:
        sample: the annotation.
        size: (width, height) of the upright picture.
        orientation: how its pixels are stored; ``None`` if they are stored upright.

    Returns:
        The sample with this size, and one line for each box that was wrong.

    Raises:
        UnplacedError: nothing tells how its boxes were drawn, or they were drawn on a picture of another size.
    """
    stated = sample.stated_size
    stored = size if orientation is None else orientation.stored
    if stated is not None and stated not in (size, stored):
        raise UnplacedError(
            f"it is annotated as {stated[0]}×{stated[1]} pixels, and the picture has {size[0]}×{size[1]}"
        )
    if orientation is not None:
        if stated is None or stored == size:
            raise UnplacedError(
                f"it is stored turned (EXIF orientation {orientation.value}), and the annotation does not tell "
                "whether its boxes were drawn upright; save the picture upright, or state its size in the annotation"
            )
        if stated == stored:
            turned = tuple(tuple(orientation.to_upright(box) for box in boxes) for boxes in sample.boxes)
            sample = replace(sample, boxes=turned, width=size[0], height=size[1])
    return fit_to_image(sample, *size)

"""Boxes drawn by hand: reading them, and laying them over an image that was labelled."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from looktwice.datasets.classes import Classes
from looktwice.datasets.load import load_dataset
from looktwice.datasets.records import Dataset, Sample, fit_to_image
from looktwice.decoding import Orientation, Size
from looktwice.errors import DatasetError
from looktwice.export.claims import is_claimed
from looktwice.export.placing import IMAGES
from looktwice.images import SUFFIXES
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
    labels: str | Path | None = None,
) -> Dataset:
    """Reads the images with boxes drawn by hand. The image files need not lie there.

    Images that are listed without an object are kept too; their samples have no labels.

    Args:
        path: a COCO file (.json), a CSV file (.csv), or the folder of a data set.
        layout: of the folder, a name of ``LAYOUTS``; found out by default. A file needs none.
        split: the part of the data set, as for ``load_dataset``.
        classes: the classes file, as for ``load_dataset``.
        known: the network's own classes, as for ``load_dataset``: without a classes file, labels are their names.
        labels: the output folder of the labels to check. The forms that looktwice wrote there have upright boxes.

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
    if labels is not None and _is_own(place, own, Path(labels)):
        return replace(dataset, samples=tuple(_of_form(sample, own) for sample in dataset.samples))
    return dataset


def _is_own(place: Path, layout: str, labels: Path) -> bool:
    """Whether looktwice wrote this file or folder into the folder of the labels."""
    return is_claimed(place / "metadata" if layout == "wsol" else place, labels)


def _of_form(sample: Sample, layout: str) -> Sample:
    """The annotation in a form of looktwice. In some forms the image's name is that of a file (``names_files``)."""
    name = sample.id
    if layout == "csv":
        name = name.removeprefix(f"{IMAGES}/")
        path = PurePosixPath(name)
        name = str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name
    return replace(sample, id=name, upright=True)


def names_files(truths: Dataset) -> bool:
    """Whether the ids are ``LabelledImage.name``: the truths were read from such a form in the folder of the labels."""
    layout = None if truths.source is None else truths.source.layout
    return layout in ("csv", "voc") and all(sample.upright for sample in truths.samples)


def placed(
    sample: Sample, size: Size, orientation: Orientation | None, *, is_doubtful: bool = False
) -> tuple[Sample, tuple[str, ...]]:
    """An annotation with its boxes in pixels of the upright picture, clipped to it.

    Annotation tools count pixels upright or as they are stored. The size that the annotation states tells the two
    apart, if a quarter turn swaps width and height. Some annotations say themselves that they are upright.

    Args:
        sample: the annotation.
        size: (width, height) of the upright picture.
        orientation: how its pixels are stored; ``None`` if they are stored upright.
        is_doubtful: whether the stated size tells nothing, because another image of the same annotation states such a
            size and has boxes that do not fit it (``has_wrong_size``).

    Returns:
        The sample with this size, and one line for each box that was wrong.

    Raises:
        UnplacedError: nothing tells how its boxes were drawn, or they were drawn on a picture of another size.
    """
    stated = sample.stated_size
    stored = size if orientation is None else orientation.stored
    if stated is not None and stated not in (size, stored):
        raise UnplacedError(f"it is annotated as {_pixels(stated)} pixels, and the picture has {_pixels(size)}")
    if orientation is None:
        return fit_to_image(sample, *size)
    turned = f"it is stored turned (EXIF orientation {orientation.value})"
    if stated == stored != size and (sample.upright or is_doubtful or has_wrong_size(sample, orientation)):
        raise UnplacedError(
            f"{turned}, and the annotation states the stored size {_pixels(stored)}, but it has boxes in pixels of "
            f"the upright picture; save pictures upright and annotate them again, or state the size {_pixels(size)}"
        )
    if sample.upright:
        return fit_to_image(sample, *size)
    if stated is None or stored == size:
        raise UnplacedError(
            f"{turned}, and the annotation does not tell whether its boxes were drawn upright; save the picture "
            "upright, or state its size in the annotation"
        )
    if is_doubtful or has_wrong_size(sample, orientation):
        raise UnplacedError(
            f"{turned}, and the annotation states the upright size {_pixels(size)}, but it has boxes in stored pixels; "
            "save pictures upright and annotate them again"
        )
    if stated == stored:
        boxes = tuple(tuple(orientation.to_upright(box) for box in boxes) for boxes in sample.boxes)
        sample = replace(sample, boxes=boxes, width=size[0], height=size[1])
    return fit_to_image(sample, *size)


def has_wrong_size(sample: Sample, orientation: Orientation | None) -> bool:
    """Whether a box reaches out of the size that the annotation states, and less so out of the picture's other size.

    Label Studio writes the stored size of a picture beside boxes in pixels of the upright one. As in the layouts, a box
    may reach out by one pixel.
    """
    stated = sample.stated_size
    if orientation is None or orientation.stored == orientation.upright or stated is None:
        return False
    outside = _overhang(sample, stated)
    return outside > 1 and _overhang(sample, stated[::-1]) < outside


def states_stored_size(sample: Sample, orientation: Orientation | None) -> bool | None:
    """Whether an annotation states the size of the stored pixels; ``None`` if that is also the upright size."""
    if orientation is None or orientation.stored == orientation.upright:
        return None
    return sample.stated_size == orientation.stored


def _overhang(sample: Sample, size: Size) -> float:
    sides = (max(x2 - size[0], y2 - size[1]) for boxes in sample.boxes for _, _, x2, y2 in boxes)
    return max(0.0, max(sides, default=0.0))


def _pixels(size: Size) -> str:
    return f"{size[0]}×{size[1]}"

"""The form ``wsol``: pictures, metadata and maps as wsolevaluation has them (Choe et al. 2020)."""

from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from looktwice.errors import InputError
from looktwice.export.claims import claimed
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.export.naming import check_images
from looktwice.export.placing import link, upright_file
from looktwice.export.shapes import whole_pixels
from looktwice.localization.boxes import Box

MAP_SIZE = 224
"""Side, in pixels, of the maps that wsolevaluation reads."""


def map_bytes(heat: NDArray[np.floating]) -> bytes:
    """A map (H, W) as wsolevaluation reads it: a NumPy file (224, 224) with values 0 … 1, in single precision."""
    buffer = BytesIO()
    np.save(buffer, np.clip(cv2.resize(heat, (MAP_SIZE, MAP_SIZE)), 0.0, 1.0).astype(np.float32))
    return buffer.getvalue()


def map_file(folder: Path, image_id: str) -> Path:
    """Where the map of an image lies: a NumPy file (224, 224) with values 0 … 1, for the first class of the image."""
    return folder / "wsol" / "maps" / f"{image_id}.npy"


def write(labels: LabelSet, folder: Path) -> Path:
    """Writes ``wsol/metadata/`` and ``wsol/images/``; the maps in ``wsol/maps/`` must be there.

    wsolevaluation knows one class of an image, and needs a box. So the class of an image is the first one, the boxes
    are those of this class, and an image without such a box is left out. A label is the network's index of the class.
    Boxes are whole pixels, counted from 0; the last ones are inside. Sides go to the nearest border of a pixel.

    Returns:
        The folder ``wsol/metadata``.

    Raises:
        InputError: a folder of the user's is there, a file was changed, an image cannot be read, its map is missing,
            or its name is no plain text or has a comma.
        RunError: a file cannot be written.
    """
    shown = replace(labels, images=lambda: filter(_first_boxes, labels.images()))
    _check(shown, folder)
    images, root = folder / "wsol" / "images", folder / "wsol" / "metadata"
    with ExitStack() as stack:
        pictures, lists = (stack.enter_context(claimed(labels, path, folder)) for path in (images, root))
        ids, classes, sizes, boxes = (
            stack.enter_context(lists.writing(root / f"{name}.txt"))
            for name in ("image_ids", "class_labels", "image_sizes", "localization")
        )
        for image in shown.images():
            pictures.picture(images / image.id)
            link(images / image.id, upright_file(labels, image, folder), folder)
            ids.write(f"{image.id}\n".encode())
            classes.write(f"{image.id},{labels.classes[image.classes[0].id].index}\n".encode())
            sizes.write(f"{image.id},{image.width},{image.height}\n".encode())
            for box in _first_boxes(image):
                x1, y1, x2, y2 = whole_pixels(box, image.width, image.height)
                boxes.write(f"{image.id},{x1},{y1},{x2 - 1},{y2 - 1}\n".encode())
    return root


def _first_boxes(image: LabelledImage) -> list[Box]:
    """The boxes of the image's first class; none if it has no class."""
    return [found.box for found in image.objects if found.id == image.classes[0].id] if image.classes else []


def _check(labels: LabelSet, folder: Path) -> None:
    """Refuses names that a list cannot hold, and images without a map."""
    check_images(labels, lambda image: image.id, "wsol")
    for image in labels.images():
        if "," in image.id:
            raise InputError(
                f"the image name {image.id!r} has a comma, which wsolevaluation splits at; rename the picture"
            )
        file = map_file(folder, image.id)
        if not file.is_file():
            raise InputError(f"{file} is missing, and the form wsol needs a map of each image; run it again with wsol")

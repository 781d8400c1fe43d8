"""The form ``masks``: a PNG for each picture that holds the class of every pixel."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from looktwice.atomic_files import as_json
from looktwice.errors import InputError
from looktwice.export.claims import claimed
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.export.naming import class_names
from looktwice.export.placing import upright_file
from looktwice.export.shapes import voc_colour, whole_pixels

_PALETTE = tuple(part for value in range(256) for part in voc_colour(value))


def write(labels: LabelSet, folder: Path) -> Path:
    """Writes ``masks/NAME.png`` for each picture, of the size of the upright picture, and ``masks/classes.json``.

    The value of a pixel is the class's id + 1; 0 is the background. Of objects that overlap, the one with the best
    score is on top; of equal scores, the first one. With up to 255 classes the values are indices of a palette. With
    more classes they are 16-bit gray.

    Where the picture is stored turned, or lies in an archive, the upright picture is written into ``images/``.

    Returns:
        The folder ``masks``. The file of the classes is written last.

    Raises:
        InputError: a folder of the user's is there, a file was changed, an image cannot be read, or there are more than
            65,535 classes.
        RunError: a file cannot be written.
    """
    if len(labels.classes) > np.iinfo(np.uint16).max:
        raise InputError(f"{len(labels.classes):,} classes are more than the 65,535 of the form masks; leave masks out")
    dtype = np.dtype(np.uint8 if len(labels.classes) <= np.iinfo(np.uint8).max else np.uint16)
    root = folder / "masks"
    names = {str(number): name for number, name in enumerate(("background", *class_names(labels.classes)))}
    with claimed(labels, root, folder) as mine:
        for image in labels.images():
            upright_file(labels, image, folder)
            mine.write(root / f"{image.name}.png", _png(_values(image, dtype)))
        mine.write(root / "classes.json", as_json(names))
    return root


def _values(image: LabelledImage, dtype: "np.dtype[np.unsignedinteger]") -> NDArray[np.unsignedinteger]:
    """The value of each pixel (height, width)."""
    values = np.zeros((image.height, image.width), dtype=dtype)
    best_first = sorted(image.objects, key=lambda found: found.box.score, reverse=True)
    for found in reversed(best_first):
        if found.box.region is None:
            x1, y1, x2, y2 = whole_pixels(found.box, image.width, image.height)
            values[y1:y2, x1:x2] = found.id + 1
        else:
            values[found.box.region.mask(image.width, image.height)] = found.id + 1
    return values


def _png(values: NDArray[np.unsignedinteger]) -> bytes:
    picture = Image.fromarray(values)
    if values.dtype == np.uint8:
        picture.putpalette(_PALETTE)
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()

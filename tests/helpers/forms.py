"""What the tests of all forms need: writing, the boxes that must come back, and the bytes of a folder."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from looktwice.export.forms import FORMS
from looktwice.export.forms.wsol import map_file
from looktwice.export.label_set import LabelSet
from looktwice.export.shapes import whole_pixels


def write(form, labels, folder) -> Path:
    return FORMS[form].write(labels, folder)


def exact(labels, image_id):
    """(class id, corners) of each object of an image."""
    (image,) = (image for image in labels.images() if image.id == image_id)
    return [(found.id, found.box.corners) for found in image.objects]


def in_pixels(labels, image_id):
    """(class id, corners in whole pixels) of each object of an image."""
    (image,) = (image for image in labels.images() if image.id == image_id)
    return [(found.id, whole_pixels(found.box, image.width, image.height)) for found in image.objects]


def assert_close(found, expected, within=0.001):
    """The same classes, and corners that agree to a part of a pixel."""
    assert [number for number, _ in found] == [number for number, _ in expected]
    if expected:
        assert np.abs(np.array([c for _, c in found]) - np.array([c for _, c in expected])).max() <= within


def files(folder: Path):
    """Each file's bytes, and each link's text, by its path in the folder."""
    return {
        str(path.relative_to(folder)): f"-> {os.readlink(path)}" if path.is_symlink() else path.read_bytes()  # noqa: PTH115
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def is_upright(file: Path, size) -> bool:
    """Whether the picture of ``label_sets.draw`` has this size and is red in its upper left quarter only."""
    with Image.open(file) as picture:
        assert picture.getexif().get(0x0112, 1) == 1
        pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    red = pixels[..., 0] > 128
    return (width, height) == tuple(size) and red[0, 0] and not red[-1, 0] and not red[0, -1] and not red[-1, -1]


def with_maps(labels: LabelSet, folder) -> LabelSet:
    """Makes the maps that the form wsol needs in the output folder, and returns the data set."""
    for image in labels.images():
        file = map_file(folder, image.id)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.zeros((224, 224), dtype=np.float32))
    return labels

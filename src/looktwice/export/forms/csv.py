"""The form ``csv``: one CSV file with a row for each box, which the layout ``csv`` reads."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from looktwice.atomic_files import writing_atomically
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.export.naming import check_plain
from looktwice.export.placing import claim, listed_file
from looktwice.export.shapes import rounded


def write(labels: LabelSet, folder: Path) -> Path:
    """Writes ``labels.csv`` with the header image,label,x1,y1,x2,y2, and the pictures into ``images/``.

    A label is the network's index of the class. Boxes are half-open pixels. A class that was looked for and has no
    object gets a row without a box. Scores are left out, because the layout has no column for them.

    Returns:
        The file.

    Raises:
        InputError: a file of the user's is there, an image cannot be read, or its name is no plain text.
        RunError: a file cannot be written.
    """
    path = claim(labels, folder / "labels.csv", folder)
    with writing_atomically(path) as file:
        file.write(b"image,label,x1,y1,x2,y2\n")
        for image in labels.images():
            check_plain(image.name, "image name", "csv", alone=False)
            picture = listed_file(labels, image, folder)
            name = Path(os.path.relpath(picture, folder)).as_posix()
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerows([name, *row] for row in _rows(labels, image))
            file.write(text.getvalue().encode())
    return path


def _rows(labels: LabelSet, image: LabelledImage) -> Iterator[list[object]]:
    """The cells of each row after the image's name."""
    for found in image.objects:
        yield [labels.classes[found.id].index, *rounded(found.box)]
    boxed = {found.id for found in image.objects}
    for one in image.classes:
        if one.id not in boxed:
            yield [labels.classes[one.id].index, "", "", "", ""]

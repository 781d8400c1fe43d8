"""The form ``csv``: one CSV file with a row for each box, which the layout ``csv`` reads."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from looktwice.export.claims import claimed
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.export.naming import check_images, class_names
from looktwice.export.placing import listed_file
from looktwice.export.shapes import rounded


def write(labels: LabelSet, folder: Path) -> Path:
    """Writes ``labels.csv`` with the header image,label,x1,y1,x2,y2, and the pictures into ``images/``.

    A label is the network's index of the class. If classes are named by other numbers, an index would have two
    meanings: then a label is the name with the index, such as "10 (2)". Boxes are half-open pixels. A class that was
    looked for and has no object gets a row without a box. Scores are left out, because the layout has no column for
    them.

    Returns:
        The file.

    Raises:
        InputError: a file of the user's is there, the file was changed, an image cannot be read, or its name is no
            plain text.
        RunError: a file cannot be written.
    """
    check_images(labels, lambda image: image.name, "csv", alone=False)
    path = folder / "labels.csv"
    called = _called(labels)
    with claimed(labels, path, folder) as mine, mine.writing(path) as file:
        file.write(b"image,label,x1,y1,x2,y2\n")
        for image in labels.images():
            picture = listed_file(labels, image, folder)
            name = Path(os.path.relpath(picture, folder)).as_posix()
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerows([name, *row] for row in _rows(called, image))
            file.write(text.getvalue().encode())
    return path


def _called(labels: LabelSet) -> list[int | str]:
    """What each class is called, by id."""
    names = class_names(labels.classes)
    is_number = (one.name.isdecimal() and int(one.name) != one.index for one in labels.classes)
    if any(is_number):
        return [f"{name} ({one.index})" for name, one in zip(names, labels.classes, strict=True)]
    return [one.index for one in labels.classes]


def _rows(called: Sequence[int | str], image: LabelledImage) -> Iterator[list[object]]:
    """The cells of each row after the image's name."""
    for found in image.objects:
        yield [called[found.id], *rounded(found.box)]
    boxed = {found.id for found in image.objects}
    for one in image.classes:
        if one.id not in boxed:
            yield [called[one.id], "", "", "", ""]

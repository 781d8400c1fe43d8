"""The layout ``csv``: one CSV file with a row for each box."""

from collections.abc import Iterable
from pathlib import Path

from looktwice.datasets.classes import Classes
from looktwice.datasets.files import read_csv
from looktwice.datasets.items import Item, Log, Object, Request, normal_id, numeric_classes
from looktwice.errors import DatasetError

CSV_HEADERS = (["image", "label"], ["image", "label", "x1", "y1", "x2", "y2"])
"""The first rows that a CSV file of this layout may have."""


IMAGES_HEADER = ["image"]
"""The first row of a list of images without labels."""


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads a CSV file with the header image,label[,x1,y1,x2,y2].

    A row is one box; an image may have several rows. Images are paths from the folder of the CSV file. Boxes are
    half-open pixels. If the four cells of the box are empty, the row is a label without a box. A label is a class
    index, or a name in the classes file or of the network. The file is refused if a label is the name of one class and
    the index of another one.

    If images without a label are kept, the cell of the label may be empty; then so are the cells of the box. The file
    may also have the header image alone.

    Args:
        request: its root is the file, or a folder with SPLIT.csv or with exactly one CSV file.
        log: takes problems.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: the folder does not hold one CSV file, the header is another, or a label may mean two classes.
    """
    file = request.root / f"{request.split}.csv" if request.split else request.root
    if file.is_dir():
        found = sorted(file.glob("*.csv"))
        if len(found) != 1:
            raise DatasetError(f"{file} holds {len(found)} CSV files, but one is needed; give the file or a split")
        file = found[0]
    rows = read_csv(file, lambda line, why: log.problem(file, f"line {line} is not CSV: {why}; left out"))
    _, first = next(rows, (0, []))
    header = [cell.strip() for cell in first]
    bare = request.unlabelled and header == IMAGES_HEADER
    if header not in CSV_HEADERS and not bare:
        raise DatasetError(f"{file} begins with {','.join(header)!r}; the header image,label[,x1,y1,x2,y2] is needed")
    images: dict[str, list[Object]] = {}
    for number, row in rows:
        try:
            found_object = _csv_object([cell.strip() for cell in row], header, unlabelled=request.unlabelled)
        except ValueError:
            needed = "an image alone is" if bare else "an image, a label and four numbers or none are"
            log.problem(file, f"line {number}: {needed} needed; left out")
            continue
        name = row[0].strip()
        if name != row[0] and request.folders.have(file.parent / row[0]):
            name = row[0]  # a file whose name begins or ends with a blank
        objects_of_image = images.setdefault(normal_id(name), [])
        if found_object is not None:
            objects_of_image.append(found_object)
    items = (Item(name, file.parent / name, file, objects, slack=0.0) for name, objects in images.items())
    classes = numeric_classes(request)
    _refuse_rivals(file, {str(label) for objects in images.values() for label, _ in objects}, classes)
    return items, classes


def _refuse_rivals(file: Path, labels: Iterable[str], classes: Classes) -> None:
    """Refuses a file whose labels may be names or indices: a guess would take the wrong classes."""
    for label, named, number in classes.rivals(sorted(labels)):
        raise DatasetError(
            f"{file}: the label {label!r} is the name of class {named} and the index {number}; give the index of "
            f'each label with --classes FILE, e.g. the line "{label},{named}" or "{label},{number}" in a .csv file'
        )


def _csv_object(row: list[str], header: list[str], *, unlabelled: bool) -> Object | None:
    if header == IMAGES_HEADER and len(row) != 1:
        raise ValueError
    name, label, *sides = [*row, ""] if header == IMAGES_HEADER else row
    if unlabelled and name and not any((label, *sides)):
        return None
    if not name or not label:
        raise ValueError
    if not any(sides):
        return label, None
    x1, y1, x2, y2 = map(float, sides)
    return label, (x1, y1, x2, y2)

"""One CSV file, a row a box."""

from collections.abc import Iterable

from looktwice.datasets.classes import Classes
from looktwice.datasets.files import read_csv
from looktwice.datasets.items import Item, Log, Object, Request, numeric_classes
from looktwice.errors import DatasetError

_CSV_HEADERS = (["image", "label"], ["image", "label", "x1", "y1", "x2", "y2"])


def read_csv_layout(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Read a CSV file with the header image,label[,x1,y1,x2,y2]: `root`, or in it SPLIT.csv or the only CSV file.

    A row a box, several rows an image; images are named from the file's folder, boxes are half-open, their cells empty
    for a label without box. A label is a class index, or a name in the classes file.
    """
    file = request.root / f"{request.split}.csv" if request.split else request.root
    if file.is_dir():
        found = sorted(file.glob("*.csv"))
        if len(found) != 1:
            raise DatasetError(f"{file} holds {len(found)} CSV files, and one is needed; give the file, or a split")
        file = found[0]
    rows = read_csv(file)
    _, header = next(rows, (0, []))
    if header not in _CSV_HEADERS:
        raise DatasetError(f"{file} begins with {','.join(header)!r}; the header image,label[,x1,y1,x2,y2] is needed")
    images: dict[str, list[Object]] = {}
    for number, row in rows:
        try:
            name, found_object = _csv_object(row)
        except ValueError:
            log.problem(file, f"line {number}: an image, a label and four numbers or none are needed; left out")
            continue
        images.setdefault(name, []).append(found_object)
    items = (Item(name, file.parent / name, file, objects, slack=0.0) for name, objects in images.items())
    return items, numeric_classes(request)


def _csv_object(row: list[str]) -> tuple[str, Object]:
    name, label, *sides = row
    if not name or not label:
        raise ValueError
    if not any(sides):
        return name, (label, None)
    x1, y1, x2, y2 = map(float, sides)
    return name, (label, (x1, y1, x2, y2))

"""The layouts: a function each, from the files of a data set to items in its own words."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from looktwice.datasets.files import (
    BadAnnotationError,
    half_open,
    read_annotation,
    read_csv,
    read_json,
    read_lines,
)
from looktwice.datasets.items import (
    Classes,
    Item,
    Log,
    Object,
    file_names,
    mapped_classes,
    ordered_classes,
    read_classes,
    to_samples,
)
from looktwice.datasets.records import Box, Dataset
from looktwice.errors import DatasetError, OptionError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_IMAGE_ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_CSV_HEADERS = (["image", "label"], ["image", "label", "x1", "y1", "x2", "y2"])


@dataclass(frozen=True)
class Request:
    """What `load_dataset` was asked for."""

    root: Path
    split: str | None
    classes: Path | None
    metadata: Path | None


def load_dataset(
    root: str | Path,
    layout: str,
    *,
    split: str | None = None,
    classes: str | Path | None = None,
    metadata: str | Path | None = None,
    strict: bool = False,
) -> Dataset:
    """Read the data set under `root`, laid out as one of `LAYOUTS` (each reader's docstring says where it looks).

    `split` names the part (for `ilsvrc` and `voc` "val", for `coco` "val2017" unless given). `classes` is a file that
    says which class index of the model a class of the data set is: `.json` with {"name or id": index} or
    ["name of index 0", ...]; `.csv` with "name,index" a line; with any other ending a class a line in order of index,
    behind its synset or not ("n01440764 tench, Tinca tinca"). The index null (JSON) or nothing (CSV) leaves a class out
    on purpose. `metadata` is wsolevaluation's metadata folder.

    Raises DatasetError without a usable data set, and with `strict` at the first problem; OptionError for an unknown
    layout.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    if metadata is not None and layout != "wsol":
        raise OptionError(f"a metadata folder belongs to layout 'wsol', not to {layout!r}; leave it out")
    classes_file, metadata_folder = (None if path is None else Path(path) for path in (classes, metadata))
    request = Request(Path(root), split, classes_file, metadata_folder)
    if not request.root.exists():
        raise DatasetError(f"{root} does not exist; give the folder that holds the data set")
    log = Log(request.root if request.root.is_dir() else request.root.parent, strict)
    items, table = LAYOUTS[layout](request, log)
    samples = tuple(to_samples(items, table, log))
    if not samples:
        why = f"; the first of {len(log.problems)} problems: {log.problems[0]}" if log.problems else ""
        raise DatasetError(f"{root} holds no usable image in layout {layout!r}{why}; check folder, split and layout")
    return Dataset(samples, tuple(log.problems), tuple(log.notes), table.names)


def _ilsvrc(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Read ILSVRC CLS-LOC as released: Data, Annotations and ImageSets, in `root` or in its folder ILSVRC.

    Class indices are from LOC_synset_mapping.txt (line n is index n - 1) unless classes are given. Without a folder of
    XML annotations, LOC_SPLIT_solution.csv gives the boxes; it states no image sizes.
    """
    split = request.split or "val"
    base = request.root / "ILSVRC" if (request.root / "ILSVRC").is_dir() else request.root
    ids = [line.split()[0] for line in read_lines(base / "ImageSets" / "CLS-LOC" / f"{split}.txt")]
    paths = [(name, base / "Data" / "CLS-LOC" / split / f"{name}.JPEG") for name in ids]
    classes = read_classes(request.classes or request.root / "LOC_synset_mapping.txt")
    annotations = base / "Annotations" / "CLS-LOC" / split
    solution = request.root / f"LOC_{split}_solution.csv"
    if annotations.is_dir():
        return _xml_items(paths, annotations, 0, log), classes
    if solution.exists():
        return _solution_items(paths, solution, log), classes
    raise DatasetError(f"boxes are needed, in {annotations} (XML) or in {solution}; check folder and split")


def _xml_items(paths: Iterable[tuple[str, Path]], folder: Path, first_pixel: int, log: Log) -> Iterator[Item]:
    difficult = 0
    for name, image in paths:
        file = folder / f"{name}.xml"
        try:
            annotation = read_annotation(file, first_pixel=first_pixel)
        except BadAnnotationError as error:
            log.problem(file, str(error))
            continue
        difficult += annotation.difficult
        yield Item(name, image, file, annotation.objects, annotation.size)
    if difficult:
        log.note(folder, f"{difficult} objects marked difficult, kept like any other")


def _solution_items(paths: Iterable[tuple[str, Path]], file: Path, log: Log) -> Iterator[Item]:
    rows: dict[str, str] = {}
    for number, cells in read_csv(file):
        if len(cells) != 2:
            log.problem(file, f"line {number}: 'ImageId,PredictionString' is needed, not {','.join(cells)!r}; left out")
        elif cells[0] in rows:
            log.problem(file, f"{cells[0]} is listed twice; the first is kept")
        else:
            rows[cells[0]] = cells[1]
    for name, image in paths:
        words = rows.get(name, "").split()
        groups = [words[start : start + 5] for start in range(0, len(words), 5)]
        try:
            objects = [(synset, half_open(numbers, first_pixel=0)) for synset, *numbers in groups]
        except ValueError:
            log.problem(file, f"{name}: needs 'synset x1 y1 x2 y2' for each box, not {rows[name]!r}; left out")
            continue
        yield Item(name, image, file, objects)


def _wsol(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Read wsolevaluation's metadata (Choe et al. 2020) for ILSVRC, CUB or ImageNetV2; images are named from `root`.

    The folder `metadata` (`root`/metadata unless given), or its folder SPLIT, holds image_ids.txt, class_labels.txt
    ("id,label"), localization.txt ("id,x0,y0,x1,y1", a line a box) and, where known, image_sizes.txt
    ("id,width,height").
    """
    folder = request.metadata or request.root / "metadata"
    folder = folder / request.split if request.split else folder
    return _wsol_items(request.root, folder, log), _numeric_classes(request)


def _wsol_items(root: Path, folder: Path, log: Log) -> Iterator[Item]:
    boxes_file, labels_file, sizes_file = (
        folder / f"{name}.txt" for name in ("localization", "class_labels", "image_sizes")
    )
    ids = read_lines(folder / "image_ids.txt")
    labels = {name: row[0] for name, row in _numbers(labels_file, 1, log)}
    boxes: dict[str, list[Box]] = {}
    for name, row in _numbers(boxes_file, 4, log):
        boxes.setdefault(name, []).append(half_open(row, first_pixel=0))
    sizes = {name: (int(w), int(h)) for name, (w, h) in _numbers(sizes_file, 2, log)} if sizes_file.exists() else {}
    for name in ids:
        if name not in labels:
            log.problem(labels_file, f"{name} has no label; left out")
            continue
        if name not in boxes:
            log.problem(boxes_file, f"{name} has no box; kept without")
        objects = [(labels[name], box) for box in boxes.get(name, [None])]
        yield Item(name, root / name, boxes_file, objects, sizes.get(name))


def _numbers(file: Path, count: int, log: Log) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines "id,number,..." with `count` whole numbers."""
    for line in read_lines(file):
        name, *values = line.rsplit(",", count)
        if len(values) == count and all(re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value) for value in values):
            yield name, [value.strip() for value in values]
        else:
            log.problem(file, f"an id and {count} whole numbers are needed, not {line!r}; left out")


def _voc(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Read PASCAL VOC, one year's folder: Annotations, JPEGImages, ImageSets/Main/SPLIT.txt.

    Class indices are those of the 20 VOC names in alphabetical order unless classes are given. Objects marked difficult
    are labels and boxes like any other, because a map that finds one is right; a note counts them.
    """
    root = request.root
    ids = [line.split()[0] for line in read_lines(root / "ImageSets" / "Main" / f"{request.split or 'val'}.txt")]
    paths = [(name, root / "JPEGImages" / f"{name}.jpg") for name in ids]
    classes = read_classes(request.classes) if request.classes else ordered_classes(VOC_CLASSES)
    return _xml_items(paths, root / "Annotations", 1, log), classes


def _coco(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Read COCO: annotations/instances_SPLIT.json, images in SPLIT. A classes file by category name or id is needed.

    Crowd regions are no single objects and are ignored; notes count them and the images without an object.
    """
    split = request.split or "val2017"
    file = request.root / "annotations" / f"instances_{split}.json"
    if request.classes is None:
        raise DatasetError(f'{file}: which class index is a category? give a classes file, such as {{"zebra": 340}}')
    classes = read_classes(request.classes)
    content = read_json(file)
    try:
        images, annotations = list(content["images"]), list(content["annotations"])
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
    except (KeyError, TypeError) as error:
        needed = "lists of images, annotations and categories are needed"
        raise DatasetError(f"{file} is no COCO instances file; {needed}") from error
    # A category goes by its id where the classes file lists that, else by its name.
    keys = {number: str(number) if str(number) in classes.index else name for number, name in names.items()}
    objects = _coco_objects(file, annotations, keys, log)
    return _coco_items(request.root / split, file, images, objects, log), classes


def _coco_objects(file: Path, annotations: list[Any], keys: Mapping[Any, str], log: Log) -> dict[Any, list[Object]]:
    objects: dict[Any, list[Object]] = {}
    crowds = 0
    for number, annotation in enumerate(annotations):
        try:
            if annotation.get("iscrowd"):
                crowds += 1
                continue
            x, y, width, height = map(float, annotation["bbox"])
            category = annotation["category_id"]
            key = keys.get(category, str(category))
            objects.setdefault(annotation["image_id"], []).append((key, (x, y, x + width, y + height)))
        except (AttributeError, KeyError, TypeError, ValueError):
            log.problem(file, f"annotation {number}: needs image_id, category_id and bbox [x, y, w, h]; left out")
    if crowds:
        log.note(file, f"{crowds} crowd regions ignored")
    return objects


def _coco_items(
    folder: Path, file: Path, images: list[Any], objects: Mapping[Any, list[Object]], log: Log
) -> Iterator[Item]:
    listed: set[Any] = set()
    empty = 0
    for number, image in enumerate(images):
        try:
            key, name = image["id"], str(image["file_name"])
            size = (int(image["width"]), int(image["height"])) if "width" in image else None
            repeated = key in listed
        except (KeyError, TypeError, ValueError, OverflowError):
            log.problem(file, f"image {number}: needs id, file_name and, where stated, width and height; left out")
            continue
        listed.add(key)
        if repeated:
            log.problem(file, f"{name}: the image id {key!r} is used twice; the first is kept")
        elif key in objects:
            yield Item(name, folder / name, file, objects[key], size)
        else:
            empty += 1
    for key in (key for key in objects if key not in listed):
        log.problem(file, f"image id {key!r} is not among the images; its {len(objects[key])} objects are left out")
    if empty:
        log.note(file, f"{empty} images without an object left out")


def _folders(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Read a folder of class folders (in SPLIT where one is given) with images; no boxes.

    A class folder is called by its synset or name in the classes file; without one, its index is its place in the
    sorted names.
    """
    root = request.root / request.split if request.split else request.root
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder, and one of class folders is needed; check root and split")
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    own = mapped_classes((name, number) for number, name in enumerate(names))
    classes = own if request.classes is None else read_classes(request.classes)
    return _folder_items(root, names, classes, log), classes


def _folder_items(root: Path, names: Iterable[str], classes: Classes, log: Log) -> Iterator[Item]:
    others = 0
    for name in names:
        folder = root / name
        files = sorted(file for file in file_names(folder) if not file.startswith("."))
        images = [file for file in files if Path(file).suffix.lower() in _IMAGE_ENDINGS]
        others += len(files) - len(images)
        if not images:
            log.problem(folder, "the class folder holds no image")
        elif name not in classes.index:
            log.problem(folder, f"unknown class {name!r}, {len(images)} images left out; name it in the classes file")
        else:
            yield from (Item(f"{name}/{file}", folder / file, folder, [(name, None)]) for file in images)
    if others:
        log.note(root, f"{others} files ignored whose names do not end like an image's")


def _csv(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
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
    return items, _numeric_classes(request)


def _csv_object(row: list[str]) -> tuple[str, Object]:
    name, label, *sides = row
    if not name or not label:
        raise ValueError
    if not any(sides):
        return name, (label, None)
    x1, y1, x2, y2 = map(float, sides)
    return name, (label, (x1, y1, x2, y2))


def _numeric_classes(request: Request) -> Classes:
    """Return the classes of a layout whose labels are class indices unless a classes file says otherwise."""
    return read_classes(request.classes, numeric=True) if request.classes else Classes({}, {}, numeric=True)


LAYOUTS: Mapping[str, Callable[[Request, Log], tuple[Iterable[Item], Classes]]] = {
    "ilsvrc": _ilsvrc,
    "wsol": _wsol,
    "voc": _voc,
    "coco": _coco,
    "folders": _folders,
    "csv": _csv,
}

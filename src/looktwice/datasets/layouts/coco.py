"""The layout ``coco``: COCO's instances (Lin et al. 2014)."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from looktwice.datasets.classes import Classes, read_classes
from looktwice.datasets.files import read_json
from looktwice.datasets.items import Item, Log, Object, Request
from looktwice.errors import DatasetError


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads annotations/instances_SPLIT.json; the images lie in the folder SPLIT.

    A crowd region is not a single object, so it is ignored. The notes count crowd regions and images without an object.

    Args:
        request: SPLIT is "val2017" by default. A classes file by category name or category id is needed.
        log: takes problems and notes.

    Returns:
        One item for each image with an object, and the classes.

    Raises:
        DatasetError: there is no classes file, or the JSON file is missing or not COCO's.
    """
    split = request.split or "val2017"
    file = request.root / "annotations" / f"instances_{split}.json"
    if request.classes is None:
        raise DatasetError(
            f'{file} does not say which class index a category is; give a classes file, e.g. {{"zebra": 340}}'
        )
    classes = read_classes(request.classes)
    content = read_json(file)
    try:
        images, annotations = list(content["images"]), list(content["annotations"])
        names = _category_names(file, list(content["categories"]), log)
    except (KeyError, TypeError) as error:
        needed = "lists of images, annotations and categories are needed"
        raise DatasetError(f"{file} is no COCO instances file; {needed}") from error
    # A category's key is its id if the classes file lists the id, else its name.
    keys = {number: str(number) if str(number) in classes.index else name for number, name in names.items()}
    objects = _coco_objects(file, annotations, keys, log)
    return _coco_items(request.root / split, file, images, objects, log), classes


def _category_names(file: Path, categories: list[Any], log: Log) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for number, category in enumerate(categories):
        try:
            key, name = category["id"], str(category["name"])
            before = names.setdefault(key, name)
        except (KeyError, TypeError):
            log.problem(file, f"category {number}: needs id and name; left out")
            continue
        if before != name:
            log.problem(file, f"the category id {key!r} is used twice; {before!r} is kept, {name!r} is left out")
    return names


def _coco_objects(file: Path, annotations: list[Any], keys: Mapping[Any, str], log: Log) -> dict[Any, list[Object]]:
    objects: dict[Any, list[Object]] = {}
    crowds = 0
    for number, annotation in enumerate(annotations):
        try:
            if annotation.get("iscrowd"):
                crowds += 1
                continue
            x, y, width, height = map(float, _as_list(annotation["bbox"]))
            category = annotation["category_id"]
            key = keys.get(category, str(category))
            objects.setdefault(annotation["image_id"], []).append((key, (x, y, x + width, y + height)))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            log.problem(file, f"annotation {number}: needs image_id, category_id and bbox [x, y, w, h]; left out")
    if crowds:
        log.note(file, f"{crowds} crowd regions ignored")
    return objects


def _as_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")  # the text "1234" must not become four numbers
    return value


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

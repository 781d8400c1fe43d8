"""The layout ``coco``: COCO's instances (Lin et al. 2014)."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from looktwice.datasets.classes import Classes
from looktwice.datasets.files import read_json
from looktwice.datasets.items import Item, Log, Object, Request, chosen_classes
from looktwice.errors import DatasetError

_TURNED = "exif_orientation"
"""The key of an image that is stored turned, and whose boxes are upright."""


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads a JSON file of instances, and the images that it lists.

    The file is annotations/instances_SPLIT.json. If SPLIT is not named and annotations/instances_val2017.json is
    missing, it is the only such file. It may also be _annotations.coco.json in the root or in its folder SPLIT, as
    Roboflow writes it. Label Studio's result.json, or a file of any other name, is given as the root.

    The images lie in the folder SPLIT, images/SPLIT, images, or beside the JSON file; the folder ``annotations`` does
    not count for "beside". The folder is taken that has most of the listed images.

    A crowd region is not a single object, so it is ignored. An image that has nothing else has no object. The notes
    count crowd regions and images without an object. These images are kept if images without a label are, but not where
    an annotation is broken.

    Boxes are known to be upright in the files of looktwice, in exports of Label Studio, and for images with the key
    ``exif_orientation``.

    Args:
        request: its root is the folder, or the JSON file. A classes file by category name or category id is needed, or
            the network's classes, which are looked for by category name. A list of
            names is looked at for ids only if it has the name of no category.
        log: takes problems and notes.

    Returns:
        One item for each image with an object, and the classes.

    Raises:
        DatasetError: there are no classes, or the JSON file is missing or not COCO's, or several could be meant; or
            the classes file gives the id of a category and its name different indices.
    """
    file = _instances_file(request)
    if request.classes is None and request.known is None:
        raise DatasetError(
            f'{file} does not say which class index a category is; give a classes file, e.g. {{"zebra": 340}}'
        )
    classes = chosen_classes(request, Classes({}, {}))
    content = read_json(file)
    try:
        missing: list[Any] | None = [] if request.unlabelled else None
        images, annotations = list(content["images"]), content.get("annotations", missing)
        names = _category_names(file, list(content["categories"]), log)
        annotations = list(annotations)
    except (AttributeError, KeyError, TypeError) as error:
        needed = "lists of images, annotations and categories are needed"
        raise DatasetError(f"{file} is no COCO instances file; {needed}") from error
    keys = names if request.classes is None else _category_keys(file, names, classes)
    objects, broken = _coco_objects(file, annotations, keys, log)
    folder = _image_folder(request, file, images)
    items = _coco_items(request, folder, file, images, objects, broken, log)
    return (replace(item, upright=True) for item in items) if _is_upright(content) else items, classes


def _is_upright(content: Mapping[str, Any]) -> bool:
    """Whether the file says that it is made by a program that shows pictures upright."""
    info = content.get("info")
    return isinstance(info, dict) and ("looktwice" in info or info.get("contributor") == "Label Studio")


def _instances_file(request: Request) -> Path:
    root, split = request.root, request.split
    if root.is_file():
        return root
    usual = root / "annotations" / f"instances_{split or 'val2017'}.json"
    beside = root / (split or "") / "_annotations.coco.json"
    if usual.is_file() or beside.is_file():
        return usual if usual.is_file() else beside
    found = [] if split else sorted((root / "annotations").glob("instances_*.json"))
    if len(found) > 1:
        names = ", ".join(file.stem.removeprefix("instances_") for file in found)
        raise DatasetError(f"{root} has the splits {names}; name one of them")
    return found[0] if found else usual


def _image_folder(request: Request, file: Path, images: list[Any]) -> Path:
    """The folder that has most of the images; the first one if none has any."""
    base = file.parent.parent if file.parent.name == "annotations" else file.parent
    split = request.split or file.stem.removeprefix("instances_")
    folders = [base / split, base / "images" / split, base / "images", base]
    names = [image["file_name"] for image in images if isinstance(image, dict) and "file_name" in image]
    texts = [name for name in names if isinstance(name, str)]
    if folders[0].is_dir():
        return folders[0]
    return max(folders, key=lambda folder: sum(request.folders.have(folder / name) for name in texts))


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


def _category_keys(file: Path, names: Mapping[Any, str], classes: Classes) -> Mapping[Any, str]:
    """What the classes file calls each category: its name, or its id if the file lists that.

    Raises:
        DatasetError: a category's id and its name, or its id and another category's name, could be meant.
    """
    index = classes.index
    words = set(names.values())
    if not classes.ids and words.intersection(index):  # a list of names
        return names
    keys = {}
    for number, name in names.items():
        key = str(number)
        by_name = (
            f"its name {name!r} is class {index[name]}" if name in index else f"{key!r} is another category's name"
        )
        doubtful = index[name] != index.get(key) if name in index else key in words
        if key in index and doubtful:
            raise DatasetError(
                f"{file}: the category {name!r} is ambiguous: by its id {key} it is class {index[key]} in the classes "
                f"file, but {by_name}; keep only ids or only names in the classes file, or rename the categories"
            )
        keys[number] = key if key in index else name
    return keys


def _coco_objects(
    file: Path, annotations: list[Any], keys: Mapping[Any, str], log: Log
) -> tuple[dict[Any, list[Object]], set[str]]:
    """The objects of each image, and the images with an annotation that is broken, as texts."""
    objects: dict[Any, list[Object]] = {}
    broken: set[str] = set()
    crowds = 0
    for number, annotation in enumerate(annotations):
        try:
            if annotation.get("iscrowd"):
                crowds += 1
                continue
            x, y, width, height = map(float, _as_list(annotation["bbox"]))
            category = annotation["category_id"]
            key = keys.get(category, category if type(category) is int else str(category))
            objects.setdefault(annotation["image_id"], []).append((key, (x, y, x + width, y + height)))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            log.problem(file, f"annotation {number}: needs image_id, category_id and bbox [x, y, w, h]; left out")
            if isinstance(annotation, dict):
                broken.add(repr(annotation.get("image_id")))
    if crowds:
        log.note(file, f"{crowds} crowd regions ignored")
    return objects, broken


def _as_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")  # the text "1234" must not become four numbers
    return value


def _coco_items(
    request: Request,
    folder: Path,
    file: Path,
    images: list[Any],
    objects: Mapping[Any, list[Object]],
    broken: Set[str],
    log: Log,
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
            yield Item(name, folder / name, file, objects[key], size, upright=_TURNED in image)
        elif request.unlabelled and repr(key) not in broken:
            yield Item(name, folder / name, file, (), size, upright=_TURNED in image)
        else:
            empty += 1
    for key in (key for key in objects if key not in listed):
        log.problem(file, f"image id {key!r} is not among the images; its {len(objects[key])} objects are left out")
    if empty:
        log.note(file, f"{empty} images without an object left out")

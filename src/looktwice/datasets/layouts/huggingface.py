"""The layout ``huggingface``: data sets of Hugging Face's package ``datasets``."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from looktwice.datasets.classes import Classes, mapped_classes
from looktwice.datasets.dataset_rows import ArrowTable, DatasetRow, load_package
from looktwice.datasets.items import Item, Log, Object, Request, chosen_classes, numeric_classes
from looktwice.errors import DatasetError, one_line

_HUB = "hf:"
_SAVED = ("state.json", "dataset_dict.json")
"""What ``save_to_disk`` writes into the folder of one split, and of several."""

_LABEL = "label"
"""The column of the labels, if no column has the type ``ClassLabel``."""


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads a folder that ``save_to_disk`` wrote, a folder with Parquet files, or hf:OWNER/NAME from the hub.

    The images are in the only column of the type ``Image``. The labels are in the only column of the type
    ``ClassLabel``, or else in the column ``label``, as texts or whole numbers. A text is a name, or else a class
    index in digits. A whole number is a class index. The names of a ``ClassLabel`` are looked for in the classes file,
    or among the network's classes. Without either, a label's number is the class index. -1 and
    an empty cell are no label. There are no boxes. An image's id is the number of its row, from 000000.

    Parquet files and data sets of the hub are converted once, into the cache of the package ``datasets``. Images stay
    on the disk until they are read.

    Args:
        request: with SPLIT, this split is read; it is needed if there are several.
        log: takes notes.

    Returns:
        One item for each row, and the classes.

    Raises:
        DatasetError: there is no such data set, split or column; or several columns could be meant; or no name of a
            class is known.
        MissingExtraError: the package ``datasets`` is not installed.
    """
    table = _load(request)
    package = load_package()
    image = _only_column(request, table, package.Image, "image")
    label = _label_column(request, table, package, log)
    feature = None if label is None else table.features[label]
    names = feature.names if isinstance(feature, package.ClassLabel) else None
    classes = _classes(request, names)
    files = tuple(each["filename"] for each in table.cache_files)
    if not files:
        raise DatasetError(f"{request.root}: the data set has no row in a file; save it with save_to_disk")
    return _row_items(request, table, label, names, ArrowTable(files, image, len(table)), classes, log), classes


def is_hub_name(root: str) -> bool:
    """Whether a root is the name of a data set on the hub."""
    return root.startswith(_HUB)


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote a folder."""
    return any((folder / name).is_file() for name in _SAVED)


def has_parquet(folder: Path) -> bool:
    """Whether a folder, or its folder ``data``, has Parquet files."""
    return any(any(place.glob("*.parquet")) for place in (folder, folder / "data"))


def _load(request: Request) -> Any:
    """The rows of one split."""
    package, root = load_package(), request.root
    on_hub = is_hub_name(str(root))
    if not on_hub and not is_saved(root) and not has_parquet(root):
        needed = "one that save_to_disk wrote, one with .parquet files, or hf:OWNER/NAME"
        raise DatasetError(f"{root} is no data set of Hugging Face; needed: {needed}")
    try:
        if not on_hub and is_saved(root):
            loaded = package.load_from_disk(str(root))
        else:
            loaded = package.load_dataset(str(root).removeprefix(_HUB))
    except Exception as error:  # the package raises errors of many kinds
        raise DatasetError(f"{root}: the data set cannot be loaded: {one_line(error)[:300]}") from error
    if isinstance(loaded, package.DatasetDict):
        return loaded[_split(request, list(loaded))]
    if request.split is not None:
        raise DatasetError(f"{root} has one split without a name; leave the split out")
    return loaded


def _split(request: Request, splits: list[str]) -> str:
    shown = ", ".join(splits)
    if request.split is None and len(splits) > 1:
        raise DatasetError(f"{request.root} has the splits {shown}; name one of them")
    split = request.split or splits[0]
    if split not in splits:
        raise DatasetError(f"{request.root} has no split {split!r}; there are {shown}")
    return split


def _only_column(request: Request, table: Any, kind: Any, what: str) -> str:
    found = [name for name, feature in table.features.items() if isinstance(feature, kind)]
    if len(found) == 1:
        return str(found[0])
    has = f"several {what} columns ({', '.join(found)})" if found else f"no {what} column"
    columns = ", ".join(map(str, table.features))
    remedy = f"keep one with select_columns or give one the type {kind.__name__} with cast_column, and save it again"
    raise DatasetError(f"{request.root} has {has} among {columns}; {remedy}")


def _label_column(request: Request, table: Any, package: Any, log: Log) -> str | None:
    features = table.features
    if any(isinstance(feature, package.ClassLabel) for feature in features.values()):
        return _only_column(request, table, package.ClassLabel, "label")
    if _LABEL not in features:
        if not request.unlabelled:
            columns = ", ".join(map(str, features))
            raise DatasetError(f"{request.root} has no label column among {columns}; call it {_LABEL!r}")
        log.note(request.root, f"it has no column {_LABEL!r}; no image has a label")
        return None
    kind = getattr(features[_LABEL], "dtype", None)
    if kind not in ("string", "large_string") and not str(kind).startswith(("int", "uint")):
        needed = "ClassLabel, a text or a whole number is needed"
        raise DatasetError(f"{request.root}: the column {_LABEL!r} has the type {kind or features[_LABEL]}; {needed}")
    return _LABEL


def _classes(request: Request, names: list[str] | None) -> Classes:
    if names is None:
        return numeric_classes(request)
    classes = chosen_classes(request, mapped_classes((name, number) for number, name in enumerate(names)))
    if not any(map(classes.knows, names)):
        some = ", ".join(map(repr, names[:3]))
        raise DatasetError(
            f"{request.root}: none of its {len(names)} classes ({some} …) is known by name; give a classes file with "
            "the network's index of each"
        )
    return classes


def _row_items(
    request: Request,
    table: Any,
    label: str | None,
    names: list[str] | None,
    images: ArrowTable,
    classes: Classes,
    log: Log,
) -> Iterator[Item]:
    digits = max(6, len(str(len(table) - 1)))
    lost = dict.fromkeys((number for number, name in enumerate(names or ()) if not classes.finds(name)), 0)
    for row, value in enumerate(_labels(table, label)):
        if value in lost:
            lost[value] += 1
            continue
        name = f"{row:0{digits}d}"
        yield Item(name, request.root / name, request.root, _objects(value, names), content=DatasetRow(images, row))
    for number, count in lost.items():
        if count and names is not None:
            log.problem(request.root, classes.fault(names[number], lost=f"{count} images left out"))


def _labels(table: Any, label: str | None) -> Iterator[Any]:
    """The label of each row; batch by batch, without the images."""
    if label is None:
        yield from (None for _ in range(len(table)))
        return
    for batch in table.select_columns([label]).iter(1000):
        yield from batch[label]


def _objects(value: Any, names: list[str] | None) -> list[Object]:
    if value is None or value in (-1, ""):
        return []
    if isinstance(value, str):
        return [(value, None)]
    named = names is not None and 0 <= value < len(names)
    return [(names[value] if names is not None and named else int(value), None)]

"""Reading a data set: a folder and the name of its layout → its samples."""

from pathlib import Path

from looktwice.datasets.items import Log, Request, to_samples
from looktwice.datasets.layouts import LAYOUTS
from looktwice.datasets.records import Dataset, Source
from looktwice.errors import DatasetError, OptionError, printable


def load_dataset(
    root: str | Path,
    layout: str,
    *,
    split: str | None = None,
    classes: str | Path | None = None,
    metadata: str | Path | None = None,
    strict: bool = False,
) -> Dataset:
    """Reads the data set in a folder.

    Args:
        root: the folder; for ``csv`` it may be the file itself.
        layout: a name of ``LAYOUTS``. The docstring of the layout's ``read`` says which files it needs.
        split: the part of the data set. The default is "val" for ``ilsvrc`` and ``voc``, and "val2017" for ``coco``.
        classes: a file that gives each class of the data set its class index in the model:

            - ``.json``: {"name or id": index}, or ["name of index 0", …];
            - ``.csv``: "name,index" in each line;
            - any other ending: one class a line, in the order of the indices. The synset may stand before the name:
              "n01440764 tench, Tinca tinca".

            To leave a class out on purpose, give it the index null (JSON) or no index (CSV).
        metadata: wsolevaluation's metadata folder; only for ``wsol``.
        strict: raise an error at the first problem.

    Returns:
        The samples, and what was wrong with the images that could not be used.

    Raises:
        DatasetError: there is no usable data set, or ``strict`` and there is a problem.
        OptionError: the layout is unknown, or it takes no metadata folder.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    if metadata is not None and not LAYOUTS[layout].takes_metadata:
        takers = " or ".join(repr(name) for name, other in LAYOUTS.items() if other.takes_metadata)
        raise OptionError(f"a metadata folder belongs to layout {takers}, not to {layout!r}; leave it out")
    classes_file, metadata_folder = (None if path is None else Path(path) for path in (classes, metadata))
    request = Request(Path(root), split, classes_file, metadata_folder)
    if not request.root.exists():
        raise DatasetError(f"{root} does not exist; give the folder that holds the data set")
    log = Log(request.root if request.root.is_dir() else request.root.parent, strict)
    items, table = LAYOUTS[layout].read(request, log)
    samples = tuple(to_samples(items, table, request.folders, log))
    if not samples:
        why = f"; the first of {len(log.problems)} problems: {log.problems[0]}" if log.problems else ""
        raise DatasetError(f"{root} holds no usable image in layout {layout!r}{why}; check folder, split and layout")
    names = {index: printable(name) for index, name in table.names.items()}
    places = (None if path is None else str(path.absolute()) for path in (classes_file, metadata_folder))
    source = Source(str(request.root.absolute()), layout, split, *places)
    return Dataset(samples, tuple(log.problems), tuple(log.notes), names, source)

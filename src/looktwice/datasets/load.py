"""Reading a data set: a folder and the name of its layout → its samples."""

from collections.abc import Iterable
from pathlib import Path

from looktwice.datasets.classes import Classes
from looktwice.datasets.items import Log, Request, to_samples
from looktwice.datasets.layouts import LAYOUTS
from looktwice.datasets.records import Dataset, Sample, Source
from looktwice.errors import DatasetError, OptionError, printable


def load_dataset(
    root: str | Path,
    layout: str,
    *,
    split: str | None = None,
    classes: str | Path | None = None,
    metadata: str | Path | None = None,
    strict: bool = False,
    known: Classes | None = None,
    unlabelled: bool = False,
    leave_out: str | Path | None = None,
    images_needed: bool = True,
) -> Dataset:
    """Reads the data set in a folder.

    Args:
        root: the folder; for ``csv`` and ``coco`` it may be the file itself, for ``pictures`` one image.
        layout: a name of ``LAYOUTS``. The docstring of the layout's ``read`` says which files it needs.
        split: the part of the data set. The default is "val" for ``ilsvrc`` and ``voc``, and "val2017" for ``coco``.
            Without images, ``voc`` has a wider default (see its ``read``).
        classes: a file that gives each class of the data set its class index in the model:

            - ``.json``: {"name or id": index}, or ["name of index 0", …];
            - ``.csv``: "name,index" in each line;
            - any other ending: one class a line, in the order of the indices. The synset may stand before the name:
              "n01440764 tench, Tinca tinca".

            To leave a class out on purpose, give it the index null (JSON) or no index (CSV).
        metadata: wsolevaluation's metadata folder; only for ``wsol``.
        strict: raise an error at the first problem.
        known: the network's own classes (``known_classes``). Where no classes file is given, labels are looked for in
            them by name, instead of taken for places in a sorted list.
        unlabelled: also keep images that have no label at all; ``labels`` and ``boxes`` of their samples are empty. An
            image whose labels are all unknown is still a problem, and it is left out.
        leave_out: a folder in which ``pictures`` and ``folders`` read nothing, such as one for results.
        images_needed: leave out images whose file is missing. With False only the annotations are read: a name loses
            what leads out of the folder, and boxes are not clipped to the stated size.

    Returns:
        The samples, and what was wrong with the images that could not be used.

    Raises:
        DatasetError: there is no usable data set, a label is no class of the ``known`` ones, or ``strict`` and there is
            a problem.
        OptionError: the layout is unknown, or it takes no metadata folder.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    if metadata is not None and not LAYOUTS[layout].takes_metadata:
        takers = " or ".join(repr(name) for name, other in LAYOUTS.items() if other.takes_metadata)
        raise OptionError(f"a metadata folder belongs to layout {takers}, not to {layout!r}; leave it out")
    classes_file, metadata_folder, left_out = (
        None if path is None else Path(path) for path in (classes, metadata, leave_out)
    )
    request = Request(
        Path(root),
        split,
        classes_file,
        metadata_folder,
        known=known,
        unlabelled=unlabelled,
        leave_out=left_out,
        images_needed=images_needed,
    )
    has_path = request.root.exists()
    if not has_path and not LAYOUTS[layout].takes_name(str(root)):
        raise DatasetError(f"{root} does not exist; give the folder that holds the data set")
    log = Log(request.root if request.root.is_dir() else request.root.parent, strict)
    items, table = LAYOUTS[layout].read(request, log)
    samples = tuple(to_samples(items, table, request, log))
    if not samples:
        why = f"; the first of {len(log.problems)} problems: {log.problems[0]}" if log.problems else ""
        raise DatasetError(f"{root} holds no usable image in layout {layout!r}{why}; check folder, split and layout")
    if known is not None:
        _check_known(samples, known)
    names = {index: printable(name) for index, name in table.names.items()}
    places = (None if path is None else str(path.absolute()) for path in (classes_file, metadata_folder))
    place = str(request.root.absolute()) if has_path else str(root)
    source = Source(place, layout, split, *places)
    return Dataset(samples, tuple(log.problems), tuple(log.notes), names, source)


def _check_known(samples: Iterable[Sample], known: Classes) -> None:
    """Refuses a label that is no class of the network: the data set's classes are then those of another network."""
    label = max((label for sample in samples for label in sample.labels), default=0)
    if label not in known.names:
        raise DatasetError(
            f"the labels go up to class {label}, but the network has classes 0 … {len(known.names) - 1}; give a "
            "classes file with the network's index of each class, or another network"
        )

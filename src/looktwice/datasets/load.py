"""A data set's folder and layout → its samples."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from looktwice.datasets.classes import Classes
from looktwice.datasets.items import Item, Log, Request, to_samples
from looktwice.datasets.layouts.coco import read_coco
from looktwice.datasets.layouts.csv import read_csv_layout
from looktwice.datasets.layouts.folders import read_folders
from looktwice.datasets.layouts.ilsvrc import read_ilsvrc
from looktwice.datasets.layouts.voc import read_voc
from looktwice.datasets.layouts.wsol import read_wsol
from looktwice.datasets.records import Dataset
from looktwice.errors import DatasetError, OptionError


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


LAYOUTS: Mapping[str, Callable[[Request, Log], tuple[Iterable[Item], Classes]]] = {
    "ilsvrc": read_ilsvrc,
    "wsol": read_wsol,
    "voc": read_voc,
    "coco": read_coco,
    "folders": read_folders,
    "csv": read_csv_layout,
}

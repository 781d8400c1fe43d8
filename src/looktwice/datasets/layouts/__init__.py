"""The table of layouts: one file reads one layout.

To add a layout, write a file here with a function ``read(request, log)`` and add its row to ``LAYOUTS``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from looktwice.datasets.classes import Classes
from looktwice.datasets.items import Item, Log, Request
from looktwice.datasets.layouts import coco, csv, folders, huggingface, ilsvrc, pictures, voc, webdataset, wsol


@dataclass(frozen=True)
class Layout:
    """How the files of a data set are arranged.

    Attributes:
        read: finds the images and their annotations. It returns one item an image, and the classes that their labels
            name. It reports what it cannot use to the log, and raises ``DatasetError`` if there is no data set.
        title: what it is, in a few words; without it, its name is shown.
        takes_metadata: whether a folder with metadata can lie apart from the images.
        takes_name: whether a root that is no path of a file or folder still names a data set, such as a pattern.
    """

    read: Callable[[Request, Log], tuple[Iterable[Item], Classes]]
    title: str = ""
    takes_metadata: bool = False
    takes_name: Callable[[str], bool] = lambda _root: False


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "ilsvrc": Layout(ilsvrc.read, "ILSVRC CLS-LOC"),
        "wsol": Layout(wsol.read, "wsolevaluation's metadata", takes_metadata=True),
        "voc": Layout(voc.read, "PASCAL VOC"),
        "coco": Layout(coco.read, "COCO instances"),
        "folders": Layout(folders.read, "a folder for each class"),
        "csv": Layout(csv.read, "a CSV file"),
        "pictures": Layout(pictures.read, "pictures without labels"),
        "webdataset": Layout(webdataset.read, "WebDataset tar files", takes_name=webdataset.is_pattern),
        "huggingface": Layout(huggingface.read, "a Hugging Face data set", takes_name=huggingface.is_hub_name),
    }
)
"""Every layout, by the name that ``load_dataset`` and ``--layout`` take."""

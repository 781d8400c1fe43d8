"""The table of layouts: one file reads one layout.

To add a layout, write a file here with a function ``read(request, log)`` and add its row to ``LAYOUTS``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from looktwice.datasets.classes import Classes
from looktwice.datasets.items import Item, Log, Request
from looktwice.datasets.layouts import coco, csv, folders, ilsvrc, voc, wsol


@dataclass(frozen=True)
class Layout:
    """How the files of a data set are arranged.

    Attributes:
        read: finds the images and their annotations. It returns one item an image, and the classes that their labels
            name. It reports what it cannot use to the log, and raises ``DatasetError`` if there is no data set.
        takes_metadata: whether a folder with metadata can lie apart from the images.
    """

    read: Callable[[Request, Log], tuple[Iterable[Item], Classes]]
    takes_metadata: bool = False


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "ilsvrc": Layout(ilsvrc.read),
        "wsol": Layout(wsol.read, takes_metadata=True),
        "voc": Layout(voc.read),
        "coco": Layout(coco.read),
        "folders": Layout(folders.read),
        "csv": Layout(csv.read),
    }
)
"""Every layout, by the name that ``load_dataset`` and ``--layout`` take."""

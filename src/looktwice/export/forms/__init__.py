"""The forms of a labelled data set: one file writes one form.

To add a form, write a file here with a function ``write(labels, folder)`` and add its row to ``FORMS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from looktwice.export.forms import coco, csv, label_studio, masks, voc, wsol, yolo
from looktwice.export.label_set import LabelSet


@dataclass(frozen=True)
class Form:
    """A form of a labelled data set.

    Attributes:
        write: writes the data set into a folder that may have other forms too. Every file appears complete or not at
            all, and the same data set gives the same bytes. It returns the file or folder to open.
        summary: what it is for, in a few words.
        needs_maps: whether it also needs the map of each image.
    """

    write: Callable[[LabelSet, Path], Path]
    summary: str
    needs_maps: bool = False


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "coco": Form(coco.write, "one JSON file, for pycocotools, detectron2, CVAT and others"),
        "yolo": Form(yolo.write, "pictures and label files, for ultralytics"),
        "voc": Form(voc.write, "pictures and XML files, as PASCAL VOC"),
        "label-studio": Form(label_studio.write, "tasks with predictions, to correct in Label Studio"),
        "csv": Form(csv.write, "one CSV file, which the layout csv of looktwice reads"),
        "masks": Form(masks.write, "a PNG for each picture with the class of every pixel"),
        "wsol": Form(wsol.write, "metadata and maps, for wsolevaluation", needs_maps=True),
    }
)
"""Every form, by the name that ``label_images`` and ``--form`` take."""

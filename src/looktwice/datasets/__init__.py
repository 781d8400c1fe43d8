"""Data sets in the field's layouts. Each becomes a list of images with their classes and the boxes of each class.

Boxes are (x1, y1, x2, y2) in pixels of the original image, as floats. They are half-open: x2 and y2 lie one pixel after
the last pixel of the box. Some layouts store inclusive numbers, which become half-open boxes like this:

- ``ilsvrc`` and ``wsol`` count pixels from 0: (xmin, ymin, xmax + 1, ymax + 1). The files look like PASCAL VOC's, which
  count from 1. But a box around a whole 500×375 image is 0, 0, 499, 374 in them. The XML files, LOC_val_solution.csv
  and wsolevaluation's metadata all hold the same numbers.
- ``voc`` counts pixels from 1: (xmin - 1, ymin - 1, xmax, ymax), as in the VOC development kit.

``coco`` (x, y, width, height) and ``csv`` need no such step. The two ways of counting differ by one pixel, and
annotation tools mix them. So a box may reach out of its image by one pixel: it is clipped, and this is no problem.
``csv`` allows no such pixel, because its convention is ours. A box that reaches further out is clipped and reported. A
box that is empty or wholly outside is dropped and reported; its class stays.

An error in one record costs only that record and adds one line to ``Dataset.problems``. Every record needs the list of
images and the classes: without them ``load_dataset`` raises ``DatasetError``. No image is opened. If the annotation
does not state the image's size, ``fit_to_image`` checks the boxes after the image has been decoded.
"""

from looktwice.datasets.classes import Classes, known_classes
from looktwice.datasets.find_layout import find_layout
from looktwice.datasets.layouts import LAYOUTS, Layout
from looktwice.datasets.layouts.voc import VOC_CLASSES
from looktwice.datasets.load import load_dataset
from looktwice.datasets.records import (
    Corners,
    Dataset,
    ImageContent,
    Sample,
    Source,
    fit_to_image,
    shuffled,
    split_by_hash,
)

__all__ = [
    "LAYOUTS",
    "VOC_CLASSES",
    "Classes",
    "Corners",
    "Dataset",
    "ImageContent",
    "Layout",
    "Sample",
    "Source",
    "find_layout",
    "fit_to_image",
    "known_classes",
    "load_dataset",
    "shuffled",
    "split_by_hash",
]

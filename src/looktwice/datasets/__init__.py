"""Data sets in the field's layouts, read into one record: an image, its classes, the boxes of each class.

Boxes are (x1, y1, x2, y2), half-open pixels of the original image, as floats. Where a layout's numbers are inclusive,
they become half-open like this:

- `ilsvrc` and `wsol`: pixels counted from 0, (xmin, ymin, xmax + 1, ymax + 1). The annotations look like PASCAL VOC's,
  which count from 1, but a whole 500×375 image is annotated 0, 0, 499, 374, in the XML files, in LOC_val_solution.csv
  and in wsolevaluation's metadata alike, which hold the same numbers.
- `voc`: pixels counted from 1, (xmin - 1, ymin - 1, xmax, ymax), as in the VOC development kit.

`coco` (x, y, width, height) and `csv` need no such step. The two ways of counting differ by one pixel and annotation
tools mix them, so an overhang of at most one pixel is clipped without a word, except in `csv`, whose convention is
ours. A box that reaches further out is clipped and reported; one that is empty or wholly outside is dropped and
reported, its class kept.

What a file has wrong costs its own record only, one line in `Dataset.problems`. Without a file on which every record
depends (the list of images, the classes) there is no data set: `DatasetError`. No image is opened; where the annotation
states no size, `fit_to_image` makes up for the check once the image is decoded.
"""

from looktwice.datasets.layouts.voc import VOC_CLASSES
from looktwice.datasets.load import LAYOUTS, load_dataset
from looktwice.datasets.records import Corners, Dataset, Sample, fit_to_image, shuffled, split_by_hash

__all__ = [
    "LAYOUTS",
    "VOC_CLASSES",
    "Corners",
    "Dataset",
    "Sample",
    "fit_to_image",
    "load_dataset",
    "shuffled",
    "split_by_hash",
]

"""Label sets and annotations that tests write down."""

from pathlib import Path

from looktwice.datasets import Dataset, Sample
from looktwice.export.label_set import ImageClass, LabelClass, LabelledImage, LabelledObject, LabelSet
from looktwice.images import Window
from looktwice.localization.boxes import Box

CLASSES = (LabelClass(0, "cat", 281), LabelClass(1, "dog", 207), LabelClass(2, "cup", 968))
SIZE = (100, 80)


def labelled(name, *objects, classes=((0, 1.0, True),), size=SIZE, orientation=None, file=None):
    """A labelled image. An object is (class id, (x1, y1, x2, y2), score); a class is (id, probability, given)."""
    return LabelledImage(
        id=name,
        name=name.rpartition(".")[0] or name,
        file=Path(file or f"/nowhere/{name}"),
        width=size[0],
        height=size[1],
        window=Window.whole(*size),
        classes=tuple(ImageClass(*each) for each in classes),
        objects=tuple(LabelledObject(key, Box(*map(float, box), score)) for key, box, score in objects),
        orientation=orientation,
    )


def label_set(*images, classes=CLASSES):
    return LabelSet(classes, lambda: iter(images), len(images), Path("/nowhere"), frozenset(), {"looktwice": "test"})


def drawn(name, boxes, size=SIZE):
    """An annotated image; ``boxes`` by the network's index of their class."""
    by_class = tuple(tuple(tuple(map(float, box)) for box in each) for each in boxes.values())
    return Sample(name, Path(f"/nowhere/{name}"), tuple(boxes), by_class, *(size or (None, None)))


def truths(*samples):
    return Dataset(samples)

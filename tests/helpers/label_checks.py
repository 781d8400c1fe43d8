"""Label sets, annotations of the same images and pictures to review, as tests of checks write them down."""

from dataclasses import replace
from pathlib import Path

from PIL import Image

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


def picture_file(path, size=SIZE, colour="navy", **choices):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **choices)
    return path


EVIL = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>&amp; <!-- {{SCRIPT}} \u2028"
"""A name that would run a script if a page took it for its own text."""


def review_set(folder):
    """Six images to review, in the data set's order; by doubt they are d, e, c, f, b, a."""
    evil = LabelClass(2, EVIL, 968)
    images = [
        labelled("a.png", (0, (10, 10, 60, 70), 0.95), (0, (70, 20, 90, 40), 0.3)),
        labelled("b.png", (1, (5, 5, 50, 50), 0.81), classes=((1, 0.9, False),)),
        labelled(f"c/{EVIL.replace('/', ' ')}.png", (2, (5, 5, 50, 50), 0.4), classes=((2, 1.0, True),)),
        labelled("d.png", classes=((1, 0.8, False),)),
        labelled("e.png", (0, (5, 5, 50, 50), 0.18), classes=((0, 0.2, False),)),
        labelled("gone/f.png", (0, (5, 5, 50, 50), 0.6)),
    ]
    kept = []
    for number, image in enumerate(images):
        file = folder / f"{number}.png"
        if image.id != "gone/f.png":
            picture_file(file)
        kept.append(replace(image, file=file, notes=("a <b>note</b>",) if image.id == "a.png" else ()))
    return label_set(*kept, classes=(*CLASSES[:2], evil))

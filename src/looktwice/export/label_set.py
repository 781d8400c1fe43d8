"""A labelled detection data set, as the forms write it: classes, and images with the boxes of their objects."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from looktwice.datasets.records import ImageContent
from looktwice.decoding import Orientation
from looktwice.images import Window
from looktwice.localization.boxes import Box


@dataclass(frozen=True)
class LabelClass:
    """A class of the data set.

    Attributes:
        id: its place among the classes of the data set, from 0. Forms that need an id above 0 write ``id + 1``.
        name: its name.
        index: the network's index of it.
    """

    id: int
    name: str
    index: int


@dataclass(frozen=True)
class ImageClass:
    """A class that was looked for in an image.

    Attributes:
        id: the class's ``LabelClass.id``.
        probability: that the network gives it, in [0, 1].
        given: whether the data set says that the image is of this class; else the network or the user chose it.
    """

    id: int
    probability: float
    given: bool


@dataclass(frozen=True)
class LabelledObject:
    """An object that was found.

    Attributes:
        id: its class's ``LabelClass.id``.
        box: in half-open pixels of the upright picture, with the region it was drawn around. Its score is the
            probability that box and class are right: that of the box, times that of the class if it was not given.
    """

    id: int
    box: Box


@dataclass(frozen=True)
class LabelledImage:
    """An image with the objects that were found in it.

    Attributes:
        id: its name in the data set: a relative path without "..", unique.
        name: a relative path without suffix, for files that belong to the image. It is unique too, also where a file
            system does not tell upper from lower case.
        file: the image file (an absolute path). Where the image lies in no file of its own, this only names it.
        width: of the upright picture, in pixels.
        height: the same way.
        window: the part of the upright picture that the network saw.
        classes: those that were looked for, the first one first.
        objects: the objects of all classes; of a class the best one first.
        content: how its bytes are read; ``None``: they are in ``file``.
        orientation: how its pixels are stored; ``None`` if they are stored upright.
        notes: what a reader must know, a line each.
    """

    id: str
    name: str
    file: Path
    width: int
    height: int
    window: Window
    classes: tuple[ImageClass, ...]
    objects: tuple[LabelledObject, ...]
    content: ImageContent | None = None
    orientation: Orientation | None = None
    notes: tuple[str, ...] = ()

    def read(self) -> bytes:
        """The bytes of the image file.

        Raises:
            OSError: the file cannot be read.
            InputError: the archive that holds it cannot be read.
        """
        return self.file.read_bytes() if self.content is None else self.content.read()


@dataclass(frozen=True)
class LabelSet:
    """A labelled data set.

    Attributes:
        classes: all classes that its objects may have, by id; so ``classes[k].id == k``.
        images: gives all usable images in the data set's order, read from disk one by one. It may be called again.
        count: how many images that are.
        root: the folder that the ids of the images start from, or the file that lists or holds the images.
        validation: the ids of the images that are for validation; all others are for training.
        about: how it was made, for a reader: plain JSON values, such as ``looktwice`` (the version) and ``model``.
    """

    classes: tuple[LabelClass, ...]
    images: Callable[[], Iterator[LabelledImage]]
    count: int
    root: Path
    validation: frozenset[str]
    about: Mapping[str, Any]

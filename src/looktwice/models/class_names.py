"""Names of classes where a network brings none."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, as torchvision has them. Importing torchvision for them takes a second."""
    return tuple((files("looktwice.models") / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


def default_classes(count: int) -> Sequence[str]:
    """Names for so many classes: ImageNet's if there are 1,000, else "class 0", "class 1" …"""
    names = imagenet_classes()
    return names if count == len(names) else tuple(f"class {index}" for index in range(count))

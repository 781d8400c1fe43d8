"""How an image becomes a network's input."""

import math
from dataclasses import dataclass
from operator import index
from typing import Any, Literal

import torchvision.transforms.functional as TF  # type: ignore[import-untyped]
from PIL import Image
from torch import Tensor

from looktwice.errors import InputError, OptionError
from looktwice.images import Window
from looktwice.options import check_choice

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""How an image is resized: Pillow's filters. All but ``nearest`` average over the pixels that they shrink."""


MOST_PIXELS = 16_384
"""The largest side of a network's input. A larger one is a mistake, and would take gigabytes."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input.

    The shorter side of the image becomes ``resize`` pixels, and its central ``crop`` × ``crop`` pixels are cut out.
    Values are scaled to 0 … 1; then ``mean`` is subtracted and the rest divided by ``std``.

    Attributes:
        resize: the shorter side after resizing, in pixels.
        crop: the side of the input, in pixels.
        mean: of each channel (R, G, B), for values in 0 … 1.
        std: likewise.
        interpolation: how it is resized.
        squash: instead, the whole image becomes ``crop`` × ``crop`` pixels; its proportions change.

    Raises:
        OptionError: a crop larger than the resized image, or a value that is not possible.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize", _side("resize", self.resize, MOST_PIXELS))
        object.__setattr__(self, "crop", _side("crop", self.crop, self.resize, ", which is resize"))
        for name in ("mean", "std"):
            object.__setattr__(self, name, _three_numbers(name, getattr(self, name), positive=name == "std"))
        check_choice("interpolation", self.interpolation, Interpolation)
        if not isinstance(self.squash, bool):
            raise OptionError(f"squash is {self.squash!r}; True or False is needed")

    def window(self, width: int, height: int) -> Window:
        """The part of an image of that size that the network sees, in pixels of the image."""
        return Window.of_crop(width, height, resize=self.resize, crop=self.crop, squash=self.squash)

    def prepare(self, image: Image.Image) -> tuple[Tensor, Window]:
        """An RGB image → float32 (1, 3, crop, crop) on the CPU, and the part of the image that it covers.

        Raises:
            InputError: not an 8-bit RGB picture.
        """
        if not isinstance(image, Image.Image) or image.mode != "RGB":
            seen = f"one of mode {image.mode}" if isinstance(image, Image.Image) else type(image).__name__
            raise InputError(f"an RGB PIL image is needed, not {seen}; read files with looktwice.images.read_image")
        window = self.window(*image.size)
        # Only the part that is kept is resized, so that an image of 100,000 × 1 never becomes one of 25,600,000 × 256.
        # It differs by 2/255 at most from resizing all and cutting then: Pillow's filter reads beyond the box, and its
        # two passes may come in the other order.
        box = (window.left, window.top, min(window.right, image.width), min(window.bottom, image.height))
        resampling = Image.Resampling[self.interpolation.upper()]
        pixels = TF.pil_to_tensor(image.resize((self.crop, self.crop), resampling, box=box)).float().div_(255)
        return TF.normalize(pixels, self.mean, self.std, inplace=True)[None], window


def _side(name: str, value: Any, most: int, what: str = "") -> int:
    """A number of pixels."""
    try:
        pixels = index(value)
    except TypeError:
        pixels = 0
    if isinstance(value, bool) or not 0 < pixels <= most:
        raise OptionError(f"{name} is {value!r}; a whole number from 1 to {most} is needed{what}")
    return pixels


def _three_numbers(name: str, values: Any, *, positive: bool) -> tuple[float, float, float]:
    """The numbers for R, G and B, as floats."""
    needed = f"three finite numbers{' above 0' if positive else ''} are needed, for R, G and B in 0 … 1"
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise OptionError(f"{name} is {values!r}; {needed}") from None
    numbers = (red, green, blue)
    if not all(math.isfinite(number) and (number > 0 or not positive) for number in numbers):
        raise OptionError(f"{name} is {values!r}; {needed}")
    if max(numbers) > _MOST:
        raise OptionError(f"{name} is {values!r}, which is for pixels in 0 … 255; divide it by 255")
    return numbers


_MOST = 10
"""A mean or standard deviation above this is not meant for pixels in 0 … 1."""


IMAGENET = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The usual preprocessing of ImageNet classifiers in PyTorch."""

"""How an image becomes a network's input."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import index
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from looktwice.decoding import PictureMode
from looktwice.errors import InputError, OptionError
from looktwice.images import InputSize, Window, as_pair, input_text, size_text
from looktwice.options import check_choice

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""How an image is resized: Pillow's filters. All but ``nearest`` average over the pixels that they shrink."""


MOST_PIXELS = 16_384
"""The largest side of a network's input. A larger one is a mistake, and would take gigabytes."""


MODES: MappingProxyType[int, PictureMode] = MappingProxyType({1: "RGB", 3: "RGB", 4: "RGBA"})
"""The pictures that give an input of this many channels. A network with one channel gets the gray picture."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input.

    The image is resized, and its centre is cut out. Values are scaled to 0 … 1; then ``mean`` is subtracted and the
    rest divided by ``std``. The input has as many channels as ``mean`` and ``std`` have numbers: 3 for RGB, 1 for gray,
    4 for RGB with transparency. Inputs of other numbers of channels cannot be made from a picture.

    Attributes:
        resize: one number: the shorter side after resizing, in pixels. (height, width): the exact size after resizing.
        crop: the size of the input, in pixels: one number for a square, or (height, width).
        mean: of each channel, for values in 0 … 1.
        std: likewise.
        interpolation: how it is resized.
        squash: instead, the whole image is resized to ``crop``; its proportions change.

    Raises:
        OptionError: a crop larger than the resized image, or a value that is not possible.

    Example:
        >>> wide = Preprocessing(resize=(48, 96), crop=(48, 96), mean=(0.5,), std=(0.25,))
        >>> pixels, window = wide.prepare(Image.new("RGB", (640, 480)))
        >>> pixels.shape, (window.right, window.bottom)
        (torch.Size([1, 1, 48, 96]), (640.0, 480.0))
    """

    resize: InputSize
    crop: InputSize
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize", _size("resize", self.resize))
        crop = _size("crop", self.crop)
        # A square has one form only, so that equal inputs are equal here and in the facts of a run.
        object.__setattr__(self, "crop", crop[0] if isinstance(crop, tuple) and crop[0] == crop[1] else crop)
        self._check_crop()
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), positive=name == "std"))
        if len(self.mean) != len(self.std):
            raise OptionError(
                f"mean has {_count(self.mean)} and std has {_count(self.std)}; one of each is needed for each channel"
            )
        check_choice("interpolation", self.interpolation, Interpolation)
        if not isinstance(self.squash, bool):
            raise OptionError(f"squash is {self.squash!r}; True or False is needed")

    def _check_crop(self) -> None:
        most, wanted = as_pair(self.resize), as_pair(self.crop)
        if wanted[0] <= most[0] and wanted[1] <= most[1]:
            return
        if isinstance(self.crop, int) and isinstance(self.resize, int):
            raise OptionError(
                f"crop is {self.crop}; a whole number from 1 to {self.resize} is needed, which is resize; give a "
                "larger resize too"
            )
        raise OptionError(
            f"crop is {size_text(self.crop)}, and the resized image may have only {size_text(most)} pixels (height × "
            f"width); give resize=({wanted[0]}, {wanted[1]}) to see the whole image, or a larger one"
        )

    @property
    def channels(self) -> int:
        """How many channels the input has."""
        return len(self.mean)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the input."""
        return (self.channels, *as_pair(self.crop))

    @property
    def mode(self) -> PictureMode:
        """The kind of picture that ``prepare`` needs: "RGB" or "RGBA".

        Raises:
            OptionError: no picture has as many channels as the input.
        """
        if self.channels not in MODES:
            raise OptionError(
                f"the network's input has {self.channels} channels, and an image file gives 1 (gray), 3 (RGB) or 4 "
                "(RGBA); in Python, pass the input itself to looktwice.attend(network, images)"
            )
        return MODES[self.channels]

    def window(self, width: int, height: int) -> Window:
        """The part of an image of that size that the network sees, in pixels of the image."""
        return Window.of_crop(width, height, resize=self.resize, crop=self.crop, squash=self.squash)

    def prepare(self, image: Image.Image) -> tuple[Tensor, Window]:
        """A picture → float32 (1, channels, height, width) on the CPU, and the part of the picture that it covers.

        Args:
            image: an RGB picture; with four channels RGBA; with one channel RGB or gray (L).

        Raises:
            InputError: a picture of another kind, or no picture.
            OptionError: no picture has as many channels as the input.
        """
        self._check_picture(image)
        window = self.window(*image.size)
        # Only the part that is kept is resized, so that an image of 100,000 × 1 never becomes one of 25,600,000 × 256.
        # It differs by 2/255 at most from resizing all and cutting then: Pillow's filter reads beyond the box, and its
        # two passes may come in the other order.
        box = (window.left, window.top, min(window.right, image.width), min(window.bottom, image.height))
        resampling = Image.Resampling[self.interpolation.upper()]
        height, width = as_pair(self.crop)
        resized = (np.asarray(band.resize((width, height), resampling, box=box)) for band in self._bands(image))
        planes = (plane for band in resized for plane in np.atleast_3d(band).transpose(2, 0, 1))
        pixels = np.empty(self.input_shape, dtype=np.float32)
        for channel, table, plane in zip(pixels, _input_values(self.mean, self.std), planes, strict=True):
            np.take(table, plane, out=channel, mode="clip")  # this mode writes without a buffer
        return torch.from_numpy(pixels)[None], window

    def _check_picture(self, image: object) -> None:
        needed = (self.mode, "L") if self.channels == 1 else (self.mode,)
        if not isinstance(image, Image.Image) or image.mode not in needed:
            seen = f"one of mode {image.mode}" if isinstance(image, Image.Image) else type(image).__name__
            how = 'read_image(..., mode="RGBA")' if self.mode == "RGBA" else "read_image"
            raise InputError(f"an {self.mode} PIL image is needed, not {seen}; read files with looktwice.images.{how}")

    def _bands(self, image: Image.Image) -> Sequence[Image.Image]:
        """The picture in the parts that are resized one by one."""
        if self.channels == 1:
            return [image.convert("L")]
        # Pillow's own resizing of RGBA would lose the colours of transparent pixels.
        return image.split() if image.mode == "RGBA" else [image]

    def having(
        self,
        *,
        resize: InputSize | None = None,
        crop: InputSize | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: Interpolation | None = None,
        channels: int | None = None,
    ) -> "Preprocessing":
        """A copy with some choices replaced; ``None`` keeps what there is.

        Args:
            resize: as the attribute. Without ``crop`` it is the size of the input too.
            crop: as the attribute.
            mean: as the attribute. With ``channels``, a single number is for every channel.
            std: likewise.
            interpolation: as the attribute.
            channels: how many channels the input has.

        Raises:
            OptionError: a value that is not possible, or a mean or std for another number of channels.

        Example:
            >>> IMAGENET.having(resize=64).crop, IMAGENET.having(resize=(48, 96)).crop
            (64, (48, 96))
        """
        if channels is not None:
            channels = _pixels("channels", channels)
        given: dict[str, Any] = {
            "resize": resize,
            "crop": resize if crop is None else crop,
            "mean": _for_channels("mean", mean, self.mean, channels),
            "std": _for_channels("std", std, self.std, channels),
            "interpolation": interpolation,
        }
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def __str__(self) -> str:
        """In words, such as "shorter side 256, centre 224×224; bilinear; mean 0.485 0.456 0.406; std …"."""
        numbers = (" ".join(f"{number:.4g}" for number in each) for each in (self.mean, self.std))
        mean, std = numbers
        size = input_text(self.resize, self.crop, squash=self.squash)
        return f"{size}; {self.interpolation}; mean {mean}; std {std}"


@lru_cache(maxsize=8)
def _input_values(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """What each of the 256 values of a picture becomes in each channel (C, 256)."""
    means, deviations = (np.array(numbers, dtype=np.float32)[:, None] for numbers in (mean, std))
    return np.asarray((np.arange(256, dtype=np.float32) / np.float32(255) - means) / deviations)


def _size(name: str, value: Any) -> InputSize:
    """A number of pixels, or a pair of them."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise OptionError(f"{name} is {value!r}; one whole number is needed, or a pair (height, width)")
        return _pixels(name, value[0], value), _pixels(name, value[1], value)
    return _pixels(name, value)


def _pixels(name: str, value: Any, shown: Any = None) -> int:
    """A whole number that is no side too long."""
    try:
        pixels = index(value)
    except TypeError:
        pixels = 0
    if isinstance(value, bool) or not 0 < pixels <= MOST_PIXELS:
        seen = value if shown is None else shown
        pair = "" if name == "channels" else ", or a pair (height, width) of them"
        raise OptionError(f"{name} is {seen!r}; a whole number from 1 to {MOST_PIXELS} is needed{pair}")
    return pixels


def _for_channels(
    name: str, given: Sequence[float] | None, before: Sequence[float], channels: int | None
) -> Sequence[float] | None:
    """The mean or std that is wanted: one number for each channel, if their number is named."""
    numbers = None if given is None else _numbers(name, given, positive=name == "std")
    if channels is None:
        return numbers
    if numbers is not None and len(numbers) == 1:
        return numbers * channels
    found = before if numbers is None else numbers
    if len(found) != channels:
        seen = f"{name} has {_count(found)}" if numbers is not None else f"the model's {name} has {_count(found)}"
        raise OptionError(f"channels is {channels}, and {seen}; give a mean and a std of one number for each")
    return numbers


def _count(numbers: Sequence[float]) -> str:
    return f"{len(numbers)} number{'s' * (len(numbers) != 1)}"


def _numbers(name: str, values: Any, *, positive: bool) -> tuple[float, ...]:
    """A number for each channel, as floats."""
    kind = " above 0" if positive else ""
    needed = f"a finite number{kind} for each channel is needed: three for R, G and B in 0 … 1"
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise OptionError(f"{name} is {values!r}; {needed}") from None
    if not numbers or not all(math.isfinite(number) and (number > 0 or not positive) for number in numbers):
        raise OptionError(f"{name} is {values!r}; {needed}")
    if max(numbers) > _MOST:
        raise OptionError(f"{name} is {values!r}, which is for pixels in 0 … 255; divide it by 255")
    return numbers


_MOST = 10
"""A mean or standard deviation above this is not meant for pixels in 0 … 1."""


CHOICES = ("resize", "crop", "mean", "std", "interpolation", "channels")
"""What ``Preprocessing.having`` can replace."""


def of_torchvision(recipe: Any) -> Preprocessing:
    """The preprocessing of one of torchvision's ``ImageClassification`` transforms.

    Raises:
        OptionError: it has a value that is not possible here.
    """
    (resize,), (crop,) = recipe.resize_size, recipe.crop_size
    return Preprocessing(resize, crop, tuple(recipe.mean), tuple(recipe.std), recipe.interpolation.value)


IMAGENET = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The usual preprocessing of ImageNet classifiers in PyTorch."""

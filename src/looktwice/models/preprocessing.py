"""How an image becomes a network's input."""

from dataclasses import dataclass
from typing import Literal

import torchvision.transforms.functional as TF  # type: ignore[import-untyped]
from PIL import Image
from torch import Tensor

from looktwice.errors import InputError, OptionError
from looktwice.images import Window


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
        OptionError: a crop larger than the resized image.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise OptionError(f"crop is {self.crop}; 1 … {self.resize} is needed, which is resize")

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


IMAGENET = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The usual preprocessing of ImageNet classifiers in PyTorch."""

"""An image processor of Hugging Face's ``transformers`` → a ``Preprocessing``, checked against the processor itself."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from looktwice.errors import ModelError, OptionError, cut, one_line
from looktwice.images import InputSize
from looktwice.models.preprocessing import Preprocessing

_NEAR = 0.01
"""Mean difference, in values 0 … 1, up to which two inputs count as the same. Ways to resize differ by 0.003 at most;
a crop that is moved by 3 % differs by more."""


def preprocessing_of_processor(processor: Any, name: str) -> Preprocessing:
    """The ``Preprocessing`` that gives the same inputs as a processor.

    Processors of different classes read the same settings in different ways. So each way is tried on a picture, and the
    first one whose result is the processor's own is taken.

    Args:
        processor: of ``transformers``.
        name: of the network, for messages.

    Raises:
        ModelError: none gives the same inputs.
    """
    picture = _picture(448, 336)
    for candidate in _candidates(processor):
        if _agrees(candidate, processor, picture, name):
            return candidate
    raise ModelError(
        f"{name}: its {type(processor).__name__} prepares images in a way that is not possible here (for example with "
        "another order of channels, with padding, or without a fixed size); write a factory that returns a Model "
        "with a Preprocessing of your own, and name it as FILE.py:FACTORY"
    )


def _candidates(processor: Any) -> Iterator[Preprocessing]:
    mean, std = _scaling(processor)
    filter_name = _filter_name(getattr(processor, "resample", None))
    for resize, crop, squash in _sizes(processor):
        with contextlib.suppress(OptionError):  # such as a crop larger than the image: not how it is meant
            yield Preprocessing(resize, crop, mean, std, filter_name, squash)


def _sizes(processor: Any) -> Iterator[tuple[InputSize, InputSize, bool]]:
    """Resize, crop, and whether the whole image is squashed, in each way in which the settings may be meant."""
    if not getattr(processor, "do_resize", True):
        return
    size = dict(getattr(processor, "size", None) or {})
    crop = dict(getattr(processor, "crop_size", None) or {}) if getattr(processor, "do_center_crop", False) else {}
    edge = size.get("shortest_edge")
    whole, cut_out = _pair(size), _pair(crop or size)
    if "height" in size and whole and cut_out:
        yield whole, cut_out, not crop
    elif edge and cut_out:
        share = getattr(processor, "crop_pct", None) or 1
        # The plain way; those of ConvNeXt and PoolFormer (crop_pct); that of LeViT.
        for shorter in (edge, int(edge / share), math.floor(edge / share), int(256 / 224 * edge)):
            yield shorter, cut_out, False
        yield edge, edge, True  # ConvNeXt from 384 pixels on


def _pair(size: Mapping[str, Any]) -> tuple[int, int] | None:
    if size.get("height") and size.get("width"):
        return int(size["height"]), int(size["width"])
    edge = size.get("shortest_edge")
    return (int(edge), int(edge)) if edge else None


def _scaling(processor: Any) -> tuple[Any, Any]:
    """Mean and standard deviation for values in 0 … 1, whatever values the processor normalises."""
    factor = getattr(processor, "rescale_factor", 1 / 255) if getattr(processor, "do_rescale", True) else 1.0
    normalises = getattr(processor, "do_normalize", False)
    mean, std = (_three(getattr(processor, key, None)) for key in ("image_mean", "image_std"))
    if not normalises:
        mean, std = (0.0,) * 3, (1.0,) * 3
    if getattr(processor, "rescale_offset", False):  # EfficientNet: pixel · factor − 1
        mean = tuple(each + 1 for each in mean)
    if getattr(processor, "include_top", False):  # EfficientNet: divided by the standard deviation once more
        std = tuple(each * again for each, again in zip(std, _three(processor.image_std), strict=True))
    scale = 255 * factor
    return tuple(each / scale for each in mean), tuple(each / scale for each in std)


def _three(values: Any) -> tuple[float, ...]:
    if values is None:
        return (math.nan,) * 3
    return tuple(map(float, values)) if isinstance(values, (list, tuple)) else (float(values),) * 3


def _filter_name(resample: Any) -> Any:
    """Pillow's number for how images are resized, or torchvision's name, → our name."""
    if resample is None:
        return "bilinear"
    named = getattr(resample, "value", resample)
    return named if isinstance(named, str) else Image.Resampling(int(named)).name.lower()


def _picture(width: int, height: int) -> Image.Image:
    """A smooth picture whose colours tell each place."""
    y, x = np.mgrid[:height, :width]
    red, green, blue = x / width, y / height, 0.5 + 0.4 * np.sin(5 * x / width) * np.cos(4 * y / height)
    return Image.fromarray((255 * np.stack([red, green, blue], axis=2)).astype(np.uint8))


def _agrees(preprocessing: Preprocessing, processor: Any, picture: Image.Image, name: str) -> bool:
    """Whether both make the same input of a picture."""
    try:
        theirs = torch.as_tensor(processor(images=picture, return_tensors="pt")["pixel_values"]).float()
    except Exception as error:  # its settings contradict each other: ValueError, TypeError, AttributeError …
        reason = cut(one_line(error), most=200)
        raise ModelError(f"{name}: its {type(processor).__name__} fails on a picture ({reason})") from error
    ours, _ = preprocessing.prepare(picture)
    if theirs.shape != ours.shape:
        return False
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    return float(((theirs - ours) * std).abs().mean()) < _NEAR

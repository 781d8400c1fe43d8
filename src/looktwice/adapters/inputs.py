"""What the adapters check and convert before they call ``attend``."""

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from looktwice.errors import InputError, cut
from looktwice.gating.frozen import Targets, check_images


def one_target_each(targets: object, images: int) -> Targets:
    """The classes as ``attend`` takes them, so that each image gets exactly one map.

    ``attend`` gives several maps for a single image with several classes. Other tools expect one map for each image, so
    several classes are refused here.

    Args:
        targets: one whole number for all images, a list, an array or a tensor with one for each, or ``None`` for the
            prediction. A tensor with one number is for all images.
        images: how many images there are.

    Raises:
        InputError: no whole numbers, or another number of them.
    """
    if targets is None:
        return None
    try:
        numbers = torch.as_tensor(targets.tolist() if isinstance(targets, np.ndarray) else targets)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"targets must be whole numbers, not {cut(repr(targets))}; pass class indices") from None
    for_all = numbers.numel() == 1 and not isinstance(targets, list)
    if not for_all and numbers.numel() != images:
        raise InputError(f"{numbers.numel()} targets for {images} images; pass one for all or one for each")
    return numbers.flatten()


def weights_like(model: object) -> Tensor:
    """A weight or buffer of the model, whose device and precision its images need.

    A model without any gives an empty tensor on the CPU in single precision. ``attend`` refuses what is no model.
    """
    if not isinstance(model, nn.Module):
        return torch.empty(0)
    numbers = chain(model.parameters(), model.buffers())
    return next((tensor for tensor in numbers if tensor.is_floating_point()), torch.empty(0))


def as_images(model: object, inputs: object) -> Tensor:
    """An array or tensor (N, C, H, W) of floating-point numbers → a tensor in the model's precision, on its device.

    Raises:
        InputError: as ``check_images``; an array of other numbers.
    """
    images: Any = inputs
    if isinstance(inputs, np.ndarray):
        if inputs.dtype.kind != "f":
            raise InputError(
                f"inputs must be floating point, not {inputs.dtype}; normalise them as the model was trained"
            )
        # A copy in the machine's own byte order, since torch takes no other and may write into it.
        images = torch.from_numpy(np.array(inputs, dtype=np.float64))
    like = weights_like(model)
    return check_images(images).to(like.device, like.dtype)

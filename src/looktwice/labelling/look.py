"""The network's part: a chunk of decoded images → the classes that are looked for, and a map for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from looktwice.attention.api import attend_look
from looktwice.attention.look import Look
from looktwice.evaluation.chunks import Decoded
from looktwice.evaluation.pipeline import look_at_pixels
from looktwice.labelling.classes import WantedClass, wanted_classes
from looktwice.labelling.images import RunImage
from looktwice.labelling.plan import LabelPlan
from looktwice.models.model import Model


@dataclass(frozen=True)
class Chunk:
    """The images of a chunk and their maps.

    Attributes:
        index: the chunk's number.
        images: its images.
        wanted: T classes that were looked for.
        extents: the maps that boxes are drawn from (T, H, W).
        maps: the classes' own maps (T, H, W), if they are wanted.
    """

    index: int
    images: tuple[RunImage, ...]
    wanted: tuple[WantedClass, ...]
    extents: NDArray[np.float32]
    maps: NDArray[np.float32] | None


def look_at_chunk(model: Model, decoded: Decoded[RunImage], plan: LabelPlan, *, own_maps: bool) -> Chunk:
    """One plain pass, then the maps of each wanted class of each image that could be decoded.

    Args:
        model: the network.
        decoded: the chunk.
        plan: the plan.
        own_maps: whether the classes' own maps are wanted too.

    Raises:
        RunError: the device's memory is too small. The batch is not split, because what else is in a batch changes the
            last bits of an image's numbers.
    """
    size = len(decoded.images)
    with look_at_pixels(model, decoded.pixels, [plan.chosen]) as look:
        samples = [image.sample for image in decoded.images]
        wanted = tuple(
            each
            for each in wanted_classes(samples, look.probabilities().numpy(), plan)
            if decoded.images[each.image].error is None
        )
        parts = [_maps(look, wanted[start : start + size], plan) for start in range(0, len(wanted), size)]
    height, width = decoded.pixels.shape[-2:]
    nothing = np.zeros((0, height, width), dtype=np.float32)
    extents = np.concatenate([nothing, *(extent for extent, _ in parts)])
    maps = np.concatenate([nothing, *(heat for _, heat in parts)]) if own_maps else None
    return Chunk(decoded.index, decoded.images, wanted, extents, maps)


def _maps(
    look: Look, wanted: Sequence[WantedClass], plan: LabelPlan
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The extents (T, H, W) of some classes, and their own maps."""
    classes = torch.tensor([each.index for each in wanted], device=look.images.device)
    some = look.some([each.image for each in wanted])
    found = attend_look(some, classes, plan.chosen.method, plan.chosen.options)
    return found.extents.float().cpu().numpy(), found.maps.float().cpu().numpy()

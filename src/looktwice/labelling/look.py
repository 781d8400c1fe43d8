"""The network's part: a chunk of decoded images → the classes that are looked for, and a map for each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from looktwice.attention.api import attend_look
from looktwice.attention.look import Look
from looktwice.errors import InputError, ModelError
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
        extents: the maps that boxes are drawn from, T of (H, W).
        maps: the classes' own maps, T of (H, W), if they are wanted.
    """

    index: int
    images: tuple[RunImage, ...]
    wanted: tuple[WantedClass, ...]
    extents: Sequence[NDArray[np.float32]]
    maps: Sequence[NDArray[np.float32]] | None


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
        probabilities = look.probabilities().numpy()
        images = tuple(_judged(image, own) for image, own in zip(decoded.images, probabilities, strict=True))
        samples = [image.sample for image in images]
        wanted = [each for each in wanted_classes(samples, probabilities, plan) if images[each.image].error is None]
        found = _Found(look, plan)
        for start in range(0, len(wanted), size):
            found.look_for(wanted[start : start + size])
    images = tuple(
        image if index not in found.errors else replace(image, error=f"{image.sample.id}: {found.errors[index]}")
        for index, image in enumerate(images)
    )
    return Chunk(decoded.index, images, tuple(found.wanted), found.extents, found.maps if own_maps else None)


def _judged(image: RunImage, probabilities: NDArray[np.float64]) -> RunImage:
    """An image; with an error if the network gives no usable scores for it."""
    if image.error is not None or np.isfinite(probabilities).all():
        return image
    return replace(image, error=f"{image.sample.id}: the network's scores are NaN or infinite; check its weights")


class _Found:
    """The maps of a chunk, batch by batch. A batch that fails is looked at image by image, to find which one it is."""

    def __init__(self, look: Look, plan: LabelPlan) -> None:
        self._look, self._plan = look, plan
        self.wanted: list[WantedClass] = []
        self.extents: list[NDArray[np.float32]] = []
        self.maps: list[NDArray[np.float32]] = []
        self.errors: dict[int, str] = {}

    def look_for(self, wanted: Sequence[WantedClass]) -> None:
        """Adds the maps of some classes, one for each of different images."""
        try:
            self._add(wanted)
        except (InputError, ModelError) as error:
            if len(wanted) == 1:
                self.errors[wanted[0].image] = str(error)
                return
            for each in wanted:
                self.look_for([each])

    def _add(self, wanted: Sequence[WantedClass]) -> None:
        classes = torch.tensor([each.index for each in wanted], device=self._look.images.device)
        some = self._look.some([each.image for each in wanted])
        found = attend_look(some, classes, self._plan.chosen.method, self._plan.chosen.options)
        self.extents += list(found.extents.float().cpu().numpy())
        self.maps += list(found.maps.float().cpu().numpy())
        self.wanted += wanted

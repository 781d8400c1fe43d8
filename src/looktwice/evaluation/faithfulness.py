"""Insertion and deletion for the maps of a chunk: pictures with replaced pixels through the network.

What the two numbers are stands in ``metrics.perturbation``. With S steps each map needs 2 (S − 1) passes. Both curves
end in the whole picture and in the blurred one, and all maps of an image share these.

The pictures of a map are in batches of their own. So no map's numbers depend on what other methods a run has.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from looktwice.attention.finishing import gaussian_blur
from looktwice.attention.look import Look
from looktwice.errors import InputError
from looktwice.evaluation.chunks import EvaluationImage, Faithfulness, TargetClass
from looktwice.evaluation.measure import center_map
from looktwice.evaluation.plan import FaithfulnessPlan
from looktwice.gating.outputs import as_probabilities
from looktwice.metrics.overlap import Floats
from looktwice.metrics.perturbation import area_under_curve, pixel_ranks, step_counts


def chunk_faithfulness(
    look: Look,
    images: Sequence[EvaluationImage],
    targets: Sequence[TargetClass],
    maps: Mapping[str, NDArray[np.float32]],
    plan: FaithfulnessPlan,
    *,
    batch_size: int,
) -> dict[str, tuple[Faithfulness, ...]]:
    """For each method and baseline the numbers of each of the T maps.

    Images that cannot be used have none, and neither have those on which thresholds are chosen: these are not judged.

    Args:
        look: the network and the chunk's images, inside ``look_at``'s ``with``.
        images: the images.
        targets: the class of each map.
        maps: for each method (T, H, W).
        plan: how many steps, and the blur.
        batch_size: pictures in one pass of the network.
    """
    pictures = _Pictures.of(look, plan, batch_size)
    size = (look.images.shape[-2], look.images.shape[-1])
    everywhere = {"center_box": center_map(size), "full_image": np.ones(size, dtype=np.float32)}
    heats = {**maps, **{name: np.broadcast_to(heat, (len(targets), *size)) for name, heat in everywhere.items()}}
    counted = [images[each.image].error is None and not images[each.image].tuning for each in targets]
    return {
        name: tuple(
            pictures.judged(heat, target) if is_counted else Faithfulness()
            for heat, target, is_counted in zip(own, targets, counted, strict=True)
        )
        for name, own in heats.items()
    }


@dataclass(frozen=True)
class _Pictures:
    """The images of a chunk, and the same images blurred.

    Attributes:
        look: the network and the images (N, C, H, W).
        blurred: the blurred images (N, C, H, W).
        whole_probabilities: of each class in each image (N, K).
        blurred_probabilities: of each class in each blurred image (N, K).
        counts: how many pixels are replaced at the start and after each step (S + 1,).
        batch_size: pictures in one pass.
    """

    look: Look
    blurred: Tensor
    whole_probabilities: Floats
    blurred_probabilities: Floats
    counts: NDArray[np.int64]
    batch_size: int

    @classmethod
    def of(cls, look: Look, plan: FaithfulnessPlan, batch_size: int) -> "_Pictures":
        height, width = look.images.shape[-2:]
        blurred = blurred_images(look.images, plan.blur)
        return cls(
            look,
            blurred,
            look.probabilities().numpy(),
            _probabilities(look, blurred),
            step_counts(height * width, plan.steps),
            batch_size,
        )

    def judged(self, heat: NDArray[np.float32], target: TargetClass) -> Faithfulness:
        """The numbers of a map (H, W), or why it has none."""
        begun = time.perf_counter()
        try:
            insertion, deletion = self._areas(pixel_ranks(self._fitted(heat)), target)
        except InputError as error:
            return Faithfulness(error=str(error), seconds=time.perf_counter() - begun)
        return Faithfulness(insertion, deletion, seconds=time.perf_counter() - begun)

    def _fitted(self, heat: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map in the size of the images. That of a user's own method may have another one."""
        size = self.look.images.shape[-2:]
        if heat.shape == size:
            return heat
        wide = F.interpolate(torch.from_numpy(heat)[None, None], size=size, mode="bilinear")
        return np.asarray(wide[0, 0].numpy())

    def _areas(self, ranks: NDArray[np.int32], target: TargetClass) -> tuple[float, float]:
        """The areas under the insertion curve and the deletion curve."""
        between = np.concatenate([own[:, target.target] for own in self._between(ranks, target.image)])
        inserted, deleted = np.split(between, 2)
        whole = self.whole_probabilities[target.image, target.target]
        blurred = self.blurred_probabilities[target.image, target.target]
        return (
            area_under_curve([blurred, *inserted, whole], self.counts),
            area_under_curve([whole, *deleted, blurred], self.counts),
        )

    def _between(self, ranks: NDArray[np.int32], image: int) -> Iterator[Floats]:
        """Batch after batch the probabilities (B, K) of the steps between the ends: of insertion, then of deletion."""
        device = self.look.images.device
        places = torch.from_numpy(ranks).to(device)
        counts = torch.from_numpy(np.tile(self.counts[1:-1], 2)).to(device)
        inserts = torch.arange(len(counts), device=device) < len(counts) // 2
        for start in range(0, len(counts), self.batch_size):
            part = slice(start, start + self.batch_size)
            is_first = places < counts[part, None, None]
            of_picture = is_first == inserts[part, None, None]
            yield _probabilities(
                self.look, torch.where(of_picture[:, None], self.look.images[image], self.blurred[image])
            )


def blurred_images(images: Tensor, blur: float) -> Tensor:
    """Images (N, C, H, W) after a Gaussian with σ = ``blur`` · the shorter side, in their dtype.

    At the border the Gaussian is renormalised, so that an image of one colour stays as it is.
    """
    single = images.detach().double() if images.dtype == torch.float64 else images.detach().float()
    with torch.no_grad():
        soft = gaussian_blur(single.flatten(0, 1), blur * min(images.shape[-2:]))
    return soft.view_as(images).to(images.dtype)


def _probabilities(look: Look, pictures: Tensor) -> Floats:
    """The network's own probability of each class in pictures of the images' size: (B, C, H, W) → (B, K)."""
    with torch.no_grad():
        scores = look.network(pictures)
    return as_probabilities(scores, look.output).numpy()

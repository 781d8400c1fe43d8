"""Images read for one or several networks and seen for a class by a method: what pictures and records are made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from looktwice.attention.api import attend
from looktwice.errors import InputError, ModelError
from looktwice.figures.overlay import scaled
from looktwice.gating.frozen import frozen
from looktwice.images import Window, read_image
from looktwice.localization.boxes import check_map
from looktwice.models.load import Model

BATCH = 8
"""Images in one pass on an accelerator: enough to keep it busy, few enough for the gates of a large network.

On the CPU it is one: batches gain nothing there, and results come as they are found.
"""


@dataclass(frozen=True)
class ImageResult:
    """What became of an image: the files complete with it, and why it could not be used; no image: a last page."""

    image: Path | None
    files: tuple[Path, ...] = ()
    error: InputError | OSError | None = None


@dataclass(frozen=True)
class PreparedImage:
    """An image as a network gets it (1, 3, H, W), the part that it covers, and the image scaled for drawing."""

    path: Path
    pixels: Tensor
    window: Window
    picture: Image.Image


@dataclass(frozen=True)
class Explanation:
    """One image seen for one class by one method.

    Attributes:
        shot: the image.
        method: the name of the method.
        index: the class,
        name: and what it is called.
        probability: the class's, from the network as it is.
        heat: the map (H, W).
        openness: (H, W) in [0, 1], the gates' mean over channels and layers where they stand; ``None`` without gates.
        scores: S_k at each step; empty for other packages' methods.
        closed_layers: how many layers would have closed altogether.
    """

    shot: PreparedImage
    method: str
    index: int
    name: str
    probability: float
    heat: NDArray[np.floating]
    openness: NDArray[np.floating] | None
    scores: list[float]
    closed_layers: int

    @property
    def titled(self) -> str:
        """The class and its probability."""
        return f"{self.name} · {self.probability:.1%}"

    def checked_heat(self) -> NDArray[np.floating]:
        """The map, where the network gave usable numbers for this image.

        Raises:
            InputError: scores or values of the map are NaN or infinite.
        """
        if not np.isfinite([self.probability, *self.scores]).all():
            raise InputError("the network's scores are NaN or infinite; check its weights and the method's options")
        return check_map(self.heat)


def batches(
    models: Sequence[Model], images: Sequence[Path]
) -> Iterator[tuple[list[tuple[PreparedImage, ...]], list[ImageResult]]]:
    """A few images at a time that can be used, each as every network gets it, and those that cannot."""
    size = _batch_size(models)
    for start in range(0, len(images), size):
        read = [_read(models, path) for path in images[start : start + size]]
        yield [x for x in read if not isinstance(x, ImageResult)], [x for x in read if isinstance(x, ImageResult)]


def _batch_size(models: Sequence[Model]) -> int:
    on_cpu = all(weight.device.type == "cpu" for model in models for weight in model.module.parameters())
    return 1 if on_cpu else BATCH


def _read(models: Sequence[Model], path: Path) -> tuple[PreparedImage, ...] | ImageResult:
    try:
        image = read_image(path)
        picture = scaled(image)
        return tuple(PreparedImage(path, *model.prepare(image), picture) for model in models)
    except (InputError, OSError) as error:
        return ImageResult(path, error=error)


def class_probabilities(model: Model, shots: Sequence[PreparedImage]) -> Tensor:
    """Class probabilities (N, K) on the CPU."""
    if not shots:
        return torch.empty(0, len(model.classes))
    with frozen(model.module) as network, torch.no_grad():
        scores: Tensor = network(torch.cat([shot.pixels for shot in shots]))
    return scores.float().softmax(1).cpu()


def explain(
    model: Model,
    shots: Sequence[PreparedImage],
    probabilities: Tensor,
    classes: Tensor,
    method: str,
    options: Mapping[str, Any],
) -> list[Explanation]:
    """Each image seen for its class.

    Args:
        model: the network.
        shots: N images as it gets them.
        probabilities: (N, K), as ``class_probabilities`` gives them.
        classes: (N,), which to look for.
        method: a name of ``METHODS``.
        options: the method's own.
    """
    if not shots:
        return []
    pixels = torch.cat([shot.pixels for shot in shots])
    try:
        seen = attend(model.module, pixels, classes, method=method, **options)
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(f"{model.name} needs more memory than {pixels.device} has; use the CPU") from error
    openness = gate_openness(seen.gates, (seen.maps.shape[-2], seen.maps.shape[-1]))
    return [
        Explanation(
            shot=shot,
            method=method,
            index=k,
            name=model.classes[k],
            probability=float(probabilities[row, k]),
            heat=seen.maps[row].float().cpu().numpy(),
            openness=None if openness is None else openness[row].float().cpu().numpy(),
            scores=seen.scores[row].tolist(),
            closed_layers=sum(image == row for image, _ in seen.closed),
        )
        for row, (shot, k) in enumerate(zip(shots, classes.tolist(), strict=True))
    ]


def gate_openness(gates: Sequence[Tensor], size: tuple[int, int]) -> Tensor | None:
    """Gates in [0, 1], one tensor (N, c, h, w) a layer → their mean over channels, then layers: (N, H, W) of ``size``.

    Gates behind a linear layer lie nowhere in the image and do not count; ``None`` where there are no others.
    """
    planes = [
        F.interpolate(z.float().mean(1, keepdim=True), size=size, mode="bilinear", align_corners=False)[:, 0]
        for z in gates
        if z.ndim == 4
    ]
    return torch.stack(planes).mean(0) if planes else None

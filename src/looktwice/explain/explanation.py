"""Image files → explanations: what a network attends to in each image, for one class, by one method.

All methods and classes share one plain forward pass of a batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from looktwice.attention.api import attend_in_parts, look_for
from looktwice.attention.choice import ChosenMethod
from looktwice.attention.look import Look
from looktwice.attention.maps import Attention
from looktwice.decoding import to_rgb
from looktwice.errors import InputError, ModelError
from looktwice.explain.doubt import doubts
from looktwice.export.finding import GatedActivations
from looktwice.figures.overlay import scaled
from looktwice.gating.calls import ActivationCall
from looktwice.gating.frozen import resolve_targets
from looktwice.gating.memory import is_out_of_memory
from looktwice.gating.outputs import OutputKind
from looktwice.images import Window, check_map, read_picture
from looktwice.labels import network_label
from looktwice.models.model import Model

BATCH = 8
"""Images in one pass on an accelerator: enough to keep it busy, few enough for the gates of a large network.

On the CPU it is one image. Batches are not faster there, and each result comes as soon as it is ready.
"""


@dataclass(frozen=True)
class ImageResult:
    """The result for one image: the files that are complete with it, or the error.

    Attributes:
        image: its file; ``None`` for a last page of several images.
        files: what was written.
        error: why there are none, or not all.
        notes: what a reader must know, a line each.
        gated: which activations carry gates; ``None`` where several methods or networks differ in that.
    """

    image: Path | None
    files: tuple[Path, ...] = ()
    error: InputError | OSError | None = None
    notes: tuple[str, ...] = ()
    gated: GatedActivations | None = None


@dataclass(frozen=True)
class PreparedImage:
    """An image, ready for one network.

    Attributes:
        path: its file.
        pixels: the network's input (1, C, H, W).
        window: the part of the image that the input covers.
        picture: the image, scaled for drawing.
        notes: what is doubtful about the image, a line each.
    """

    path: Path
    pixels: Tensor
    window: Window
    picture: Image.Image
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """What a network attends to in one image, for one class, by one method.

    Attributes:
        image: the image.
        network: the network's name.
        method: the method and its options.
        class_index: the class.
        class_name: its name.
        probability: the class's probability in [0, 1], from the network as it is.
        heat: the map (H, W).
        extent: the map that boxes are drawn from (H, W); see ``Attention``.
        openness: (H, W) in [0, 1]: the gates' mean over channels and layers at each place; ``None`` without gates.
        scores: the class score at the start and after each step; empty for other packages' methods.
        closed_layers: how many layers the last step would have closed altogether.
        gated: which activations carry gates.
        notes: what a reader must know of this map, such as that it is zero everywhere.
        network_notes: what a reader must know of all maps of this network by this method.
        output_notes: what is doubtful about the network's scores or their probabilities.
        output: of what kind the network's scores are, and so what the probability means.
        doubts: what to doubt about the map before one looks at it; see ``doubts``.
    """

    image: PreparedImage
    network: str
    method: ChosenMethod
    class_index: int
    class_name: str
    probability: float
    heat: NDArray[np.floating]
    extent: NDArray[np.floating]
    openness: NDArray[np.floating] | None
    scores: list[float]
    closed_layers: int
    gated: GatedActivations
    notes: tuple[str, ...] = ()
    network_notes: tuple[str, ...] = ()
    output_notes: tuple[str, ...] = ()
    output: OutputKind = "logits"
    doubts: tuple[str, ...] = ()

    @property
    def class_title(self) -> str:
        """The class and its probability: "tabby · 61.2%"."""
        return f"{self.class_name} · {self.probability:.1%}"

    def told(self, *, with_method: bool) -> tuple[str, ...]:
        """Its notes as lines for a reader who sees several maps: about this map, the network, then its scores."""
        place = f"{self.method.label.title}, {self.class_name}" if with_method else self.class_name
        about_map = [f"{self.image.path}: {place}: {note}" for note in self.notes]
        about_network = [f"{self.method.label.title}: {note}" for note in self.network_notes]
        return (*about_map, *about_network, *self.output_notes)

    def checked_heat(self) -> NDArray[np.floating]:
        """The map, if the network gave usable numbers for this image.

        Raises:
            InputError: scores or values of the map are NaN or infinite.
        """
        return self._checked(self.heat)

    def checked_extent(self) -> NDArray[np.floating]:
        """The map that boxes are drawn from, as ``checked_heat``."""
        return self._checked(self.extent)

    def _checked(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        if not np.isfinite([self.probability, *self.scores]).all():
            raise InputError("the network's scores are NaN or infinite; check its weights and the method's options")
        return check_map(values)


def shown_doubts(explanations: Sequence[Explanation]) -> tuple[str, ...]:
    """The doubts about maps that are shown together, each once. With several networks each doubt names its own."""
    several = len({each.network for each in explanations}) > 1
    told = (
        f"{network_label(each.network)}: {doubt}" if several else doubt
        for each in explanations
        for doubt in each.doubts
    )
    return tuple(dict.fromkeys(told))


def doubts_line(explanations: Sequence[Explanation]) -> tuple[str, ...]:
    """The doubts about the maps of one image as one line for the screen; none without a doubt."""
    told = shown_doubts(explanations)
    return (f"{explanations[0].image.path}: {' '.join(told)}",) if told else ()


def batches(
    models: Sequence[Model], images: Sequence[Path]
) -> Iterator[tuple[list[tuple[PreparedImage, ...]], list[ImageResult]]]:
    """A few images at a time: those that can be used, each prepared for every network, and those that cannot."""
    size = _batch_size(models)
    for start in range(0, len(images), size):
        read = [_read(models, path) for path in images[start : start + size]]
        yield [x for x in read if not isinstance(x, ImageResult)], [x for x in read if isinstance(x, ImageResult)]


def _batch_size(models: Sequence[Model]) -> int:
    on_cpu = all(weight.device.type == "cpu" for model in models for weight in model.module.parameters())
    return 1 if on_cpu else BATCH


def _read(models: Sequence[Model], path: Path) -> tuple[PreparedImage, ...] | ImageResult:
    try:
        read = {mode: read_picture(path, mode=mode) for mode in {model.preprocessing.mode for model in models}}
        first = read[models[0].preprocessing.mode]
        picture = to_rgb(scaled(first.image))
        notes = tuple(f"{path}: {note}" for note in first.notes)
        inputs = [model.prepare(read[model.preprocessing.mode].image) for model in models]
        return tuple(PreparedImage(path, *each, picture, notes) for each in inputs)
    except (InputError, OSError) as error:
        return ImageResult(path, error=error)


@dataclass(frozen=True)
class BatchLook:
    """A batch of images after one plain forward pass. It is valid inside ``look_at_batch``'s ``with``.

    Attributes:
        model: the network.
        images: N images, prepared for it.
        look: the pass.
        probabilities: of each image and class, (N, K) on the CPU.
    """

    model: Model
    images: Sequence[PreparedImage]
    look: Look
    probabilities: Tensor

    def some(self, images: Sequence[int]) -> "BatchLook":
        """The look at some of the images, by their places in the batch."""
        if list(images) == list(range(len(self.images))):
            return self
        chosen = [self.images[place] for place in images]
        return BatchLook(self.model, chosen, self.look.some(images), self.probabilities[images])

    def explain(self, method: ChosenMethod, classes: Tensor) -> list[Explanation]:
        """An explanation of each image.

        Args:
            method: one of the methods that ``look_at_batch`` was told.
            classes: the class of each image, int64 (N,).
        """
        targets = resolve_targets(classes, self.look.scores)
        found = attend_in_parts(self.look, targets, method.method, method.options)
        gated = gated_activations(found)
        openness = gate_openness(found.layers, found.gates, (found.maps.shape[-2], found.maps.shape[-1]))
        return [
            Explanation(
                image=image,
                network=self.model.name,
                method=method,
                class_index=k,
                class_name=self.model.classes[k],
                probability=float(self.probabilities[row, k]),
                heat=found.maps[row].float().cpu().numpy(),
                extent=found.extents[row].float().cpu().numpy(),
                openness=None if openness is None else openness[row].float().cpu().numpy(),
                scores=found.scores[row].tolist(),
                closed_layers=sum(index == row for index, _ in found.closed),
                gated=gated,
                notes=tuple(text for place, text in found.notes if place == row),
                network_notes=tuple(
                    text for place, text in found.notes if place is None and text not in self.look.notes
                ),
                output_notes=(*self.look.notes, *self.look.doubts),
                output=self.look.output,
                doubts=doubts(
                    self.probabilities[row].float().numpy(),
                    k,
                    self.model.classes,
                    weights=self.model.weights,
                    output=self.look.output,
                ),
            )
            for row, (image, k) in enumerate(zip(self.images, classes.tolist(), strict=True))
        ]


@contextmanager
def look_at_batch(
    model: Model, images: Sequence[PreparedImage], methods: Sequence[ChosenMethod]
) -> Iterator[BatchLook]:
    """One plain forward pass of a batch. All explanations of the batch share it.

    Args:
        model: the network.
        images: one image or more, prepared for it.
        methods: those that are going to explain.

    Raises:
        ModelError: the network cannot be gated, its output cannot be read, or the device's memory is too small.
    """
    pixels = torch.cat([image.pixels for image in images])
    try:
        with look_for(model.module, pixels, methods, output=model.output) as look:
            model.check_scores(look.scores)
            yield BatchLook(model, images, look, look.probabilities())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(f"{model.name} needs more memory than {pixels.device} has; use the CPU") from error


def gated_activations(attention: Attention) -> GatedActivations:
    """Which activations of the network carried gates."""
    grids = dict.fromkeys(layer.grid for layer in attention.layers if layer.grid is not None)
    return GatedActivations(attention.activations, len(attention.layers), tuple(grids))


def gate_openness(layers: Sequence[ActivationCall], gates: Sequence[Tensor], size: tuple[int, int]) -> Tensor | None:
    """How far gates are open at each place: their mean over channels, then over layers: (N, H, W) in [0, 1].

    Args:
        layers: the gated calls. One without a grid (after a linear layer) has no place in the image and is left out.
        gates: in [0, 1], one tensor (N, ...) a layer.
        size: (H, W).

    Returns:
        ``None`` if no layer has a grid.
    """
    planes = [
        F.interpolate(layer.to_grid(z).float().mean(1, keepdim=True), size=size, mode="bilinear", align_corners=False)
        for layer, z in zip(layers, gates, strict=True)
        if layer.grid is not None
    ]
    return torch.stack(planes).mean(0)[:, 0] if planes else None

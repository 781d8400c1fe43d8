"""Chunks: the fixed batches of images that an evaluation works on."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from looktwice.datasets.records import Sample, fit_to_image, shuffled, split_by_hash
from looktwice.errors import InputError, RunError, printable
from looktwice.evaluation.workers import worker_context
from looktwice.images import Window, read_annotated
from looktwice.localization.boxes import BoxRule
from looktwice.models.preprocessing import Preprocessing
from looktwice.runs.columns import COLUMNS
from looktwice.runs.manifest import GridFacts


@dataclass(frozen=True)
class EvaluationImage:
    """An image of the run.

    Attributes:
        sample: the image's file, labels and boxes.
        order: its place in the run's order.
        tuning: whether thresholds are chosen on it; then it is not judged.
        window: the part of the image that the network sees; ``None`` before it is decoded, or if it cannot be.
        note: what was wrong with its annotation.
        error: why it cannot be decoded.
        seconds: how long decoding took.
        cells: the images of a square, row after row; then ``sample`` is the square.
    """

    sample: Sample
    order: int
    tuning: bool
    window: Window | None = None
    note: str | None = None
    error: str | None = None
    seconds: float = 0.0
    cells: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class TargetClass:
    """A class for which an image gets a map, and what the network says of the image.

    Places are counted from 0, by score among all classes.

    Attributes:
        image: the image's index in its chunk.
        rank: 0 … 4 for the first to fifth class of target top5, else 0.
        target: the class.
        target_place: its place.
        probability: its probability.
        predicted: the class with the best score.
        predicted_probability: its probability.
        label_place: the best place of the image's labels.
    """

    image: int
    rank: int
    target: int
    target_place: int
    probability: float
    predicted: int
    predicted_probability: float
    label_place: int


@dataclass(frozen=True)
class Faithfulness:
    """How faithful a map is to the network; see ``metrics.perturbation``.

    Attributes:
        insertion: the area under the insertion curve, 0 … 1; None if it is not measured.
        deletion: the area under the deletion curve, 0 … 1; None likewise.
        error: why they cannot be measured.
        seconds: how long both took.
    """

    insertion: float | None = None
    deletion: float | None = None
    error: str | None = None
    seconds: float = 0.0

    @property
    def columns(self) -> dict[str, float]:
        """The numbers by their columns in a run's rows; none if they are not measured."""
        found = {"insertion": self.insertion, "deletion": self.deletion}
        return {name: number for name, number in found.items() if number is not None}


@dataclass(frozen=True)
class Chunk:
    """The images of a chunk and their maps.

    Attributes:
        index: the chunk's number.
        images: its images.
        targets: T classes, one or more for each image.
        maps: for each method (T, H, W).
        extents: the same, of the maps that boxes are drawn from; see ``Attention``.
        seconds: for each method the seconds that each of the T maps took.
        size: (H, W).
        faithfulness: for each method and baseline the numbers of each of the T maps, if the run measures them.
    """

    index: int
    images: tuple[EvaluationImage, ...]
    targets: tuple[TargetClass, ...]
    maps: Mapping[str, NDArray[np.float32]]
    extents: Mapping[str, NDArray[np.float32]]
    seconds: Mapping[str, Sequence[float]]
    size: tuple[int, int]
    faithfulness: Mapping[str, Sequence[Faithfulness]] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasurementPlan:
    """Where rows are written, and how they are measured.

    Attributes:
        run: the run's folder.
        rules: for each method and baseline, how boxes are drawn.
        options: for each method and baseline, the hash of its options.
        identity: of the run; rows carry it.
        save_maps: whether maps are written too.
        save_npy: whether they are written as wsolevaluation reads them.
        columns: names and types of the rows' columns.
    """

    run: Path
    rules: Mapping[str, BoxRule]
    options: Mapping[str, str]
    identity: str = field(kw_only=True)
    save_maps: bool = False
    save_npy: bool = False
    columns: Mapping[str, str] = field(default_factory=lambda: dict(COLUMNS))


def images_in_order(
    samples: Sequence[Sample], *, seed: int, limit: int | None, tuning_share: float | None
) -> tuple[EvaluationImage, ...]:
    """A run's images in its order. Those on which thresholds are chosen come first.

    Args:
        samples: of the data set.
        seed: the order.
        limit: how many images at most.
        tuning_share: the share of them on which thresholds are chosen; ``None`` is none.

    Raises:
        RunError: there are too few images to choose thresholds on, or to judge.
    """
    chosen = shuffled(samples, seed)[:limit]
    tuning, judged = split_by_hash(chosen, tuning_share or 0.0)
    if tuning_share is not None and not (tuning and judged):
        raise RunError(
            f"of {len(chosen)} images {len(tuning)} are to choose thresholds on and {len(judged)} to judge; "
            "take more images or another share"
        )
    return tuple(EvaluationImage(sample, order, order < len(tuning)) for order, sample in enumerate(tuning + judged))


class ChunkImage(Protocol):
    """What every image of a chunk tells: its sample, what was wrong with it, and why it cannot be decoded."""

    @property
    def sample(self) -> Sample: ...  # noqa: D102 - the class says it

    @property
    def note(self) -> str | None: ...  # noqa: D102

    @property
    def error(self) -> str | None: ...  # noqa: D102


I = TypeVar("I", bound=ChunkImage)  # noqa: E741 - of images


@dataclass(frozen=True)
class Decoded(Generic[I]):
    """The images of a chunk and their pixels (N, C, H, W): zeros if an image could not be decoded."""

    index: int
    images: tuple[I, ...]
    pixels: Tensor

    @property
    def problems(self) -> list[str]:
        """A line for each image with something wrong that decoding showed."""
        return _lines((image.sample.id, image.error or image.note) for image in self.images)

    @property
    def unreadable(self) -> list[str]:
        """A line for each image that could not be decoded."""
        return _lines((image.sample.id, image.error) for image in self.images)


def _lines(found: Iterable[tuple[str, str | None]]) -> list[str]:
    """Texts that begin with the name of their image; an image without a text has no line."""
    return [text if text.startswith(name) else f"{name}: {text}" for name, text in found if text]


Decode = Callable[[I, Preprocessing], tuple[I, Tensor]]
"""Reads an image, or the four images of a square."""


def decode_image(image: EvaluationImage, preprocessing: Preprocessing) -> tuple[EvaluationImage, Tensor]:
    """An image with what decoding it showed, and its pixels (1, C, H, W): zeros if it cannot be decoded."""
    begun = time.perf_counter()
    sample = image.sample
    try:
        content = None if sample.content is None else sample.content.read()
        picture = read_annotated(sample.image, sample.stated_size, content=content, mode=preprocessing.mode)
        pixels, window = preprocessing.prepare(picture.image)
    except InputError as error:
        # It keeps its place in the batch: the other images' numbers must stay the same when this file is repaired.
        blank = torch.zeros(1, *preprocessing.input_shape)
        return replace(image, error=_without_place(str(error), sample)), blank
    fitted, faults = fit_to_image(sample, *picture.image.size)
    notes = [*faults, *(f"{sample.image}: {note}" for note in picture.notes)]
    note = _without_place("; ".join(notes), sample) or None
    return replace(image, sample=fitted, window=window, note=note, seconds=time.perf_counter() - begun), pixels


@dataclass(frozen=True)
class RunImages:
    """What a run is of.

    Attributes:
        images: its images, or its squares of four images.
        shape: (C, H, W) of the pixels of each.
        decode: reads one.
        grid: the facts of its squares, in a grid pointing game.
    """

    images: tuple[EvaluationImage, ...]
    shape: tuple[int, int, int]
    decode: Decode[EvaluationImage] = decode_image
    grid: GridFacts | None = None

    def example(self, preprocessing: Preprocessing) -> Tensor:
        """An image (1, C, H, W) to try the methods on: a blank one, or the first square that can be decoded.

        How a network's outputs lie is measured once for every size, on the first image of that size. On a large blank
        image, or on noise, some outputs are misread.
        """
        squares = () if self.grid is None else self.images
        decoded = (self.decode(square, preprocessing) for square in squares)
        usable = (pixels for square, pixels in decoded if square.error is None)
        return next(usable, torch.zeros(1, *self.shape))


class Chunks(Dataset[Decoded[I]], Generic[I]):
    """The run's images, chunk by chunk. An item is a decoded chunk.

    Args:
        images: all images of the run.
        size: how many images a chunk has.
        preprocessing: how an image becomes the network's input.
        decode: how an image is read.
    """

    def __init__(
        self,
        images: Sequence[I],
        size: int,
        preprocessing: Preprocessing,
        decode: Decode[I],
    ) -> None:
        self._images, self._size, self._preprocessing, self._decode = tuple(images), size, preprocessing, decode

    def __len__(self) -> int:
        return math.ceil(len(self._images) / self._size)

    def images(self, index: int) -> tuple[I, ...]:
        """The images of a chunk, not decoded."""
        return self._images[index * self._size : (index + 1) * self._size]

    def __getitem__(self, index: int) -> Decoded[I]:
        decoded = [self._decode(image, self._preprocessing) for image in self.images(index)]
        return Decoded(index, tuple(image for image, _ in decoded), torch.cat([pixels for _, pixels in decoded]))


def _without_place(text: str, sample: Sample) -> str:
    """The text with the image's name in place of its path: a data set's rows must not depend on its folder."""
    return printable(text.replace(str(sample.image), sample.id))


def decoded_chunks(chunks: Chunks[I], indices: Sequence[int], *, workers: int) -> Iterator[Decoded[I]]:
    """The chunks with these numbers, in this order.

    Args:
        chunks: of the run.
        indices: which ones.
        workers: processes that decode them a few ahead; with 0 this process decodes. If one of them is killed, torch
            raises an error in the middle of anything; see ``telling_killed_decoders``.
    """
    return iter(
        DataLoader(
            chunks,
            batch_size=None,
            sampler=list(indices),
            num_workers=workers,
            multiprocessing_context=worker_context() if workers else None,
            generator=torch.Generator(),  # the loader draws a seed; the caller's own random numbers must not change
        )
    )

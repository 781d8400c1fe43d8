"""Chunks: the fixed batches of images that an evaluation works on."""

import math
import multiprocessing
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from looktwice.datasets.records import Sample, fit_to_image
from looktwice.errors import InputError
from looktwice.images import Window, read_image
from looktwice.localization.boxes import BoxRule
from looktwice.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class EvaluationImage:
    """An image of the run, decoded or not: ``error`` says why not, and then there is no ``window``."""

    sample: Sample
    order: int
    tuning: bool
    window: Window | None = None
    note: str | None = None
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class TargetClass:
    """A class that a picture (its index in the chunk) is looked at for, and what the network thinks of both."""

    picture: int
    rank: int
    target: int
    target_place: int
    probability: float
    predicted: int
    predicted_probability: float
    label_place: int


@dataclass(frozen=True)
class Chunk:
    """Pictures, guesses, and by method a map (H, W) and the seconds it took for each guess."""

    index: int
    pictures: tuple[EvaluationImage, ...]
    guesses: tuple[TargetClass, ...]
    maps: Mapping[str, NDArray[np.float32]]
    seconds: Mapping[str, Sequence[float]]
    side: int


@dataclass(frozen=True)
class MeasurementPlan:
    """Where rows go and how they are measured: by method, the box rule and the hash of its options."""

    run: Path
    rules: Mapping[str, BoxRule]
    options: Mapping[str, str]
    save_maps: bool = False
    save_npy: bool = False


@dataclass(frozen=True)
class Decoded:
    """A chunk's pictures and their pixels (N, 3, H, W); zeros where one could not be decoded."""

    index: int
    pictures: tuple[EvaluationImage, ...]
    pixels: Tensor


class Chunks(Dataset[Decoded]):
    """Chunk by chunk the run's images, decoded."""

    def __init__(self, pictures: Sequence[EvaluationImage], size: int, preprocessing: Preprocessing) -> None:
        self._pictures, self._size, self._preprocessing = tuple(pictures), size, preprocessing

    def __len__(self) -> int:
        return math.ceil(len(self._pictures) / self._size)

    def pictures(self, index: int) -> tuple[EvaluationImage, ...]:
        """Those of a chunk, not decoded."""
        return self._pictures[index * self._size : (index + 1) * self._size]

    def __getitem__(self, index: int) -> Decoded:
        decoded = [_decode(picture, self._preprocessing) for picture in self.pictures(index)]
        return Decoded(index, tuple(picture for picture, _ in decoded), torch.cat([pixels for _, pixels in decoded]))


def _decode(picture: EvaluationImage, preprocessing: Preprocessing) -> tuple[EvaluationImage, Tensor]:
    begun = time.perf_counter()
    sample = picture.sample
    try:
        image = read_image(sample.image, upright=False)  # annotations count pixels as stored
        pixels, window = preprocessing.prepare(image)
    except InputError as error:
        # Its place in the batch stays taken: the others' numbers must not hang on whether this file gets mended.
        blank = torch.zeros(1, 3, preprocessing.crop, preprocessing.crop)
        return replace(picture, error=_without_place(str(error), sample)), blank
    fitted, faults = fit_to_image(sample, *image.size)
    note = _without_place("; ".join(faults), sample) or None
    return replace(picture, sample=fitted, window=window, note=note, seconds=time.perf_counter() - begun), pixels


def _without_place(text: str, sample: Sample) -> str:
    """Rows of one data set are the same wherever it lies."""
    return text.replace(str(sample.image), sample.id)


def decoded_chunks(chunks: Chunks, indices: Sequence[int], *, workers: int) -> Iterable[Decoded]:
    """Chunks in that order, decoded by worker processes a few ahead; with 0 workers by this one."""
    return DataLoader(
        chunks,
        batch_size=None,
        sampler=list(indices),
        num_workers=workers,
        multiprocessing_context=worker_context() if workers else None,
        generator=torch.Generator(),  # the loader draws a seed, and the caller's own draws are not its business
    )


def worker_context() -> multiprocessing.context.BaseContext:
    """Forked where that is safe: the caller's script need not be importable, and workers start at once."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)

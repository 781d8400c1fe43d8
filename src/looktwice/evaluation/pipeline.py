"""From decoded images to written rows: the network's part, and the processes that measure while it works."""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from looktwice.attention.api import attend_look, look_for
from looktwice.attention.choice import ChosenMethod
from looktwice.attention.look import Look
from looktwice.errors import LooktwiceWarning, RunError
from looktwice.evaluation.chunks import Chunk, Decoded, EvaluationImage, Faithfulness, MeasurementPlan, TargetClass
from looktwice.evaluation.faithfulness import chunk_faithfulness
from looktwice.evaluation.measure import write_chunk
from looktwice.evaluation.plan import EvaluationPlan
from looktwice.evaluation.workers import handing_over
from looktwice.metrics.judged_maps import TOP_CLASSES, Target
from looktwice.models.model import Model, as_input
from looktwice.runs.arrow import arrow


def attend_chunk(model: Model, decoded: Decoded[EvaluationImage], plan: EvaluationPlan) -> Chunk:
    """The network's part of a chunk: one plain pass, the maps of each method for each class, and how faithful they are.

    Args:
        model: the network.
        decoded: the chunk.
        plan: the methods, the classes that get a map, and whether faithfulness is measured.

    Raises:
        RunError: the device's memory is too small. The batch is not split, because what else is in a batch changes the
            last bits of an image's numbers.
    """
    size, methods = len(decoded.images), plan.chosen
    maps: dict[str, NDArray[np.float32]] = {}
    extents: dict[str, NDArray[np.float32]] = {}
    seconds: dict[str, list[float]] = {}
    faithfulness: Mapping[str, Sequence[Faithfulness]] = {}
    with look_at_pixels(model, decoded.pixels, methods) as look:
        targets = tuple(_target_classes(look, decoded.images, plan.target))
        for method in methods:
            parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
            seconds[method.name] = []
            for start in range(0, len(targets), size):
                some = targets[start : start + size]
                begun = time.perf_counter()
                parts.append(_maps(look, some, method))
                seconds[method.name] += [(time.perf_counter() - begun) / len(some)] * len(some)
            maps[method.name] = extents[method.name] = np.concatenate([heat for heat, _ in parts])
            if any(extent is not heat for heat, extent in parts):
                extents[method.name] = np.concatenate([extent for _, extent in parts])
        if plan.faithfulness is not None:
            faithfulness = chunk_faithfulness(
                look, decoded.images, targets, maps, plan.faithfulness, batch_size=plan.batch_size
            )
    height, width = decoded.pixels.shape[-2:]
    return Chunk(decoded.index, decoded.images, targets, maps, extents, seconds, (height, width), faithfulness)


def rehearse(model: Model, methods: Sequence[ChosenMethod], image: Tensor) -> tuple[str, ...]:
    """Lets each method attend to an image (1, C, H, W), so that a mistake shows before anything is written.

    Returns:
        What is doubtful about the network's output, a line each; the same lines as the warnings have.

    Raises:
        LooktwiceError: a method cannot be used on this network, or an option is outside its range.

    Warns:
        LooktwiceWarning: it is doubtful which entry of the network's output is its scores, or what they are.
    """
    with look_at_pixels(model, image, methods) as look:
        target = torch.zeros(1, dtype=torch.int64, device=look.images.device)
        for method in methods:
            attend_look(look, target, method.method, method.options)
        doubts = (*look.notes, *look.doubts)
    for doubt in doubts:
        warnings.warn(f"{model.name}: {doubt}", LooktwiceWarning, stacklevel=2)
    return doubts


@contextmanager
def look_at_pixels(model: Model, pixels: Tensor, methods: Sequence[ChosenMethod]) -> Iterator[Look]:
    """One plain pass of a batch (N, C, H, W), which all methods and classes share."""
    images = as_input(model.module, pixels)
    with enough_memory(), look_for(model.module, images, methods, output=model.output) as look:
        model.check_scores(look.scores)
        yield look


@contextmanager
def enough_memory() -> Iterator[None]:
    """Says in one line what to do if the device's memory is too small inside the ``with``.

    Raises:
        RunError: so it is.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            "the device's memory is too small for this batch; begin a run with a smaller --batch-size"
        ) from error


def _target_classes(look: Look, images: Sequence[EvaluationImage], target: Target) -> Iterator[TargetClass]:
    """The classes that get a map: the first class of each image, then the second class of each, and so on.

    So every batch of them is of different images.
    """
    scores, probabilities = look.scores.double().cpu().numpy(), look.probabilities().numpy()
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.argsort(order, axis=1, kind="stable")

    def target_class(index: int, rank: int, wanted: int) -> TargetClass:
        predicted = int(order[index, 0])
        return TargetClass(
            image=index,
            rank=rank,
            target=wanted,
            target_place=int(places[index, wanted]),
            probability=float(probabilities[index, wanted]),
            predicted=predicted,
            predicted_probability=float(probabilities[index, predicted]),
            label_place=int(places[index, list(images[index].sample.labels)].min()),
        )

    if target == "true":
        for number in range(max(len(image.sample.labels) for image in images)):
            for index, image in enumerate(images):
                if number < len(image.sample.labels):
                    yield target_class(index, 0, image.sample.labels[number])
    else:
        for rank in range(1 if target == "predicted" else min(TOP_CLASSES, scores.shape[1])):
            yield from (target_class(index, rank, int(order[index, rank])) for index in range(len(images)))


def _maps(
    look: Look, targets: Sequence[TargetClass], method: ChosenMethod
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The maps (T, H, W) of some classes, and their extents."""
    some = look.some([each.image for each in targets])
    classes = torch.tensor([each.target for each in targets], device=look.images.device)
    attention = attend_look(some, classes, method.method, method.options)
    heat: NDArray[np.float32] = attention.maps.float().cpu().numpy()
    # Of most methods both are one tensor: then one array goes to the processes that measure.
    return heat, heat if attention.extents is attention.maps else attention.extents.float().cpu().numpy()


@contextmanager
def measuring(plan: MeasurementPlan, *, workers: int, done: Callable[[int], None]) -> Iterator[Callable[[Chunk], None]]:
    """A function that has chunks measured and written; see ``handing_over``.

    Args:
        plan: how rows are measured, and where they are written.
        workers: processes that do it; with 0 this process does.
        done: gets the index of each chunk that is written.

    Raises:
        RunError: a part cannot be written, or a worker was killed.
    """
    # Here once, and not in each worker: with its first array pyarrow imports pandas, if that is installed.
    arrow().array([])
    arrow("parquet")
    with handing_over(partial(write_chunk, plan), "measures rows", workers=workers) as hand_over:
        yield lambda chunk: hand_over(chunk, partial(done, chunk.index))


@contextmanager
def repeatable(threads: int, device: torch.device) -> Iterator[None]:
    """Inside the ``with``, the same batch gives the same numbers, as far as torch can.

    Args:
        threads: how many torch uses on the CPU. Sums that are split over another number are rounded differently.
        device: where the network is.
    """
    cudnn = torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark, torch.get_num_threads())
    algorithms = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        if device.type == "cpu":
            torch.set_num_threads(threads)
        else:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic", category=UserWarning)
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before[:2]
        torch.set_num_threads(before[2])
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])

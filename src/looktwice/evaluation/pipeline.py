"""From a data set's images to written rows: decoded by processes ahead of the network, measured by others behind it."""

import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from looktwice.attention.api import attend_look
from looktwice.attention.look import Look, look_at
from looktwice.errors import RunError
from looktwice.evaluation.chunks import Chunk, Decoded, EvaluationImage, MeasurementPlan, TargetClass, worker_context
from looktwice.evaluation.measure import write_chunk
from looktwice.localization.sweep import Floats
from looktwice.metrics.judged_maps import Target
from looktwice.models.load import Model

GUESSES = 5
"""How many classes an image is looked at for with target top5; ILSVRC allows as many."""


@contextmanager
def measuring(
    sheet: MeasurementPlan, *, workers: int, done: Callable[[int], None]
) -> Iterator[Callable[[Chunk], None]]:
    """A function that has chunks measured and written by worker processes; with 0 workers by this one.

    A few wait at most, so memory stays flat. ``done`` gets the index of each chunk that is written; behind the ``with``
    all are.

    Raises:
        RunError: a part cannot be written, or a worker was killed.
    """
    if not workers:

        def measure_here(chunk: Chunk) -> None:
            write_chunk(sheet, chunk)
            done(chunk.index)

        yield measure_here
        return
    pending: deque[tuple[int, Future[None]]] = deque()

    def settle(most: int) -> None:
        while pending and (len(pending) > most or pending[0][1].done()):
            index, future = pending.popleft()
            future.result()
            done(index)

    def measure(chunk: Chunk) -> None:
        settle(2 * workers - 1)
        pending.append((chunk.index, pool.submit(write_chunk, sheet, chunk)))

    pool = ProcessPoolExecutor(workers, mp_context=worker_context(), initializer=_begin_worker, initargs=(os.getpid(),))
    try:
        pool.submit(os.getpid).result()  # starts the workers now, before the network's threads are there
        yield measure
        settle(0)
    except BrokenProcessPool as error:
        raise RunError(
            "a process that measures rows was killed, for want of memory perhaps; all that was written before stays: "
            "run the same command again to go on, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(parent: int) -> None:
    cv2.setNumThreads(0)  # there are processes enough
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this process soon after its parent was killed, which nothing else would tell it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@contextmanager
def repeatable(threads: int, device: torch.device) -> Iterator[None]:
    """The same numbers for the same batch, as far as torch can: on the CPU with the run's own number of threads."""
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


def look(model: Model, decoded: Decoded, options: Mapping[str, Mapping[str, Any]], target: Target) -> Chunk:
    """The network's part of a chunk: predictions, fixed first, and each method's maps of the classes to look for."""
    images = for_network(model, decoded.pixels)
    try:
        propagate = any(chosen["propagate"] for chosen in options.values())
        with look_at(model.module, images, propagate=propagate) as seen:
            guesses = tuple(_guesses(seen.scores.double().cpu().numpy(), decoded.pictures, target))
            maps: dict[str, Any] = {}
            seconds: dict[str, list[float]] = {}
            for method, chosen in options.items():
                heats = []
                seconds[method] = []
                for start in range(0, len(guesses), len(images)):
                    some = guesses[start : start + len(images)]
                    begun = time.perf_counter()
                    heats.append(_maps(seen, some, method, chosen))
                    seconds[method] += [(time.perf_counter() - begun) / len(some)] * len(some)
                maps[method] = np.concatenate(heats)
    except torch.cuda.OutOfMemoryError as error:
        raise RunError("the device's memory is too small for this batch; begin a run with a smaller one") from error
    return Chunk(decoded.index, decoded.pictures, guesses, maps, seconds, images.shape[-1])


def for_network(model: Model, pixels: Tensor) -> Tensor:
    """The pixels in the dtype and on the device of the network's weights."""
    weight = next((weight for weight in model.module.parameters() if weight.is_floating_point()), pixels)
    return pixels.to(weight.device, weight.dtype)


def _guesses(scores: Floats, pictures: Sequence[EvaluationImage], target: Target) -> Iterator[TargetClass]:
    """Scores (N, K) → the classes to look for: guess after guess, so that a batch is of different pictures."""
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.argsort(order, axis=1, kind="stable")
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)

    def guess(index: int, rank: int, wanted: int) -> TargetClass:
        predicted = int(order[index, 0])
        return TargetClass(
            picture=index,
            rank=rank,
            target=wanted,
            target_place=int(places[index, wanted]),
            probability=float(probabilities[index, wanted]),
            predicted=predicted,
            predicted_probability=float(probabilities[index, predicted]),
            label_place=int(places[index, list(pictures[index].sample.labels)].min()),
        )

    numbers = range(len(pictures))
    if target == "true":
        for place in range(max(len(picture.sample.labels) for picture in pictures)):
            labels = ((index, pictures[index].sample.labels) for index in numbers)
            yield from (guess(index, 0, known[place]) for index, known in labels if place < len(known))
    else:
        for rank in range(1 if target == "predicted" else min(GUESSES, scores.shape[1])):
            yield from (guess(index, rank, int(order[index, rank])) for index in numbers)


def _maps(seen: Look, guesses: Sequence[TargetClass], method: str, options: Mapping[str, Any]) -> NDArray[np.float32]:
    """The maps (G, H, W) of some guesses."""
    pictures = [guess.picture for guess in guesses]
    targets = torch.tensor([guess.target for guess in guesses], device=seen.images.device)
    attention = attend_look(seen.some(pictures), targets, method, options)
    heat: NDArray[np.float32] = attention.maps.float().cpu().numpy()
    return heat

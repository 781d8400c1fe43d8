"""What an evaluation costs beside the method: decoding, measuring and writing, as a share of a vanilla-gradient run.

    python benchmarks/overhead.py [--model googlenet] [--weights random] [--images 96] [--root ILSVRC] [--workers N] …

Two measures. In time: the same network sees the same images alone, in a bare loop over tensors that are there already
(``attend`` for the predicted class, nothing else), and in a whole run with its baselines, in turns; what the run takes
longer is the frame's, and workers that run beside the network cost nothing. In processor time: the run is repeated with
the network's part remembered instead of computed, so that all that is left, in all processes, is the frame's; a machine
that is busy with other things disturbs this far less.

Without a root the pictures are noise; their maps with random weights are noise too, with more contours to trace than
real ones have.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from cases import machine, synchronize
from PIL import Image

from looktwice.attention.api import attend
from looktwice.datasets import Dataset, Sample, load_dataset, shuffled
from looktwice.evaluation.chunks import Chunk, Decoded
from looktwice.evaluation.evaluate import evaluate
from looktwice.evaluation.pipeline import attend_chunk
from looktwice.evaluation.plan import EvaluationPlan
from looktwice.models import Model, load_model


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="googlenet")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--root", type=Path, help="a data set in ILSVRC's layout")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--turns", type=int, default=3)
    choices = parser.parse_args()
    torch.set_num_threads(choices.threads)
    model = load_model(choices.model, weights=choices.weights, device=choices.device, squash=choices.root is not None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if choices.root is None:
            dataset = draw(folder / "images", choices.images)
        else:
            dataset = Dataset(shuffled(load_dataset(choices.root, "ilsvrc").samples, 0)[: choices.images])
        batch = load_batch(model, dataset, choices.batch_size)

        def bare_loop() -> None:
            attend(model.module, batch, method="gradient").maps.cpu()

        seen: dict[int, Chunk] = {}
        with patch("looktwice.evaluation.evaluate.attend_chunk", remembering(seen)):
            turns = [
                (alone(bare_loop, choices), run(model, dataset, folder / f"run{turn}", choices))
                for turn in range(choices.turns)
            ]
        frame = statistics.median(
            frame_seconds(model, dataset, seen, folder / f"frame{turn}", choices) for turn in range(choices.turns)
        )
        size = sum(file.stat().st_size for file in (folder / "run0" / "rows").iterdir())
    bare, processor = (statistics.median(turn[0][k] for turn in turns) for k in range(2))
    whole, startup, end = (statistics.median(turn[1][k] for turn in turns) for k in range(3))
    print(  # noqa: T201 - a script's output
        json.dumps(
            {
                "benchmark": "frame",
                "model": choices.model,
                "images": choices.images,
                "batch_size": choices.batch_size,
                "workers": choices.workers,
                "weights": "random" if choices.weights == "random" else "trained",
                "pictures": "noise" if choices.root is None else "real",
                "seconds_per_image": {"alone": bare, "run": whole},
                "frame_share_of_run": max(0.0, 1 - bare / whole),
                "processor_seconds_per_image": {"alone": processor, "frame": frame},
                "frame_share_of_processor_time": frame / (processor + frame),
                "bytes_per_image": size / choices.images,
                "seconds_to_first_part": startup,
                "summary_seconds": end,
                "machine": machine(choices.device),
            },
            indent=2,
        )
    )


def draw(folder: Path, count: int) -> Dataset:
    """JPEG files of ImageNet's usual size, with its usual one box."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        # Noise at a few scales compresses about as a photograph does.
        layers = [rng.integers(0, 256 // 2**k, (375 // 2**k + 1, 500 // 2**k + 1, 3), dtype=np.uint8) for k in (3, 5)]
        pixels = sum(np.asarray(Image.fromarray(layer).resize((500, 375))).astype(np.int64) for layer in layers)
        file = folder / f"{number:05d}.jpg"
        Image.fromarray(np.clip(pixels * 4, 0, 255).astype(np.uint8)).save(file, quality=95)
        samples.append(Sample(file.name, file, (number % 1000,), (((100.0, 80.0, 380.0, 300.0),),), 500, 375))
    return Dataset(tuple(samples))


def load_batch(model: Model, dataset: Dataset, size: int) -> torch.Tensor:
    """A batch on the device."""
    return torch.cat([model.prepare(Image.open(sample.image).convert("RGB"))[0] for sample in dataset.samples[:size]])


def alone(work: Callable[[], Any], choices: argparse.Namespace) -> tuple[float, float]:
    """Seconds an image, and those of the processors, of as many batches as a run has."""
    work()
    synchronize(choices.device)
    begun, used = time.perf_counter(), processor_seconds()
    batches = max(1, choices.images // choices.batch_size)
    for _ in range(batches):
        work()
    synchronize(choices.device)
    images = batches * choices.batch_size
    return (time.perf_counter() - begun) / images, (processor_seconds() - used) / images


def processor_seconds() -> float:
    """What this process and those it has ended used of the processors till now."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def run(model: Model, dataset: Dataset, folder: Path, choices: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds an image once under way, and those before the first part and after the last."""
    begun = time.time()
    plan = EvaluationPlan({"gradient": {}}, batch_size=choices.batch_size)
    evaluate(dataset, model, folder, plan, workers=choices.workers)
    end = time.time()
    # From the first part to the last, so that what happens once does not count for an image.
    first, *_, last = sorted(part.stat().st_mtime for part in (folder / "rows").iterdir())
    return (last - first) / (len(dataset.samples) - choices.batch_size), first - begun, end - last


def remembering(seen: dict[int, Chunk]) -> Callable[..., Chunk]:
    """The network's part of a run, what it makes of each chunk kept."""

    def looked(model: Model, decoded: Decoded, *choices: Any) -> Chunk:
        seen[decoded.index] = attend_chunk(model, decoded, *choices)
        return seen[decoded.index]

    return looked


def frame_seconds(
    model: Model, dataset: Dataset, seen: Mapping[int, Chunk], folder: Path, choices: argparse.Namespace
) -> float:
    """Processor seconds an image, the network's part remembered; of two lengths, as much happens once."""
    used = []
    with patch(
        "looktwice.evaluation.evaluate.attend_chunk", lambda _model, decoded, *_choices: seen[decoded.index % len(seen)]
    ):
        for times in (1, 4):
            samples = [replace(each, id=f"{time}-{each.id}") for time in range(times) for each in dataset.samples]
            before = processor_seconds()
            run(model, Dataset(tuple(samples)), folder / str(times), choices)
            used.append(processor_seconds() - before)
    return (used[1] - used[0]) / (3 * len(dataset.samples))


if __name__ == "__main__":
    main()

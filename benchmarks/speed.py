"""What feedback costs, as ratios measured in one process: to plain passes of the bare network, and of one to another.

    python benchmarks/speed.py [--models googlenet,resnet50] [--batches 1,8] [--steps 10] [--side 224] [--turns 3]

One *plain pass* is a forward and a backward pass to the input of the network as torch runs it, weights frozen. T steps
of feedback and a last pass to the image cost about T + 1 of them where every layer carries gates; gates on the coarse
layers alone stop early on the way back, and the evidence they keep needs no pass to the image. The contenders take
turns, since machines have moods; each figure is the median. Memory is the peak of a process that does nothing else,
less that of one that only loads the network (CPU), or the allocator's peak (CUDA). Random weights cost what trained
ones do.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from looktwice.models import Model, load_model
from looktwice.saliency import attend

EVERY_LAYER = {"layers": None}


def contenders(model: Model, images: Tensor, steps: int) -> dict[str, Callable[[], Any]]:
    """Name → one run on the batch."""
    module, options = model.module, {"steps": steps}

    def look(method: str, **choices: Any) -> Callable[[], Any]:
        return lambda: attend(module, images, 0, method=method, **choices)

    found = {
        "plain passes": lambda: plain_passes(module, images, steps + 1),
        "gradient": look("gradient"),
        "guided_backprop": look("guided_backprop"),
        "FB": look("feedback", **options),
        "GP": look("global_feedback", **options),
        "GP, full SVD": look("global_feedback", solver="svd", **options),
        "FB, every layer": look("feedback", **options, **EVERY_LAYER),
        "GP, every layer": look("global_feedback", **options, **EVERY_LAYER),
        "GP, every layer, full SVD": look("global_feedback", solver="svd", **options, **EVERY_LAYER),
    }
    try:
        from captum.attr import GuidedBackprop
    except ImportError:
        return found
    return found | {"captum's guided backprop": lambda: captum_guided(GuidedBackprop(module), images)}


def plain_passes(module: nn.Module, images: Tensor, count: int) -> None:
    """Forward and back to the input, ``count`` times."""
    for weight in module.parameters():
        weight.requires_grad_(False)
    for _ in range(count):
        leaf = images.clone().requires_grad_()
        torch.autograd.grad(module(leaf)[:, 0].sum(), leaf)


def captum_guided(guided: Any, images: Tensor) -> Any:
    """Captum's, which does not see functional ReLUs."""
    return guided.attribute(images.clone().requires_grad_(), target=0)


def seconds(work: Callable[[], Any], device: str) -> float:
    """One run."""
    begun = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def measure(name: str, batch: int, choices: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of each contender on a batch."""
    model, images = prepare(name, batch, choices)
    works = contenders(model, images, choices.steps)
    times: dict[str, list[float]] = {work: [] for work in works}
    for turn in range(choices.turns + 1):  # the first warms up
        for work, run in works.items():
            once = "full SVD" in work  # so long that once is enough
            if once and turn:
                continue
            spent = seconds(run, choices.device)
            if turn or once:
                times[work].append(spent)
    medians = {work: statistics.median(spent) for work, spent in times.items()}
    ratios = {
        "GP / FB": medians["GP"] / medians["FB"],
        "FB / plain passes": medians["FB"] / medians["plain passes"],
        "full SVD GP / GP": medians["GP, full SVD"] / medians["GP"],
        "full SVD GP / GP, every layer": medians["GP, every layer, full SVD"] / medians["GP, every layer"],
        "GP / FB, every layer": medians["GP, every layer"] / medians["FB, every layer"],
        "FB, every layer / plain passes": medians["FB, every layer"] / medians["plain passes"],
    }
    if "captum's guided backprop" in medians:
        ratios["guided_backprop / captum's"] = medians["guided_backprop"] / medians["captum's guided backprop"]
    memory = {work: peak_memory(name, batch, work, choices) for work in ("plain passes", "FB", "GP")}
    return {
        "model": name,
        "batch": batch,
        "seconds": medians,
        "ratios": ratios,
        "images_per_second": {work: batch / spent for work, spent in medians.items()},
        "peak_bytes": memory,
        "peak GP / FB": memory["GP"] / memory["FB"],
    }


def prepare(name: str, batch: int, choices: argparse.Namespace) -> tuple[Model, Tensor]:
    """The network and a batch of noise."""
    model = load_model(name, weights="default" if name.startswith("efficientnet") else "random", device=choices.device)
    return model, torch.randn(batch, 3, choices.side, choices.side, device=choices.device)


def peak_memory(name: str, batch: int, work: str, choices: argparse.Namespace) -> int:
    """Bytes above those of the loaded network."""
    if choices.device.startswith("cuda"):
        model, images = prepare(name, batch, choices)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        contenders(model, images, 2)[work]()
        return torch.cuda.max_memory_allocated() - before
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_of_process, (name, batch, work, choices))


def _peak_of_process(name: str, batch: int, work: str, choices: argparse.Namespace) -> int:
    model, images = prepare(name, batch, choices)
    contenders(model, images[:1, :, :64, :64], 1)[work]()  # code and libraries are loaded
    Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak so far (Linux)
    before = _status("VmHWM")
    contenders(model, images, 2)[work]()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    """A figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def machine(choices: argparse.Namespace) -> dict[str, Any]:
    """What the numbers hang on."""
    cuda = torch.cuda.get_device_name() if choices.device.startswith("cuda") else None
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": cuda or "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }


def main() -> None:
    """Prints the ratios, then writes one JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="googlenet,resnet50,squeezenet1_1,efficientnet_lite0")
    parser.add_argument("--batches", default="1,8,64" if torch.cuda.is_available() else "1,8")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("out/speed.json"))
    choices = parser.parse_args()
    facts, results = machine(choices), []
    for name in choices.models.split(","):
        for batch in map(int, choices.batches.split(",")):
            results.append(measure(name, batch, choices))
            line = "  ".join(f"{ratio} {value:.2f}" for ratio, value in results[-1]["ratios"].items())
            memory = f"peak GP / FB {results[-1]['peak GP / FB']:.2f}"
            print(f"{name}, batch {batch}: {line}  {memory}", flush=True)  # noqa: T201 - a script's output
    content = {"benchmark": "speed", "steps": choices.steps, "side": choices.side, "machine": facts, "results": results}
    choices.output.parent.mkdir(parents=True, exist_ok=True)
    choices.output.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()

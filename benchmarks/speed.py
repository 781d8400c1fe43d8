"""What feedback costs, as ratios measured in one process: to plain passes of the bare network, and of one to another.

    python benchmarks/speed.py [--models googlenet,resnet50=WEIGHTS] [--batches 1,8] [--steps 10] [--turns 3] [--grow]

One *plain pass* is a forward and a backward pass to the input of the network as torch runs it, weights frozen. T steps
of feedback and a last pass to the image are compared with T + 1 of them. Gates on the coarse layers alone, the default,
stop early on the way back, and the evidence they keep needs no pass to the image; "every layer" is what the paper
gates. The contenders take turns, since machines have moods; a ratio is the median of the turns' ratios, with the least
and the largest. Memory is the peak of a process that does nothing else, less that of one that only loads the network
(CPU), or the allocator's peak (CUDA). Random weights cost what trained ones do.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from looktwice.attention.api import attend
from looktwice.attention.methods import METHODS
from looktwice.models import Model, load_model

MODELS = "googlenet,resnet50,squeezenet1_1,efficientnet_lite0=default,mobilenet_v3_small,timm:vit_tiny_patch16_224"
"""The networks that are measured by default."""

RATIOS = {
    "GP / FB": ("GP", "FB"),
    "FB / plain": ("FB", "plain"),
    "GP / FB, every layer": ("GP, every layer", "FB, every layer"),
    "FB / plain, every layer": ("FB, every layer", "plain"),
    "guided backprop / captum's": ("guided_backprop", "captum's guided backprop"),
}
SVD_RATIOS = {
    "full SVD GP / GP": ("GP, full SVD", "GP"),
    "full SVD GP / GP, every layer": ("GP, every layer, full SVD", "GP, every layer"),
}
Works = dict[str, Callable[[], Any]]


class Case(NamedTuple):
    """What is measured: a network, by the name or file and the weights ``load_model`` takes, and what it works on."""

    name: str
    weights: str | None
    batch: int
    side: int
    steps: int
    device: str

    def prepare(self) -> tuple[Model, Tensor]:
        """The network and a batch of noise."""
        model = load_model(self.name, weights=self.weights or "random", device=self.device)
        return model, torch.randn(self.batch, 3, self.side, self.side, device=self.device)


def contenders(model: Model, images: Tensor, steps: int, *, every_layer: bool = True) -> Works:
    """Name → one run on the batch."""
    module = model.module

    def look(method: str, **choices: Any) -> Callable[[], Any]:
        return lambda: attend(module, images, 0, method=method, **choices)

    found = {
        "plain": lambda: plain_passes(module, images, steps + 1),
        "FB": look("feedback", steps=steps),
        "GP": look("global_feedback", steps=steps),
    }
    if every_layer:
        found["FB, every layer"] = look("feedback", steps=steps, layers=None)
        found["GP, every layer"] = look("global_feedback", steps=steps, layers=None)
    return found


def decompositions(model: Model, images: Tensor, steps: int) -> Works:
    """GP with and without full singular value decompositions."""
    every = {"": {}, ", every layer": {"layers": None}}
    return {
        f"GP{where}{how}": lambda options=options | solver: attend(
            model.module, images, 0, method="global_feedback", steps=steps, **options
        )
        for where, options in every.items()
        for how, solver in {"": {}, ", full SVD": {"solver": "svd"}}.items()
    }


def guided(model: Model, images: Tensor) -> Works:
    """Guided backpropagation, ours and captum's, which does not see functional ReLUs."""
    found = {"guided_backprop": lambda: attend(model.module, images, 0, method="guided_backprop")}
    try:
        from captum.attr import GuidedBackprop
    except ImportError:
        return found
    theirs = GuidedBackprop(model.module)
    return found | {"captum's guided backprop": lambda: theirs.attribute(images.clone().requires_grad_(), target=0)}


def plain_passes(module: nn.Module, images: Tensor, count: int) -> None:
    """Forward and back to the input, ``count`` times."""
    for weight in module.parameters():
        weight.requires_grad_(False)
    for _ in range(count):
        leaf = images.clone().requires_grad_()
        torch.autograd.grad(module(leaf)[:, 0].sum(), leaf)


def take_turns(works: Works, turns: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each work in each turn; one more turn before them warms up."""
    times: dict[str, list[float]] = {work: [] for work in works}
    for turn in range(turns + 1):
        for work, run in works.items():
            begun = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times[work].append(clock() - begun)
    return times


def compared(times: Mapping[str, list[float]], ratios: Mapping[str, tuple[str, str]]) -> dict[str, list[float]]:
    """Name of a ratio → its median, least and largest over the turns."""
    found = {}
    for ratio, (one, other) in ratios.items():
        if one in times and other in times:
            values = [a / b for a, b in zip(times[one], times[other], strict=True)]
            found[ratio] = [statistics.median(values), min(values), max(values)]
    return found


def measure(case: Case, choices: argparse.Namespace) -> dict[str, Any]:
    """All ratios of a network and a batch."""
    model, images = case.prepare()
    clock = CLOCKS[choices.clock]
    times = take_turns(contenders(model, images, case.steps) | guided(model, images), choices.turns, clock)
    found = {
        "case": case._asdict(),
        "seconds": {work: statistics.median(spent) for work, spent in times.items()},
        "ratios": compared(times, RATIOS),
        "images_per_second": {work: case.batch / statistics.median(spent) for work, spent in times.items()},
    }
    if case.batch == 1:
        found["ratios"] |= compared(take_turns(decompositions(model, images, case.steps), 1, clock), SVD_RATIOS)
    works = ("plain", "FB", "GP", "FB, every layer", "GP, every layer") if choices.peaks else ()
    return found | {"peak_bytes": {work: peak_memory(case, work) for work in works}}


def grown(case: Case, choices: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of FB and GP at other numbers of steps, batches and sides, one at a time."""
    others = [case._replace(steps=steps) for steps in (1, METHODS["global_feedback"].options["steps"], 10, 20)]
    others += [case._replace(batch=batch) for batch in (2, 4, 8)] + [case._replace(side=448)]
    found = []
    for other in others:
        works = contenders(*other.prepare(), other.steps, every_layer=False)
        times = take_turns(works, 1, CLOCKS[choices.clock])
        found.append({"case": other._asdict(), "seconds": {work: spent[0] for work, spent in times.items()}})
    return found


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu`` counts this process's seconds alone, for a machine that others use as well."""


def peak_memory(case: Case, work: str) -> int:
    """Bytes above those of the loaded network, in two steps."""
    if case.device.startswith("cuda"):
        model, images = case.prepare()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        contenders(model, images, 2)[work]()
        return torch.cuda.max_memory_allocated() - before
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_of_process, (case, work))


def _peak_of_process(case: Case, work: str) -> int:
    model, images = case.prepare()
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
        "clock": choices.clock,
        "device": cuda or "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }


def cases(choices: argparse.Namespace) -> list[Case]:
    """Every network with every batch."""
    names = [entry.partition("=") for entry in choices.models.split(",")]
    return [
        Case(name, weights or None, batch, choices.side, choices.steps, choices.device)
        for name, _, weights in names
        for batch in map(int, choices.batches.split(","))
    ]


def main() -> None:
    """Prints the ratios, then writes one JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--batches", default="1,8,64" if torch.cuda.is_available() else "1,8")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--grow", action="store_true", help="also the first network at other T, batches and sides")
    parser.add_argument("--peaks", action=argparse.BooleanOptionalAction, default=True, help="memory, a process each")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("out/speed.json"))
    choices = parser.parse_args()
    content: dict[str, Any] = {"benchmark": "speed", "machine": machine(choices), "results": [], "growth": []}
    choices.output.parent.mkdir(parents=True, exist_ok=True)
    for case in cases(choices):
        content["results"].append(measure(case, choices))
        choices.output.write_text(json.dumps(content, indent=1))
        print(row(content["results"][-1]), flush=True)  # noqa: T201 - a script's output
    if choices.grow:
        content["growth"] = grown(cases(choices)[0], choices)
        choices.output.write_text(json.dumps(content, indent=1))


def row(result: Mapping[str, Any]) -> str:
    """A result as a line of a table: each ratio with the least and largest of its turns."""
    ratios = [f"{name} {mid:.2f} [{low:.2f}-{high:.2f}]" for name, (mid, low, high) in result["ratios"].items()]
    peaks = result["peak_bytes"]
    ratios += [f"peak GP / FB{at} {peaks['GP' + at] / peaks['FB' + at]:.2f}" for at in ("", ", every layer") if peaks]
    return f"{result['case']['name']}, batch {result['case']['batch']}: " + "; ".join(ratios)


if __name__ == "__main__":
    main()

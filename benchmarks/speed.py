"""What feedback costs, as ratios measured in one process: to a gradient, to plain passes, and to an older edition.

    python benchmarks/speed.py [--models googlenet,FILE.py:factory=WEIGHTS] [--batches 1,8] [--turns 5] [--before SRC]

Every method runs at its defaults, for the predicted classes of real pictures. The contenders take turns, because other
programs disturb some turns more than others, and each turn has another order, because what ran before leaves its trace.
A ratio is the median of the turns' ratios, with the smallest and the largest. The contenders:

- ``GP``, ``FB``: global and local feedback. ``GP before``, ``FB before``: the same, of the edition in ``SRC``.
- ``gradient``: captum's ``Saliency``, a vanilla gradient, on the same network and pictures.
- ``plain``: a forward pass and a pass back to the input, as torch runs it, with frozen weights.
- ``forward``: a forward pass alone.

T steps of feedback and the last pass are compared with T + 1 plain passes.

Memory on a CPU is the peak of a process that does nothing else, above what it holds before the work. The work has been
done once on one picture by then, so that the code is loaded, and what was freed is given back to the system. It is
measured twice. ``peak_bytes`` is with the system's allocator as it is, which keeps what is freed for later. This varies
by some megabytes. ``live_bytes`` is with an allocator that gives back at once what is freed (from 64 KiB). So it tells
how much is needed at one time. On a GPU, ``live_bytes`` is the peak of torch's allocator. ``gradient`` runs on the
network as it is loaded, whose weights could learn; ``plain`` has frozen weights and keeps less.

On a GPU, ``busy`` is the share of the time in which the GPU worked: the seconds of all its kernels over GP's seconds.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import torch
from cases import (
    CLOCKS,
    Case,
    Precision,
    Work,
    Works,
    entries,
    frozen,
    machine,
    medians,
    plain_pass,
    predicted,
    take_turns,
)
from editions import Edition
from torch import Tensor, nn

from looktwice import METHODS, attend

MODELS = "googlenet,resnet50,squeezenet1_1,efficientnet_lite0=default,mobilenet_v3_small,timm:vit_tiny_patch16_224"
"""The networks that are measured by default."""

STEPS = METHODS["global_feedback"].options["steps"]
"""T, as the methods have it by default."""

RATIOS = {
    "GP / FB": ("GP", "FB", 1),
    "GP / gradient": ("GP", "gradient", 1),
    "FB / (T + 1) plain": ("FB", "plain", STEPS + 1),
    "GP / GP before": ("GP", "GP before", 1),
    "FB / FB before": ("FB", "FB before", 1),
}
"""Name of a ratio → whose seconds, over how many times whose."""

PEAKS = ("GP", "FB", "GP before", "FB before", "gradient", "plain")
"""The contenders whose memory is measured."""


def contenders(module: nn.Module, images: Tensor, before: Edition | None) -> Works:
    """Name → one run on the batch."""
    classes = predicted(module, images)

    def look(method: str, edition: Edition | None = None) -> Work:
        call: Callable[..., Any] = attend if edition is None else edition.attend
        return Work(lambda: call(module, images, method=method), *([edition.in_place] if edition else []))

    found = {"GP": look("global_feedback"), "FB": look("feedback")}
    if before:
        found |= {"GP before": look("global_feedback", before), "FB before": look("feedback", before)}
    return found | {
        **captum_gradient(module, images, classes),
        "plain": Work(lambda: plain_pass(module, images, classes), lambda: frozen(module)),
        "forward": Work(lambda: forward(module, images)),
    }


def captum_gradient(module: nn.Module, images: Tensor, classes: Tensor) -> Works:
    """A vanilla gradient of captum's, where captum is installed."""
    try:
        from captum.attr import Saliency  # type: ignore[import-untyped]
    except ImportError:
        return {}
    saliency = Saliency(module)
    return {"gradient": Work(lambda: saliency.attribute(images.clone().requires_grad_(), target=classes))}


def forward(module: nn.Module, images: Tensor) -> None:
    """A forward pass alone."""
    with torch.no_grad():
        module(images)


def compared(times: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Name of a ratio → its median, smallest and largest over the turns."""
    found = {}
    for ratio, (one, other, count) in RATIOS.items():
        if one in times and other in times:
            values = [a / (count * b) for a, b in zip(times[one], times[other], strict=True)]
            found[ratio] = [statistics.median(values), min(values), max(values)]
    return found


def measure(case: Case, before: Path | None, choices: argparse.Namespace) -> dict[str, Any]:
    """All numbers of a network and a batch."""
    model, images = case.prepare()
    works = contenders(model.module, images, Edition(before) if before else None)
    times = take_turns(works, choices.turns, choices.clock, case.device)
    seconds = medians(times)
    timed_gpu = case.device.startswith("cuda") and choices.clock == "wall"
    return {
        "case": case.facts | {"side": list(images.shape[2:]), "steps": STEPS},
        "seconds": seconds,
        "images_per_second": {work: case.batch / spent for work, spent in seconds.items()},
        "ratios": compared(times),
        "busy": busy(works["GP"], seconds["GP"]) if timed_gpu else None,
        **(memory(case, before, [work for work in PEAKS if work in works]) if choices.peaks else {}),
    }


def busy(work: Work, seconds: float) -> dict[str, float]:
    """How many kernels a run starts on the GPU, and for which share of its seconds they work."""
    activity = torch.profiler.ProfilerActivity.CUDA
    with work.around(), torch.profiler.profile(activities=[activity]) as profile:
        work.run()
        torch.cuda.synchronize()
    kernels = [
        event for event in profile.events() or () if event.device_type.name == "CUDA" and not event.is_user_annotation
    ]
    return {"kernels": len(kernels), "share": sum(each.self_device_time_total for each in kernels) / 1e6 / seconds}


def memory(case: Case, before: Path | None, works: Sequence[str]) -> dict[str, dict[str, int]]:
    """The peaks of the works: bytes above those of the loaded network and its pictures."""
    if case.device.startswith("cuda"):
        return {"live_bytes": {work: _peak_on_gpu(case, before, work) for work in works}}
    with patch.dict(os.environ, {"MALLOC_MMAP_THRESHOLD_": "65536"}):  # glibc: larger pieces go back when freed
        live = {work: _peak_alone(case, before, work) for work in works}
    return {"peak_bytes": {work: _peak_alone(case, before, work) for work in works}, "live_bytes": live}


def _peak_on_gpu(case: Case, before: Path | None, work: str) -> int:
    model, images = case.prepare()
    run, around = contenders(model.module, images, Edition(before) if before else None)[work]
    with around():
        run()
        gc.collect()
        torch.cuda.empty_cache()
        held = torch.cuda.memory_allocated(case.device)
        torch.cuda.reset_peak_memory_stats(case.device)
        run()
    return torch.cuda.max_memory_allocated(case.device) - held


def _peak_alone(case: Case, before: Path | None, work: str) -> int:
    """In a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_of_process, (case, before, work))


def _peak_of_process(case: Case, before: Path | None, work: str) -> int:
    model, images = case.prepare()
    edition = Edition(before) if before and work.endswith("before") else None
    one, all_ = (contenders(model.module, some, edition)[work] for some in (images[:1], images))
    with one.around():
        one.run()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system (glibc)
        Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak so far (Linux)
        held = _status("VmHWM")
        all_.run()
    return _status("VmHWM") - held


def _status(key: str) -> int:
    """A figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def add_choices(parser: argparse.ArgumentParser, *, turns: int) -> None:
    """What every benchmark of speed asks of its user."""
    cuda = torch.cuda.is_available()
    parser.add_argument("--turns", type=int, default=turns)
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--clock", choices=CLOCKS, help="default: cpu on a CPU, wall on a GPU")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--channels-last", action="store_true", help="weights and pictures in this layout")


def read_choices(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The user's choices, with a clock that fits the device."""
    choices = parser.parse_args()
    choices.clock = choices.clock or ("wall" if choices.device.startswith("cuda") else "cpu")
    return choices


def main() -> None:
    """Prints the ratios, then writes one JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS, metavar="NAME[=WEIGHTS],…")
    parser.add_argument("--batches", default="1,8,64,256" if torch.cuda.is_available() else "1,8")
    parser.add_argument("--before", type=Path, metavar="SRC", help="the src folder of an older edition")
    parser.add_argument("--peaks", action=argparse.BooleanOptionalAction, default=True, help="memory, a process each")
    parser.add_argument("--output", type=Path, default=Path("out/speed.json"))
    add_choices(parser, turns=5)
    choices = read_choices(parser)
    facts = machine(choices.device) | {"clock": choices.clock, "turns": choices.turns}
    content: dict[str, Any] = {"benchmark": "speed", "machine": facts, "results": []}
    choices.output.parent.mkdir(parents=True, exist_ok=True)
    for name, weights in entries(choices.models):
        for batch in map(int, choices.batches.split(",")):
            case = Case(name, weights, batch, None, choices.device, choices.precision, choices.channels_last)
            content["results"].append(measure(case, choices.before, choices))
            choices.output.write_text(json.dumps(content, indent=1))
            print(row(content["results"][-1]), flush=True)  # noqa: T201 - a script's output


def row(result: Mapping[str, Any]) -> str:
    """A result as a line: each ratio with the smallest and the largest of its turns."""
    parts = [f"{name} {mid:.2f} [{low:.2f}-{high:.2f}]" for name, (mid, low, high) in result["ratios"].items()]
    for kind in ("peak", "live"):
        found = result.get(f"{kind}_bytes", {})
        others = [other for other in ("FB", "gradient", "plain", "GP before") if other in found]
        parts += [f"{kind} GP / {other} {found['GP'] / found[other]:.2f}" for other in others]
    if result["busy"]:
        parts.append(f"busy {result['busy']['share']:.2f} with {result['busy']['kernels']} kernels")
    return f"{result['case']['name']}, batch {result['case']['batch']}: " + "; ".join(parts)


if __name__ == "__main__":
    main()

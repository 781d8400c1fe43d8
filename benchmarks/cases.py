"""What the benchmarks of speed work on: networks and real pictures; and what their numbers hang on."""

import gc
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from looktwice import load_model, read_image
from looktwice.models import Model

PICTURES = Path(__file__).parents[1] / "examples" / "images"
Precision = Literal["float32", "bfloat16"]

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu`` counts the seconds of this process alone, on all its threads, for a machine that others use as well."""


class Case(NamedTuple):
    """A network, by the name or file and the weights that ``load_model`` takes, and what it works on.

    Attributes:
        name: as ``load_model`` takes it.
        weights: likewise.
        batch: how many pictures.
        side: of the pictures, in pixels; ``None`` is the network's own size.
        device: where it runs.
        precision: the dtype of the weights and of the pictures.
        channels_last: whether the channels of weights and pictures lie side by side in memory.
    """

    name: str
    weights: str
    batch: int
    side: int | None
    device: str
    precision: Precision
    channels_last: bool

    @property
    def facts(self) -> dict[str, Any]:
        """The case in words, without folders of this machine."""
        return self._asdict() | {"name": short_name(self.name), "weights": Path(self.weights).name}

    def load(self) -> Model:
        """The network, whose input is the whole picture."""
        model = load_model(self.name, weights=self.weights, squash=True, device=self.device)
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        model.module.to(getattr(torch, self.precision)).to(memory_format=layout)
        return model

    def prepare(self) -> tuple[Model, Tensor]:
        """The network and a batch of pictures (batch, 3, side, side)."""
        model = self.load()
        return model, self.pictures(model)

    def pictures(self, model: Model) -> Tensor:
        """The examples' pictures (batch, 3, side, side), from the first again where the batch is larger."""
        own = model.preprocessing
        recipe = own if self.side is None else own.having(resize=self.side)
        files = sorted(PICTURES.glob("*.jpg"))
        read = [recipe.prepare(read_image(file))[0] for file in files[: self.batch]]
        batch = torch.cat([read[number % len(read)] for number in range(self.batch)])
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return batch.to(self.device, getattr(torch, self.precision)).contiguous(memory_format=layout)


def short_name(name: str) -> str:
    """The network's name without the folder of its definition: ``folder/file.py:factory`` → ``factory``."""
    return name.rpartition(":")[2]


def entries(models: str) -> list[tuple[str, str]]:
    """``NAME[=WEIGHTS],…`` → names and weights; random ones where none are named."""
    parts = (entry.partition("=") for entry in models.split(","))
    return [(name, weights or "random") for name, _, weights in parts]


class Work(NamedTuple):
    """Something to be timed.

    Attributes:
        run: does it once.
        around: entered before the clock starts, left after it has stopped.
    """

    run: Callable[[], Any]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


Works = dict[str, Work]


def take_turns(works: Mapping[Any, Work], turns: int, clock: str, device: str) -> dict[Any, list[float]]:
    """Seconds of each work in each turn; one more turn before them warms up. Each turn has an order of its own."""
    times: dict[Any, list[float]] = {work: [] for work in works}
    dice = random.Random(0)
    with only_own_garbage():
        for turn in range(turns + 1):
            for name in dice.sample(list(works), len(works)):
                with works[name].around():
                    seconds = timed(works[name].run, clock, device)
                if turn:
                    times[name].append(seconds)
    return times


@contextmanager
def only_own_garbage() -> Iterator[None]:
    """While this lasts, Python's collector leaves alone what there is already, such as all modules.

    It looks at everything once in many calls, for a tenth of a second, in whichever call is running then.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def timed(run: Callable[[], Any], clock: str, device: str) -> float:
    """Seconds of one run, with all that it started on the device, and without the garbage of others."""
    gc.collect()
    synchronize(device)
    begun = CLOCKS[clock]()
    run()
    synchronize(device)
    return CLOCKS[clock]() - begun


def synchronize(device: str) -> None:
    """Waits for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def medians(times: Mapping[Any, list[float]]) -> dict[Any, float]:
    """The median of each work's seconds."""
    return {name: statistics.median(seconds) for name, seconds in times.items()}


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """While this lasts, no gradient is kept for the weights."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


def plain_pass(module: nn.Module, images: Tensor, classes: Tensor) -> None:
    """Forward, and back from each image's class to the input."""
    leaf = images.clone().requires_grad_()
    torch.autograd.grad(module(leaf).gather(1, classes[:, None]).sum(), leaf)


def predicted(module: nn.Module, images: Tensor) -> Tensor:
    """The classes with the best score, int64 (N,)."""
    with torch.no_grad():
        best: Tensor = module(images).argmax(1)
    return best


def machine(device: str) -> dict[str, Any]:
    """What the numbers hang on."""
    cuda = device.startswith("cuda")
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = named[0].partition(":")[2].strip() if named else processor
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "processor": processor,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        # Convolutions and products in single precision that round their factors to ten bits.
        "tf32": {"convolutions": torch.backends.cudnn.allow_tf32, "products": torch.backends.cuda.matmul.allow_tf32}
        if cuda
        else None,
    }

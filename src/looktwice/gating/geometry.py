"""How each activation's output lies in relation to the image: measured, not assumed.

The shape of an output does not say what its axes are. (14, 14, 96) may be channels and a picture, or a picture and
channels; (3, 196, 16) may be a picture, or heads, places and dimensions of attention. And a network may pad, flip or
turn its images before it looks at them. So three copies of an image, each with a patch of noise at another place, go
through the network. Where an output differs between them shows where that place lies in it.

On a grid of a few cells, a moved place and a blurred one look alike. There, the finer outputs before it decide. The
finest are the pictures that the network makes of its image before its first layer: padded, flipped, cut or resized.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from looktwice.errors import ModelError
from looktwice.gating.activations import Activation, gated_activation
from looktwice.gating.frozen import FrozenNetwork
from looktwice.gating.memo import Memo
from looktwice.gating.memory import is_out_of_memory
from looktwice.gating.places import NOWHERE, Place, is_squeeze, place_candidates, place_of_shape
from looktwice.gating.readings import Differences, Likeness, Reading
from looktwice.gating.replay import ActivationMode

PLACES = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25))
"""Centres of the patches, as shares of height and width. Every flip and every turn moves one of them."""

PATCH = 0.3
"""The side of a patch, as a share of the image's."""

TOLERANCE = 0.05
"""How far from its place a patch may be seen, as a share of the side, besides one cell of the grid. Networks that keep
the image's geometry stay within 0.02 on fine grids and within 0.12 on grids of 7×7."""

MOST_FOR_TOKENS = 0.24
"""How far from its place a patch may be seen at most among tokens. What all of them see alike seems to be in the
middle, 0.25 away."""

PICTURE_TOLERANCE = 0.02
"""The same for a picture that a network makes of its image. No layer has blurred it."""

TELLING = 8
"""How many cells a side of a grid has at least, where it shows that the image was moved."""

CLEARING = 12
"""How many cells a side of a grid has at least, where it shows that the image was not moved after all."""

DRIFT = 2
"""How far deep layers alone may shift a patch, in units of what is tolerated: their borders do, by 1.45
on the 17×17 cells of an untrained Inception v3. More than that is a picture that was moved."""

LEAST_SPREAD = 0.25
"""How far apart the patches are seen at least, as a share of what they are, in a map of the image. Attention and
squeezes see them at one place."""

_MEASURED: Memo[tuple[Place, ...]] = Memo()


def measured_places(network: FrozenNetwork, images: Tensor) -> tuple[Place, ...]:
    """The place of every activation call of a network on images of this size. It is measured once and remembered.

    Args:
        network: what is measured is remembered as long as it looks the same.
        images: (N, C, H, W).

    Returns:
        A place for each call, in call order.
    """
    known = _MEASURED.of(network.module, network.looks)
    key = _key(images)
    if key not in known:
        known[key] = tuple(place for place, _ in _measured(network, images, _activations))
    return known[key]


@dataclass(frozen=True)
class PartOutput:
    """A part of a network that is called once, how its output lies, and its shape without the batch."""

    part: nn.Module
    place: Place
    shape: tuple[int, ...]

    @property
    def channels(self) -> int | None:
        """How many maps of the image it returns; ``None`` if none."""
        return None if self.place.grid is None else self.shape[self.place.channel_axis - 1]


def measured_parts(network: FrozenNetwork, images: Tensor) -> list[PartOutput]:
    """The parts of a network that are called once and return a real tensor, in call order. They are remembered too."""
    known = _PARTS.of(network.module, network.looks)
    key = _key(images)
    if key not in known:
        finished: list[nn.Module] = []
        found = _measured(network, images, partial(_modules, network.module, finished))
        finished = finished[-len(found) :]
        calls = Counter(finished)  # a hook cannot tell one call of a module from another
        pairs = zip(finished, found, strict=True)
        known[key] = [PartOutput(part, *output) for part, output in pairs if calls[part] == 1]
    return known[key]


def _key(images: Tensor) -> tuple[object, ...]:
    """What a measurement depends on, besides the network."""
    return tuple(images.shape[1:]), images.dtype, images.device, _probing_batch(images)


def _probing_batch(images: Tensor) -> int:
    """How many images a pass of the probes has: all of them, and never as many as the images.

    Weights that pass an activation may have as many rows as a batch has images, but not as many as both batches.
    """
    return len(PLACES) + (len(images) == len(PLACES))


_PARTS: Memo[list[PartOutput]] = Memo()


Measured = list[tuple[Place, tuple[int, ...]]]
"""The place of each output, and its shape without the batch."""

Watch = Callable[[Callable[[Tensor], None]], AbstractContextManager[object]]
"""A ``with`` inside which a function gets every output that is looked at."""


def _activations(see: Callable[[Tensor], None]) -> AbstractContextManager[object]:
    def rule(_: int, pre: Tensor, activation: Activation, inplace: bool) -> Tensor:
        output = gated_activation(pre, None, None, activation, False, "exact", inplace)
        see(output)
        return output

    return ActivationMode(rule)


@contextmanager
def _modules(module: nn.Module, finished: list[nn.Module], see: Callable[[Tensor], None]) -> Iterator[None]:
    def hook(part: nn.Module, _: object, output: object) -> None:
        if _can_be_compared(output):
            finished.append(part)
            see(output)

    handles = [part.register_forward_hook(hook) for part in module.modules() if part is not module]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _measured(network: FrozenNetwork, images: Tensor, watch: Watch) -> Measured:
    """The place and shape of every output, from one pass of all probes, or from the only batches the network takes."""
    probes = _probes(images[:1])
    try:
        return _measure(network, probes, _probing_batch(images), watch)
    except Exception as error:
        if network.takes_back_layout(error):
            return _measured(network, images, watch)
        return _measure(network, probes, 1 if is_out_of_memory(error) else len(images), watch)


def check_independence(network: FrozenNetwork, images: Tensor) -> None:
    """Refuses a batch that the network does not answer image by image. It is tried once for every size of image.

    Raises:
        ModelError: the answer for the first image changes with the other images.
    """
    known = _INDEPENDENT.of(network.module, network.looks)
    if len(images) == 1 or images.shape[1:] in known:
        return
    try:
        apart = _depends(network, images[:1], 2)
    except Exception:  # a network may take only batches of its own size
        apart = _depends(network, images[:1], len(images))
    if apart:
        raise ModelError(
            "the network's answer for an image depends on the other images of its batch (BatchNorm without running "
            "statistics does so); pass one image at a time"
        )
    known[images.shape[1:]] = True


def _depends(network: FrozenNetwork, image: Tensor, batch: int) -> bool:
    """Whether the scores of an image (1, C, H, W) differ between two batches with other company."""
    others = _probes(image)[1:2].expand(batch - 1, -1, -1, -1)
    with torch.no_grad():
        mixed = network(torch.cat([image, others]))[0].double()
        alike = network(image.repeat(batch, 1, 1, 1))[0].double()
    rounding = max(1e-3, 8 * torch.finfo(image.dtype).eps) * max(1e-6, float(alike.max() - alike.min()))
    return bool((mixed - alike).abs().max() > rounding)  # what is not a number is no difference


_INDEPENDENT: Memo[bool] = Memo()


def _probes(image: Tensor) -> Tensor:
    """An image (1, C, H, W) with a patch of noise at each of the places: (3, C, H, W)."""
    height, width = image.shape[-2:]
    rows, columns = max(1, int(height * PATCH)), max(1, int(width * PATCH))
    noise = torch.Generator().manual_seed(0)
    probes = image.repeat(len(PLACES), 1, 1, 1)
    for probe, (y, x) in zip(probes, PLACES, strict=True):
        top, left = int(height * y - rows / 2), int(width * x - columns / 2)
        patch = torch.randn((image.shape[1], rows, columns), generator=noise, device="cpu").to(image)
        probe[:, top : top + rows, left : left + columns] = patch * image.std().clamp_min(0.1) + image.mean()
    return probes


def _measure(network: FrozenNetwork, probes: Tensor, batch: int, watch: Watch) -> Measured:
    """The place and shape of every output, from passes of ``batch`` images."""
    places = _Places(probes.shape[-2:])
    if batch >= len(probes):  # every output is placed when it is there, and need not be kept
        _show(network, probes, range(batch), watch, places.add)
        return places.found
    found: list[list[tuple[Tensor, bool]]] = []
    for start in range(0, len(probes), batch):
        found.append([])
        _show(network, probes, range(start, start + batch), watch, lambda *seen: found[-1].append(seen), keeps=True)
    for parts in zip(*found, strict=True):
        places.add(torch.cat([part for part, _ in parts])[: len(probes)], parts[0][1])
    return places.found


def _show(
    network: FrozenNetwork,
    probes: Tensor,
    numbers: range,
    watch: Watch,
    see: Callable[[Tensor, bool], None],
    *,
    keeps: bool = False,
) -> None:
    """One pass of a batch of probes, by their numbers; after the last comes the first.

    ``see`` gets each output of the different probes, and whether it is a picture. If it ``keeps`` the outputs, they are
    copies: the network may write on its own.
    """

    def look(output: Tensor, is_picture: bool = False) -> None:
        # What is computed here is not the network's, which may derive something itself.
        with torch._C.DisableTorchFunction(), torch.no_grad():
            known = output[: len(probes)] if _is_batch(output, len(numbers)) else output.flatten()[:0]
            see(known.clone() if keeps else known, is_picture)

    pictures = _PictureMode((len(numbers), probes.shape[1]), partial(look, is_picture=True))
    with torch.no_grad(), pictures, watch(look):
        network(probes[[number % len(probes) for number in numbers]])


class _PictureMode(TorchFunctionMode):
    """Shows every picture that a function makes of the images inside the ``with``: as many channels, two more axes."""

    def __init__(self, batch_and_channels: tuple[int, int], see: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._wanted, self._see = batch_and_channels, see

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        is_map = _can_be_compared(made) and made.ndim == 4 and made.is_floating_point()
        if is_map and made.shape[:2] == self._wanted and min(made.shape[2:]) >= TELLING:
            self._see(made)
        return made


def _can_be_compared(output: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor with an order among its values. Inside ``vmap`` there are none to look at."""
    is_ordered = isinstance(output, Tensor) and not output.is_complex()
    return is_ordered and not torch._C._are_functorch_transforms_active()


def _is_batch(output: Tensor, batch: int) -> bool:
    return output.ndim > 1 and len(output) == batch


class _Places:
    """Finds the places of outputs in images of (height, width), in the order of the network's calls.

    Attributes:
        found: the place and shape of each output but the pictures.
    """

    def __init__(self, image: Sequence[int]) -> None:
        self.found: Measured = []
        self._image = image
        self._moved: Tensor | None = None
        """Where the network before the next output has moved the patches to, if it has."""
        self._tokens: dict[int, Place] = {}
        """The place of the first outputs with as many tokens. Nothing has mixed them yet."""

    def add(self, outputs: Tensor, is_picture: bool) -> None:
        """Outputs (3, ...), one for each probe."""
        place = self._place(outputs, is_picture)
        if not is_picture:
            self.found.append((place, tuple(outputs.shape[1:])))

    def _place(self, outputs: Tensor, is_picture: bool) -> Place:
        """It is ``NOWHERE`` for squeezes and where the batch was folded into other axes."""
        shape = tuple(outputs.shape[1:])
        if not len(outputs) or is_squeeze(shape):
            return NOWHERE
        if len(shape) == 1:
            return Place("vector")
        answers, moved_here = False, None
        differences = Differences.between(outputs)
        fitting: dict[Place, Tensor] = {}
        for place in place_candidates(shape, self._image):
            seen = _seen_places(differences.on_grid(place), is_picture)
            if seen is None or place.grid is None:
                continue
            displacement = _displacement(seen, place, PICTURE_TOLERANCE if is_picture else TOLERANCE)
            if displacement <= 1:
                fitting[place] = seen
                continue
            answers = True
            if displacement > (1 if is_picture else DRIFT) and min(place.grid) >= TELLING and _is_spread(seen):
                moved_here = seen
        if is_picture and fitting:
            return self._unless_moved(*next(iter(fitting.items())))
        if fitting:
            place = self._likeliest(list(fitting), differences, shape)
            return self._unless_moved(place, fitting[place]) if place in fitting else NOWHERE
        if answers:
            self._moved = self._moved if moved_here is None else moved_here
            return NOWHERE
        # Where nothing answers to the image, the shape is all there is to know.
        return place_of_shape(shape) if self._moved is None else NOWHERE

    def _likeliest(self, fitting: Sequence[Place], differences: Differences, shape: tuple[int, ...]) -> Place:
        """The place that explains best where the patches are seen; ``NOWHERE`` if it is not certain."""
        is_tokens = fitting[0].kind == "tokens"
        if is_tokens and shape[0] in self._tokens:
            return self._tokens[shape[0]]
        likeness = Likeness(differences, PLACES, PATCH, self._image)
        best = max(fitting, key=lambda place: likeness.of(Reading.of_place(place)))
        if not likeness.is_certain(best, shape):
            best = NOWHERE
        if is_tokens:
            self._tokens[shape[0]] = best
        return best

    def _unless_moved(self, place: Place, seen: Tensor) -> Place:
        """The place of outputs that may lie like the image, if the network before them does not tell otherwise."""
        if self._moved is None:
            return place
        is_upright = (seen - _expected(seen)).abs().max() < (seen - self._moved).abs().max()
        if min(place.grid or (0,)) < CLEARING or not is_upright:
            return NOWHERE
        self._moved = None
        return place


def _expected(places: Tensor) -> Tensor:
    return torch.tensor(PLACES, dtype=places.dtype, device=places.device)


def _is_spread(places: Tensor) -> bool:
    """Whether the patches are seen apart along both axes: the place moves with the patch down, and across."""
    across, down = places[1] - places[0], places[2] - places[0]
    apart = torch.linalg.svdvals(torch.stack([across, down])).min()
    return bool(apart >= LEAST_SPREAD * (PLACES[1][1] - PLACES[0][1]))


def _displacement(seen: Tensor, place: Place, tolerance: float) -> float:
    """How far from their places the patches are seen, in units of what is tolerated."""
    tolerated = tolerance + 1 / torch.tensor(place.grid, dtype=seen.dtype, device=seen.device)
    if place.kind == "tokens":
        tolerated = tolerated.clamp_max(MOST_FOR_TOKENS)
    return float(((seen - _expected(seen)).abs() / tolerated).max())


def _seen_places(differences: Tensor, is_picture: bool) -> Tensor | None:
    """Where the patches are seen in cells that differ so much (3, rows, columns), as shares of the sides (3, 2).

    ``None`` where nothing differs. In a picture, all pixels that differ count alike: how much they do depends on what
    the image shows there.
    """
    response = differences.double()
    if is_picture:
        response = (response > 1e-3 * response.amax((1, 2), keepdim=True)).double()
    share = response / response.sum((1, 2), keepdim=True).clamp_min(torch.finfo(torch.double).tiny)
    own = (share - share.mean(0)).clamp_min(0)  # what all probes change alike, as a global pooling does, says nothing
    mass = own.sum((1, 2))
    if not (mass > 0).all():
        return None
    seen = []
    for axis in (1, 2):
        cells = own.shape[axis]
        centres = (torch.arange(cells, dtype=own.dtype, device=own.device) + 0.5) / cells
        seen.append((own.sum(3 - axis) @ centres) / mass)
    return torch.stack(seen, 1)

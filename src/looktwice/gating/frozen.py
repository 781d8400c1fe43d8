"""A user's classifier as a frozen function from images to class scores. The classifier is left as it was found."""

import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import count
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.utils.weak import WeakIdKeyDictionary

from looktwice.errors import InputError, ModelError
from looktwice.gating.checkpointing import without_checkpointing
from looktwice.gating.class_scores import class_scores
from looktwice.gating.convolutions import Convolutions
from looktwice.gating.memo import Memo, looks_of
from looktwice.gating.outputs import RECOGNISED, NetworkOutput
from looktwice.gating.precision import full_precision
from looktwice.gating.snapshot import snapshot

Targets = int | Sequence[int] | Tensor | None
"""The class of each image: one for all, one each, or ``None`` for the network's own prediction."""


def _unwrap(model: nn.Module) -> nn.Module:
    """The eager network inside a compiled or data-parallel one, because gates need to see its calls."""
    while True:
        if isinstance(model, torch.jit.ScriptModule):
            raise ModelError("a TorchScript model hides its activations; pass the eager nn.Module it was made from")
        if hasattr(model, "_orig_mod"):
            model = cast(nn.Module, model._orig_mod)
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model


def _eager() -> AbstractContextManager[object]:
    """Makes compiled parts run eagerly. If nothing is compiled, the compiler is not loaded, which takes two seconds."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class FrozenNetwork(nn.Module):
    """A network inside ``frozen``: images (N, C, H, W) → scores (N, K). ``module`` is the eager network itself.

    ``output`` is what the user declares of its output. ``looks`` is what it looked like before its first pass, and
    which entry is declared to be its scores. What is remembered of a network is asked for by it. ``notes`` says what is
    doubtful about the output of its last pass, a line each. ``is_derived`` says whether the images of this pass took a
    gradient, and ``passes_gradient`` whether its scores have one.

    On a CPU, in single precision or less, the images get the memory layout ``channels_last``. Most networks run a tenth
    to a third faster with it. Double precision does not gain.
    """

    def __init__(self, module: nn.Module, output: NetworkOutput = RECOGNISED) -> None:
        super().__init__()
        self.module = module
        self.output = output
        self.looks: object = (looks_of(module), output.scores)
        self.notes: tuple[str, ...] = ()
        self.is_derived, self.passes_gradient = False, False
        self.training = False
        self.convolutions = Convolutions(module.parameters())
        self._own_layout = _OWN_LAYOUT.of(module, self.looks)

    def forward(self, images: Tensor) -> Tensor:
        """The class scores. The network gets a copy of the images, because it may work in place.

        Raises:
            InputError: the images have another number of channels than the network takes.
        """
        faster = not self._own_layout and images.device.type == "cpu" and images.dtype != torch.float64
        layout = torch.channels_last if faster else torch.preserve_format
        try:
            answer = self.module(images.clone(memory_format=layout))
        except RuntimeError as error:
            _check_channels(error, images)
            _check_precision(error, images, self.module)
            _check_views(error)
            raise
        found = class_scores(answer, len(images), self.output.scores)
        self.notes = found.notes
        self.is_derived, self.passes_gradient = images.requires_grad, found.scores.requires_grad
        return self.output.of_classes(found.scores)

    def takes_back_layout(self, error: Exception) -> bool:
        """Whether the network failed because of the layout, as ``Tensor.view`` does. Then it gets the images' own."""
        failed = not self._own_layout and "view size is not compatible" in str(error)
        if failed:
            self._own_layout["needed"] = True
        return failed


_OWN_LAYOUT: Memo[bool] = Memo()
"""Networks that cannot work on images whose channels lie side by side."""


def _check_channels(error: RuntimeError, images: Tensor) -> None:
    """Says it in one line if the network failed because the images have another number of channels than it takes.

    Raises:
        InputError: so it is.
    """
    found = re.search(r"to have (\d+) channels, but got (\d+) channels", str(error))
    if found is None or int(found[2]) != images.shape[1]:
        return
    needed, given = (f"{number} channel{'s' * (number != '1')}" for number in found.groups())
    raise InputError(f"the images have {given}, and the network takes {needed}; give images with {needed}") from error


def _check_precision(error: RuntimeError, images: Tensor, module: nn.Module) -> None:
    """Says it in one line if the network failed because the images have another precision than its weights.

    Raises:
        InputError: so it is.
    """
    kinds = {weight.dtype for weight in module.parameters() if weight.is_floating_point()}
    if "type" in str(error) and kinds and images.dtype not in kinds:
        needed = " or ".join(sorted(str(kind) for kind in kinds))
        raise InputError(
            f"the images are {images.dtype}, and the network's weights {needed}; give images.to({needed})"
        ) from error


def _check_views(error: RuntimeError) -> None:
    """Says it in one line if the network writes in place on what no gradient passes then.

    Raises:
        ModelError: so it is.
    """
    if "is a view and is being modified inplace" in str(error):
        raise ModelError(
            "the network works in place on a part that chunk, split or unbind gave, so no gradient passes; call its "
            "activations there without inplace=True"
        ) from error


@contextmanager
def gradients_checked(network: FrozenNetwork) -> Iterator[None]:
    """Says it in one line if the network is made so that a gradient taken inside the ``with`` cannot pass it.

    The same errors of other code stay as they are: of a user's own, before a pass or after one without a gradient.

    Raises:
        ModelError: so it is.
    """
    try:
        yield
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error) and network.passes_gradient:
            raise ModelError(
                "the network writes in place on what its gradient needs, such as the output of an activation; write "
                "x = x * 2 there, not x *= 2"
            ) from error
        is_cut = network.is_derived and not network.passes_gradient
        if "does not require grad and does not have a grad_fn" in str(error) and is_cut:
            raise ModelError(
                "no gradient reaches the network's maps from the class scores; the forward pass must not detach, nor "
                "run parts of the network under no_grad"
            ) from error
        raise


@contextmanager
def frozen(model: nn.Module, output: NetworkOutput = RECOGNISED) -> Iterator[FrozenNetwork]:
    """The network as images (N, C, H, W) → scores (N, K), frozen inside the ``with`` and as found after it.

    Inside, the network is in evaluation mode and its weights take no gradients. BatchNorm uses its running statistics
    and Dropout is off, whatever mode the model was in: a method explains the trained classifier, and a result must not
    depend on the other images of the batch. Gradients are enabled, also under an outer ``torch.no_grad()`` or
    ``torch.inference_mode()``. Checkpointed parts are computed without checkpoints, and convolutions without TF32.
    Afterwards flags, weights, buffers and attributes are put back, after an exception too. Other threads that want the
    same model wait until then.

    Raises:
        ModelError: not an ``nn.Module``, a TorchScript model, or weights that no gradient can pass; or a gradient
            that is taken inside the ``with`` does not pass the network.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"a torch.nn.Module is needed, not {type(model).__name__}; load_model(...).module is one")
    module = _unwrap(model)
    parts, weights = list(module.modules()), list(module.parameters())
    if any(isinstance(part, torch.jit.ScriptModule) for part in parts):
        raise ModelError("a TorchScript part hides its activations; pass the eager nn.Module it was made from")
    _check_weights([*weights, *(number for part in parts for number in part._buffers.values() if number is not None)])
    with (
        _locks_of([*parts, *weights]),
        _without_parametrization_cache(),
        without_checkpointing(),
        full_precision(),
    ):
        network = FrozenNetwork(module, output)
        restore = snapshot(module, network.looks)
        try:
            for part in parts:
                part.training = False
            for weight in weights:
                weight.requires_grad_(False)
            with torch.inference_mode(False), torch.enable_grad(), _eager(), gradients_checked(network):
                yield network
        finally:
            restore()


def _check_weights(numbers: Sequence[Tensor]) -> None:
    """Refuses weights and buffers that no gradient can pass.

    Raises:
        ModelError: they are not there yet (lazy layers), or were made under ``torch.inference_mode()``.
    """
    if any(is_lazy(tensor) for tensor in numbers):
        raise ModelError("a lazy layer of the network has no weights yet; pass a batch through the network first")
    if any(tensor.is_inference() for tensor in numbers):
        raise ModelError(
            "the network's weights were made under torch.inference_mode(), so no gradient passes them; make or load "
            "the network outside of it"
        )


@contextmanager
def _locks_of(shared: Sequence[object]) -> Iterator[None]:
    """One thread at a time may have a model frozen, and every model that shares a part or a weight with it."""
    with _LOCK:
        locks = {id(lock): lock for lock in (_LOCKS.setdefault(thing, _Lock()) for thing in shared)}
    with ExitStack() as held:
        for lock in sorted(locks.values(), key=lambda lock: lock.number):  # one order for all threads: no deadlock
            held.enter_context(lock.lock)
        yield


class _Lock:
    """A lock of one part or weight, and its place in the order of all."""

    _numbers = count()

    def __init__(self) -> None:
        self.lock, self.number = threading.RLock(), next(_Lock._numbers)


_LOCK = threading.Lock()
_LOCKS: Any = WeakIdKeyDictionary()
"""The locks of all parts and weights, by identity."""


@contextmanager
def _without_parametrization_cache() -> Iterator[None]:
    """Computes parametrized weights anew: inside ``parametrize.cached()`` they would be kept, without gradients."""
    before = parametrize._cache_enabled, parametrize._cache
    if not before[0]:
        yield
        return
    parametrize._cache_enabled, parametrize._cache = 0, {}
    try:
        yield
    finally:
        parametrize._cache_enabled, parametrize._cache = before


_AXES = {
    0: "give each image three axes: channels, rows and columns",
    2: "add a batch axis and a channel axis with images[None, None]",
    3: "add a batch axis with images[None]",
    5: "if these are the frames of clips, put them into the batch with images.flatten(0, 1)",
}
"""The remedy for images with another number of axes."""

_OTHER_TYPES = "prepare a picture with load_model(...).prepare, or join several tensors with torch.stack"
"""The remedy for images that are no tensor."""


def check_images(images: Tensor) -> Tensor:
    """The images (N, C, H, W), ready for gradients; an inference-mode tensor is copied.

    Raises:
        InputError: not a floating-point (N, C, H, W) tensor, empty, or with values that are not finite.
    """
    if not isinstance(images, Tensor) or images.ndim != 4:
        seen = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        remedy = _AXES.get(images.ndim, _AXES[0]) if isinstance(images, Tensor) else _OTHER_TYPES
        raise InputError(f"images must be a tensor (N, C, H, W), not {seen}; {remedy}")
    if images.numel() == 0:
        raise InputError(f"images is empty: {tuple(images.shape)}; at least one image is needed")
    if not images.is_floating_point():
        raise InputError(f"images must be floating point, not {images.dtype}; normalise them as the model was trained")
    if not images.isfinite().all():
        bad = int((~images.isfinite()).flatten(1).any(1).nonzero()[0])
        raise InputError(f"images[{bad}] has NaN or infinite values; mend or leave out that image")
    with torch.inference_mode(False):
        return images.clone() if images.is_inference() else images.detach()


def resolve_targets(targets: Targets, scores: Tensor) -> Tensor:
    """The class of each image as int64 (N,), on the scores' device; ``None`` takes the best score of each.

    Raises:
        InputError: as many targets as images are needed, whole numbers within the network's classes.
    """
    images, classes = scores.shape
    if targets is None:
        return scores.argmax(1)
    wanted = one_for_each(targets, images).to(scores.device)
    outside = (wanted < 0) | (wanted >= classes)
    if outside.any():
        raise InputError(
            f"target {int(wanted[outside][0])} is out of range; this network has classes 0 … {classes - 1}"
        )
    return wanted


def one_for_each(targets: int | Sequence[int] | Tensor, images: int) -> Tensor:
    """One target for all images, or one for each → int64 (N,), new.

    Raises:
        InputError: another number of targets, or targets that are no whole numbers.
    """
    try:
        wanted = targets if isinstance(targets, Tensor) else torch.as_tensor(targets, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"targets must be whole numbers, not {targets!r}; pass class indices") from None
    if not wanted.numel():
        raise InputError(f"0 targets for {images} images; pass one for all or one each")
    if wanted.is_floating_point() or wanted.is_complex() or wanted.dtype == torch.bool:
        raise InputError(f"targets must be whole numbers, not {wanted.dtype}; pass class indices")
    wanted = wanted.long().flatten()
    if len(wanted) == 1:
        wanted = wanted.expand(images)
    if len(wanted) != images:
        raise InputError(f"{len(wanted)} targets for {images} images; pass one for all or one each")
    return wanted.clone()

"""Convolutions of a frozen network in the memory layout ``channels_last``, faster than PyTorch's own on a CPU.

PyTorch copies weights to this layout in each call, forward and back, and an ascent calls every convolution a dozen
times. With several threads it also brings the weights of 1×1 convolutions into an order of its own.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = frozenset((torch.conv2d, torch.ops.aten.conv2d, torch.ops.aten.conv2d.default))
"""The functions that are computed here."""

SHARES_MEMORY = frozenset(
    (
        Tensor.data.__get__,  # type: ignore[attr-defined]  # what ``weight.data`` calls
        Tensor.data.__set__,  # type: ignore[attr-defined]
        Tensor.numpy,
        Tensor.__array__,
        Tensor.__dlpack__,
        Tensor.untyped_storage,
        Tensor.storage,
        Tensor.data_ptr,
    )
)
"""Functions that give a tensor's memory to something else, or other memory to it. Then writes leave no trace on it."""

Size = int | tuple[int, ...] | list[int]

FEW_VALUES = 2**15
"""Up to so many values, a 1×1 convolution takes no longer than the call of our own product."""


class Convolutions:
    """Computes convolutions in the layout of their images.

    With several threads, a 1×1 convolution becomes a matrix product. The weights of a larger one are copied once to the
    layout of the images. Results differ by rounding from PyTorch's own.

    Only the network's own parameters are copied. Weights that it computes are other tensors in each pass. If the
    network writes on a weight between two of its own calls, the weight is copied again. A weight whose memory something
    else has, or has had in this look, is left alone, because writes are not seen then. So is one that got other memory.
    Some writes are not seen until the next look: through ``Tensor.set_``, a capsule of ``to_dlpack``, or an array of
    NumPy that the weight was made of, or was given out as before; and those that PyTorch is told not to count.

    Args:
        own: the network's parameters.
    """

    def __init__(self, own: Iterable[nn.Parameter]) -> None:
        self._own = {id(weight): weight for weight in own}  # while they are alive, no other tensor gets their id
        self._copies: dict[int, tuple[object, Tensor]] = {}
        self._left: set[int] = set()

    def leave(self, tensors: Iterable[Tensor]) -> None:
        """Copies these weights no more, nor those that share their memory, because writes on them may not be seen."""
        for tensor in tensors:
            self._own.pop(id(tensor), None)  # wherever its memory will be
            if (address := _memory(tensor)) is not None:
                self._left.add(address)

    def convolve(
        self,
        func: Callable[..., Any],
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Size = (1, 1),
        padding: Size | str = (0, 0),
        dilation: Size = (1, 1),
        groups: int = 1,
    ) -> Any:
        """``func``, one of ``CONVOLUTIONS``, with the same arguments."""
        if groups == 1 and type(weight) is nn.Parameter and _lies_across(input):  # and of no class of its own
            if weight.shape[2:] != (1, 1):
                weight = self._across(weight) if self._is_watched(weight) else weight
            elif (
                _is_faster_as_product(input)
                and weight.shape[1] == input.shape[1]  # else PyTorch's own error says what is wrong
                and _all(stride, 1)
                and _all(padding, 0)
                and not _has_gradient(bias)
            ):
                return _Pointwise.apply(input, weight.flatten(1), bias)
        return func(input, weight, bias, stride, padding, dilation, groups)

    def _is_watched(self, weight: Tensor) -> bool:
        """Whether nothing can write on a weight unseen: it is the network's own, and has its memory for itself."""
        return id(weight) in self._own and _memory(weight) not in self._left and _uses_of_memory(weight) == 1

    def _across(self, weight: Tensor) -> Tensor:
        """A copy of a weight in the images' layout, made again if the network has written on the weight."""
        state = weight._version, weight.data_ptr()
        kept, copy = self._copies.get(id(weight), (None, weight))
        if kept != state:
            copy = weight.detach().contiguous(memory_format=torch.channels_last)
            self._copies[id(weight)] = state, copy
        return copy


def _memory(tensor: Tensor) -> int | None:
    """The address of a tensor's memory; ``None`` if it has none of its own, as inside ``vmap``."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return None


def _uses_of_memory(tensor: Tensor) -> int:
    """How many tensors have the same memory, this one with them."""
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata) - 1  # the storage itself counts


def _lies_across(images: Tensor) -> bool:
    return (
        not torch._C._are_functorch_transforms_active()  # vmap does not tell the layout
        and images.ndim == 4
        and images.device.type == "cpu"
        and images.dtype == torch.float32
        and images.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
    )


def _is_faster_as_product(images: Tensor) -> bool:
    return images.numel() > FEW_VALUES and torch.get_num_threads() > 1


def _has_gradient(bias: Tensor | None) -> bool:
    return bias is not None and bias.requires_grad


def _all(sizes: object, size: int) -> bool:
    return sizes == size or (isinstance(sizes, (tuple, list)) and all(each == size for each in sizes))


class _Pointwise(torch.autograd.Function):
    """A 1×1 convolution as the product of pixels (N·H·W, C) and weights (K, C); bias (K,).

    The result is no view, because a network may write on it.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)  # autograd refuses it if the network writes on the weight before the way back
        shape = len(images), len(weight), *images.shape[2:]
        result = torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
        products = _pixels(result)
        if bias is None:
            torch.mm(_pixels(images), weight.t(), out=products)
        else:
            torch.addmm(bias, _pixels(images), weight.t(), out=products)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (weight,) = gradients, ctx.saved_tensors
        count, _, rows, columns = gradient.shape
        at_images = _pixels(gradient) @ weight
        return at_images.view(count, rows, columns, -1).permute(0, 3, 1, 2), None, None


def _pixels(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) as a row for each pixel: (N·H·W, C); a view, if the channels lie side by side."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])

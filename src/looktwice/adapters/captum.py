"""looktwice's methods as an attribution of captum.

Kokhlikyan et al., *Captum: A unified and generic model interpretability library for PyTorch* (2020). The extra
``peers`` installs captum.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from torch import Tensor, nn

from looktwice.adapters.inputs import one_target_each
from looktwice.attention.api import attend
from looktwice.attention.methods import Method, resolve_options
from looktwice.defaults import DEFAULT_METHOD
from looktwice.errors import InputError, MissingExtraError, ModelError
from looktwice.gating.frozen import check_images

Inputs = TypeVar("Inputs", Tensor, tuple[Tensor, ...])
"""A tensor, or a tuple that holds one tensor."""

try:
    _Attribution: Any = import_module("captum.attr").Attribution
    # captum's NoiseTunnel calls ``attribute.__wrapped__``, which this decorator of captum's makes.
    _log_usage: Callable[[], Callable[..., Any]] = import_module("captum.log").log_usage
except ImportError as error:
    raise MissingExtraError("captum is missing: pip install 'looktwice[peers]'") from error


class LooktwiceAttribution(_Attribution):  # type: ignore[misc]
    """A method of looktwice in captum's form: ``attribute(inputs, target)`` → a tensor with the shape of the inputs.

    captum's ``infidelity`` and ``sensitivity_max``, its ``visualize_image_attr`` and its ``NoiseTunnel`` take it.

    A map of looktwice has one value for each pixel, and the input has C channels. ``infidelity`` needs attributions
    with the shape of the inputs, and ``visualize_image_attr`` adds up the channels. So each channel gets the map
    divided by C: ``attribute(inputs, target).sum(1)`` is ``attend(model, inputs, target).maps``, in [0, 1].

    A map's unit is its own maximum, not the class score. So call ``infidelity`` with ``normalize=True``: then it does
    not depend on the unit.

    The model is left as it was found, whatever mode it is in. The map is of the model in evaluation mode. captum's
    metrics call the model as it is, so put it into evaluation mode for them.

    Args:
        model: a trained classifier, as ``attend`` takes it. A function is not enough, since gates are put on the
            model's activations.
        method: as for ``attend``.
        **options: the method's own, as for ``attend``.

    Raises:
        ModelError: the model is no ``nn.Module``.
        OptionError: an unknown method or option.

    Example:
        >>> import torch, looktwice
        >>> from looktwice.adapters.captum import LooktwiceAttribution
        >>> model = looktwice.load_model("squeezenet1_1", weights="random").module
        >>> attribution = LooktwiceAttribution(model, steps=2)
        >>> attribution.attribute(torch.rand(2, 3, 64, 64), target=7).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(self, model: nn.Module, method: str | Method = DEFAULT_METHOD, **options: Any) -> None:
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"a torch.nn.Module is needed, not {type(model).__name__}; looktwice puts gates on its activations"
            )
        resolve_options(method, options)
        super().__init__(model)
        self.method = method
        self.options = options

    @_log_usage()
    def attribute(
        self,
        inputs: Inputs,
        target: int | list[int] | Tensor | None = None,
        additional_forward_args: None = None,
        **options: Any,
    ) -> Inputs:
        """The attribution of each image's class.

        Args:
            inputs: images (N, C, H, W), normalised as the model was trained, on its device; or a tuple with this one
                tensor, as captum's metrics pass it.
            target: one class for all images (a whole number, or a tensor with one), or a list or tensor with one class
                for each image. ``None`` is the prediction for each image. Name the classes in ``NoiseTunnel`` and
                ``sensitivity_max``, since the prediction for a changed image may be another.
            additional_forward_args: captum has it; only ``None`` can be used.
            **options: the method's own; they go before those of the attribution.

        Returns:
            Not negative; (N, C, H, W), in the precision of the inputs and on their device. It takes no gradients. For
            a tuple it is a tuple.

        Raises:
            InputError: several input tensors, a tuple as target, another number of targets, or ``attend``'s own.
            OptionError: an unknown option; captum's ``baselines`` is one.
            ModelError: as for ``attend``.
        """
        if additional_forward_args is not None:
            raise InputError("additional_forward_args cannot be used; pass a model that takes images alone")
        resolve_options(self.method, options)
        images = _only_tensor(inputs)
        classes = one_target_each(_without_tuples(target), len(images))
        maps = attend(self.forward_func, images, classes, method=self.method, **{**self.options, **options}).maps
        spread = (maps / images.shape[1])[:, None].expand_as(images).contiguous()
        return (spread,) if isinstance(inputs, tuple) else spread


def _only_tensor(inputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The images (N, C, H, W), of which captum makes a tuple."""
    if not isinstance(inputs, tuple):
        return check_images(inputs)
    if len(inputs) != 1:
        raise InputError(f"inputs is a tuple of {len(inputs)} tensors; one tensor (N, C, H, W) is needed")
    return check_images(inputs[0])


def _without_tuples(target: object) -> object:
    """Refuses captum's places in outputs with more axes: this library explains one class of (N, K) scores."""
    if isinstance(target, tuple) or (isinstance(target, list) and any(isinstance(one, tuple) for one in target)):
        raise InputError("target has a tuple, which is a place in deeper outputs; pass a class index for each image")
    return target

"""looktwice's methods in the form of pytorch-grad-cam.

Gildenblat et al., *PyTorch library for CAM methods* (2021). The extra ``peers`` installs it.
"""

from collections.abc import Sequence
from importlib import import_module
from numbers import Integral
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from looktwice.adapters.inputs import one_target_each, weights_like
from looktwice.attention.api import attend
from looktwice.attention.methods import Method, resolve_options
from looktwice.defaults import DEFAULT_METHOD
from looktwice.errors import InputError, MissingExtraError, OptionError
from looktwice.gating.frozen import check_images


class GlobalFeedbackCAM:
    """Global feedback in the form of pytorch-grad-cam's methods: ``cam(input_tensor, targets)`` → (N, H, W).

    Its ``show_cam_on_image`` and its metrics take the maps. There are no ``target_layers``: gates stand on all
    activations that the method's option ``layers`` names.

    Nothing is left on the model, inside the ``with`` or after it, so the ``with`` may be left out. The model keeps its
    mode; pytorch-grad-cam's own methods put it into evaluation mode. Call ``model.eval()`` for the package's metrics.

    Args:
        model: a trained classifier, as ``attend`` takes it.
        method: as for ``attend``; another method than global feedback gets the same form.
        **options: the method's own, as for ``attend``.

    Raises:
        OptionError: an unknown method or option.

    Example:
        >>> import torch, looktwice
        >>> from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
        >>> from looktwice.adapters.grad_cam import GlobalFeedbackCAM
        >>> model = looktwice.load_model("squeezenet1_1", weights="random").module
        >>> with GlobalFeedbackCAM(model=model, steps=2) as cam:
        ...     maps = cam(input_tensor=torch.rand(1, 3, 64, 64), targets=[ClassifierOutputTarget(281)])
        >>> maps.shape, maps.dtype
        ((1, 64, 64), dtype('float32'))
    """

    def __init__(self, model: nn.Module, *, method: str | Method = DEFAULT_METHOD, **options: Any) -> None:
        resolve_options(method, options)
        self.model = model
        self.method = method
        self.options = options

    def __call__(
        self,
        input_tensor: Tensor,
        targets: Sequence[Any] | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> NDArray[np.float32]:
        """The map of each image.

        Args:
            input_tensor: images (N, C, H, W), normalised as the model was trained. They are moved to the model's
                device.
            targets: a ``ClassifierOutputTarget`` for each image, or ``None`` for the prediction.
            aug_smooth: pytorch-grad-cam has it; only False can be used.
            eigen_smooth: pytorch-grad-cam has it; only False can be used.

        Returns:
            A new array (N, H, W) in [0, 1]; each map has the maximum 1, or is zero everywhere.

        Raises:
            InputError: images that cannot be used, another number of targets, or targets of another kind.
            OptionError: smoothing.
            ModelError: as for ``attend``.
            MissingExtraError: targets are given, and pytorch-grad-cam is not installed.
        """
        for name, wanted in (("aug_smooth", aug_smooth), ("eigen_smooth", eigen_smooth)):
            if wanted:
                raise OptionError(f"{name} is {wanted!r}, and looktwice has no such smoothing; take the option blur")
        images = check_images(input_tensor).to(weights_like(self.model).device)
        classes = None if targets is None else one_target_each(_categories(targets), len(images))
        maps = attend(self.model, images, classes, method=self.method, **self.options).maps
        return np.asarray(maps.float().cpu().numpy())

    def __enter__(self) -> "GlobalFeedbackCAM":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Does nothing: the model is as it was already."""


def _categories(targets: Sequence[Any]) -> list[int]:
    """The class index of each target.

    Raises:
        InputError: a target of another kind, whose score is not a class score; or a category that is no whole number.
    """
    try:
        known = import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    except ImportError as error:
        raise MissingExtraError("pytorch-grad-cam is missing: pip install 'looktwice[peers]'") from error
    if not isinstance(targets, Sequence):
        raise InputError(f"targets is {type(targets).__name__}; a list with a ClassifierOutputTarget each is needed")
    for target in targets:
        # Not a subclass: its score may be another.
        if type(target) is not known:
            raise InputError(
                f"a target is {type(target).__name__}; only ClassifierOutputTarget, a class score, can be explained"
            )
    return [_category(target.category) for target in targets]


def _category(category: object) -> int:
    number = category.item() if isinstance(category, Tensor) and category.numel() == 1 else category
    if not isinstance(number, Integral) or isinstance(number, bool):
        raise InputError(f"ClassifierOutputTarget has {category!r}; a class index, a whole number, is needed")
    return int(number)

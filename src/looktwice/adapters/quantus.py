"""looktwice's methods as an explanation function of Quantus.

Hedström et al., *Quantus: An Explainable AI Toolkit for Responsible Evaluation of Neural Network Explanations* (JMLR
2023). Nothing of Quantus is needed here: it calls this function.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from looktwice.adapters.inputs import as_images, one_target_each
from looktwice.attention.api import attend
from looktwice.attention.methods import Method, resolve_options
from looktwice.defaults import DEFAULT_METHOD
from looktwice.errors import InputError


def explain_func(
    model: nn.Module,
    inputs: NDArray[np.floating] | Tensor,
    targets: int | NDArray[np.integer] | Tensor | None,
    *,
    method: str | Method = DEFAULT_METHOD,
    device: str | torch.device | None = None,
    **options: Any,
) -> NDArray[np.floating]:
    """The maps of a batch, as Quantus asks for them: inputs (N, C, H, W) → (N, 1, H, W).

    Pass it to a metric, and the options beside it: ``metric(model, x_batch, y_batch, None, explain_func=explain_func,
    explain_func_kwargs={"steps": 3})``. The shape is that of ``quantus.explain``, which adds up the channels and keeps
    their axis.

    The model is left as it was found: another mode or device than before is not set. The images become a copy in the
    model's precision on the model's device, since Quantus perturbs them in double precision on the CPU.

    Args:
        model: a trained classifier, as ``attend`` takes it.
        inputs: images (N, C, H, W), normalised as the model was trained.
        targets: one class for all images, one for each, or ``None`` for the prediction.
        method: as for ``attend``. ``quantus.evaluate`` passes the key of ``xai_methods`` here, so name your keys after
            looktwice's methods: ``{"global_feedback": explain_func, "gradient": explain_func}``.
        device: where you expect the model to be; Quantus passes on what its metric was given.
        **options: the method's own, as for ``attend``.

    Returns:
        A new array (N, 1, H, W) in [0, 1], in single or double precision; each map has the maximum 1. A map that shows
        nothing is zero everywhere, and Quantus refuses a batch with nothing else.

    Raises:
        InputError: inputs or targets that cannot be used, or a model on another device.
        OptionError: an unknown method or option.
        ModelError: as for ``attend``.

    Example:
        >>> import numpy as np, looktwice
        >>> from looktwice.adapters.quantus import explain_func
        >>> model = looktwice.load_model("squeezenet1_1", weights="random").module
        >>> inputs = np.random.default_rng(0).standard_normal((2, 3, 64, 64))
        >>> explain_func(model, inputs, np.array([7, 8]), method="gradient").shape
        (2, 1, 64, 64)
    """
    resolve_options(method, options)
    images = as_images(model, inputs)
    if device is not None and torch.device(device).type != images.device.type:
        raise InputError(
            f"device is {device}, and the model is on {images.device}; move the model with .to({device!r})"
        )
    classes = one_target_each(targets, len(images))
    maps = attend(model, images, classes, method=method, **options).maps[:, None]
    return np.asarray(maps.to(torch.promote_types(maps.dtype, torch.float32)).cpu().numpy())

"""One pass of a blank image: how many classes a network has, and whether it takes the input that it will get."""

import torch

from looktwice.errors import InputError, ModelError
from looktwice.gating.frozen import frozen
from looktwice.images import size_text
from looktwice.models.model import Model, as_input
from looktwice.user_code import user_code


def count_outputs(model: Model) -> int:
    """How many classes the network has, which one pass of a blank image tells.

    Raises:
        ModelError: the network fails on an input of the size and channels of its preprocessing.
    """
    channels, height, width = model.preprocessing.input_shape
    blank = as_input(model.module, torch.zeros(1, channels, height, width))
    place = f"{model.name}, run on an image of shape {(1, channels, height, width)}"
    try:
        with user_code(place), frozen(model.module) as network, torch.no_grad():
            return int(network(blank).shape[1])
    except InputError as error:
        remedy = "by a mean and a std of as many numbers (--mean and --std, or a Preprocessing)"
        raise ModelError(f"{place}: {error}, {remedy}") from error
    except ModelError as error:
        if not isinstance(error.__cause__, (RuntimeError, ValueError)):
            raise
        remedy = f"if it takes another size than {size_text((height, width))}, give it (--size, or a Preprocessing)"
        raise ModelError(f"{error}; {remedy}") from error

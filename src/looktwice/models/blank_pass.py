"""One pass of a blank image: how many classes a network has, and whether it takes the input that it will get."""

from dataclasses import dataclass

import torch

from looktwice.errors import InputError, ModelError
from looktwice.gating.frozen import frozen
from looktwice.gating.outputs import OutputKind, OutputMode
from looktwice.images import size_text
from looktwice.models.model import Model, as_input
from looktwice.user_code import user_code


@dataclass(frozen=True)
class BlankPass:
    """What one pass of a blank image tells of a network.

    Attributes:
        outputs: how many classes it has.
        kind: what its scores are, as declared or recognised; ``None`` if it is doubtful.
    """

    outputs: int
    kind: OutputKind | None


def blank_pass(model: Model) -> BlankPass:
    """One pass of a blank image.

    Raises:
        ModelError: the network fails on an input of the size and channels of its preprocessing.
    """
    channels, height, width = model.preprocessing.input_shape
    blank = as_input(model.module, torch.zeros(1, channels, height, width))
    place = f"{model.name}, run on an image of shape {(1, channels, height, width)}"
    try:
        with user_code(place), frozen(model.module, model.output) as network, torch.no_grad(), OutputMode() as mode:
            scores = network(blank)
    except InputError as error:
        remedy = "by a mean and a std of as many numbers (--mean and --std, or a Preprocessing)"
        raise ModelError(f"{place}: {error}, {remedy}") from error
    except ModelError as error:
        if not isinstance(error.__cause__, (RuntimeError, ValueError)):
            raise
        remedy = f"if it takes another size than {size_text((height, width))}, give it (--size, or a Preprocessing)"
        raise ModelError(f"{error}; {remedy}") from error
    kind = None if mode.doubts(scores) else mode.kind_of(scores)
    return BlankPass(scores.shape[1], model.output.kind or kind)

"""A classifier with everything that belongs to it."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from looktwice.errors import ModelError
from looktwice.gating.outputs import RECOGNISED, NetworkOutput
from looktwice.images import Window
from looktwice.models.preprocessing import Preprocessing

AS_MADE = "as its factory made them"
"""Where the weights of a user's own network are from."""


@dataclass(frozen=True)
class Model:
    """A classifier with everything that belongs to it.

    Attributes:
        name: as it was asked for.
        module: the network, in evaluation mode: images (N, C, H, W) → scores (N, classes).
        preprocessing: how an image becomes its input.
        classes: the name of each class, by index. If a factory leaves them out, ``load_model`` numbers them.
        weights: where its weights are from, in words.
        output: what is declared of the network's output: which entry is the class scores, and of what kind they are.
            What is left out is recognised.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    weights: str = AS_MADE
    output: NetworkOutput = RECOGNISED

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU if it has none."""
        return next((weight.device for weight in self.module.parameters()), torch.device("cpu"))

    def check_scores(self, scores: Tensor) -> None:
        """Checks that the network gives a score (N, K) for each of its K classes.

        Raises:
            ModelError: there are more or fewer.
        """
        if scores.shape[1] != len(self.classes):
            raise ModelError(
                f"{len(self.classes)} class names for {self.name}, which has {scores.shape[1]} outputs; give one each"
            )

    def prepare(self, image: Image.Image) -> tuple[Tensor, Window]:
        """A picture → the network's input (1, C, H, W) in its dtype and on its device, and the part it covers.

        Args:
            image: as ``Preprocessing.prepare`` takes it: RGB, unless the network has four channels.

        Raises:
            InputError: a picture of another kind.
            OptionError: no picture has as many channels as the network's input.
        """
        batch, window = self.preprocessing.prepare(image)
        return as_input(self.module, batch), window


def as_input(module: nn.Module, pixels: Tensor) -> Tensor:
    """The pixels in the dtype and on the device of the network's weights."""
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), pixels)
    return pixels.to(weight.device, weight.dtype)

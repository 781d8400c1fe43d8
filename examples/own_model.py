"""Your own classifier: what it attends to in one picture, for two of its four classes.

The network here knows cats, cups, rockets and tripods. Its features are those of EfficientNet-Lite0, which comes with
looktwice, so the example needs no training and no download. Yours is any trained ``nn.Module`` with ReLUs.
"""

# ruff: noqa: T201 - a script prints

from pathlib import Path

import torch
from torch import Tensor, nn

import looktwice
from looktwice.localization import BoxRule

PICTURE = Path(__file__).parent / "images" / "cat-and-coffee.jpg"

# --8<-- [start:factory]
MEMBERS = {"cat": [281, 282, 283, 284, 285], "cup": [504, 967, 968], "rocket": [657, 744, 812], "tripod": [872]}
"""My classes, and the classes of ImageNet that belong to each."""


class Kinds(nn.Module):
    """Pictures (N, 3, H, W), normalised with ImageNet's mean and standard deviation → scores of my classes (N, 4)."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """The features were trained on (RGB - 127) / 128, so they get this."""
        pixels = pictures * self.std + self.mean
        scores = self.features((255 * pixels - 127) / 128)
        return torch.stack([scores[:, members].logsumexp(1) for members in MEMBERS.values()], dim=1)


def build() -> nn.Module:
    """The network with its weights. ``--model examples/own_model.py:build`` calls this function."""
    return Kinds(looktwice.load_model().module)


# --8<-- [end:factory]


def main() -> None:
    """Prints the probability of each class in the picture, and the box around the evidence for it."""
    # --8<-- [start:use]
    model = looktwice.load_model(f"{__file__}:build", classes=list(MEMBERS))
    images, window = model.prepare(looktwice.read_image(PICTURE))
    with torch.no_grad():
        probabilities = model.module(images).softmax(1)[0]

    # Cat and cup touch: at the default threshold, a fifth of the maximum, their boxes would overlap.
    half = BoxRule("contour", 0.5)
    for index in torch.nonzero(probabilities > 0.1).flatten().tolist():
        attention = looktwice.attend(model.module, images, index)
        for box in looktwice.locate(attention.extents[0].numpy(), window, half):
            corners = [round(side) for side in box.corners]
            print(f"{model.classes[index]} {probabilities[index]:.0%} {corners}")
    # --8<-- [end:use]


if __name__ == "__main__":
    main()

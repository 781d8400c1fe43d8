"""A classifier of one's own: what it attends to for two of its four classes, in one picture.

The network here knows cats, cups, rockets and tripods. Its features are EfficientNet-Lite0's and come with looktwice,
so that the example needs no training and no download; yours is any trained ``nn.Module`` with ReLUs.
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
"""My classes, and ImageNet's that belong to each."""


class Kinds(nn.Module):
    """Scores of my classes, (N, 4), for pictures (N, 3, H, W) normalised with ImageNet's mean and deviation."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """These features were trained on (RGB - 127) / 128, so that is what they get."""
        pixels = pictures * self.std + self.mean
        scores = self.features((255 * pixels - 127) / 128)
        return torch.stack([scores[:, members].logsumexp(1) for members in MEMBERS.values()], dim=1)


def build() -> nn.Module:
    """The network with its weights; ``--model examples/own_model.py:build`` calls this."""
    return Kinds(looktwice.load_model().module)


# --8<-- [end:factory]


def main() -> None:
    """Prints the probability of each class that is there, and the box around what speaks for it."""
    # --8<-- [start:use]
    model = looktwice.load_model(f"{__file__}:build", classes=list(MEMBERS))
    images, window = model.prepare(looktwice.read_image(PICTURE))
    with torch.no_grad():
        probabilities = model.module(images).softmax(1)[0]

    # The two touch: boxes at a fifth of the maximum, the default, would reach into each other.
    half = BoxRule(threshold=0.5)
    for index in torch.nonzero(probabilities > 0.1).flatten().tolist():
        attention = looktwice.attend(model.module, images, index)
        for box in looktwice.locate(attention.maps[0].numpy(), window, half):
            corners = [round(side) for side in box.corners]
            print(f"{model.classes[index]} {probabilities[index]:.0%} {corners}")
    # --8<-- [end:use]


if __name__ == "__main__":
    main()

"""Pictures of one colour each, and a network that knows eight colours: squares of them take a moment."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from looktwice.models import Model, Preprocessing

HUES = np.array([[red, green, blue] for red in (0, 1) for green in (0, 1) for blue in (0, 1)])
"""The corners of the cube of colours: black, blue, green, cyan, red, magenta, yellow, white."""

SIDE = 24
PREPROCESSING = Preprocessing(26, SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), squash=True)


class Hues(nn.Module):
    """A class for each colour. Its probability grows with the share of the image that has the colour."""

    def __init__(self, gain: float = 8.0) -> None:
        super().__init__()
        self.only = nn.Conv2d(3, 8, 1)
        self.relu = nn.ReLU()
        self.mix = nn.Conv2d(8, 10, 3, padding=1)
        self.last = nn.ReLU()
        self.head = nn.Linear(10, 8)
        with torch.no_grad():
            corners = torch.tensor(HUES, dtype=torch.float32)
            self.only.weight.copy_((2 * corners - 1)[:, :, None, None])
            self.only.bias.fill_(-0.5)
            self.mix.weight.copy_((torch.eye(10, 8)[:, :, None, None] + 0.02) / 9)
            self.mix.bias.zero_()
            self.head.weight.copy_(gain * torch.eye(8, 10) - 0.3)
            self.head.bias.zero_()

    def features(self, images: Tensor) -> Tensor:
        return self.last(self.mix(self.relu(self.only(images))))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean((2, 3)))


class OfOneSize(Hues):
    """The same network, which says in its own way that it takes images of one size only."""

    def __init__(self, error: Exception | None = None, side: int = SIDE) -> None:
        super().__init__()
        self.error, self.side = error, side

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.side and self.error is not None:
            raise self.error
        if images.shape[-1] != self.side:
            return super().forward(images).repeat(1, 4)  # as a network without a global pooling
        return super().forward(images)


def hues(module: nn.Module | None = None, **choices) -> Model:
    names = tuple("".join(map(str, hue)) for hue in HUES)
    given = {"preprocessing": PREPROCESSING, "classes": names, "weights": "by hand"} | choices
    return Model("hues", (module or Hues()).eval(), **given)


def draw(folder, count, seed=0, classes=8):
    """Pictures in a CSV data set without boxes. A patch has the colour of the class, and specks have any colour."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,label"]
    for number in range(count):
        height, width = rng.integers(26, 50, 2)
        pixels = np.full((height, width, 3), 128, dtype=np.uint8)
        specks = rng.integers(0, 8, (height, width))
        chosen = rng.random((height, width)) < 0.1
        pixels[chosen] = 255 * HUES[specks[chosen]]
        label = int(rng.integers(classes))
        tall, wide = (int(side * share) for side, share in zip((height, width), rng.uniform(0.3, 0.9, 2), strict=True))
        y, x = (int(rng.integers(0, side - part)) for side, part in ((height, tall), (width, wide)))
        pixels[y : y + tall, x : x + wide] = 255 * HUES[label]
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        lines.append(f"{number:03d}.png,{label if number % 9 else (label + 1) % classes}")  # every ninth is wrong
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder

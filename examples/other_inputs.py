"""Networks whose inputs or outputs are not ImageNet's. Yours are trained; these have random weights, so look at no map.

``python examples/other_inputs.py`` writes the weights of ``small`` and the names of its classes to ``out/``.
``--model examples/other_inputs.py:small`` calls the function ``small``.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from looktwice.models import Model, Preprocessing

NAMES = ("cat", "cup", "rocket", "tripod")


def features(channels: int) -> list[nn.Module]:
    """Layers for images of any size: (N, channels, H, W) → (N, 32)."""
    torch.manual_seed(0)
    first = [nn.Conv2d(channels, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()]
    return [*first, nn.AdaptiveAvgPool2d(1), nn.Flatten()]


# --8<-- [start:networks]
def small() -> nn.Module:
    """Colour images of any size. Its weights come from a file."""
    return nn.Sequential(*features(channels=3), nn.Linear(32, len(NAMES)))


def gray() -> nn.Module:
    """Images with one channel."""
    return nn.Sequential(*features(channels=1), nn.Linear(32, len(NAMES)))


# --8<-- [end:networks]


# --8<-- [start:model]
def complete() -> Model:
    """A network that says itself what its input is, and how its classes are called."""
    preprocessing = Preprocessing(resize=64, crop=64, mean=(0, 0, 0), std=(1, 1, 1), squash=True)
    return Model("mine", small(), preprocessing, classes=NAMES)


# --8<-- [end:model]


# --8<-- [start:heads]
class TwoHeads(nn.Module):
    """Two outputs, each with a score for each class."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*features(channels=3))
        self.main, self.further = nn.Linear(32, len(NAMES)), nn.Linear(32, len(NAMES))

    def forward(self, images: Tensor) -> dict[str, dict[str, Tensor]]:
        """The scores are at ``heads.main``."""
        found = self.features(images)
        return {"heads": {"main": self.main(found), "further": self.further(found)}}


# --8<-- [end:heads]


if __name__ == "__main__":
    out = Path("out")
    out.mkdir(exist_ok=True)
    torch.save(small().state_dict(), out / "small.pth")
    (out / "names.txt").write_text("".join(f"{name}\n" for name in NAMES))

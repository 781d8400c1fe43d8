"""Draws the pictures of README and docs: the sample pictures, with maps of the embedded network.

python docs/pictures.py    writes docs/images
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from looktwice.attention.api import attend
from looktwice.attention.maps import Attention
from looktwice.figures.overlay import overlay, scaled
from looktwice.figures.sheet import Cell, Row, Sheet, sheet_picture
from looktwice.images import read_image
from looktwice.localization import BoxRule, locate
from looktwice.models import Model, load_model

ROOT = Path(__file__).parents[1]
PICTURES, IMAGES = ROOT / "examples" / "images", ROOT / "docs" / "images"
WIDTH, GP = 360, "global_feedback"

METHODS = ("gradient", "guided_backprop", "feedback", "global_feedback")
CLUTTER = ("astronaut", "cat-and-coffee", "photographer", "rocket")
FAILURES = (
    ("rocket", "drilling platform"),
    ("photographer", "tripod"),
    ("cat", "espresso"),
    ("coffee", "wooden spoon"),
    ("cat-and-coffee", "espresso"),
    ("astronaut", "bobsled"),
)
"""A picture and a class each, in the order of docs/method.md."""

STEPS = (0, 1, 2, 3, 5)


def main() -> None:
    """Writes every picture."""
    model = load_model(squash=True)
    samples = {path.stem: read_image(path) for path in sorted(PICTURES.glob("*.jpg"))}
    two = ["input", "global_feedback"] * 2
    four = [row(model, samples[name], name, [(GP, None)]) for name in ("cat", "coffee", "photographer", "rocket")]
    save("four", Sheet(two, paired(four), ""))
    save(
        "methods",
        Sheet(["input", *METHODS], [row(model, samples[n], n, [(m, None) for m in METHODS]) for n in CLUTTER], ""),
    )
    both = [row(model, samples["cat-and-coffee"], "", [(GP, name) for name in ("tiger cat", "espresso")])]
    save("two-classes", Sheet(["input", GP, GP], both, ""))
    third = [boxes(model, samples[name], name) for name in ("rocket", "coffee")]
    save("boxes", Sheet(["input", "map", "energy box", "contour boxes"], third, ""))
    save(
        "failures", Sheet(two, paired([row(model, samples[name], "", [(GP, target)]) for name, target in FAILURES]), "")
    )
    gates(model, samples["cat-and-coffee"], "espresso").savefig(IMAGES / "gates.png", dpi=110)


def look(model: Model, image: Image.Image, method: str, target: str | None, **options: int) -> Attention:
    """The map of a class, given by its name, or of the prediction."""
    wanted = None if target is None else next(k for k, name in enumerate(model.classes) if name.split(",")[0] == target)
    return attend(model.module, model.prepare(image)[0], wanted, method=method, **options)


def cell(model: Model, image: Image.Image, found: Attention, rule: BoxRule | None) -> Cell:
    """The map over the image, its boxes if there is a rule, and the class."""
    picture, (_, window) = scaled(image, WIDTH, smallest=WIDTH), model.prepare(image)
    heat, extent = found.maps[0].numpy(), found.extents[0].numpy()
    drawn = () if rule is None else locate(extent, window, rule)
    factor = picture.width / image.width
    corners = tuple(tuple(factor * value for value in box.corners) for box in drawn)
    return Cell(overlay(picture, heat, window), corners, model.classes[int(found.targets[0])])


def row(model: Model, image: Image.Image, title: str, looks: Sequence[tuple[str, str | None]]) -> Row:
    """The input and what each method sees for a class."""
    found = [look(model, image, method, target) for method, target in looks]
    plain = Cell(scaled(image, WIDTH, smallest=WIDTH))
    return Row([plain, *(cell(model, image, each, BoxRule()) for each in found)], title)


def boxes(model: Model, image: Image.Image, title: str) -> Row:
    """Fig. 3 of the paper: input, map, energy box, contour boxes."""
    found = look(model, image, GP, None)
    rules = (None, BoxRule("energy", 0.95), BoxRule("contour"))
    return Row(
        [Cell(scaled(image, WIDTH, smallest=WIDTH)), *(cell(model, image, found, rule) for rule in rules)], title
    )


def paired(rows: Sequence[Row]) -> list[Row]:
    """Joins each two rows into one."""
    return [Row([*a.cells, *b.cells], "") for a, b in zip(rows[::2], rows[1::2], strict=True)]


def save(name: str, sheet: Sheet) -> None:
    """Writes a sheet as a JPEG file of moderate size."""
    sheet_picture(sheet).convert("RGB").save(IMAGES / f"{name}.jpg", quality=82, optimize=True)


def gates(model: Model, image: Image.Image, target: str) -> plt.Figure:
    """The gates of one channel after each step of local and global feedback, and its layer's singular values."""
    figure, axes = plt.subplots(2, len(STEPS) + 1, figsize=(10, 4.2), width_ratios=[*[1] * len(STEPS), 1.8])
    found = {
        name: [look(model, image, method, target, steps=steps) for steps in STEPS]
        for name, method in (("FB, λ = 0", "feedback"), ("GP, λ = 1", GP))
    }
    last = found["GP, λ = 1"][-1]
    layer = max(place for place, call in enumerate(last.layers) if call.stride < 24)
    channel = int(last.gates[layer][0].mean((1, 2)).topk(20).indices[-1])  # one of the more open ones
    for line, (name, after) in zip(axes, found.items(), strict=True):
        for axis, each, steps in zip(line, after, STEPS, strict=False):
            axis.imshow(each.gates[layer][0, channel], vmin=0, vmax=1, cmap="gray")
            axis.set(xticks=[], yticks=[], title=f"after {steps}" if steps else "open")
        line[0].set_ylabel(name)
        values = np.stack([torch.linalg.svdvals(each.gates[layer][0]).mean(0).numpy() for each in after])
        line[-1].plot(STEPS, values[:, 0], color="C0", label="largest")
        line[-1].plot(STEPS, values[:, 1:5], color="C1", label=["next four", *[""] * 3])
        line[-1].set(title="singular values, mean", xticks=STEPS, ylim=(0, 1.05 * values[0, 0]))
        line[-1].legend(fontsize="small", frameon=False)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()

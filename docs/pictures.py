"""Draws the pictures of README and docs: the sample pictures, with maps of methods and networks at their defaults.

python docs/pictures.py                      docs/images, with the embedded network
python docs/pictures.py WEIGHTS MODELS       also those of several networks

Boxes are the default ones. WEIGHTS is a folder with NAME-imagenet.safetensors for each name in ``NETWORKS``. MODELS is
a folder with NAME.py, whose function NAME makes the network, for those that torchvision does not have.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from looktwice.attention.api import attend
from looktwice.attention.maps import Attention
from looktwice.attention.methods import METHODS
from looktwice.figures.overlay import overlay, scaled
from looktwice.figures.sheet import Cell, Row, Sheet, sheet_picture
from looktwice.images import read_image
from looktwice.localization import locate
from looktwice.models import Model, load_model

ROOT = Path(__file__).parents[1]
PICTURES, IMAGES = ROOT / "examples" / "images", ROOT / "docs" / "images"
GP = "global_feedback"

LITE0 = "EfficientNet-Lite0"
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
NETWORKS = {
    "resnet50": "ResNet-50",
    "googlenet_bn": "GoogLeNet",
    "squeezenet1_1": "SqueezeNet 1.1",
    "mobilenet_v3_small_tf": "MobileNetV3-Small",
    "vit_tiny": "ViT-Tiny",
}
"""The networks besides the embedded one, and their titles."""

OWN = {"googlenet_bn": {}, "mobilenet_v3_small_tf": HALF, "vit_tiny": HALF}
"""Those that torchvision does not have, and where their input differs from ImageNet's."""

CLASSES = (
    ("cat-and-coffee", ("Egyptian cat", "espresso")),
    ("astronaut", ("space shuttle", "football helmet")),
    ("rocket", ("missile", "drilling platform")),
)
"""The README's first picture: classes of one picture side by side."""

PAPER = ("gradient", "guided_backprop", "feedback", GP)
BASELINES = ("gradient", "guided_backprop", "grad_cam", "layer_cam", "feedback", GP)
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


@dataclass(frozen=True)
class Look:
    """What a cell shows: a picture as a network sees it, by a method, for a class (``None``: the prediction)."""

    model: Model
    name: str
    target: str | None = None
    method: str = GP


def main() -> None:
    """Writes every picture."""
    lite0 = load_model(squash=True)
    rows = [row(name, [Look(lite0, name, target) for target in targets]) for name, targets in CLASSES]
    save("classes", Sheet(["picture", "one class", "another class"], rows), width=300, text_size=18)
    rows = [row(name, [Look(lite0, name)]) for name in ("cat", "coffee", "photographer", "rocket")]
    save("four", Sheet(["input", "global feedback"] * 2, paired(rows)))
    rows = [row(name, [Look(lite0, name, method=method) for method in PAPER]) for name in CLUTTER]
    save("methods", Sheet(["input", *titles(PAPER)], rows))
    rows = [row("cat-and-coffee", [Look(lite0, "cat-and-coffee", target) for target in ("tiger cat", "espresso")])]
    save("two-classes", Sheet(["input", *titles([GP, GP])], rows))
    rows = [row(name, [Look(lite0, name, target)]) for name, target in FAILURES]
    save("failures", Sheet(["input", "global feedback"] * 2, paired(rows)))
    command("compare-classes", "--target", "Egyptian cat", "--target", "espresso", "--box", "objects")
    gates(lite0, read("cat-and-coffee"), "espresso").savefig(IMAGES / "gates.png", dpi=110)
    if len(sys.argv) > 2:
        several(lite0, Path(sys.argv[1]), Path(sys.argv[2]))


def several(lite0: Model, weights: Path, definitions: Path) -> None:
    """The pictures of several networks."""
    networks = {LITE0: lite0} | {title: network(name, weights, definitions) for name, title in NETWORKS.items()}
    for name, shown in {
        "networks": (("photographer", "tripod"), ("astronaut", "space shuttle")),
        "gallery-networks": (("cat", "Egyptian cat"), ("coffee", "espresso"), ("rocket", "missile")),
        "gallery-cat-and-coffee": (("cat-and-coffee", "Egyptian cat"), ("cat-and-coffee", "espresso")),
    }.items():
        rows = [
            row(picture, [Look(model, picture, target) for model in networks.values()], title=target)
            for picture, target in shown
        ]
        cells = [Row([probable(each) for each in one.cells[1:]], one.title) for one in rows]
        save(name, Sheet(list(networks), cells), width=240, text_size=24)
    for picture, target in (("astronaut", "space shuttle"), ("cat-and-coffee", "espresso")):
        rows = [
            row(picture, [Look(model, picture, target, method) for method in BASELINES], title=title)
            for title, model in networks.items()
        ]
        cells = [Row([replace(each, note="") for each in one.cells[1:]], one.title) for one in rows]
        save(
            f"gallery-methods-{target.replace(' ', '-')}",
            Sheet(broken(titles(BASELINES)), cells),
            width=200,
            text_size=20,
        )


def probable(shown: Cell) -> Cell:
    """A cell whose note is the probability alone, for a row that is titled with the class."""
    return replace(shown, note=shown.note.rpartition(" · ")[2])


def broken(names: Sequence[str]) -> list[str]:
    """Titles of two words on two lines, for narrow columns."""
    return [name.replace(" ", "\n") for name in names]


def command(name: str, *choice: str) -> None:
    """The picture that ``looktwice compare examples/images/cat-and-coffee.jpg`` writes, as JPEG."""
    with TemporaryDirectory() as folder:
        source = str(PICTURES / "cat-and-coffee.jpg")
        subprocess.run([sys.executable, "-m", "looktwice", "compare", source, *choice, "--output", folder], check=True)
        with Image.open(Path(folder) / f"{name}.png") as made:
            made.convert("RGB").save(IMAGES / f"{name}.jpg", quality=82, optimize=True)


def network(name: str, weights: Path, definitions: Path) -> Model:
    """A network of ``NETWORKS`` on whole pictures."""
    place = f"{definitions / name}.py:{name}" if name in OWN else name
    file = str(weights / f"{name}-imagenet.safetensors")
    return load_model(place, weights=file, squash=True, preprocessing=OWN.get(name) or None)


def read(name: str) -> Image.Image:
    """A sample picture."""
    return read_image(PICTURES / f"{name}.jpg")


def titles(methods: Sequence[str]) -> list[str]:
    """What methods are called."""
    return [METHODS[name].label.title for name in methods]


def find(model: Model, image: Image.Image, target: str | None, method: str, **options: int) -> Attention:
    """The map of a class, given by its name, or of the prediction."""
    wanted = None if target is None else next(k for k, name in enumerate(model.classes) if name.split(",")[0] == target)
    return attend(model.module, model.prepare(image)[0], wanted, method=method, **options)


def row(picture: str, looks: Sequence[Look], *, title: str = "") -> Row:
    """The picture, and what each look sees. Pictures are as large as they are read; ``save`` makes them smaller."""
    return Row([Cell(read(picture)), *(cell(look) for look in looks)], title)


def cell(look: Look) -> Cell:
    """The map over the picture with its boxes, and the class with its probability."""
    image = read(look.name)
    picture, (pixels, window) = scaled(image), look.model.prepare(image)
    found = find(look.model, image, look.target, look.method)
    with torch.no_grad():
        probability = float(look.model.module(pixels).softmax(1)[0, found.targets[0]])
    factor = picture.width / image.width
    boxes = tuple(tuple(factor * side for side in box.corners) for box in locate(found.extents[0].numpy(), window))
    note = f"{look.model.classes[int(found.targets[0])]} · {probability:.1%}"
    return Cell(overlay(picture, found.maps[0].numpy(), window), boxes, note)


def paired(rows: Sequence[Row]) -> list[Row]:
    """Joins each two rows into one."""
    return [Row([*a.cells, *b.cells], "") for a, b in zip(rows[::2], rows[1::2], strict=True)]


def save(name: str, sheet: Sheet, *, width: int = 360, text_size: int = 16) -> None:
    """Writes a sheet as a JPEG file of moderate size, with pictures of a width."""
    rows = [Row([resized(each, width) for each in row.cells], row.title) for row in sheet.rows]
    made = sheet_picture(Sheet(sheet.columns, rows), text_size=text_size)
    made.save(IMAGES / f"{name}.jpg", quality=82, optimize=True)


def resized(shown: Cell, width: int) -> Cell:
    """A cell with a picture of another width."""
    factor = width / shown.picture.width
    picture = shown.picture.resize((width, round(factor * shown.picture.height)), Image.Resampling.LANCZOS)
    return Cell(picture, tuple(tuple(factor * side for side in box) for box in shown.boxes), shown.note)


def gates(model: Model, image: Image.Image, target: str) -> plt.Figure:
    """The gates of one channel after each step of local and global feedback, and its layer's singular values."""
    figure, axes = plt.subplots(2, len(STEPS) + 1, figsize=(10, 4.2), width_ratios=[*[1] * len(STEPS), 1.8])
    found = {
        name: [find(model, image, target, method, steps=steps) for steps in STEPS]
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

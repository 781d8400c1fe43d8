"""Pictures of patches of stripes on noise, and small networks that are trained on them in a few seconds."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

CLASSES = ("level", "upright", "checked")
"""Stripes along the rows, stripes along the columns, a chessboard."""

NETWORK = """
import torch
from pathlib import Path
from torch import nn

def network(channels, classes=3):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes))

def rgb():
    return network(3)

def gray():
    return network(1)
"""


def picture(rng, kind, size, corner=None, side=None):
    """A dark picture of this (height, width) with a patch of a kind, and the patch's box (x1, y1, x2, y2)."""
    height, width = size
    side = side or int(rng.integers(min(size) // 3, min(size) // 2))
    top, left = corner or (int(rng.integers(0, height - side)), int(rng.integers(0, width - side)))
    pixels = rng.integers(0, 30, (height, width)).astype(np.uint8)
    rows, columns = np.indices((side, side)) // max(2, min(size) // 16)
    on = (rows, columns, rows + columns)[kind] % 2
    pixels[top : top + side, left : left + side] = 20 + 80 * on
    return Image.fromarray(np.stack([pixels] * 3, axis=2)), (left, top, left + side, top + side)


def trained(factory, preprocessing, size, *, steps=60):
    """A network of ``NETWORK``, trained on pictures of this (height, width), as the preprocessing makes them."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    names = {}
    exec(NETWORK, names)
    network = names[factory]()
    kinds = rng.integers(0, len(CLASSES), 240)
    images = torch.cat([preprocessing.prepare(picture(rng, kind, size)[0])[0] for kind in kinds])
    labels = torch.as_tensor(kinds)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(steps):
        some = torch.arange(48) + 48 * (step % 5)
        loss = F.cross_entropy(network(images[some]), labels[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def data_set(folder, size, *, count):
    """A CSV data set of pictures of this (height, width) with the boxes of the patches."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,label,x1,y1,x2,y2"]
    for number in range(count):
        kind = number % len(CLASSES)
        image, box = picture(rng, kind, size)
        image.save(folder / f"{number:03}.png")
        lines.append(f"{number:03}.png,{CLASSES[kind]},{','.join(map(str, box))}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    (folder / "names.txt").write_text("\n".join(CLASSES) + "\n")

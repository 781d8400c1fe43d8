"""What exporters write: one map of one image for one class, with its boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from looktwice.images import Window
from looktwice.localization.boxes import Box, BoxRule


@dataclass(frozen=True)
class GatedActivations:
    """Which of a network's activation calls carry gates.

    Attributes:
        seen: how many calls the network makes.
        gated: how many of them carry gates.
        grids: (rows, columns) of the gated maps, each once, in the order of the calls.
    """

    seen: int
    gated: int
    grids: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """In words, such as "12 of 16 activations are gated, at 14×14 and 7×7"."""
        places = " and ".join(f"{rows}×{columns}" for rows, columns in self.grids)
        return f"{self.gated} of {self.seen} activations are gated{f', at {places}' if places else ''}"


@dataclass(frozen=True)
class ShownClass:
    """A class of an image that has a finding.

    Attributes:
        index: the class.
        name: its name.
    """

    index: int
    name: str


@dataclass(frozen=True)
class Finding:
    """One map of one image for one class, with its boxes.

    Attributes:
        path: the image file.
        picture: the image, scaled for drawing, RGB.
        window: the part of the image that the map covers.
        model: the network's name.
        weights: where its weights are from, in words.
        class_index: the class.
        class_name: its name.
        probability: the class's probability in [0, 1], from the network as it is.
        method: the method's name.
        method_title: its title.
        options: all of its options.
        scores: the class score at the start and after each step; empty for other packages' methods.
        closed_layers: how many layers the last step would have closed altogether.
        heat: the map (H, W) in [0, 1].
        rule: how the boxes were drawn.
        boxes: the boxes, the largest first.
        gated: which activations carry gates.
        notes: what a reader must know, such as that the map is zero everywhere; one line each.
        output: of what kind the network's scores are, and so what the probability means; see ``OutputKind``.
        doubts: what to doubt about the map before one looks at it, such as random weights; one sentence each.
        targets: all classes of this image that have a finding, this one too.
    """

    path: Path
    picture: Image.Image
    window: Window
    model: str
    weights: str
    class_index: int
    class_name: str
    probability: float
    method: str
    method_title: str
    options: Mapping[str, Any]
    scores: Sequence[float]
    closed_layers: int
    heat: NDArray[np.floating]
    rule: BoxRule
    boxes: Sequence[Box]
    gated: GatedActivations = GatedActivations(0, 0, ())
    notes: tuple[str, ...] = ()
    output: str = "logits"
    doubts: tuple[str, ...] = ()
    targets: tuple[ShownClass, ...] = ()

    @property
    def class_title(self) -> str:
        """The class and its probability: "tabby · 61.2%"."""
        return f"{self.class_name} · {self.probability:.1%}"

"""Many images → a picture and a JSON file for each; a broken image costs only itself."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from looktwice import __version__
from looktwice.atomic_files import write_whole
from looktwice.attention.methods import METHODS
from looktwice.errors import InputError, OptionError
from looktwice.explain.explanation import Explanation, ImageResult, batches, class_probabilities, explain
from looktwice.figures.overlay import caption, draw_boxes, overlay
from looktwice.localization.boxes import Box, BoxRule, locate
from looktwice.models.load import Model


def attend_images(
    model: Model,
    images: Sequence[Path],
    folder: Path,
    *,
    target: int | None = None,
    top: int = 1,
    method: str = "global_feedback",
    options: Mapping[str, Any] | None = None,
    rule: BoxRule | None = None,
) -> Iterator[ImageResult]:
    """Each image → ``STEM.CLASS.png`` (map, boxes, class, score) and ``STEM.CLASS.json``, as they are asked for.

    Args:
        model: the network to look into.
        images: files; results of those that share a stem are numbered.
        folder: an existing folder. A file appears in it whole or not at all.
        target: a class index for all images, or ``None`` for the ``top`` most probable classes of each.
        top: how many.
        method: a name of ``METHODS``.
        options: the method's own.
        rule: how boxes are drawn; contours above a fifth of the maximum when left out.

    Raises:
        LooktwiceError: what is wrong for all images: an option, the network, a file that cannot be written.
    """
    if not 1 <= top <= len(model.classes):
        raise OptionError(f"top is {top}; 1 … {len(model.classes)}, the classes of {model.name}, can be had")
    names = distinct_names(images)
    rule = rule or BoxRule()
    asked = dict(options or {})

    def write(finding: Explanation) -> list[Path]:
        stem = f"{names[finding.shot.path]}.{finding.index}"
        boxes = locate(finding.checked_heat(), finding.shot.window, rule)
        record = _record(model, finding)
        record |= {"options": {**METHODS[method].options, **asked}, "box_rule": asdict(rule)}
        record |= {"boxes": [box.as_dict() for box in boxes]}
        return [
            write_whole(folder / f"{stem}.png", _png(_drawing(model, finding, boxes))),
            write_whole(folder / f"{stem}.json", json.dumps(record, indent=2).encode() + b"\n"),
        ]

    for usable, broken in batches([model], images):
        yield from broken
        shots = [shot for (shot,) in usable]
        probabilities = class_probabilities(model, shots)
        classes = probabilities.topk(top).indices if target is None else torch.full((len(shots), 1), target)
        by_class = [explain(model, shots, probabilities, k, method, asked) for k in classes.T]
        for findings in zip(*by_class, strict=True):
            files: list[Path] = []
            error = None
            try:
                for finding in findings:
                    files += write(finding)
            except InputError as problem:
                error = InputError(f"{findings[0].shot.path}: {problem}")
            yield ImageResult(findings[0].shot.path, tuple(files), error)


def distinct_names(images: Sequence[Path]) -> dict[Path, str]:
    """A file name for each image's results: its stem, numbered where images in several places share it."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    last: dict[str, int] = {}
    for image in images:
        # Cut, to leave room for class and suffix; compared in lower case, since some file systems know no other.
        name = stem = os.fsdecode(os.fsencode(image.stem)[:200])
        while name.casefold() in taken:
            last[stem] = last.get(stem, 1) + 1
            name = f"{stem}-{last[stem]}"
        taken.add(name.casefold())
        names[image] = name
    return names


def _record(model: Model, finding: Explanation) -> dict[str, Any]:
    window = finding.shot.window
    return {
        "looktwice": __version__,
        "image": str(finding.shot.path),
        "width": window.width,
        "height": window.height,
        "window": {"x1": window.left, "y1": window.top, "x2": window.right, "y2": window.bottom},
        "model": model.name,
        "weights": model.weights,
        "target": {"index": finding.index, "name": finding.name},
        "probability": finding.probability,
        "scores": finding.scores,
        "closed_layers": finding.closed_layers,
        "method": finding.method,
    }


def _drawing(model: Model, finding: Explanation, boxes: Sequence[Box]) -> Image.Image:
    window = finding.shot.window
    picture = overlay(finding.shot.picture, finding.heat, window)
    details = [
        finding.method,
        Path(model.name).name,
        *_score(finding.scores),
        f"{len(boxes)} box{'es' * (len(boxes) != 1)}",
    ]
    return caption(draw_boxes(picture, [box.corners for box in boxes], window), [finding.titled, " · ".join(details)])


def _score(scores: Sequence[float]) -> list[str]:
    """S_k in words, from the first step to the last; nothing where the method gives none."""
    ends = [f"{scores[step]:.1f}" for step in ([0, -1] if len(scores) > 1 else range(len(scores)))]
    return [f"score {' to '.join(ends)}"] if ends else []


def _png(picture: Image.Image) -> bytes:
    data = BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()

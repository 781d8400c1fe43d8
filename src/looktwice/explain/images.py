"""Many images → a picture and a JSON file for each class of each; a broken image costs only its own results."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from looktwice.attention.choice import ChosenMethod, choose_method
from looktwice.defaults import DEFAULT_METHOD
from looktwice.errors import InputError, OptionError
from looktwice.explain.explanation import BatchLook, Explanation, ImageResult, batches, look_at_batch
from looktwice.export import EXPORTERS, Finding
from looktwice.localization.boxes import BoxRule, locate
from looktwice.models.model import Model


def attend_images(
    model: Model,
    images: Sequence[Path],
    folder: Path,
    *,
    target: int | None = None,
    top: int = 1,
    method: str | ChosenMethod = DEFAULT_METHOD,
    options: Mapping[str, Any] | None = None,
    rule: BoxRule | None = None,
) -> Iterator[ImageResult]:
    """Each image → ``STEM.CLASS.png`` (map, boxes, class, score) and ``STEM.CLASS.json``, one result after the other.

    Args:
        model: the network.
        images: files. Results of files with the same stem are numbered.
        folder: an existing folder. A file appears in it complete or not at all. A user's own file stays, and costs
            the results with its name.
        target: a class index for all images, or ``None`` for the ``top`` most probable classes of each.
        top: how many classes. They all share one plain pass of the network.
        method: the method.
        options: those of its options that differ from what it has.
        rule: how boxes are drawn; contours above 0.2 of the maximum when left out.

    Raises:
        LooktwiceError: what is wrong for all images: an option, the network, a file that cannot be written.
    """
    if not 1 <= top <= len(model.classes):
        raise OptionError(
            f"top is {top}; {model.name} has {len(model.classes)} classes, so take 1 … {len(model.classes)}"
        )
    chosen = choose_method(method).having(options or {})
    names = distinct_names(images)
    rule = rule or BoxRule()

    def write(explanation: Explanation) -> Iterator[Path]:
        stem = folder / f"{names[explanation.image.path]}.{explanation.class_index}"
        finding = _finding(model, explanation, rule)
        for export in EXPORTERS.values():
            yield export(finding, stem)

    for usable, broken in batches([model], images):
        yield from broken
        if not usable:
            continue
        with look_at_batch(model, [image for (image,) in usable], [chosen]) as seen:
            by_class = [seen.explain(chosen, classes) for classes in _classes(seen, target, top)]
        for explanations in zip(*by_class, strict=True):
            path = explanations[0].image.path
            files: list[Path] = []
            error = None
            try:
                for explanation in explanations:
                    files.extend(write(explanation))  # those before an error are kept
            except InputError as problem:
                error = InputError(f"{path}: {problem}")
            about_maps = [line for explanation in explanations for line in explanation.told(with_method=False)]
            notes = [*explanations[0].image.notes, *about_maps]
            yield ImageResult(path, tuple(files), error, tuple(dict.fromkeys(notes)), explanations[0].gated)


def _classes(seen: BatchLook, target: int | None, top: int) -> list[Tensor]:
    """The classes to explain, the most probable first: for each a tensor (N,) with the class of each image."""
    if target is not None:
        return [torch.full((len(seen.images),), target)]
    return list(seen.probabilities.topk(top).indices.T)


def distinct_names(images: Sequence[Path]) -> dict[Path, str]:
    """A file name for each image's results: its stem, with a number if images in several places share it."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    last: dict[str, int] = {}
    for image in images:
        # Cut, to leave room for class and suffix. Compared in lower case: some file systems do not tell cases apart.
        name = stem = os.fsdecode(os.fsencode(image.stem)[:200])
        while name.casefold() in taken:
            last[stem] = last.get(stem, 1) + 1
            name = f"{stem}-{last[stem]}"
        taken.add(name.casefold())
        names[image] = name
    return names


def _finding(model: Model, explanation: Explanation, rule: BoxRule) -> Finding:
    """An explanation and its boxes, ready for exporters.

    Raises:
        InputError: the network gave no usable numbers for this image.
    """
    image = explanation.image
    return Finding(
        path=image.path,
        picture=image.picture,
        window=image.window,
        model=model.name,
        weights=model.weights,
        class_index=explanation.class_index,
        class_name=explanation.class_name,
        probability=explanation.probability,
        method=explanation.method.name,
        method_title=explanation.method.label.title,
        options=explanation.method.options,
        scores=explanation.scores,
        closed_layers=explanation.closed_layers,
        heat=explanation.heat,
        rule=rule,
        boxes=locate(explanation.checked_heat(), image.window, rule),
        gated=explanation.gated,
        notes=(*explanation.notes, *explanation.network_notes),
    )

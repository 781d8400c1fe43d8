"""Many images → a picture and a JSON file for each class of each; a broken image costs only its own results."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from looktwice.attention.choice import ChosenMethod, choose_method
from looktwice.defaults import DEFAULT_METHOD
from looktwice.errors import InputError
from looktwice.explain.class_choice import ClassChoice
from looktwice.explain.explanation import BatchLook, Explanation, ImageResult, batches, doubts_line, look_at_batch
from looktwice.export import EXPORTERS, Finding, ShownClass
from looktwice.localization.boxes import BoxRule, locate
from looktwice.models.model import Model


def attend_images(
    model: Model,
    images: Sequence[Path],
    folder: Path,
    *,
    target: int | Sequence[int | None] | None = None,
    top: int | None = None,
    min_probability: float | None = None,
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
        target: a class index for all images, or several; in a sequence ``None`` is the prediction. Left out, the most
            probable classes of each image. All classes of an image share one plain pass of the network.
        top: how many of the most probable classes; 1 when left out, and with ``min_probability`` all of them.
        min_probability: in [0, 1]; only classes with at least this probability. An image may have none.
        method: the method.
        options: those of its options that differ from what it has.
        rule: how boxes are drawn; ``BoxRule()`` when left out.

    Raises:
        LooktwiceError: what is wrong for all images: an option, the network, a file that cannot be written.
    """
    choice = ClassChoice.of(model, target, top, min_probability)
    chosen = choose_method(method).having(options or {})
    names = distinct_names(images)
    rule = rule or BoxRule()

    def write(explanation: Explanation, shown: tuple[ShownClass, ...]) -> Iterator[Path]:
        stem = folder / f"{names[explanation.image.path]}.{explanation.class_index}"
        finding = _finding(model, explanation, rule, shown)
        for export in EXPORTERS.values():
            yield export(finding, stem)

    for usable, broken in batches([model], images):
        yield from broken
        if not usable:
            continue
        with look_at_batch(model, [image for (image,) in usable], [chosen]) as seen:
            by_image = _explanations(seen, chosen, choice.of_images(seen.probabilities))
        for place, (image, explanations) in enumerate(zip(seen.images, by_image, strict=True)):
            if not explanations:
                yield ImageResult(image.path, notes=(*image.notes, choice.missed(seen, place)))
                continue
            files: list[Path] = []
            error = None
            shown = tuple(ShownClass(each.class_index, each.class_name) for each in explanations)
            try:
                for explanation in explanations:
                    files.extend(write(explanation, shown))  # those before an error are kept
            except InputError as problem:
                error = InputError(f"{image.path}: {problem}")
            about_maps = [line for explanation in explanations for line in explanation.told(with_method=False)]
            notes = tuple(dict.fromkeys([*image.notes, *doubts_line(explanations), *about_maps]))
            yield ImageResult(image.path, tuple(files), error, notes, explanations[0].gated)


def _explanations(seen: BatchLook, method: ChosenMethod, classes: Sequence[Sequence[int]]) -> list[list[Explanation]]:
    """The explanations of each image, one for each of its classes.

    The first class of all images is one batch, then the second class of those that have one, and so on.
    """
    found: list[list[Explanation]] = [[] for _ in classes]
    for place in range(max(map(len, classes))):
        images = [image for image, of_image in enumerate(classes) if place < len(of_image)]
        wanted = torch.tensor([classes[image][place] for image in images])
        for image, explanation in zip(images, seen.some(images).explain(method, wanted), strict=True):
            found[image].append(explanation)
    return found


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


def _finding(model: Model, explanation: Explanation, rule: BoxRule, shown: tuple[ShownClass, ...]) -> Finding:
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
        boxes=locate(explanation.checked_extent(), image.window, rule),
        gated=explanation.gated,
        notes=(*explanation.notes, *explanation.network_notes, *explanation.output_notes),
        output=explanation.output,
        doubts=explanation.doubts,
        targets=shown,
    )

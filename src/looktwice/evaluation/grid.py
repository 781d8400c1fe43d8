"""The grid pointing game (Böhle et al. 2021): four images of different classes in a square.

The network recognises each image alone. Then the four make a square, twice as high and as wide as the network's input,
and each class gets a map. Which share of the map's sum lies in the quarter of its class? 25 % is chance.

A network that takes its own size only gets the square at half the size, so that the square has the network's size.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from looktwice.datasets.records import Sample
from looktwice.errors import ModelError, OptionError, RunError, one_line
from looktwice.evaluation.chunks import Chunks, EvaluationImage, RunImages, decode_image, decoded_chunks
from looktwice.evaluation.pipeline import enough_memory, repeatable
from looktwice.evaluation.plan import GridPlan
from looktwice.evaluation.workers import telling_killed_decoders
from looktwice.gating.frozen import frozen
from looktwice.gating.outputs import OutputMode, as_probabilities
from looktwice.images import Window, as_pair, size_text
from looktwice.models.blank_pass import blank_pass
from looktwice.models.model import Model, as_input
from looktwice.models.preprocessing import Preprocessing
from looktwice.runs.folder import MANIFEST, read_manifest
from looktwice.runs.manifest import GridCell, GridFacts

CELLS = 4
"""Images of a square."""


def squares_of_run(
    run: Path, model: Model, images: Sequence[EvaluationImage], plan: GridPlan, *, batch_size: int, workers: int
) -> RunImages:
    """The squares of a run: those of its manifest, or new ones if it has none yet.

    Args:
        run: the run's folder.
        model: the network.
        images: all images of the run, in its order. Those on which thresholds are chosen are left out.
        plan: how many squares, and the least probability.
        batch_size: images in one pass of the network.
        workers: processes that decode; with 0 this process does.

    Raises:
        OptionError: the network has fewer than four classes.
        ModelError: the network fails on a square.
        RunError: too few images are recognised; or there is a manifest, and it cannot be read.
    """
    if len(model.classes) < CELLS:
        raise OptionError(
            f"{model.name} has {len(model.classes)} classes, and a square needs images of {CELLS} different ones; "
            "take a network with more classes, or measure boxes"
        )
    facts = read_manifest(run).run.grid if (run / MANIFEST).exists() else None
    judged = [image for image in images if not image.tuning]
    if facts is None or not _are_of(facts, judged):
        facts = choose_squares(model, judged, plan, batch_size=batch_size, workers=workers)
    facts = replace(facts, wanted=plan.squares, min_probability=plan.min_probability)
    shape = square_shape(model.preprocessing, halved=facts.halved)
    squares = tuple(_square_images(facts, judged, shape))
    return RunImages(squares, shape, partial(decode_square, halved=facts.halved), facts)


def _are_of(facts: GridFacts, images: Sequence[EvaluationImage]) -> bool:
    """Whether these images are all there; else the manifest is of another evaluation, which ``open_run`` says."""
    there = {(image.sample.id, label) for image in images for label in image.sample.labels}
    return all((cell.sample, cell.label) in there for square in facts.squares for cell in square)


def choose_squares(
    model: Model, images: Sequence[EvaluationImage], plan: GridPlan, *, batch_size: int, workers: int
) -> GridFacts:
    """Four recognised images for each square, in the order of the run.

    An image is recognised if one of its labels has the least probability or more; the most probable one is its class.
    No class is taken twice, and no two images of a square share a label. Images that cannot be decoded are left out.

    Args:
        model: the network.
        images: those that may be taken, in the order of the run.
        plan: how many squares, and the least probability.
        batch_size: images in one pass of the network.
        workers: processes that decode; with 0 this process does.

    Raises:
        RunError: there are not four such images for one square.
    """
    halved = takes_own_size_only(model)
    unreadable: list[str] = []
    recognised = 0

    def seen() -> Iterator[tuple[Sample, int]]:
        nonlocal recognised
        chunks = Chunks(images, batch_size, model.preprocessing, decode_image)
        for decoded in decoded_chunks(chunks, range(len(chunks)), workers=workers):
            unreadable.extend(decoded.unreadable)
            found = _recognised(model, decoded.images, decoded.pixels, plan.min_probability)
            recognised += len(found)
            yield from found

    with telling_killed_decoders(), repeatable(torch.get_num_threads(), model.device):
        arranged = _arranged(seen(), plan.squares)
    squares = tuple(
        tuple(GridCell(sample.id, label) for sample, label in square) for square in arranged if len(square) == CELLS
    )
    if not squares:
        raise RunError(
            f"of {len(images)} images the network recognises {recognised} with a probability of "
            f"{plan.min_probability:g} or more, and these show {sum(map(len, arranged))} different classes; a square "
            f"needs {CELLS} images without a class in common: take more images, or a smaller min_probability "
            "(--min-probability)"
        )
    return GridFacts(plan.squares, plan.min_probability, halved, squares, tuple(unreadable))


def _recognised(
    model: Model, images: Sequence[EvaluationImage], pixels: Tensor, least: float
) -> list[tuple[Sample, int]]:
    """The images (N) that the network recognises from their pixels (N, C, H, W), each with its most probable label."""
    with enough_memory(), frozen(model.module, model.output) as network, torch.no_grad(), OutputMode() as mode:
        scores = network(as_input(model.module, pixels))
    model.check_scores(scores)
    probabilities = as_probabilities(scores, model.output.kind or mode.kind_of(scores))
    found = []
    for image, own in zip(images, probabilities, strict=True):
        label = max(image.sample.labels, key=lambda label: float(own[label]))
        if image.error is None and float(own[label]) >= least:
            found.append((image.sample, label))
    return found


def _arranged(recognised: Iterable[tuple[Sample, int]], wanted: int) -> list[list[tuple[Sample, int]]]:
    """Squares of images with their classes, as they come; at most ``wanted`` are full.

    The first image of each class goes to the first square that has a place for it and none of its labels.
    """
    squares: list[list[tuple[Sample, int]]] = []
    taken: set[int] = set()
    for sample, label in recognised:
        if label in taken:
            continue
        taken.add(label)
        fitting = (square for square in squares if len(square) < CELLS and not _share_label(sample, square))
        square = next(fitting, None)
        if square is None:
            squares.append(square := [])
        square.append((sample, label))
        if sum(len(each) == CELLS for each in squares) == wanted:
            break
    return squares


def _share_label(sample: Sample, square: Iterable[tuple[Sample, int]]) -> bool:
    return any(set(sample.labels) & set(other.labels) for other, _ in square)


def takes_own_size_only(model: Model) -> bool:
    """Whether the network takes no square of twice its input's height and width.

    It takes the square if it gives a score for each of its classes then. It does not if it gives another output, or
    fails with an error that speaks of a size.

    Raises:
        ModelError: it fails in another way.
    """
    height, width = (2 * side for side in as_pair(model.preprocessing.crop))
    twice = replace(model, preprocessing=replace(model.preprocessing, resize=(height, width), crop=(height, width)))
    try:
        return blank_pass(twice).outputs != len(model.classes)
    except ModelError as error:
        cause = error.__cause__
        while isinstance(cause, ModelError):
            cause = cause.__cause__
        if cause is None or _speaks_of_size(cause):
            return True
        raise ModelError(
            f"{model.name} fails on a square of {size_text((height, width))} pixels, twice its input, and its error "
            f"does not speak of a size: {type(cause).__name__}: {one_line(cause)}; mend the network, or let its error "
            "name the size if it takes its own size only"
        ) from error


def _speaks_of_size(error: BaseException) -> bool:
    """Whether an error of a network's own code says that its input has a wrong size."""
    is_such = isinstance(error, _FAILURES) and not isinstance(error, torch.OutOfMemoryError)
    return is_such and _SIZE.search(str(error)) is not None


_FAILURES = (RuntimeError, ValueError, AssertionError)
"""What networks raise at an input of a wrong size."""


_SIZE = re.compile(r"(?<![a-z])(sizes?|shapes?|heights?|widths?|dimensions?|resolution)(?![a-z])", re.IGNORECASE)
"""What such errors speak of."""


def square_shape(preprocessing: Preprocessing, *, halved: bool) -> tuple[int, int, int]:
    """(C, H, W) of a square's pixels."""
    channels, height, width = preprocessing.input_shape
    return (channels, height, width) if halved else (channels, 2 * height, 2 * width)


def _square_images(
    facts: GridFacts, images: Sequence[EvaluationImage], shape: tuple[int, int, int]
) -> Iterator[EvaluationImage]:
    """The squares. A square has four labels, and the box of each is the quarter of its image."""
    samples = {image.sample.id: image.sample for image in images}
    _, height, width = shape
    y, x = height / 2, width / 2
    quarters = [((x * column, y * row, x * (column + 1), y * (row + 1)),) for row in range(2) for column in range(2)]
    for order, cells in enumerate(facts.squares):
        own = tuple(samples[cell.sample] for cell in cells)
        square = Sample(
            id=" + ".join(cell.sample for cell in cells),
            image=own[0].image,
            labels=tuple(cell.label for cell in cells),
            boxes=tuple(quarters),
            width=width,
            height=height,
        )
        yield EvaluationImage(square, order, tuning=False, cells=own)


def decode_square(
    square: EvaluationImage, preprocessing: Preprocessing, *, halved: bool
) -> tuple[EvaluationImage, Tensor]:
    """A square with what decoding its images showed, and its pixels (1, C, H, W): zeros if one cannot be decoded."""
    decoded = [decode_image(EvaluationImage(cell, square.order, tuning=False), preprocessing) for cell in square.cells]
    images, (a, b, c, d) = [image for image, _ in decoded], [pixels for _, pixels in decoded]
    pixels = torch.cat([torch.cat([a, b], 3), torch.cat([c, d], 3)], 2)
    if halved:
        pixels = F.avg_pool2d(pixels, 2)
    errors = [image.error for image in images if image.error is not None]
    if errors:
        return replace(square, error=errors[0]), torch.zeros_like(pixels)
    window = Window.whole(pixels.shape[-1], pixels.shape[-2])
    note = "; ".join(f"{image.sample.id}: {image.note}" for image in images if image.note) or None
    seconds = math.fsum(image.seconds for image in images)
    return replace(square, window=window, note=note, seconds=seconds), pixels

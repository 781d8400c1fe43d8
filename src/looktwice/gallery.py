"""Many images → a picture and a JSON file for each, or comparisons of methods; a broken image costs only itself."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from looktwice import __version__
from looktwice.classifier import frozen
from looktwice.errors import InputError, LooktwiceError, ModelError, OptionError
from looktwice.figures import caption, draw_boxes, grid, heat_alone, overlay, scaled
from looktwice.images import Window, read_image
from looktwice.localization import Box, BoxRule, check_map, locate
from looktwice.models import Model
from looktwice.saliency import METHODS, attend

BATCH = 8
"""Images in one pass on an accelerator: enough to keep it busy, few enough for the gates of a large network.

On the CPU it is one: batches gain nothing there, and results come as they are found.
"""

PAGE = 16
"""Rows of a comparison; more go on a further page."""

THUMBNAIL = 360
"""Longer side, in pixels, of a picture in a comparison."""

Comparison = Literal["methods", "boxes"]
"""A column for each method; or input, map, energy box and contour boxes, with a row for each method."""


@dataclass(frozen=True)
class Outcome:
    """What became of an image: the files complete with it, and why it could not be used; no image: a last page."""

    image: Path | None
    files: tuple[Path, ...] = ()
    error: InputError | OSError | None = None


@dataclass(frozen=True)
class _Shot:
    """An image as the network gets it (1, 3, H, W), the part that it covers, and the image scaled for drawing."""

    path: Path
    pixels: Tensor
    window: Window
    picture: Image.Image


@dataclass(frozen=True)
class _Finding:
    """One image seen for one class by one method: map (H, W), S_k at each step, layers that closed altogether."""

    shot: _Shot
    method: str
    index: int
    name: str
    probability: float
    heat: NDArray[np.floating]
    scores: list[float]
    closed_layers: int


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
) -> Iterator[Outcome]:
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

    def write(finding: _Finding) -> list[Path]:
        stem = f"{names[finding.shot.path]}.{finding.index}"
        boxes = locate(_heat(finding), finding.shot.window, rule)
        record = _record(model, finding)
        record |= {"options": METHODS[method].options | asked, "box_rule": asdict(rule)}
        record |= {"boxes": [asdict(box) for box in boxes]}
        return [
            write_whole(folder / f"{stem}.png", _png(_drawing(model, finding, boxes))),
            write_whole(folder / f"{stem}.json", json.dumps(record, indent=2).encode() + b"\n"),
        ]

    for shots, broken in _batches(model, images):
        yield from broken
        probabilities = _probabilities(model, shots)
        classes = probabilities.topk(top).indices if target is None else torch.full((len(shots), 1), target)
        by_class = [_findings(model, shots, probabilities, k, method, asked) for k in classes.T]
        for findings in zip(*by_class, strict=True):
            files: list[Path] = []
            error = None
            try:
                for finding in findings:
                    files += write(finding)
            except InputError as problem:
                error = InputError(f"{findings[0].shot.path}: {problem}")
            yield Outcome(findings[0].shot.path, tuple(files), error)


def compare_images(
    model: Model,
    images: Sequence[Path],
    folder: Path,
    *,
    comparison: Comparison = "methods",
    methods: Sequence[str],
    target: int | None = None,
) -> Iterator[Outcome]:
    """Images → ``compare-COMPARISON.png``, a row each; after ``PAGE`` rows ``compare-COMPARISON-2.png`` and so on.

    Args:
        model: the network to look into.
        images: files.
        folder: an existing folder. A file appears in it whole or not at all.
        comparison: what stands side by side.
        methods: names of ``METHODS``.
        target: a class index for all images, or ``None`` for the prediction. It is the same for all methods.

    Raises:
        LooktwiceError: what is wrong for all images, as in ``attend_images``.
    """
    columns = ["input", *methods] if comparison == "methods" else ["input", "map", "energy box", "contour boxes"]
    compare = _method_row if comparison == "methods" else _box_rows
    rows: list[_Row] = []
    numbers = count(1)

    def write_page() -> Path:
        cells, titles = zip(*rows[:PAGE], strict=True)
        del rows[:PAGE]
        number = next(numbers)
        name = f"compare-{comparison}.png" if number == 1 else f"compare-{comparison}-{number}.png"
        return write_whole(folder / name, _png(grid(cells, columns, titles)))

    for shots, broken in _batches(model, images):
        yield from broken
        probabilities = _probabilities(model, shots)
        classes = probabilities.argmax(1) if target is None else torch.full((len(shots),), target)
        by_method = [_findings(model, shots, probabilities, classes, method, {}) for method in methods]
        for findings in zip(*by_method, strict=True):
            error = None
            try:
                rows += compare(findings)
            except InputError as problem:
                error = InputError(f"{findings[0].shot.path}: {problem}")
            files = [write_page() for _ in range(len(rows) // PAGE)]
            yield Outcome(findings[0].shot.path, tuple(files), error)
    if rows:
        yield Outcome(None, (write_page(),))


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


def write_whole(path: Path, data: bytes) -> Path:
    """Puts a file in its place complete or not at all.

    Raises:
        LooktwiceError: it cannot be written.
    """
    part = path.with_name(f".looktwice-{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise LooktwiceError(f"{path}: cannot be written ({error.strerror}); name another folder") from error
    return path


def _batches(model: Model, images: Sequence[Path]) -> Iterator[tuple[list[_Shot], list[Outcome]]]:
    """A few images at a time that can be used, and those among them that cannot."""
    size = _batch_size(model)
    for start in range(0, len(images), size):
        read = [_read(model, path) for path in images[start : start + size]]
        yield [x for x in read if isinstance(x, _Shot)], [x for x in read if isinstance(x, Outcome)]


def _batch_size(model: Model) -> int:
    on_cpu = all(weight.device.type == "cpu" for weight in model.module.parameters())
    return 1 if on_cpu else BATCH


def _read(model: Model, path: Path) -> _Shot | Outcome:
    try:
        image = read_image(path)
        return _Shot(path, *model.prepare(image), scaled(image))
    except (InputError, OSError) as error:
        return Outcome(path, error=error)


def _probabilities(model: Model, shots: Sequence[_Shot]) -> Tensor:
    """Class probabilities (N, K) on the CPU."""
    if not shots:
        return torch.empty(0, len(model.classes))
    with frozen(model.module) as network, torch.no_grad():
        scores: Tensor = network(torch.cat([shot.pixels for shot in shots]))
    return scores.float().softmax(1).cpu()


def _findings(
    model: Model,
    shots: Sequence[_Shot],
    probabilities: Tensor,
    classes: Tensor,
    method: str,
    options: Mapping[str, Any],
) -> list[_Finding]:
    """Each image seen for its class; classes (N,)."""
    if not shots:
        return []
    pixels = torch.cat([shot.pixels for shot in shots])
    try:
        seen = attend(model.module, pixels, classes, method=method, **options)
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(f"{model.name} needs more memory than {pixels.device} has; use the CPU") from error
    return [
        _Finding(
            shot=shot,
            method=method,
            index=k,
            name=model.classes[k],
            probability=float(probabilities[row, k]),
            heat=seen.maps[row].float().cpu().numpy(),
            scores=seen.scores[row].tolist(),
            closed_layers=sum(image == row for image, _ in seen.closed),
        )
        for row, (shot, k) in enumerate(zip(shots, classes.tolist(), strict=True))
    ]


def _heat(finding: _Finding) -> NDArray[np.floating]:
    """The map, where the network gave usable numbers for this image."""
    if not np.isfinite([finding.probability, *finding.scores]).all():
        raise InputError("the network's scores are NaN or infinite; check its weights and the method's options")
    return check_map(finding.heat)


def _record(model: Model, finding: _Finding) -> dict[str, Any]:
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


def _drawing(model: Model, finding: _Finding, boxes: Sequence[Box]) -> Image.Image:
    window = finding.shot.window
    picture = overlay(finding.shot.picture, finding.heat, window)
    first, last = finding.scores[0], finding.scores[-1]
    score = f"score {first:.1f}" if len(finding.scores) == 1 else f"score {first:.1f} to {last:.1f}"
    lines = [
        _titled(finding),
        f"{finding.method} · {Path(model.name).name} · {score} · {len(boxes)} box{'es' * (len(boxes) != 1)}",
    ]
    return caption(draw_boxes(picture, [box.corners for box in boxes], window), lines)


_Row = tuple[list[Image.Image], str]
"""Pictures, and the title beside them."""


def _method_row(findings: Sequence[_Finding]) -> list[_Row]:
    """One image seen by several methods."""
    shot = findings[0].shot
    picture = _thumbnail(shot)
    maps = [overlay(picture, _heat(finding), shot.window) for finding in findings]
    return [([picture, *maps], f"{shot.path.stem}\n{_titled(findings[0])}")]


def _box_rows(findings: Sequence[_Finding]) -> list[_Row]:
    """A row for each method by which one image was seen."""
    rows = []
    for finding in findings:
        window = finding.shot.window
        picture = _thumbnail(finding.shot)
        found = [locate(_heat(finding), window, rule) for rule in (BoxRule("energy", 0.95), BoxRule())]
        boxed = [draw_boxes(picture, [box.corners for box in boxes], window) for boxes in found]
        cells = [picture, heat_alone(finding.heat, picture.size, window), *boxed]
        rows.append((cells, f"{finding.shot.path.stem} · {finding.method}\n{_titled(finding)}"))
    return rows


def _thumbnail(shot: _Shot) -> Image.Image:
    return scaled(shot.picture, THUMBNAIL, smallest=THUMBNAIL, strip=0)


def _titled(finding: _Finding) -> str:
    return f"{finding.name} · {finding.probability:.1%}"


def _png(picture: Image.Image) -> bytes:
    data = BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()

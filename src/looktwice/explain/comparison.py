"""Images side by side as different methods, classes or networks see them, at rest or step by step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from types import MappingProxyType

import torch
from PIL import Image
from torch import Tensor

from looktwice.atomic_files import write_whole
from looktwice.attention.methods import METHODS
from looktwice.errors import InputError, OptionError
from looktwice.explain.explanation import Explanation, ImageResult, PreparedImage, batches, class_probabilities, explain
from looktwice.figures.animation import animated_gif, require_ffmpeg, video
from looktwice.figures.overlay import heat_alone, overlay, scaled
from looktwice.figures.sheet import Cell, Row, Sheet, sheet_picture
from looktwice.figures.vector_sheet import CELL, require_matplotlib, vector_sheet
from looktwice.images import Window
from looktwice.localization.boxes import Box, BoxRule, locate
from looktwice.models.load import Model
from looktwice.options import check_known

ROWS_PER_PAGE = 16
"""Rows of a comparison; more go on a further page."""


ROWS_PER_FRAME = 4
"""Rows of an animation: what a screen shows at once."""


THUMBNAIL = 360
"""Longer side, in pixels, of a picture in a comparison that is made of pixels."""


TOP = 3
"""Classes of an image that stand side by side when none is named."""


FIGURES = ("methods", "boxes", "classes", "networks", "gates")
"""What stands beside the input: a column for each method; map, energy box and contour boxes (Fu et al. 2017, Fig. 3); a
column for each class; the methods on the first network, then the last of them on each other one (Fig. 1); the map with
its boxes, and where the gates are open."""


STILL = ("png", "svg", "pdf")


MOVING = ("gif", "mp4")


@dataclass(frozen=True)
class Comparison:
    """What is compared and how it is written.

    Attributes:
        figure: a name of ``FIGURES``.
        methods: names of ``METHODS``.
        targets: class indices, ``None`` for the prediction; without any it is the prediction, and for the figure of
            classes the ``TOP`` most probable ones. A class is the same for all methods and networks.
        form: one of ``STILL``, or of ``MOVING``: a frame for every step of the methods, from open gates on.

    Raises:
        OptionError: an unknown name, or methods without steps in a moving form.
    """

    figure: str
    methods: tuple[str, ...]
    targets: tuple[int | None, ...] = ()
    form: str = "png"

    def __post_init__(self) -> None:
        check_known("figure", self.figure, FIGURES)
        check_known("form", self.form, STILL + MOVING)
        for method in self.methods:
            check_known("method", method, METHODS)
        ungated = [name for name in self.methods if not _has_gates(name)]
        remedy = f"{', '.join(filter(_has_gates, METHODS))} have some"
        if self.moving and len(ungated) == len(self.methods):
            raise OptionError(f"{', '.join(ungated)}: no steps to animate; {remedy}")
        if self.figure == "gates" and ungated:
            raise OptionError(f"{', '.join(ungated)}: no gates to show; {remedy}")

    @property
    def moving(self) -> bool:
        """Frames, not one picture."""
        return self.form in MOVING


def _has_gates(method: str) -> bool:
    return METHODS[method].optimise is not None


def compare_images(
    models: Sequence[Model], images: Sequence[Path], folder: Path, comparison: Comparison
) -> Iterator[ImageResult]:
    """Images → ``compare-FIGURE.FORM``, a row or more each; when that is full ``compare-FIGURE-2.FORM`` and so on.

    Args:
        models: the network to look into; for the figure of networks, two or more with the same classes.
        images: files.
        folder: an existing folder. A file appears in it whole or not at all.
        comparison: what stands side by side.

    Raises:
        LooktwiceError: what is wrong for all images: an option, the network, a file that cannot be written, a package
            that the form needs and that is missing.
    """
    _check_networks(models, comparison.figure)
    encode = _encoder(comparison.form)
    columns = _columns(models, comparison)
    last = _last_step(comparison)
    headings = [f"step {step} of {last}" for step in range(last + 1)] if comparison.moving else [""]
    frames: list[list[Row]] = [[] for _ in headings]
    page = ROWS_PER_FRAME if comparison.moving else ROWS_PER_PAGE
    numbers = count(1)

    def write_page() -> Path:
        sheets = [Sheet(columns, rows[:page], heading) for rows, heading in zip(frames, headings, strict=True)]
        for written in frames:
            del written[:page]
        number = next(numbers)
        name = f"compare-{comparison.figure}{'' if number == 1 else f'-{number}'}.{comparison.form}"
        return write_whole(folder / name, encode(sheets))

    for usable, broken in batches(models, images):
        yield from broken
        for image, seen in zip(usable, _looks(models, usable, comparison), strict=True):
            error = None
            try:
                drawn = [_rows(comparison, seen, frame) for frame in range(len(frames))]
                for rows, more in zip(frames, drawn, strict=True):
                    rows.extend(more)
            except InputError as problem:
                error = InputError(f"{image[0].path}: {problem}")
            files = [write_page() for _ in range(len(frames[0]) // page)]
            yield ImageResult(image[0].path, tuple(files), error)
    if frames[0]:
        yield ImageResult(None, (write_page(),))


def _check_networks(models: Sequence[Model], figure: str) -> None:
    if figure == "networks" and len(models) == 1:
        raise OptionError(f"one network, {models[0].name}, to compare; give --model twice or more")
    if figure != "networks" and len(models) > 1:
        raise OptionError(f"{len(models)} networks for the figure of {figure}; give one --model, or --figure networks")
    for model in models[1:]:
        if model.classes != models[0].classes:
            raise OptionError(
                f"{model.name} and {models[0].name} have different classes; networks trained on the same are needed"
            )


def _encoder(form: str) -> Callable[[Sequence[Sheet]], bytes]:
    """Sheets, of which a still form has one, → a file; what that needs is looked for now, before the work."""
    if form == "png":
        return lambda sheets: _png(sheet_picture(sheets[0]))
    if form == "gif":
        return lambda sheets: animated_gif([sheet_picture(sheet) for sheet in sheets])
    if form == "mp4":
        require_ffmpeg()
        return lambda sheets: video([sheet_picture(sheet) for sheet in sheets])
    require_matplotlib()
    return lambda sheets: vector_sheet(sheets[0], "svg" if form == "svg" else "pdf")


def _png(picture: Image.Image) -> bytes:
    data = BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def _pairs(models: Sequence[Model], methods: Sequence[str]) -> list[tuple[int, str]]:
    """Which network with which method: all methods on the first, the last one on the others."""
    return [(0, method) for method in methods] + [(other, methods[-1]) for other in range(1, len(models))]


def _columns(models: Sequence[Model], comparison: Comparison) -> list[str]:
    named = {
        "methods": list(comparison.methods),
        "boxes": ["map", "energy box", "contour boxes"],
        "gates": ["map", "gates (dark red: most open)"],
        "networks": [f"{method}\n{_short(models[index].name)}" for index, method in _pairs(models, comparison.methods)],
        "classes": ["prediction" if target is None else models[0].classes[target] for target in comparison.targets]
        or [f"top {rank}" for rank in range(1, _top(models[0]) + 1)],
    }
    return ["input", *named[comparison.figure]]


def _short(network: str) -> str:
    """A network's own name, or its factory's."""
    return network.rpartition(":")[2]


def _top(model: Model) -> int:
    return min(TOP, len(model.classes))


def _classes(comparison: Comparison, model: Model, probabilities: Tensor) -> list[Tensor]:
    """Which classes each image is looked at for: probabilities (N, K) → one tensor (N,) for each class."""
    if not comparison.targets and comparison.figure == "classes":
        return list(probabilities.topk(_top(model)).indices.T)
    predicted = probabilities.argmax(1)
    targets = comparison.targets or (None,)
    return [predicted if target is None else torch.full_like(predicted, target) for target in targets]


def _steps(method: str) -> int:
    """After how many steps the gates are what they are; 0 without gates."""
    return int(METHODS[method].options["steps"]) if _has_gates(method) else 0


def _last_step(comparison: Comparison) -> int:
    return max(map(_steps, comparison.methods))


_Seen = list[list[list[Explanation]]]
"""One image as seen by each network with its method, for each class, after each step (without steps, once)."""


def _looks(
    models: Sequence[Model], usable: Sequence[tuple[PreparedImage, ...]], comparison: Comparison
) -> Iterator[_Seen]:
    """What there is to see in each of the images."""
    if not usable:
        return iter(())
    shots = list(zip(*usable, strict=True))
    probabilities = [class_probabilities(model, own) for model, own in zip(models, shots, strict=True)]
    classes = _classes(comparison, models[0], probabilities[0])

    def look(network: int, method: str, k: Tensor) -> list[list[Explanation]]:
        ends = range(_steps(method) + 1) if comparison.moving and _steps(method) else [None]
        return [
            explain(models[network], shots[network], probabilities[network], k, method, _until(end)) for end in ends
        ]

    found = [[look(network, method, k) for k in classes] for network, method in _pairs(models, comparison.methods)]
    return (
        [[[findings[image] for findings in steps] for steps in by_class] for by_class in found]
        for image in range(len(usable))
    )


def _until(step: int | None) -> dict[str, int]:
    """The options that end a method after a step. What it did up to there is what it does on its way further."""
    return {} if step is None else {"steps": step}


def _rows(comparison: Comparison, seen: _Seen, frame: int) -> list[Row]:
    """One image's rows, after a step where there are frames."""
    table = [[steps[min(frame, len(steps) - 1)] for steps in by_class] for by_class in seen]
    side = CELL if comparison.form in {"svg", "pdf"} else THUMBNAIL
    shot = table[0][0].shot
    picture = scaled(shot.picture, side, smallest=side, strip=0)
    stem = shot.path.stem
    if comparison.figure in _PARTS:
        parts = _PARTS[comparison.figure]
        findings = [finding for by_class in table for finding in by_class]
        return [Row([Cell(picture), *parts(picture, f)], f"{stem}\n{f.method}\n{f.titled}") for f in findings]
    if comparison.figure == "classes":
        return [Row(_maps(comparison, picture, by_class), f"{stem}\n{by_class[0].method}") for by_class in table]
    by_look = list(zip(*table, strict=True))
    titled = [looks[0].titled if comparison.figure == "methods" else looks[0].name for looks in by_look]
    return [
        Row(_maps(comparison, picture, looks), f"{stem}\n{title}") for looks, title in zip(by_look, titled, strict=True)
    ]


def _maps(comparison: Comparison, picture: Image.Image, findings: Sequence[Explanation]) -> list[Cell]:
    """The picture, and each map over it; below it what row and column do not say."""
    cells = [Cell(picture)]
    for number, finding in enumerate(findings):
        said = []
        if comparison.figure == "classes" and not (comparison.targets and comparison.targets[number] is not None):
            said.append(finding.titled)
        elif comparison.figure != "methods":
            said.append(f"{finding.probability:.1%}")
        if comparison.moving and finding.scores:
            said.append(f"score {finding.scores[-1]:.1f}")
        cells.append(Cell(overlay(picture, finding.checked_heat(), finding.shot.window), note=" · ".join(said)))
    return cells


def _box_parts(picture: Image.Image, finding: Explanation) -> list[Cell]:
    """The map, and the picture with the boxes that each rule draws from it."""
    heat, window = finding.checked_heat(), finding.shot.window
    found = [locate(heat, window, rule) for rule in (BoxRule("energy", 0.95), BoxRule())]
    boxed = [Cell(picture, _on(picture, window, boxes)) for boxes in found]
    return [Cell(heat_alone(heat, picture.size, window)), *boxed]


def _gate_parts(picture: Image.Image, finding: Explanation) -> list[Cell]:
    """The map with its boxes, and how far the gates are open at each place against where they are open most."""
    heat, window = finding.checked_heat(), finding.shot.window
    boxes = locate(heat, window)
    counted = f"{len(boxes)} box{'es' * (len(boxes) != 1)}"
    seen = Cell(
        overlay(picture, heat, window), _on(picture, window, boxes), f"score {finding.scores[-1]:.1f} · {counted}"
    )
    openness = finding.openness
    if openness is None:
        raise InputError("none of its gates has a place in the image; choose layers before the linear ones")
    # A few per cent of all gates are open in the end, so that their places would not be told apart on a scale to 1.
    relative = openness / (openness.max() or 1)
    return [seen, Cell(heat_alone(relative, picture.size, window), note=f"{openness.mean():.1%} open")]


_PARTS: Mapping[str, Callable[[Image.Image, Explanation], list[Cell]]] = MappingProxyType(
    {"boxes": _box_parts, "gates": _gate_parts}
)
"""Figures that show one finding in several cells."""


def _on(picture: Image.Image, window: Window, boxes: Sequence[Box]) -> tuple[tuple[float, float, float, float], ...]:
    """Boxes in pixels of the image → in those of the picture."""
    across, down = picture.width / window.width, picture.height / window.height
    return tuple((box.x1 * across, box.y1 * down, box.x2 * across, box.y2 * down) for box in boxes)

"""Images side by side, as several methods, classes or networks see them: as one picture, or step by step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from looktwice.attention.choice import ChosenMethod, choose_method
from looktwice.attention.methods import METHODS
from looktwice.errors import InputError, OptionError
from looktwice.explain.cells import Table, figure_rows
from looktwice.explain.explanation import (
    BatchLook,
    Explanation,
    ImageResult,
    PreparedImage,
    batches,
    doubts_line,
    look_at_batch,
)
from looktwice.export.results import write_result
from looktwice.figures.animation import animated_gif, require_ffmpeg, video
from looktwice.figures.encode import png_bytes
from looktwice.figures.sheet import Row, Sheet, sheet_picture
from looktwice.figures.vector_sheet import CELL, require_matplotlib, vector_sheet
from looktwice.labels import network_label
from looktwice.localization.boxes import BoxRule
from looktwice.models.model import Model
from looktwice.options import check_known

ROWS_PER_PAGE = 16
"""Rows of a comparison. Further rows go on a further page."""


ROWS_PER_FRAME = 4
"""Rows of an animation: as many as a screen shows at once."""


THUMBNAIL = 360
"""Longer side of each picture in a comparison that is made of pixels, in pixels."""


TOP = 3
"""Classes of an image that stand side by side when the user names none."""


FIGURES = ("methods", "boxes", "classes", "networks", "gates")
"""What stands beside the input.

- ``methods``: a column for each method.
- ``boxes``: the map, its energy box and its contour boxes (Fu et al. 2017, Fig. 3).
- ``classes``: a column for each class.
- ``networks``: the methods on the first network, then the last method on each other network (Fig. 1).
- ``gates``: the map with its boxes, and where the gates are open.
"""


STILL = ("png", "svg", "pdf")


MOVING = ("gif", "mp4")


@dataclass(frozen=True)
class Comparison:
    """What is compared, and in which form.

    Attributes:
        figure: a name of ``FIGURES``.
        methods: the methods, by name or chosen already.
        targets: class indices, ``None`` for the prediction. If there are none it is the prediction, and for the figure
            of classes the ``TOP`` most probable ones. All methods and networks show the same class.
        form: one of ``STILL`` or ``MOVING``. A moving form has a frame for every step of the methods; the first shows
            open gates.
        rule: how boxes are drawn on the maps. If there is none, only the figures ``boxes`` and ``gates`` have boxes.

    Raises:
        OptionError: an unknown name, methods without steps in a moving form, or a rule for the figure ``boxes``.
    """

    figure: str
    methods: tuple[str | ChosenMethod, ...]
    targets: tuple[int | None, ...] = ()
    form: str = "png"
    rule: BoxRule | None = None

    def __post_init__(self) -> None:
        check_known("figure", self.figure, FIGURES)
        check_known("form", self.form, STILL + MOVING)
        if self.figure == "boxes" and self.rule is not None:
            raise OptionError("the figure of boxes draws energy and contour boxes; leave other boxes out")
        remedy = f"{', '.join(name for name, row in METHODS.items() if row.has_gates)} have some"
        if self.moving and self.last_step == 0:
            raise OptionError(f"{', '.join(each.name for each in self.chosen)}: no steps to animate; {remedy}")
        ungated = [each.name for each in self.chosen if not each.method.has_gates]
        if self.figure == "gates" and ungated:
            raise OptionError(f"{', '.join(ungated)}: no gates to show; {remedy}")

    @cached_property
    def chosen(self) -> tuple[ChosenMethod, ...]:
        """The methods with their options."""
        return tuple(choose_method(method) for method in self.methods)

    @property
    def moving(self) -> bool:
        """Whether it has frames."""
        return self.form in MOVING

    @property
    def last_step(self) -> int:
        """After how many steps every method is at its end; 0 if none has steps."""
        return max(method.steps for method in self.chosen)


def compare_images(
    models: Sequence[Model], images: Sequence[Path], folder: Path, comparison: Comparison
) -> Iterator[ImageResult]:
    """Images → ``compare-FIGURE.FORM``, a row or more each. The next pages are ``compare-FIGURE-2.FORM`` and so on.

    Args:
        models: the network; for the figure of networks, two or more with the same classes.
        images: files.
        folder: an existing folder. A file appears in it complete or not at all.
        comparison: what stands side by side.

    Raises:
        LooktwiceError: what is wrong for all images: an option, the network, a file that cannot be written, a missing
            package that the form needs.
    """
    _check_networks(models, comparison.figure)
    encode = _encoder(comparison.form)
    columns = _columns(models, comparison)
    last = comparison.last_step
    headings = [f"step {step} of {last}" for step in range(last + 1)] if comparison.moving else [""]
    frames: list[list[Row]] = [[] for _ in headings]
    page = ROWS_PER_FRAME if comparison.moving else ROWS_PER_PAGE
    numbers = count(1)

    def write_page() -> Path:
        sheets = [Sheet(columns, rows[:page], heading) for rows, heading in zip(frames, headings, strict=True)]
        for rows in frames:
            del rows[:page]
        number = next(numbers)
        name = f"compare-{comparison.figure}{'' if number == 1 else f'-{number}'}.{comparison.form}"
        return write_result(folder / name, encode(sheets))

    for usable, broken in batches(models, images):
        yield from broken
        for prepared, by_frame in zip(usable, _explained(models, usable, comparison, len(frames)), strict=True):
            path = prepared[0].path
            error = None
            try:
                drawn = [_rows(comparison, table) for table in by_frame]
                for rows, more in zip(frames, drawn, strict=True):
                    rows.extend(more)
            except InputError as problem:
                error = InputError(f"{path}: {problem}")
            files = [write_page() for _ in range(len(frames[0]) // page)]
            yield ImageResult(path, tuple(files), error, (*prepared[0].notes, *_notes(by_frame[-1])))
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
    """How sheets become a file; a still form has one sheet. A missing package is found now, before the work."""
    if form == "png":
        return lambda sheets: png_bytes(sheet_picture(sheets[0]))
    if form == "gif":
        return lambda sheets: animated_gif([sheet_picture(sheet) for sheet in sheets])
    if form == "mp4":
        require_ffmpeg()
        return lambda sheets: video([sheet_picture(sheet) for sheet in sheets])
    require_matplotlib()
    return lambda sheets: vector_sheet(sheets[0], "svg" if form == "svg" else "pdf")


def _methods_of(network: int, comparison: Comparison) -> tuple[ChosenMethod, ...]:
    """The methods that explain a network: all of them for the first one, the last of them for any other."""
    return comparison.chosen if network == 0 else comparison.chosen[-1:]


def _columns(models: Sequence[Model], comparison: Comparison) -> list[str]:
    titles = {
        "methods": [method.label.title for method in comparison.chosen],
        "boxes": ["map", "energy box", "contour boxes"],
        "gates": ["map", "gates (dark red: most open)"],
        "networks": [
            f"{method.label.title}\n{network_label(model.name)}"
            for network, model in enumerate(models)
            for method in _methods_of(network, comparison)
        ],
        "classes": ["prediction" if target is None else models[0].classes[target] for target in comparison.targets]
        or [f"top {rank}" for rank in range(1, _top(models[0]) + 1)],
    }
    return ["input", *titles[comparison.figure]]


def _top(model: Model) -> int:
    return min(TOP, len(model.classes))


def _classes(comparison: Comparison, model: Model, probabilities: Tensor) -> list[Tensor]:
    """The classes to explain: probabilities (N, K) → for each class a tensor (N,) with the class of each image."""
    if not comparison.targets and comparison.figure == "classes":
        return list(probabilities.topk(_top(model)).indices.T)
    predicted = probabilities.argmax(1)
    targets = comparison.targets or (None,)
    return [predicted if target is None else torch.full_like(predicted, target) for target in targets]


def _explained(
    models: Sequence[Model], usable: Sequence[tuple[PreparedImage, ...]], comparison: Comparison, frames: int
) -> list[list[Table]]:
    """For each image and frame, the explanations to show. Each network makes one plain pass of the images."""
    if not usable:
        return []
    found: list[list[list[list[Explanation]]]] = []  # for each network with its method, class and step: N explanations
    classes: list[Tensor] = []
    for network, (model, prepared) in enumerate(zip(models, zip(*usable, strict=True), strict=True)):
        methods = _methods_of(network, comparison)
        with look_at_batch(model, prepared, methods) as seen:
            classes = classes or _classes(comparison, model, seen.probabilities)
            found += [
                [_step_by_step(seen, method, k) if comparison.moving else [seen.explain(method, k)] for k in classes]
                for method in methods
            ]
    return [
        [
            [[steps[min(frame, len(steps) - 1)][image] for steps in by_class] for by_class in found]
            for frame in range(frames)
        ]
        for image in range(len(usable))
    ]


def _step_by_step(seen: BatchLook, method: ChosenMethod, classes: Tensor) -> list[list[Explanation]]:
    """The explanations after 0, 1 … steps; once if the method has no steps.

    A method that ends after a few steps has done the same as one that goes on after them.
    """
    if not method.steps:
        return [seen.explain(method, classes)]
    return [seen.explain(method.having({"steps": step}), classes) for step in range(method.steps + 1)]


def _notes(table: Table) -> tuple[str, ...]:
    """What a reader must know of the maps of an image, each line once."""
    shown = [each for by_class in table for each in by_class]
    return tuple(
        dict.fromkeys([*doubts_line(shown), *(line for each in shown for line in each.told(with_method=True))])
    )


def _rows(comparison: Comparison, table: Table) -> list[Row]:
    return figure_rows(
        comparison.figure,
        table,
        targets=comparison.targets,
        rule=comparison.rule,
        side=CELL if comparison.form in {"svg", "pdf"} else THUMBNAIL,
        with_scores=comparison.moving,
    )

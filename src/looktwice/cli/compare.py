"""The command ``compare``: methods, classes or networks side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from looktwice.cli.inputs import (
    BoxKindName,
    Device,
    Images,
    MaxBoxes,
    MinScore,
    Output,
    OutputKindName,
    ScoresEntry,
    Threshold,
    ThresholdBy,
    WholePicture,
    box_rule,
    class_index,
    load_network,
    make_folder,
    run_on_images,
)
from looktwice.cli.preprocessing import (
    ChannelsOption,
    ClassNamesOption,
    CropOption,
    InterpolationOption,
    MeanOption,
    SizeOption,
    StdOption,
    class_names,
    input_choices,
)
from looktwice.defaults import DEFAULT_METHOD, DEFAULT_MODEL
from looktwice.errors import OptionError
from looktwice.labels import PAPER_METHODS

USUAL_METHODS = {"methods": PAPER_METHODS, "networks": ("feedback", "global_feedback")}
"""The methods of a figure if the user names none; ``DEFAULT_METHOD`` for any other figure."""


def compare_command(
    images: Images,
    figure: Annotated[
        str | None,
        typer.Option(
            help="methods, classes or networks: a column for each; boxes: input, map, energy box, contour boxes; "
            "gates: input, map with boxes, where the gates are open. [default: what is given several times; else "
            "methods, or with --animate gates]"
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names from `looktwice methods`, or FILE.py:METHOD, with commas between. [default: the paper's four "
            "for methods, local and global feedback for networks, else global feedback]"
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="A class by name or index, or auto: the prediction; repeat it for several. [default: auto; for "
            "classes the 3 most probable]",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A name from `looktwice models`, timm:NAME, hf:NAME, FILE.onnx or FILE.py:FACTORY; repeat it. "
            f"[default: {DEFAULT_MODEL}]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="default, random, or a file (.safetensors, .pth …); once, or once for each network. "
            "[default: default]",
            show_default=False,
        ),
    ] = None,
    squash: WholePicture = True,
    size: SizeOption = None,
    crop: CropOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    interpolation: InterpolationOption = None,
    channels: ChannelsOption = None,
    classes: ClassNamesOption = None,
    output_kind: OutputKindName = None,
    scores: ScoresEntry = None,
    box: BoxKindName = None,
    threshold: Threshold = None,
    threshold_by: ThresholdBy = None,
    min_score: MinScore = None,
    max_boxes: MaxBoxes = None,
    animate: Annotated[
        bool, typer.Option("--animate", help="Step by step: a GIF, or with --form mp4 a video.")
    ] = False,
    form: Annotated[
        str | None, typer.Option(help="png, svg or pdf; gif or mp4, step by step. [default: png; with --animate gif]")
    ] = None,
    output: Output = Path("out"),
    device: Device = None,
) -> None:
    """Put methods, classes, networks or ways to draw boxes side by side.

    It writes compare-FIGURE.FORM. Each image has a row, or several if more than one thing is compared. The figures of
    methods, classes and networks have boxes if an option of boxes is given, such as --box objects.
    """
    names, files = model or [DEFAULT_MODEL], weights or ["default"]
    if len(files) not in (1, len(names)):
        raise OptionError(f"{len(files)} times --weights for {len(names)} networks; give it once, or once for each")
    moving = animate or form in ("gif", "mp4")
    if animate and form in ("png", "svg", "pdf"):
        raise OptionError(f"--form {form} does not move; leave --animate out, or take gif or mp4")
    shown = figure or _likely_figure(names, target or [], moving)

    from looktwice.attention.choice import choose_method
    from looktwice.explain.comparison import Comparison, compare_images

    wanted = methods.split(",") if methods else USUAL_METHODS.get(shown, (DEFAULT_METHOD,))
    chosen = tuple(choose_method(name) for name in wanted)
    boxed = any(given is not None for given in (box, threshold, threshold_by, min_score, max_boxes))
    rule = box_rule(box, threshold, threshold_by, min_score=min_score, max_boxes=max_boxes) if boxed else None
    plan = Comparison(shown, chosen, form=form or ("gif" if animate else "png"), rule=rule)
    choices, called = input_choices(size, crop, mean, std, interpolation, channels), class_names(classes)
    make_folder(output)
    networks = [
        load_network(
            name,
            file,
            squash=squash,
            device=device,
            classes=called,
            choices=choices,
            output_kind=output_kind,
            scores=scores,
        )
        for name, file in zip(names, files * len(names) if len(files) == 1 else files, strict=True)
    ]
    plan = replace(plan, targets=tuple(class_index(networks[0], text) for text in target or []))
    run_on_images(images, lambda paths: compare_images(networks, paths, output, plan))


def _likely_figure(models: Sequence[str], targets: Sequence[str], moving: bool) -> str:
    """The figure if the user names none: of what is given several times."""
    if len(models) > 1:
        return "networks"
    if len(targets) > 1:
        return "classes"
    return "gates" if moving else "methods"

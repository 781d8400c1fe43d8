"""The command ``attend``: images in, maps with boxes out."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from looktwice.cli.inputs import (
    BoxKindName,
    Device,
    Images,
    MaxBoxes,
    MinScore,
    ModelName,
    Output,
    OutputKindName,
    ScoresEntry,
    TargetOption,
    Threshold,
    ThresholdBy,
    Weights,
    WholePicture,
    box_rule,
    chosen_method,
    class_index,
    complain,
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
from looktwice.options import check_known


def attend_command(
    images: Images,
    model: ModelName = DEFAULT_MODEL,
    weights: Weights = "default",
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
    method: Annotated[str, typer.Option(help="A name from `looktwice methods`, or FILE.py:METHOD.")] = DEFAULT_METHOD,
    target: TargetOption = None,
    top: Annotated[int | None, typer.Option(help="The N most probable classes of each image.", min=1)] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(
            help="Every class of an image with at least this probability; with --top at most N of them.", min=0, max=1
        ),
    ] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the method.")] = None,
    box: BoxKindName = None,
    threshold: Threshold = None,
    threshold_by: ThresholdBy = None,
    min_score: MinScore = None,
    boxes: Annotated[
        str, typer.Option(help="all; or largest: only the first, around the largest region or the best object.")
    ] = "all",
    max_boxes: MaxBoxes = None,
    output: Output = Path("out"),
    device: Device = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Say how an image becomes the input, and for each image which activations carry gates.",
        ),
    ] = False,
) -> None:
    """Draw a class's attention map and boxes on each image.

    An image may have several classes: repeat --target, or give --top or --min-probability.

    For each image and class it writes STEM.CLASS.png, a picture, and STEM.CLASS.json, a record for programs. Boxes are
    half-open pixels of the image, after it is turned upright as its EXIF orientation says.
    """
    given = "--top" if top is not None else "--min-probability" if min_probability is not None else None
    if given is not None and target not in (None, ["auto"]):
        raise OptionError(f"{given} takes the most probable classes, --target names some; leave one of them out")
    chosen = chosen_method(method, option or [])
    most = _most_boxes(boxes, max_boxes)
    rule = box_rule(box, threshold, threshold_by, min_score=min_score, max_boxes=most)
    choices = input_choices(size, crop, mean, std, interpolation, channels)
    make_folder(output)

    from looktwice.explain.images import attend_images

    network = load_network(
        model,
        weights,
        squash=squash,
        device=device,
        classes=class_names(classes),
        choices=choices,
        output_kind=output_kind,
        scores=scores,
    )
    if verbose:
        complain(f"{network.name}: input: {network.preprocessing}")
    named = tuple(class_index(network, text) for text in target or ["auto"])
    attend = partial(
        attend_images,
        target=None if named == (None,) else named,
        top=top,
        min_probability=min_probability,
        method=chosen,
        rule=rule,
    )
    run_on_images(images, lambda paths: attend(network, paths, output), verbose=verbose)


def _most_boxes(boxes: str, max_boxes: int | None) -> int | None:
    """How many boxes a map has at most, as --boxes and --max-boxes say."""
    check_known("choice of boxes", boxes, ("all", "largest"))
    if boxes == "largest" and max_boxes not in (None, 1):
        raise OptionError("--boxes largest keeps one box, --max-boxes several; leave one of them out")
    return 1 if boxes == "largest" else max_boxes

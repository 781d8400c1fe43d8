"""The command ``attend``: images in, maps with boxes out."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from looktwice.cli.inputs import (
    Device,
    Images,
    ModelName,
    Output,
    Squash,
    TargetOption,
    Weights,
    box_rule,
    class_index,
    make_folder,
    method_options,
    run_on_images,
)
from looktwice.errors import OptionError


def attend_command(
    images: Images,
    model: ModelName = "efficientnet_lite0",
    weights: Weights = "default",
    squash: Squash = False,
    method: Annotated[str, typer.Option(help="A name from `looktwice methods`.")] = "global_feedback",
    target: TargetOption = "auto",
    top: Annotated[int | None, typer.Option(help="The N most probable classes of each image.", min=1)] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the method.")] = None,
    box: Annotated[str, typer.Option(help="contour: a box for each region; energy: one that holds the energy.")] = (
        "contour"
    ),
    threshold: Annotated[
        float | None, typer.Option(help="The share that counts as object. [default: 0.2; for --box energy 0.95]")
    ] = None,
    threshold_by: Annotated[
        str | None, typer.Option(help="What a contour's share is of: max (of the map) or energy. [default: max]")
    ] = None,
    output: Output = Path("out"),
    device: Device = "cpu",
) -> None:
    """Draw a class's attention map and boxes on each image.

    Written are STEM.CLASS.png to look at and STEM.CLASS.json to go on with. Boxes are half-open pixels of the image,
    turned upright as its EXIF orientation says.
    """
    if top is not None and target != "auto":
        raise OptionError("--top takes the most probable classes, --target names one; leave one of them out")
    options = method_options(method, option or [])
    rule = box_rule(box, threshold, threshold_by)
    make_folder(output)

    from looktwice.explain.images import attend_images
    from looktwice.models.load import load_model

    network = load_model(model, weights=weights, squash=squash, device=device)
    index = class_index(network, target)
    look = partial(attend_images, target=index, top=top or 1, method=method, options=options, rule=rule)
    run_on_images(images, lambda paths: look(network, paths, output))

"""The command ``serve``: the page on which one drops a picture and sees what the network attends to."""

from typing import Annotated

import typer

from looktwice.cli.inputs import Device, ModelName, OutputKindName, ScoresEntry, Weights, load_network, tell
from looktwice.cli.interruption import INTERRUPTION
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
from looktwice.defaults import DEFAULT_MODEL


def serve_command(
    port: Annotated[int, typer.Option(help="The page's port; 0 takes any free one.", min=0, max=65535)] = 8123,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    model: ModelName = DEFAULT_MODEL,
    weights: Weights = "default",
    size: SizeOption = None,
    crop: CropOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    interpolation: InterpolationOption = None,
    channels: ChannelsOption = None,
    classes: ClassNamesOption = None,
    output_kind: OutputKindName = None,
    scores: ScoresEntry = None,
    device: Device = None,
) -> None:
    """Open a page on this machine: drop a picture, see what the network attends to.

    The page offers the network that is named and the default one. Weights, classes and the options of the input are
    for the named one. No picture is kept. Ctrl-C ends it.
    """
    from looktwice.web.app import create_app  # first, because this extra may be missing
    from looktwice.web.server import listen, serve

    choices, called = input_choices(size, crop, mean, std, interpolation, channels), class_names(classes)
    connections = listen(host, port)
    named = load_network(
        model, weights, device=device, classes=called, choices=choices, output_kind=output_kind, scores=scores
    )
    models = [named]
    if model != DEFAULT_MODEL:
        models.append(load_network(DEFAULT_MODEL, "default", device=device))
    shown = f"[{host}]" if ":" in host else host
    tell(f"looktwice: http://{shown}:{connections.getsockname()[1]} (Ctrl-C ends it)")
    serve(create_app(models, hosts=(host,), warm=True), connections, INTERRUPTION.begin)

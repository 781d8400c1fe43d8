"""The command ``serve``: the page on which one drops a picture and sees what the network attends to."""

from typing import Annotated

import typer

from looktwice.cli.inputs import Device, ModelName, Weights, load_network
from looktwice.defaults import DEFAULT_MODEL


def serve_command(
    port: Annotated[int, typer.Option(help="The page's port; 0 takes any free one.", min=0, max=65535)] = 8123,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    model: ModelName = DEFAULT_MODEL,
    weights: Weights = "default",
    device: Device = None,
) -> None:
    """Open a page on this machine: drop a picture, see what the network attends to.

    The page offers the network that is named and the default one. No picture is kept. Ctrl-C ends it.
    """
    from looktwice.web.app import create_app, listen, serve  # first, because this extra may be missing

    connections = listen(host, port)
    models = [load_network(model, weights, device=device)]
    if model != DEFAULT_MODEL:
        models.append(load_network(DEFAULT_MODEL, "default", device=device))
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"looktwice: http://{shown}:{connections.getsockname()[1]} (Ctrl-C ends it)")
    serve(create_app(models, hosts=(host,)), connections)

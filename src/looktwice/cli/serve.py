"""The command ``serve``: the page on which one drops a picture and sees what the network attends to."""

from typing import Annotated

import typer

EMBEDDED = "efficientnet_lite0"


def serve_command(
    port: Annotated[int, typer.Option(help="Where the page is; 0 takes any free port.", min=0, max=65535)] = 8123,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    model: Annotated[str, typer.Option(help="A name from `looktwice models`, or FILE.py:FACTORY.")] = EMBEDDED,
    weights: Annotated[str, typer.Option(help="default, random, or a .safetensors, .pth or .pt file.")] = "default",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")] = "cpu",
) -> None:
    """Open a page on this machine: drop a picture, see what the network attends to.

    The page offers the network named and the embedded one. No upload is kept. Ctrl-C ends it.
    """
    from looktwice.web.app import create_app, listen, serve  # first, since it may be the extra that is missing

    connections = listen(host, port)
    from looktwice.models.load import load_model

    models = [load_model(model, weights=weights, device=device)]
    if model != EMBEDDED:
        models.append(load_model(EMBEDDED, device=device))
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"looktwice: http://{shown}:{connections.getsockname()[1]} (Ctrl-C ends it)")
    serve(create_app(models, hosts=(host,)), connections)

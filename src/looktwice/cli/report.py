"""The command that makes a page of finished runs: ``report``."""

from pathlib import Path
from typing import Annotated

import typer

from looktwice.cli.inputs import AS_PATH, AS_RUNS, tell


def report_command(
    run: Annotated[list[Path], typer.Argument(help="Finished runs.", show_default=False, **AS_RUNS)],
    output: Annotated[Path, typer.Option(help="The page to write.", **AS_PATH)] = Path("report.html"),
    data: Annotated[
        Path | None,
        typer.Option(help="Where the images are now, if they have moved.", show_default=False, **AS_PATH),
    ] = None,
) -> None:
    """Make one HTML page of finished runs: tables, plots, and a gallery of their images with filters.

    The page needs no internet and no other file. It shows maps and boxes from the runs, and pictures if the data set is
    still where the runs found it, or if --data names its place.
    """
    from looktwice.report.page import write_report

    write_report(run, output, data=data)
    tell(output)

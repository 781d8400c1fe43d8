"""The command line. Each command is a thin layer over one function of the library.

Heavy packages are imported where a command needs them, so that help and mistakes are quick. The program itself is
imported when it runs: Ctrl-C is handled first.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from looktwice.cli.program import app as app


def run() -> None:
    """Runs the program and exits."""
    from looktwice.cli.interruption import ending_soon

    with ending_soon():
        from looktwice.cli.program import run as run_program

        run_program()


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'looktwice.cli' has no attribute {name!r}")
    from looktwice.cli.program import app

    return app

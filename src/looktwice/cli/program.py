"""The program: its commands, its streams and its exit codes."""

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from io import StringIO, TextIOWrapper
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from looktwice import __version__
from looktwice.cli.attend import attend_command
from looktwice.cli.compare import compare_command
from looktwice.cli.evaluate import evaluate_command, merge_command, table_command
from looktwice.cli.inputs import complain
from looktwice.cli.interruption import INTERRUPTION
from looktwice.cli.label import label_command
from looktwice.cli.lists import methods_command, models_command
from looktwice.cli.report import report_command
from looktwice.cli.serve import serve_command
from looktwice.errors import LooktwiceError, LooktwiceWarning, printable
from looktwice.user_code import told_of_user_code

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False)


def run() -> None:
    """Runs the program and exits.

    A mistake that its user can repair is one line, with exit code 1; so is an error of the user's own code. Wrong usage
    has exit code 2. A closed pipe ends the program without a message. Ctrl-C ends it with the line "stopped" and exit
    code 130.
    """
    _prepare_streams()
    warnings.showwarning = _show_warning
    try:
        code = _exit_code()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # now: at the interpreter's end a closed pipe would be reported
    except BrokenPipeError:
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        code = 1
    except KeyboardInterrupt:
        INTERRUPTION.tell()
        code = 130
    sys.exit(code)


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # whoever started the program has closed it
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open as long as the program runs
        elif isinstance(stream, TextIOWrapper):
            # A path may not be text, and a terminal's encoding may not have a letter; neither may end a run.
            utf8 = stream.encoding.lower() in ("utf-8", "utf8")
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


_SHOW_WARNING = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **others: Any) -> None:
    """One line for a warning of this library; those of other packages are shown as Python shows them."""
    if issubclass(category, LooktwiceWarning):
        complain(str(message))
    else:
        _SHOW_WARNING(message, category, *place, **others)


def _exit_code() -> int:
    try:
        code = app(prog_name="looktwice", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        _show_usage(error)
        return int(error.exit_code)
    except typer.Abort:
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:
        raise
    except (LooktwiceError, OSError) as error:
        complain(error)
        return 1
    except Exception as error:
        told = told_of_user_code(error)
        if told is None:
            raise
        complain(told)
        return 1


_UsageError: Any = typer.BadParameter.__bases__[0]
"""The base of all mistakes in the use of a command. Typer has it under different names in its versions."""


def _show_usage(error: Any) -> None:
    """How a command is used and what is wrong, on standard error. The arguments in it may be names of files."""
    shown = StringIO()
    error.show(file=shown)
    for line in shown.getvalue().splitlines():
        print(printable(line), file=sys.stderr)


def _print_version(wanted: bool) -> None:
    if wanted:
        print("looktwice", __version__)
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """See what a trained network attends to in an image, and find objects with it."""


_COMMANDS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "attend": attend_command,
        "compare": compare_command,
        "label": label_command,
        "evaluate": evaluate_command,
        "merge": merge_command,
        "table": table_command,
        "report": report_command,
        "serve": serve_command,
        "models": models_command,
        "methods": methods_command,
    }
)
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)

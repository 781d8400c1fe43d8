"""What commands share: their arguments, and the images that these name."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from looktwice.errors import InputError, LooktwiceError, OptionError
from looktwice.options import check_known, option_value

if TYPE_CHECKING:
    from looktwice.explain.explanation import ImageResult
    from looktwice.localization.boxes import BoxRule
    from looktwice.models.load import Model


PAPER_METHODS = "gradient,guided_backprop,feedback,global_feedback"
"""The four methods that Fu et al. (2017) compare."""


Images = Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files, folders, globs.", show_default=False)]


ModelName = Annotated[str, typer.Option("--model", help="A name from `looktwice models`, or FILE.py:FACTORY.")]


Weights = Annotated[str, typer.Option(help="default, random, or a .safetensors, .pth or .pt file.")]


Squash = Annotated[bool, typer.Option("--squash", help="Resize the whole image instead of cutting out its centre.")]


TargetOption = Annotated[str, typer.Option(help="A class by name or index; auto: the network's own prediction.")]


Output = Annotated[Path, typer.Option(help="Folder for the results, made when it is missing.")]


Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")]


def complain(error: LooktwiceError | OSError) -> None:
    """One line of trouble on standard error."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename or 'output'}: {error.strerror}"
    print("looktwice:", " ".join(text.split()), file=sys.stderr)


def _check_method(name: str) -> None:
    from looktwice.attention.methods import METHODS

    check_known("method", name, METHODS)


def method_options(method: str, pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts → the method's options, each of its default's type."""
    from looktwice.attention.methods import METHODS

    _check_method(method)
    defaults = METHODS[method].options
    chosen = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise OptionError(f"--option {pair}: KEY=VALUE is needed, with one of {', '.join(defaults)}")
        check_known(f"option for {method}", key, defaults)
        chosen[key] = option_value(key, text, defaults[key])
    return chosen


def class_index(network: "Model", target: str) -> int | None:
    """The class a user names; ``None`` for "auto"."""
    from looktwice.models.load import find_class

    return None if target == "auto" else find_class(network.classes, target)


def make_folder(folder: Path) -> None:
    """Makes the folder for results, and checks that it can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LooktwiceError(f"{folder}: cannot be made ({error.strerror}); name another --output") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LooktwiceError(f"{folder}: cannot be written to; name another --output")


def run_on_images(images: Sequence[str], work: "Callable[[list[Path]], Iterator[ImageResult]]") -> None:
    """Does the work on the images named: files on standard output, trouble on standard error, a bar on a terminal.

    Raises:
        typer.Exit: with 1, when an image could not be used.
    """
    from rich.console import Console
    from rich.progress import Progress

    paths, failures = _find(images)
    # The bar goes to standard error; what is printed passes above it only where that is the same terminal.
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), redirect_stdout=sys.stdout.isatty())
    with bar:
        task = bar.add_task("images", total=len(paths))
        for outcome in work(paths) if paths else ():
            for file in outcome.files:
                print(file, flush=True)
            if outcome.error is not None:
                complain(outcome.error)
                failures += 1
            bar.advance(task, outcome.image is not None)
    if failures:
        print(f"looktwice: {failures} of the inputs could not be used; see above", file=sys.stderr)
        raise typer.Exit(1)


def _find(images: Sequence[str]) -> tuple[list[Path], int]:
    """The files behind the arguments, each once, and how many arguments had none."""
    found = [_find_one(image) for image in images]
    paths = [path for files in found if files is not None for path in files]
    return list(dict.fromkeys(paths)), found.count(None)


def _find_one(image: str) -> list[Path] | None:
    from looktwice.images import find_images

    try:
        return find_images([image])
    except (InputError, OSError) as error:
        complain(error)
        return None


def box_rule(box: str, threshold: float | None, by: str | None) -> "BoxRule":
    """The rule that --box, --threshold and --threshold-by name, with its usual threshold where none is given."""
    from looktwice.localization.boxes import BoxRule

    if box == "energy" and by is not None:
        raise OptionError("--threshold-by is for contours; the energy box's threshold is a share of the energy anyway")
    if threshold is None:
        threshold = 0.95 if box == "energy" else BoxRule.threshold
    return BoxRule(cast(Any, box), threshold, cast(Any, by or BoxRule.by))

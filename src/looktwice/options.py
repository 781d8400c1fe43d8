"""Checks of names and values that a user writes."""

import math
from ast import literal_eval
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from looktwice.errors import OptionError


def check_choice(name: str, value: str, known: Any) -> None:
    """Checks that a value is one of a type's literals.

    Args:
        name: of the argument, for the error.
        value: what the caller gave.
        known: a ``Literal`` of strings.

    Raises:
        OptionError: the value is another.
    """
    if value not in get_args(known):
        raise OptionError(f"{name} is {value!r}; one of {', '.join(get_args(known))} is needed")


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Checks that a name is known.

    Args:
        kind: what the name stands for, such as "method", for the error.
        name: what the user wrote.
        known: all names there are.

    Raises:
        OptionError: the name is not known. The message tells the most similar names, or all names.
    """
    names = list(known)
    if name not in names:
        near = get_close_matches(name, names, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(names)}"
        raise OptionError(f"unknown {kind}: {name!r}; {hint}")


def option_value(name: str, text: str, default: object) -> object:
    """An option of a method as the user wrote it → its value.

    ``layers`` and ``rank`` have their own rules. Every other option takes a value of its default's type: a text, a
    number, true or false. An option with a default of another type takes a Python literal, such as ``None`` or (1, 2).

    Args:
        name: "OPTION" or "METHOD.OPTION".
        text: what the user wrote.
        default: the option's default value.

    Returns:
        The value.

    Raises:
        OptionError: the text is no value of this option.
    """
    key = name.rpartition(".")[2]
    try:
        if key == "layers":
            return _layers(text)
        if key == "rank":
            return None if text == "none" else int(text)
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if not isinstance(default, str | int | float):
            return literal_eval(text)
        value = type(default)(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
    except (KeyError, SyntaxError, ValueError) as error:
        kinds = {bool: "true or false", int: "a whole number", float: "a number"}
        own = {
            "layers": "all, fine, coarse, coarsest or whole numbers with commas between",
            "rank": "none or a whole number",
        }
        needed = own.get(key) or kinds.get(type(default), "a Python value")
        raise OptionError(f"--option {name}={text}: {needed} is needed; the default is {default}") from error
    return value


def _layers(text: str) -> str | list[int] | None:
    if text == "all":
        return None
    return text if text in {"fine", "coarse", "coarsest"} else [int(index) for index in text.split(",")]

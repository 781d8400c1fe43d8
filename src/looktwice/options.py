"""Names and values that a user writes, checked against what there is."""

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from looktwice.errors import OptionError


def check_choice(name: str, value: str, known: Any) -> None:
    """Refuses a value that is not among the literals of a type."""
    if value not in get_args(known):
        raise OptionError(f"{name} is {value!r}; one of {', '.join(get_args(known))} is needed")


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Refuses a name that is not known, with the nearest ones.

    Raises:
        OptionError: it is not among ``known``.
    """
    names = list(known)
    if name not in names:
        near = get_close_matches(name, names, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(names)}"
        raise OptionError(f"unknown {kind}: {name!r}; {hint}")


def option_value(name: str, text: str, default: object) -> object:
    """A method's option as text → as a value: ``layers`` and ``rank`` by their own rules, others as their default is.

    Args:
        name: the option's name, with anything before a dot.
        text: what the user wrote.
        default: the value it has otherwise.

    Raises:
        OptionError: the text says no such value.
    """
    key = name.rpartition(".")[2]
    try:
        if key == "layers":
            return _layers(text)
        if key == "rank":
            return None if text == "none" else int(text)
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        value = type(default)(text)  # type: ignore[call-arg]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
    except (KeyError, ValueError) as error:
        kinds = {bool: "true or false", int: "a whole number", float: "a number"}
        own = {
            "layers": "all, fine, coarse, coarsest or whole numbers with commas between",
            "rank": "none or a whole number",
        }
        needed = own.get(key) or kinds.get(type(default), "text")
        raise OptionError(f"--option {name}={text}: {needed} is needed; the default is {default}") from error
    return value


def _layers(text: str) -> str | list[int] | None:
    if text == "all":
        return None
    return text if text in {"fine", "coarse", "coarsest"} else [int(index) for index in text.split(",")]

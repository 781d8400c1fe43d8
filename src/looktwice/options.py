"""Checks of names and values that a user writes."""

import math
from ast import literal_eval
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, get_args

from looktwice.errors import OptionError, cut, quoted

KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
"""What an option takes whose default has this type."""

OWN_KINDS: Mapping[str, str] = {
    "layers": "all, fine, coarse, coarsest or whole numbers with commas between",
    "rank": "none or a whole number",
}
"""What the options take that have a rule of their own."""


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
        raise OptionError(f"{name} is {_shown(value)}; one of {', '.join(get_args(known))} is needed")


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
        near = get_close_matches(name, names, n=3) if isinstance(name, str) else []
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(names)}"
        raise OptionError(f"unknown {kind}: {quoted(name)}; {hint}")


def check_kind(name: str, value: object, kind: type) -> None:
    """Checks that a value is true or false, a whole number, a number or a text. NaN and infinity are numbers.

    Args:
        name: of the argument, for the error.
        value: what the caller gave.
        kind: a key of ``KINDS``.

    Raises:
        OptionError: the value has another type.
    """
    if not _is(value, kind):
        raise OptionError(f"{name} is {cut(repr(value))}; {KINDS[kind]} is needed")


def check_fields(owner: object, kinds: Mapping[str, type]) -> None:
    """Checks the fields of a frozen dataclass as ``check_kind`` does. NumPy's numbers become Python's own.

    Args:
        owner: the object, while it is made.
        kinds: field → what it holds.

    Raises:
        OptionError: a value has another type.
    """
    for name, kind in kinds.items():
        value = getattr(owner, name)
        check_kind(name, value, kind)
        object.__setattr__(owner, name, python_number(value))


def python_number(value: Any) -> Any:
    """A number of NumPy as one of Python, which JSON can hold; any other value as it is."""
    if type(value) in (bool, int, float):
        return value
    return int(value) if isinstance(value, Integral) else float(value) if isinstance(value, Real) else value


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, _ABSTRACT.get(kind, kind))


_ABSTRACT: Mapping[type, type] = {int: Integral, float: Real}
"""NumPy's numbers are of these types too."""


def check_options(owner: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Checks the names of options, and that each value is of its default's type.

    Args:
        owner: whose options they are, for the error.
        given: what the caller gave.
        defaults: all options with their defaults. A default that is no text, number or truth value allows any value.

    Raises:
        OptionError: an option is unknown, or its value has another type or is not finite.
    """
    for name, value in given.items():
        check_known(f"option for {owner}", name, defaults)
        needed = _needed(name, value, defaults[name])
        if needed:
            raise OptionError(f"{name} is {cut(repr(value))}; {needed} is needed; the default is {defaults[name]!r}")


def _needed(name: str, value: Any, default: object) -> str | None:
    """What an option takes, if it does not take this value."""
    whole = _is(value, int)
    if name == "layers":
        return None if value is None or (isinstance(value, Collection) and _are_layers(value)) else OWN_KINDS[name]
    if name == "rank":
        return None if value is None or whole else OWN_KINDS[name]
    if isinstance(default, bool):
        return None if isinstance(value, bool) else KINDS[bool]
    if isinstance(default, int):
        return None if whole else KINDS[int]
    if isinstance(default, float):
        number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        return None if number else KINDS[float]
    return KINDS[str] if isinstance(default, str) and not isinstance(value, str) else None


def _are_layers(value: Collection[object]) -> bool:
    """Whether these are whole numbers. A text is checked where its layers are looked up."""
    return isinstance(value, str) or all(isinstance(index, Integral) and not isinstance(index, bool) for index in value)


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
    except (KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        needed = OWN_KINDS.get(key) or KINDS.get(type(default), "a Python value")
        raise OptionError(f"--option {name}={cut(text)}: {needed} is needed; the default is {default}") from error
    return value


def _shown(value: object) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


def _layers(text: str) -> str | list[int] | None:
    if text == "all":
        return None
    return text if text in {"fine", "coarse", "coarsest"} else [int(index) for index in text.split(",")]

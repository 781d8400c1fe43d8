"""Frozen dataclasses ↔ JSON values: names are the keys, types are checked, what is missing gets its default."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A value as JSON has it: dataclasses and mappings become objects, sequences become lists."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(each) for key, each in value.items()}
    return [to_json(each) for each in value] if isinstance(value, (tuple, list)) else value


def from_json(kind: type[T], content: Any) -> T:
    """A dataclass from a JSON object. Keys that it has no field for are left out.

    Raises:
        ValueError: the content is no object, a field without default is missing, or a value has a wrong type.
    """
    made: T = _parsed(kind, content, kind.__name__)
    return made


def _parsed(kind: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(inner, value, name)
    if is_dataclass(kind):
        return _object(kind, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(_parsed(inner[0], each, name) for each in value)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: _parsed(inner[1], each, f"{name}.{key}") for key, each in value.items()}
    if kind is Any or (origin is Literal and value in inner) or _is_scalar(kind, value):
        return value
    raise ValueError(f"{name} is {value!r}")


def _one_of(kinds: Sequence[Any], value: Any, name: str) -> Any:
    """A value of one of several kinds; a list is for a tuple among them."""
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    fitting = [kind for kind in others if (get_origin(kind) is tuple) == isinstance(value, list)]
    return _parsed((fitting or others)[0], value, name)


def _object(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}")
    hints = get_type_hints(kind)
    given = {key: _parsed(hints[key], each, f"{name}.{key}") for key, each in value.items() if key in hints}
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"{name} is not complete") from error


def _is_scalar(kind: Any, value: Any) -> bool:
    """Whether a value is a text, number or truth value of this kind; whole numbers are floats too."""
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, int) and abs(value) >= 2**63:
        return False  # nothing counts so far, and no float holds a number of 400 digits
    return isinstance(kind, type) and isinstance(value, (int, float) if kind is float else kind)

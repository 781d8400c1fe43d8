"""A method as a user chooses it: by name, or a row of one's own, with some of its options changed."""

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from looktwice.attention.methods import METHODS, Method, find_method
from looktwice.errors import OptionError
from looktwice.labels import LABELS, Label, label_of
from looktwice.options import check_known, check_options
from looktwice.user_code import source_file


@dataclass(frozen=True)
class MethodCode:
    """The code of a method of one's own, so that results of different code can be told apart.

    Attributes:
        file: the name of its file; ``None`` if it has none, as in an interactive session.
        sha256: of the file's content, 64 hex digits; ``None`` likewise.
    """

    file: str | None = None
    sha256: str | None = None

    @classmethod
    def of_file(cls, file: Path | None) -> "MethodCode":
        """The code in a file."""
        if file is None or not file.is_file():
            return cls()
        return cls(file.name, hashlib.sha256(file.read_bytes()).hexdigest())


@dataclass(frozen=True)
class ChosenMethod:
    """A method with its name and all of its options.

    Attributes:
        name: its name in options, rows and files; for ``FILE.py:NAME`` it is NAME.
        method: its row of the table.
        options: every option with its value.
        code: the code of a method of one's own; ``None`` for a method of ``METHODS``.
    """

    name: str
    method: Method
    options: Mapping[str, Any]
    code: MethodCode | None = None

    @property
    def label(self) -> Label:
        """Its title, short name and colour."""
        return self.method.label

    @property
    def steps(self) -> int:
        """How many steps its gates take; 0 without gates or steps."""
        return int(self.options.get("steps", 0)) if self.method.has_gates else 0

    def having(self, options: Mapping[str, Any]) -> "ChosenMethod":
        """The same method with some of its options changed.

        Raises:
            OptionError: an option that the method does not have, or a value of another type than its default.
        """
        check_options(self.name, options, self.method.options)
        return replace(self, options={**self.options, **options})


def choose_method(method: str | ChosenMethod) -> ChosenMethod:
    """A method with its default options.

    Args:
        method: a name of ``METHODS``, or where a row of one's own is: ``path/to/file.py:NAME`` or
            ``package.module:NAME``. A method that is chosen already is returned as it is.

    Raises:
        OptionError: no method has this name, or a method of one's own has a name of ``METHODS``.
        ModelError: the file or the name in it is missing, or is no ``Method``.
    """
    if isinstance(method, ChosenMethod):
        return method
    if ":" in method:
        row = find_method(method)
        return _own(method.rpartition(":")[2], row, MethodCode.of_file(source_file(method)))
    check_known("method", method, METHODS)
    return ChosenMethod(method, METHODS[method], METHODS[method].options)


def choose_methods(methods: Mapping[str, Mapping[str, Any] | Method | ChosenMethod]) -> tuple[ChosenMethod, ...]:
    """Several methods with their options.

    Args:
        methods: for each name, as ``choose_method`` takes it, the options that differ from the defaults. The value may
            also be a row of one's own, which gets this name.

    Raises:
        OptionError: none is given, two have the same name, or a name or an option is not possible.
        ModelError: a file or a name in it is missing, or is no ``Method``.
    """
    if not methods:
        raise OptionError(f"no method is named; there are {', '.join(METHODS)}")
    chosen = [_choose(name, given) for name, given in methods.items()]
    names = [each.name for each in chosen]
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise OptionError(f"two methods are named {doubled[0]}; give one of them another name")
    return tuple(chosen)


def _choose(name: str, given: Mapping[str, Any] | Method | ChosenMethod) -> ChosenMethod:
    if isinstance(given, ChosenMethod):
        return given
    if isinstance(given, Method):
        return _own(name, given, _code_of_row(given))
    return choose_method(name).having(given)


def _own(name: str, row: Method, code: MethodCode | None) -> ChosenMethod:
    """A row of one's own under its name. A row that kept the label of the one it was made from gets a new label."""
    if name in METHODS:
        raise OptionError(f"the method {name} of your own has a name of the package's; give it another one")
    if not name.isidentifier():
        raise OptionError(f"a method of your own is named {name!r}; letters, digits and underscores are needed")
    if "code" in row.options:
        raise OptionError(
            f"{name} has an option named code, which runs keep for its file; give the option another name"
        )
    label = label_of(name) if row.label in LABELS.values() else row.label
    return ChosenMethod(name, replace(row, label=label), row.options, code)


def _code_of_row(row: Method) -> MethodCode | None:
    """The code of the function that a row has; ``None`` if it has none, or one of the package's."""
    function: Any = row.optimise or row.attribute
    while isinstance(function, partial):
        function = function.func
    if function is None or (function.__module__ or "").partition(".")[0] == "looktwice":
        return None
    try:
        file = inspect.getsourcefile(function if inspect.isroutine(function) else type(function))
    except TypeError:
        file = None
    return MethodCode.of_file(Path(file) if file else None)

"""A method as a user chooses it: a name of the table, or where a method of one's own is, with some options changed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from looktwice.attention.methods import METHODS, Method
from looktwice.labels import Label
from looktwice.options import check_known


@dataclass(frozen=True)
class ChosenMethod:
    """A method with its name and all of its options.

    Attributes:
        name: its name in options, rows and files.
        method: its row of the table.
        options: every option with its value.
    """

    name: str
    method: Method
    options: Mapping[str, Any]

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
            OptionError: an option that the method does not have.
        """
        for name in options:
            check_known(f"option for {self.name}", name, self.method.options)
        return replace(self, options={**self.options, **options})


def choose_method(method: str | ChosenMethod) -> ChosenMethod:
    """A method by name, with its default options. A method that is chosen already is returned as it is.

    Raises:
        OptionError: no method has this name.
    """
    if isinstance(method, ChosenMethod):
        return method
    check_known("method", method, METHODS)
    return ChosenMethod(method, METHODS[method], METHODS[method].options)

"""An older edition of the package beside today's, in one process.

Python keeps one module of a name. So an older edition has its own modules, and they are put in place while it works:
what a function imports when it is called is then of the older edition too.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "looktwice"


class Edition:
    """The package as a folder has it.

    Args:
        source: the folder with ``looktwice`` in it, such as ``src`` of an older checkout.

    Raises:
        SystemExit: there is no such package in the folder.
    """

    def __init__(self, source: Path) -> None:
        package = source.resolve() / PACKAGE
        if not (package / "__init__.py").exists():
            raise SystemExit(f"{source} has no {PACKAGE}/__init__.py; the src folder of an older checkout is needed")
        self._modules: dict[str, ModuleType] = {}
        with self.in_place():
            sys.path.insert(0, str(package.parent))
            try:
                self.attend: Callable[..., Any] = import_module(f"{PACKAGE}.attention.api").attend
            finally:
                sys.path.remove(str(package.parent))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While this lasts, Python knows the modules of this edition. Its ``attend`` is to be called here only."""
        others = _take_out()
        sys.modules.update(self._modules)
        try:
            yield
        finally:
            self._modules = _take_out()
            sys.modules.update(others)


def _take_out() -> dict[str, ModuleType]:
    """The package's modules, which Python no longer knows."""
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {name: sys.modules.pop(name) for name in names}

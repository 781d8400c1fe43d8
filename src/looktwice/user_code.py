"""Objects from a user's own Python file or package, named as ``path/to/file.py:name`` or ``package.module:name``."""

import contextlib
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from looktwice.errors import LooktwiceError, ModelError, one_line


def load_object(name: str, kind: str) -> Any:
    """The object that ``FILE.py:NAME`` or ``package.module:NAME`` names.

    The file's own folder can be imported from while it is read, as it can for a script that Python runs.

    Args:
        name: the place and the name, with a colon between.
        kind: what is looked for, for messages: "network", "method".

    Raises:
        ModelError: no such file, no such name in it, or an error in the user's own code.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute.isidentifier():
        raise ModelError(f"{name!r} is no {kind}; write path/to/file.py:NAME or package.module:NAME")
    with user_code(name), importable(place):
        home = _import_file(Path(place), kind) if place.endswith(".py") else importlib.import_module(place)
    if not hasattr(home, attribute):
        known = [
            key for key, value in vars(home).items() if not key.startswith("_") and not isinstance(value, ModuleType)
        ]
        near = difflib.get_close_matches(attribute, known, n=3, cutoff=0.4) or known[:3]
        raise ModelError(f"{place} has no {attribute!r}; it has {', '.join(near) or 'nothing'}")
    return getattr(home, attribute)


@contextlib.contextmanager
def importable(place: str) -> Iterator[None]:
    """Inside the ``with``, Python finds modules beside the file ``place``, or in the current folder for a package."""
    folder = Path(place).parent if place.endswith(".py") else Path()
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have taken it out itself
            sys.path.remove(entry)


@contextlib.contextmanager
def user_code(what: str) -> Iterator[None]:
    """Turns whatever the user's own code raises, ``sys.exit`` included, into one line.

    Raises:
        ModelError: the user's code failed. Errors of this library pass as they are.
    """
    try:
        yield
    except LooktwiceError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{what}: its own code fails with {type(error).__name__}: {one_line(error)}") from error


def _import_file(file: Path, kind: str) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"{file}: no such file; the {kind} is looked for there")
    # In sys.modules, because dataclasses and pickle look up a class's module there.
    key = f"looktwice_{kind}_{file.stem}"
    spec = importlib.util.spec_from_file_location(key, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[key] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Objects from a user's own Python file or package: ``path/to/file.py:NAME`` or ``package.module:NAME``."""

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
    """The object of a name in a user's own file or package.

    While the file is read it can import modules from its own folder, like a script that Python runs.

    Args:
        name: ``FILE.py:NAME`` or ``package.module:NAME``.
        kind: what the object is, for messages: "network" or "method".

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


def source_file(name: str) -> Path | None:
    """The file that an object is in which ``load_object`` has loaded; ``None`` if its module has no file.

    Args:
        name: as for ``load_object``.
    """
    place = name.rpartition(":")[0]
    if place.endswith(".py"):
        return Path(place)
    file = getattr(sys.modules.get(place), "__file__", None)
    return Path(file) if file else None


@contextlib.contextmanager
def importable(place: str) -> Iterator[None]:
    """Inside the ``with``, modules can be imported from the folder of a file.

    Args:
        place: ``FILE.py``; or ``package.module``, for which the current folder is taken.
    """
    folder = Path(place).parent if place.endswith(".py") else Path()
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have removed it
            sys.path.remove(entry)


@contextlib.contextmanager
def user_code(what: str) -> Iterator[None]:
    """Turns every error of the user's own code, and also ``sys.exit``, into one line.

    Args:
        what: how the line begins: which code it is.

    Raises:
        ModelError: the user's code failed. An error of this library stays as it is.
    """
    try:
        yield
    except LooktwiceError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{what}: its own code fails with {type(error).__name__}: {one_line(error)}") from error


def _import_file(file: Path, kind: str) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"{file}: no such file; check the path of the {kind}")
    # Dataclasses and pickle look for a class's module in sys.modules.
    key = f"looktwice_{kind}_{file.stem}"
    spec = importlib.util.spec_from_file_location(key, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[key] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

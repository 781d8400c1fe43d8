"""A network of the user's own, from a file or a package."""

import contextlib
import difflib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from torch import nn

from looktwice.errors import ModelError, one_line


def call_factory(name: str) -> nn.Module:
    """The network that ``FILE.py:factory`` or ``package.module:factory`` makes."""
    place, _, attribute = name.rpartition(":")
    if not place or not attribute.isidentifier():
        raise ModelError(f"{name!r} is no network; write path/to/file.py:factory or package.module:factory")
    with user_code(name), _importable(Path(place).parent if place.endswith(".py") else Path()):
        home = _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        factory = getattr(home, attribute, None)
        if not callable(factory):
            known = [key for key, value in vars(home).items() if callable(value) and not key.startswith("_")]
            near = difflib.get_close_matches(attribute, known, n=3, cutoff=0.4) or known[:3]
            raise ModelError(f"{place} has no function {attribute!r}; it has {', '.join(near) or 'none'}")
        module = factory()
    if not isinstance(module, nn.Module):
        raise ModelError(f"{name}: the factory returned {type(module).__name__}; it must return a torch.nn.Module")
    return module


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"{file}: no such file; the network's factory is looked for there")
    # In sys.modules, since dataclasses and pickle look a class's module up there.
    key = f"looktwice_network_{file.stem}"
    spec = importlib.util.spec_from_file_location(key, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[key] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Python finds modules in ``folder`` inside the ``with``, as it does beside a script that it runs."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have taken it out itself
            sys.path.remove(entry)


@contextlib.contextmanager
def user_code(what: str) -> Iterator[None]:
    """Whatever the user's code raises, a script's ``sys.exit`` included, becomes one line."""
    try:
        yield
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{what}: its own code fails with {type(error).__name__}: {one_line(error)}") from error

"""Objects from a user's own Python file or package: ``path/to/file.py:NAME`` or ``package.module:NAME``.

Each load has modules of its own. Two folders may both have a ``blocks.py``, and each network gets the one beside it. A
folder may also have a module that is named like an installed package.
"""

import builtins
import contextlib
import difflib
import importlib
import importlib.util
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import Loader
from importlib.machinery import FrozenImporter, ModuleSpec, PathFinder, SourceFileLoader
from itertools import count
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from looktwice.errors import LooktwiceError, ModelError, one_line


def load_object(name: str, kind: str) -> Any:
    """The object of a name in a user's own file or package.

    The file can import modules from its own folder, like a script that Python runs.

    Args:
        name: ``FILE.py:NAME`` or ``package.module:NAME``.
        kind: what the object is, for messages: "network" or "method".

    Raises:
        ModelError: no such file, no such name in it, or an error in the user's own code.
    """
    with opened_object(name, kind) as found:
        return found


@contextlib.contextmanager
def opened_object(name: str, kind: str) -> Iterator[Any]:
    """As ``load_object``. Inside the ``with`` the user's modules can also be found by their names.

    Code that imports by a text needs that: ``importlib.import_module("blocks")``, or ``torch.load`` of a whole network.
    One thread at a time can be inside.

    Args:
        name: as for ``load_object``.
        kind: likewise.

    Raises:
        ModelError: as ``load_object``.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute.isidentifier():
        raise ModelError(f"{name!r} is no {kind}; write path/to/file.py:NAME or package.module:NAME")
    file = Path(place) if place.endswith(".py") else None
    if file is not None and not file.is_file():
        raise ModelError(f"{file}: no such file; check the path of the {kind}")
    modules = _UserModules(_folders(file) if file else [Path.cwd()])
    with modules.entered():
        with user_code(name):
            home = modules.import_file(file) if file else modules.import_package(place)
        _FILES[place] = getattr(home, "__file__", None)
        if not hasattr(home, attribute):
            raise ModelError(f"{place} has no {attribute!r}; it has {_likely(attribute, home)}")
        yield getattr(home, attribute)


def _folders(file: Path) -> list[Path]:
    """Where a file's neighbours are: beside its name, and beside the file itself if the name is a link."""
    return list(dict.fromkeys([Path(os.path.abspath(file)).parent, Path(os.path.realpath(file)).parent]))  # noqa: PTH100


def source_file(name: str) -> Path | None:
    """The file that an object is in which ``load_object`` has loaded; ``None`` if its module has no file.

    Args:
        name: as for ``load_object``.
    """
    file = _FILES.get(name.rpartition(":")[0])
    return Path(file) if file else None


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
        raise ModelError(_told(what, error)) from error


def told_of_user_code(error: BaseException) -> str | None:
    """Where the user's own code failed, and how, in one line; ``None`` if an error does not come from it.

    An error may come later than in ``user_code``: a network may fail on some pictures only, or on some batches.
    """
    places = [
        f"{frame.f_code.co_filename}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(_PREFIX)
    ]
    return _told(places[-1], error) if places else None


def _told(what: str, error: BaseException) -> str:
    text = re.sub(rf"\b{_PREFIX}\d+\.", "", one_line(error))  # modules have their own names in messages
    return f"{what}: its own code fails with {type(error).__name__}: {text}"


def _likely(attribute: str, home: ModuleType) -> str:
    """The names in a module that the user may have meant."""
    known = [key for key, value in vars(home).items() if not key.startswith("_") and not isinstance(value, ModuleType)]
    return ", ".join(difflib.get_close_matches(attribute, known, n=3, cutoff=0.4) or known[:3]) or "nothing"


_PREFIX = "looktwice_user_"
"""How the package is called under which the modules of a load stand in ``sys.modules``; a number follows."""

_FILES: dict[str, str | None] = {}
_NUMBERS = count(1)
_LOCK = threading.RLock()
_LOADS: dict[str, "_UserModules"] = {}
_ENTERED = threading.local()
"""``modules``: the ``_UserModules`` that this thread has entered last."""


class _UserModules:
    """The modules of one load, apart from all others.

    They stand in ``sys.modules`` as ``looktwice_user_7.blocks``, so pickle and dataclasses find their classes. Their
    code has an ``__import__`` of its own, which turns ``import blocks`` into this name, now and in any later call.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.name = f"{_PREFIX}{next(_NUMBERS)}"
        self.builtins: Mapping[str, Any] = {**vars(builtins), "__import__": self._import}
        self.aliases: set[str] = set()
        self.hidden: Mapping[str, ModuleType] = {}
        self._package = ModuleType(self.name)
        # The folders that are searched before and after the installed packages.
        self._folders: tuple[list[str], list[str]] = ([str(folder) for folder in folders], [])
        self._known_path: list[str] | None = None  # sys.path before the user's code; None while it is not entered
        self._owned: dict[str, bool] = {}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Inside the ``with``, this thread finds the user's modules by their names. Failed loads leave nothing."""
        with _LOCK:
            outer = getattr(_ENTERED, "modules", None)
            if outer is not None:
                outer.drop_aliases()
            self._register()
            self.hidden = self._hide()
            try:
                yield
            except BaseException:
                self._forget()
                raise
            finally:
                self._leave()
                sys.modules.update(self.hidden)
                _ENTERED.modules = outer

    def import_file(self, file: Path) -> ModuleType:
        """The module in a file, run anew."""
        stem = file.stem.replace(".", "_")
        name = f"{self.name}.{stem}"
        self._owned[stem] = stem != "looktwice"  # its neighbours may import it
        loader = _OwnLoader(name, os.path.abspath(file))  # noqa: PTH100
        spec = importlib.util.spec_from_file_location(name, loader.path, loader=loader)
        assert spec is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module

    def import_package(self, place: str) -> ModuleType:
        """A module of an installed package, or of one in the current folder."""
        return importlib.import_module(f"{self.name}.{place}" if self.owns(place.partition(".")[0]) else place)

    def owns(self, top: str) -> bool:
        """Whether a module of this name is the user's own, as for a script: beside the file, or else not installed."""
        owned = self._owned.get(top)
        if owned is None:
            owned = self._searched(top)
            if owned or self._known_path is None:  # the user's code may still add folders
                self._owned[top] = owned
        return owned

    def spec(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Where a module of this load is, by its name in ``sys.modules``."""
        self._package.__path__ = [*self._folders[0], *self._added(), *self._folders[1]]
        found = PathFinder.find_spec(name, self._package.__path__ if name.count(".") == 1 else path)
        if found is not None and isinstance(found.loader, SourceFileLoader):
            found.loader = _OwnLoader(name, found.loader.path)
        return found

    def alias(self, name: str) -> ModuleType:
        """The user's module of this name, to stand in ``sys.modules`` under its plain name too."""
        self.aliases.add(name)
        return importlib.import_module(f"{self.name}.{name}")

    def drop_aliases(self) -> None:
        """Removes the user's modules from ``sys.modules`` under their plain names."""
        for name in self.aliases:
            sys.modules.pop(name, None)
        self.aliases.clear()

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` for the code of this load."""
        top = name.partition(".")[0]
        if level or not self.owns(top):
            found = builtins.__import__(name, globals, locals, fromlist or (), level)
            return self._own_importlib() if found is importlib else found
        found = builtins.__import__(f"{self.name}.{name}", globals, locals, fromlist or ())
        return found if fromlist else sys.modules[f"{self.name}.{top}"]

    def _own_importlib(self) -> ModuleType:
        """``importlib`` for the code of this load, whose ``import_module`` finds the user's own modules."""

        def import_module(name: str, package: str | None = None) -> ModuleType:
            own = not name.startswith(".") and self.owns(name.partition(".")[0])
            return importlib.import_module(f"{self.name}.{name}" if own else name, package)

        own = ModuleType(importlib.__name__, importlib.__doc__)
        vars(own).update({**vars(importlib), "import_module": import_module})
        return own

    def _searched(self, top: str) -> bool:
        # Python has these before it looks into any folder. This library cannot do without itself.
        first = ("__main__", "looktwice", *sys.builtin_module_names)
        if top in first or FrozenImporter.find_spec(top) is not None:
            return False
        before, after = [*self._folders[0], *self._added()], self._folders[1]
        specs = [(PathFinder.find_spec(top, path), own) for path, own in ((before, True), (self._installed(), False))]
        specs.append((PathFinder.find_spec(top, after), True))
        found = [(spec, own) for spec, own in specs if spec is not None]
        # A folder without __init__.py counts only if there is no other.
        found.sort(key=lambda pair: pair[0].origin is None)
        return bool(found) and found[0][1] and not _is_loaded(found[0][0])

    def _installed(self) -> list[str]:
        return sys.path if self._known_path is None else self._known_path

    def _added(self) -> list[str]:
        """What the user's code has put on ``sys.path``. What an installed package puts there is its own matter."""
        known = self._known_path
        if known is None:
            return []
        return [
            os.path.abspath(entry)  # noqa: PTH100
            for entry in sys.path
            if isinstance(entry, str) and entry not in known and not _is_of_packages(entry)
        ]

    def _register(self) -> None:
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
        _LOADS[self.name] = _ENTERED.modules = self
        sys.modules[self.name] = self._package
        self._package.__path__ = list(self._folders[0])
        self._known_path = list(sys.path)

    def _hide(self) -> dict[str, ModuleType]:
        """Takes others' modules with a name of this folder's out of ``sys.modules``, and returns them."""
        names = set()
        for folder in self._folders[0]:
            with contextlib.suppress(OSError):  # a folder may let its files be read but not be listed
                names |= {entry.name.partition(".")[0] for entry in os.scandir(folder)}
        names = {name for name in names if name in sys.modules and _may_be_aliased(name) and self.owns(name)}
        hidden = [name for name in sys.modules if name.partition(".")[0] in names]
        return {name: sys.modules.pop(name) for name in hidden}

    def _leave(self) -> None:
        self.drop_aliases()
        known = self._known_path or []
        added = self._added()
        first = min((place for place, entry in enumerate(sys.path) if entry in known), default=0)
        front = {os.path.abspath(entry) for entry in sys.path[:first] if isinstance(entry, str)}  # noqa: PTH100
        self._folders[0].extend(entry for entry in added if entry in front)
        self._folders[1].extend(entry for entry in added if entry not in front)
        sys.path[:] = [*known, *(entry for entry in sys.path if entry not in known and _is_of_packages(entry))]
        self._known_path = None

    def _forget(self) -> None:
        _LOADS.pop(self.name, None)
        for name in [name for name in sys.modules if name == self.name or name.startswith(f"{self.name}.")]:
            del sys.modules[name]


def _is_loaded(spec: ModuleSpec) -> bool:
    """Whether the program has imported this very file before, by its plain name. Then its objects are shared."""
    loaded = getattr(sys.modules.get(spec.name), "__spec__", None)
    if not isinstance(loaded, ModuleSpec) or loaded.name != spec.name:
        return False
    if spec.origin is not None:
        return loaded.origin == spec.origin
    return list(loaded.submodule_search_locations or ()) == list(spec.submodule_search_locations or ())


def _is_of_packages(entry: str) -> bool:
    """Whether an entry of ``sys.path`` belongs to an installed package."""
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(entry).parts)


def _may_be_aliased(top: str) -> bool:
    """Whether a name may be taken from other code for a while: not one of Python's own library."""
    return top not in sys.stdlib_module_names


class _OwnLoader(SourceFileLoader):
    """Runs a user's source file as a module of its load. It neither reads nor writes ``__pycache__``.

    Two versions of a file that are saved in the same second, with the same size, share their cached code.
    """

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the import machinery passes it
        """The compiled file."""
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the file with its load's own ``__import__``."""
        vars(module)["__builtins__"] = _LOADS[module.__name__.partition(".")[0]].builtins
        super().exec_module(module)


class _ReplacingLoader(Loader):
    """Puts another module into ``sys.modules`` under the name that was asked for.

    Args:
        module_of: the name → that module.
    """

    def __init__(self, module_of: Callable[[str], ModuleType]) -> None:
        self._module_of = module_of

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual empty module; ``exec_module`` replaces it."""

    def exec_module(self, module: ModuleType) -> None:
        """Replaces the module. Python's import machinery allows that."""
        sys.modules[module.__name__] = self._module_of(module.__name__)


class _Finder:
    """The entry of ``sys.meta_path`` that finds users' modules."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, _: object = None) -> ModuleSpec | None:
        """Where a module is; ``None`` if it is not a user's. ``importlib.abc.MetaPathFinder`` has this method."""
        top = name.partition(".")[0]
        if top in _LOADS:
            return _LOADS[top].spec(name, path)
        modules: _UserModules | None = getattr(_ENTERED, "modules", None)
        if modules is None or not _may_be_aliased(top) or not modules.owns(top):
            return None
        if _is_asked_by_a_package():
            return ModuleSpec(name, _ReplacingLoader(modules.hidden.__getitem__)) if name in modules.hidden else None
        return ModuleSpec(name, _ReplacingLoader(modules.alias))


def _is_asked_by_a_package() -> bool:
    """Whether an installed package is being imported, and imports a module itself. It never means the user's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("importlib"):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "<module>" and _is_of_packages(frame.f_code.co_filename)


_FINDER = _Finder()

"""Benchmarks as modules. Their folder is not on the path, because helpers of the tests share some of its names."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Imports a benchmark by name, after the others that it imports."""

    def imported(name: str, *needed: str) -> ModuleType:
        for each in (*needed, name):
            spec = importlib.util.spec_from_file_location(each, FOLDER / f"{each}.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, each, module)
            spec.loader.exec_module(module)
        return module

    return imported

"""The command line, a network and a photograph, shared by the tests of this folder."""

import sys

import pytest
import torch

from command_line import NETWORKS, Ran
from looktwice.cli import run
from noise import noise


@pytest.fixture
def looktwice(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["looktwice", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run()
        return Ran(end.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def net(tmp_path):
    """Networks that take a moment, by factory."""
    file = tmp_path / "networks.py"
    file.write_text(NETWORKS)
    return lambda name="net": f"{file}:{name}"


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "photo.png"
    noise().save(file)
    return file


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    """What the commands compute is compared with what the CPU computes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

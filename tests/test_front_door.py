"""What ``import looktwice`` offers."""

import subprocess
import sys

import pytest

import looktwice


@pytest.mark.parametrize("name", looktwice.__all__)
def test_every_name_is_there(name):
    assert hasattr(looktwice, name)
    assert name in dir(looktwice)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'atend'"):
        _ = looktwice.atend


@pytest.mark.parametrize("name", ["attend", "load_model", "locate", "evaluate"])
def test_the_verbs_show_an_example(name):
    """``tests/docs`` runs all examples."""
    assert "Example:\n" in getattr(looktwice, name).__doc__
    assert ">>> " in getattr(looktwice, name).__doc__


def test_importing_it_loads_nothing_heavy():
    script = "import sys, looktwice; print([name for name in ('torch', 'numpy', 'PIL', 'cv2') if name in sys.modules])"
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    assert subprocess.check_output([sys.executable, "-c", script], env=environment, text=True) == "[]\n"

"""Networks of one's own."""

import re
import sys
import textwrap

import pytest

from looktwice.errors import ModelError, OptionError
from looktwice.images import Window
from looktwice.models import IMAGENET, load_model
from own_networks import SMALL_NET, picture


def test_a_file_with_a_factory(net_file):
    before = list(sys.path)
    model = load_model(f"{net_file}:net")
    assert (model.classes, model.weights) == (("class 0", "class 1", "class 2"), "as its factory made them")
    assert model.preprocessing == IMAGENET
    assert not model.module.training
    assert sys.path == before


def test_a_thousand_outputs_are_imagenets(net_file):
    assert load_model(f"{net_file}:thousand").classes[281] == "tabby"


def test_a_file_may_import_its_neighbours(net_file):
    (net_file.parent / "entry_of_nets.py").write_text(
        "def late():\n    import nets_aside\n    return nets_aside.net()\n"
    )
    (net_file.parent / "nets_aside.py").write_text(SMALL_NET)
    assert len(load_model(f"{net_file.parent / 'entry_of_nets.py'}:late").classes) == 3


def test_a_module_of_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "my_package_of_nets").mkdir()
    (tmp_path / "my_package_of_nets" / "inner.py").write_text(SMALL_NET)
    monkeypatch.chdir(tmp_path)
    model = load_model("my_package_of_nets.inner:net", classes=["a", "b", "c"], squash=True)
    assert model.classes == ("a", "b", "c")
    assert model.prepare(picture(50, 70))[1] == Window.whole(50, 70)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nte", "has no 'nte'; it has net"),
        ("number", "returned int"),
        ("broken", "RuntimeError: first line second line"),
        ("leaves", "SystemExit: 3"),
        ("gray", "shape (1, 3, 224, 224): its own code fails"),
        ("", "path/to/file.py:NAME"),
        ("a-b", "path/to/file.py:NAME"),
    ],
)
def test_factories_that_fail_are_one_line(net_file, factory, message):
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        load_model(f"{net_file}:{factory}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.py:net", "no_such_package.module:net", "C:/net.py"])
def test_places_that_do_not_exist(name):
    with pytest.raises(ModelError):
        load_model(name)


def test_file_that_does_not_compile(tmp_path):
    (tmp_path / "bad.py").write_text("def net(:\n")
    with pytest.raises(ModelError, match="SyntaxError"):
        load_model(f"{tmp_path / 'bad.py'}:net")


def test_class_names_must_be_as_many_as_outputs(net_file):
    with pytest.raises(ModelError, match=r"2 class names.*3 outputs"):
        load_model(f"{net_file}:net", classes=["a", "b"])


def test_random_is_not_a_factorys(net_file):
    with pytest.raises(OptionError, match="that its factory gives it"):
        load_model(f"{net_file}:net", weights="random")


def test_dataclasses_work_in_a_file(tmp_path):
    body = """
    from __future__ import annotations
    from dataclasses import dataclass
    from torch import nn

    @dataclass
    class Sizes:
        classes: int = 2

    def net():
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, Sizes().classes))
    """
    (tmp_path / "sized.py").write_text(textwrap.dedent(body))
    assert len(load_model(f"{tmp_path / 'sized.py'}:net").classes) == 2

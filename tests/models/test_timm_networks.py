"""Networks of timm by name: preprocessing, class names, weights up to the request, and what is refused."""

import re
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from looktwice.errors import MissingExtraError, ModelError
from looktwice.models import load_model, timm_model, weights_hash
from looktwice.models import timm_networks as networks
from looktwice.models.class_names import imagenet_classes
from looktwice.models.preprocessing import Preprocessing
from noise import noise

timm = pytest.importorskip("timm")
NAME = "timm:test_resnet"
"""A network for tests: 160 × 160 pixels, ImageNet's classes."""


def scores(model, image):
    batch, _ = model.prepare(image)
    with torch.no_grad():
        return model.module(batch)[0]


@pytest.fixture
def published(monkeypatch, tmp_path):
    """The Hub, as a folder with the weights of timm's test network. Returns the requests and the weights."""
    made = timm.create_model("test_resnet")
    save_file(made.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def fetch(repository, *, weights):
        asked.append((repository, weights))
        return tmp_path

    monkeypatch.setattr(networks, "fetch_repository", fetch)
    return asked, made, tmp_path


def test_random_weights_are_seeded_and_said_so():
    torch.manual_seed(7)
    first = load_model(NAME, weights="random")
    torch.manual_seed(8)
    second = load_model(NAME, weights="random")
    assert first.weights == "random"
    assert first.name == NAME
    assert weights_hash(first.module) == weights_hash(second.module)
    assert not first.module.training
    assert scores(first, noise(200, 180)).shape == (1000,)
    assert first.classes == imagenet_classes()


def test_default_weights_come_from_the_hub_by_timms_own_address(published):
    asked, made, _ = published
    model = load_model(NAME)
    (name, wanted) = asked[0]
    assert (name, wanted) == (timm.get_pretrained_cfg("test_resnet").hf_hub_id, True)
    assert model.weights == f"timm {name}"
    assert weights_hash(model.module) == weights_hash(made)
    assert "state_dict" not in model.module.pretrained_cfg


def test_a_tag_asks_for_its_own_weights(published):
    asked, _, _ = published
    tag = timm.list_pretrained("test_resnet.*")[0]
    load_model(f"timm:{tag}")
    assert asked[0][0] == f"timm/{tag}"


def test_weights_at_a_web_address_are_asked_for_there(monkeypatch, tmp_path):
    asked = []

    def fetch(address, name):
        asked.append((address, name))
        raise ModelError("no route to host")

    monkeypatch.setattr(networks, "fetch_address", fetch)
    with pytest.raises(ModelError, match="no route"):
        load_model("timm:gcvit_xxtiny")
    assert asked == [(timm.get_pretrained_cfg("gcvit_xxtiny").url, "timm:gcvit_xxtiny")]


def test_published_weights_that_do_not_fit_are_one_line(published):
    _, made, folder = published
    save_file({"conv1.0.weight": made.state_dict()["conv1.0.weight"]}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"timm:test_resnet: timm cannot make it \(RuntimeError: .*Missing") as caught:
        load_model(NAME)
    assert "\n" not in str(caught.value)


def test_a_file_with_weights_is_read(published):
    asked, made, folder = published
    model = load_model(NAME, weights=folder / "model.safetensors")
    assert asked == []
    assert weights_hash(model.module) == weights_hash(made)
    assert model.weights.endswith("model.safetensors")


def test_class_names_set_the_number_of_classes():
    model = load_model(NAME, weights="random", classes=["cat", "dog"])
    assert model.classes == ("cat", "dog")
    assert scores(model, noise(200, 180)).shape == (2,)


def test_published_weights_keep_their_own_classes(published):
    with pytest.raises(ModelError, match="2 class names for timm:test_resnet, which has 1000 outputs"):
        load_model(NAME, classes=["cat", "dog"])


@pytest.mark.parametrize(
    ("count", "named"),
    [
        (1000, {0: "tench", 281: "tabby"}),
        (11821, {}),
        (21841, {}),
        (21843, {}),
        (7, {0: "class 0", 6: "class 6"}),
    ],
)
def test_classes_are_those_of_the_imagenet_with_this_number_of_classes(count, named):
    names = networks._class_names({}, count)
    assert len(names) == count
    assert {index: names[index] for index in named} == named
    if count > 1000:
        assert "tabby" in names


def test_classes_of_the_weights_come_first():
    names = networks._class_names({"label_names": ["n1", "n2"], "label_descriptions": {"n1": "cat"}}, 2)
    assert names == ("cat", "n2")
    assert networks._class_names({"label_names": ["n1", "n2"], "label_descriptions": ["cat", "dog"]}, 2) == (
        "cat",
        "dog",
    )


FACTS = {
    "input_size": (3, 224, 224),
    "crop_pct": 0.875,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
}


@pytest.mark.parametrize(
    ("change", "resize", "crop", "interpolation", "squash"),
    [
        ({}, 256, 224, "bicubic", False),
        ({"crop_pct": 0.95}, 235, 224, "bicubic", False),
        ({"crop_pct": 1.0, "crop_mode": "squash"}, (224, 224), 224, "bicubic", True),
        ({"crop_pct": 0.95, "crop_mode": "squash"}, (235, 235), 224, "bicubic", False),
        (
            {"crop_pct": 1.0, "crop_mode": "squash", "input_size": (3, 64, 96)},
            (64, 96),
            (64, 96),
            "bicubic",
            True,
        ),
        ({"interpolation": "lanczos"}, 256, 224, "lanczos", False),
        ({"interpolation": "random"}, 256, 224, "bicubic", False),
        ({"input_size": (3, 288, 288), "crop_pct": 1.0}, 288, 288, "bicubic", False),
    ],
)
def test_preprocessing_is_that_of_the_weights(change, resize, crop, interpolation, squash):
    found = networks._preprocessing("timm:x", FACTS | change)
    assert found == Preprocessing(resize, crop, (0.5,) * 3, (0.25,) * 3, interpolation, squash)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"crop_mode": "border"}, "'border'"),
        ({"interpolation": "area"}, "'area'"),
        ({"input_size": (3, 64, 96)}, "64×96 pixels by crop_mode 'center'"),
    ],
)
def test_preprocessing_that_is_not_possible_is_refused(change, seen):
    with pytest.raises(ModelError, match=rf"timm:x: .*{seen}.*FILE\.py:FACTORY"):
        networks._preprocessing("timm:x", FACTS | change)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "convnext_tiny.in12k",
        "convnext_tiny.in12k_ft_in1k_384",
        "vit_medium_patch16_gap_384",
    ],
)
def test_input_is_the_one_of_timms_own_transform(name):
    facts = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    image = noise(410, 330)
    theirs = timm.data.create_transform(**facts)(image)
    ours, _ = networks._preprocessing(name, facts).prepare(image)
    difference = (ours[0] - theirs) * torch.tensor(facts["std"]).view(3, 1, 1) * 255
    assert difference.abs().max() < 2.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:test_resnett", "no network of timm is named 'test_resnett'; the nearest are timm:test_resnet"),
        ("timm:ResNet18", "nearest are timm:resnet18"),
        ("timm:", "no network of timm is named ''"),
        ("timm:resnet18.a1in1k", "no weights with the tag 'a1in1k' for resnet18; the nearest tags are a1_in1k"),
        ("timm:vgg11_bn.nothing_of_this", "nearest tags are tv_in1k"),
        ("timm:ftp:resnet18", "no such source; write timm:NAME"),
        ("timm:timm/resnet18", "no such source; write timm:NAME"),
        ("timm:local-dir:/gone/away", "/gone/away has no config.json"),
    ],
)
def test_unknown_names_are_one_line(name, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_model(name, weights="random")
    assert "\n" not in str(caught.value)


def test_a_network_without_a_classifier_is_refused():
    with pytest.raises(ModelError, match="timm:vit_tiny_patch16_dinov3 has no classifier: it gives features"):
        timm_model(timm.create_model("test_resnet", num_classes=0), "timm:vit_tiny_patch16_dinov3")


def test_a_network_that_gives_features_is_refused():
    with pytest.raises(ModelError, match="timm:test_resnet has no classifier"):
        timm_model(timm.create_model("test_resnet", features_only=True))


def test_a_network_for_which_timm_has_no_weights_is_one_line():
    without = next(name for name in timm.list_models() if not timm.get_pretrained_cfg(name).has_weights)
    with pytest.raises(ModelError, match=f"timm has no weights for {without}; pass weights=FILE"):
        networks._published(f"timm:{without}", without)


def test_a_repository_is_fetched_and_built_by_its_configuration(published):
    asked, made, folder = published
    made.pretrained_cfg["label_names"] = None
    timm.models.save_for_hf(made, folder, safe_serialization=True)
    model = load_model("timm:hf_hub:somebody/small")
    assert asked == [("somebody/small", True)]
    assert model.weights == "hf_hub:somebody/small"
    assert weights_hash(model.module) == weights_hash(made)
    load_model("timm:hf-hub:somebody/small@main", weights="random")
    assert asked[1] == ("somebody/small@main", False)
    assert weights_hash(load_model(f"timm:local-dir:{folder}").module) == weights_hash(made)


def test_a_folder_without_weights_is_one_line(published):
    _, made, folder = published
    timm.models.save_for_hf(made, folder, safe_serialization=True)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors; pass weights=FILE"):
        load_model(f"timm:local-dir:{folder}")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'looktwice[timm]'")):
        load_model(NAME)


def test_an_object_of_timm_becomes_a_model():
    model = timm_model(timm.create_model("test_resnet", num_classes=4), weights="mine")
    assert (model.name, model.weights) == ("timm:test_resnet", "mine")
    assert model.preprocessing.crop == 160
    assert model.classes == ("class 0", "class 1", "class 2", "class 3")
    assert scores(replace(model, module=model.module.eval()), noise(200, 180)).shape == (4,)


def test_an_object_of_another_package_is_refused():
    with pytest.raises(ModelError, match="Conv2d has no pretrained_cfg"):
        timm_model(nn.Conv2d(3, 4, 1))

"""Classifiers of transformers by name, from a folder: weights, preprocessing, class names, and what is refused."""

import json
import re
import sys

import pytest
import torch

from looktwice import attend
from looktwice.errors import LooktwiceWarning, MissingExtraError, ModelError
from looktwice.models import Preprocessing, hugging_face_model, load_model, weights_hash
from looktwice.models import hugging_face as networks
from noise import noise

transformers = pytest.importorskip("transformers")
NAMES = ("cat", "cup", "fox")


def labels(names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def small_resnet(**options):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], **options)
    return transformers.ResNetForImageClassification(config)


def small_vit(**options):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return transformers.ViTConfig(**size, image_size=32, patch_size=8, **options)


def small_convnext(**options):
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], **options)
    return transformers.ConvNextForImageClassification(config)


@pytest.fixture
def folder(tmp_path):
    """A folder that ``save_pretrained`` wrote: a ResNet with three classes, and ConvNeXt's processor."""
    torch.manual_seed(5)
    small_resnet(**labels(NAMES)).save_pretrained(tmp_path)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875).save_pretrained(tmp_path)
    return tmp_path


def logits(model, image):
    with torch.no_grad():
        return model.module(model.prepare(image)[0]).logits


def test_a_folder_is_loaded_with_its_preprocessing_and_its_names(folder, capfd):
    model = load_model(f"hf:{folder}")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    assert weights_hash(model.module) == weights_hash(theirs)
    assert model.preprocessing == Preprocessing(73, 64, (0.5,) * 3, (0.5,) * 3, "bicubic")
    assert (model.name, model.classes, model.weights) == (f"hf:{folder}", NAMES, str(folder))
    assert not model.module.training
    assert logits(model, noise(90, 70)).shape == (1, 3)
    capfd.readouterr()
    load_model(f"hf:{folder}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("build", [small_convnext, lambda **o: transformers.ViTForImageClassification(small_vit(**o))])
def test_networks_without_relu_are_loaded(tmp_path, build):
    build(**labels(NAMES)).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model = load_model(f"hf:{tmp_path}")
    assert (model.preprocessing.crop, model.preprocessing.squash) == (32, True)
    assert logits(model, noise(90, 70)).shape == (1, 3)


def test_attend_takes_the_object_itself(folder):
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = hugging_face_model(network, processor)
    images, _ = model.prepare(noise(90, 70))
    found = attend(network, images, 1)
    assert found.maps.shape == (1, 64, 64)
    assert model.name == "hf:ResNetForImageClassification"
    assert model.classes == NAMES


def test_random_weights_are_seeded_and_not_the_folders(folder):
    first, second = (load_model(f"hf:{folder}", weights="random") for _ in range(2))
    assert first.weights == "random"
    assert weights_hash(first.module) == weights_hash(second.module)
    assert weights_hash(first.module) != weights_hash(load_model(f"hf:{folder}").module)


def test_class_names_set_the_number_of_classes(folder):
    model = load_model(f"hf:{folder}", weights="random", classes=["a", "b"])
    assert model.classes == ("a", "b")
    assert logits(model, noise(90, 70)).shape == (1, 2)
    with pytest.raises(ModelError, match=r"2 class names for hf:.*, which has 3 outputs"):
        load_model(f"hf:{folder}", classes=["a", "b"])


def test_a_file_with_weights_is_read(folder):
    model = load_model(f"hf:{folder}", weights=folder / "model.safetensors")
    assert weights_hash(model.module) == weights_hash(load_model(f"hf:{folder}").module)


def test_weights_in_half_precision_become_single(folder):
    small_resnet(**labels(NAMES)).half().save_pretrained(folder)
    assert next(load_model(f"hf:{folder}").module.parameters()).dtype == torch.float32


@pytest.mark.parametrize(("count", "first"), [(3, "class 0"), (1000, "tench")])
def test_classes_without_names_are_numbered_or_imagenets(count, first):
    model = hugging_face_model(small_resnet(num_labels=count), transformers.ViTImageProcessor())
    assert (model.classes[0], len(model.classes)) == (first, count)


def test_without_a_processor_imagenets_preprocessing_is_taken_and_said(tmp_path):
    transformers.ViTForImageClassification(small_vit(**labels(NAMES))).save_pretrained(tmp_path)
    with pytest.warns(LooktwiceWarning, match=r"has no image processor; .*32×32.*mean 0\.485"):
        model = load_model(f"hf:{tmp_path}")
    assert (model.preprocessing.resize, model.preprocessing.crop) == (32, 32)


def refused(name, message, **options):
    with pytest.raises(ModelError, match=message) as caught:
        load_model(name, **options)
    assert "\n" not in str(caught.value)


def test_a_backbone_without_its_classifier_is_refused(tmp_path):
    transformers.ViTModel(small_vit()).save_pretrained(tmp_path)
    refused(f"hf:{tmp_path}", r"not those of a classifier: 2 missing \(classifier\.bias, classifier\.weight\)")


def test_a_text_model_is_refused(tmp_path):
    config = transformers.BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    transformers.BertModel(config).save_pretrained(tmp_path)
    refused(f"hf:{tmp_path}", "transformers cannot load .* name a network for image classification")


def test_pickled_weights_are_read_as_plain_tensors_only_when_they_are_named(folder):
    old = folder / "pytorch_model.bin"
    module = load_model(f"hf:{folder}").module
    torch.save(module.state_dict(), old)
    (folder / "model.safetensors").unlink()
    refused(f"hf:{folder}", rf"has no \.safetensors file; pass weights={re.escape(str(old))}")
    assert weights_hash(load_model(f"hf:{folder}", weights=old).module) == weights_hash(module)
    old.unlink()
    refused(f"hf:{folder}", "save it with save_pretrained, or pass weights=FILE")


def test_code_beside_the_weights_is_never_run(folder):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config |= {"auto_map": {"AutoModelForImageClassification": "own.Net", "AutoConfig": "own.Config"}}
    file.write_text(json.dumps(config | {"model_type": "own_kind"}))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    refused(f"hf:{folder}", "transformers cannot load")
    refused(f"hf:{folder}", "transformers cannot load", weights="random")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json; name a folder"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "names no model_type"),
        (lambda folder: (folder / "config.json").write_text('{"architecture": "resnet18"}'), "timm:local-dir:"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"{}"), "transformers cannot load"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "transformers cannot load"),
    ],
    ids=["no configuration", "damaged configuration", "no mapping", "timm", "damaged weights", "damaged processor"],
)
def test_a_folder_that_is_not_whole_is_one_line(folder, change, message):
    change(folder)
    refused(f"hf:{folder}", message)


def test_a_hub_name_is_fetched_and_said(folder, monkeypatch):
    asked = []

    def fetch(repository, **options):
        asked.append((repository, options["weights"]))
        return folder

    monkeypatch.setattr(networks, "fetch_repository", fetch)
    assert load_model("hf:somebody/small@v2").weights == "Hugging Face somebody/small@v2"
    load_model("hf:small", weights="random")
    assert asked == [("somebody/small@v2", True), ("small", False)]


def test_without_a_connection_the_line_names_the_folder_as_the_way_out(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: 1 / 0)
    refused("hf:somebody/never-fetched", r"could not be fetched from https://huggingface\.co/.*hf:FOLDER")


@pytest.mark.parametrize("name", ["hf:", "hf:./gone", "hf:/gone/away", "hf:../gone", "hf:a/b/c", "hf:a b"])
def test_a_folder_that_is_not_there_is_one_line(name):
    refused(name, "no such folder, and no name of a repository; write hf:OWNER/NAME or hf:FOLDER")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'looktwice[transformers]'")):
        load_model("hf:somebody/small")


def test_an_object_of_another_package_is_refused():
    with pytest.raises(ModelError, match=r"Conv2d has no config\.id2label"):
        hugging_face_model(torch.nn.Conv2d(3, 4, 1))

"""Which classes of an image get a map: named ones, the most probable ones, or all that are probable enough."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from looktwice.errors import InputError, ModelError, OptionError
from looktwice.explain import explanation
from looktwice.explain.class_choice import ClassChoice
from looktwice.explain.images import attend_images
from looktwice.images import read_image
from looktwice.models import IMAGENET, Model, NetworkOutput
from noise import noise_files

PROBABILITIES = torch.tensor([[0.9, 0.2, 0.7, 0.7], [0.1, 0.3, 0.0, 0.2]], dtype=torch.double)


MULTILABEL = NetworkOutput("multilabel_logits")


def network(output=MULTILABEL, classes=5):
    torch.manual_seed(4)
    layers = [nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
    with torch.no_grad():
        module[-1].weight *= 20
        module[-1].bias.copy_(torch.linspace(-1, 1, classes))
    return Model("net", module.eval(), replace(IMAGENET, resize=64, crop=64), tuple("abcde")[:classes], output=output)


@pytest.fixture
def photos(tmp_path):
    return noise_files(tmp_path, 4, 90, 70)


@pytest.mark.parametrize(
    ("target", "top", "least", "expected"),
    [
        (None, None, None, [[0], [1]]),
        (None, 2, None, [[0, 2], [1, 3]]),
        (None, None, 0.25, [[0, 2, 3], [1]]),
        (None, 2, 0.25, [[0, 2], [1]]),
        (None, None, 0.5, [[0, 2, 3], []]),
        (None, None, 0.7, [[0, 2, 3], []]),
        (None, None, 1, [[], []]),
        (None, None, 0, [[0, 2, 3, 1], [1, 3, 0, 2]]),
        (3, None, None, [[3], [3]]),
        ([3, 1], None, None, [[3, 1], [3, 1]]),
        ([None, 1], None, None, [[0, 1], [1]]),
        ([1, None, 1], None, None, [[1, 0], [1]]),
    ],
)
def test_the_classes_of_each_image_by_hand(target, top, least, expected):
    found = ClassChoice.of(network(classes=4), target, top, least).of_images(PROBABILITIES)
    assert [[round(PROBABILITIES[row, k].item(), 3) for k in classes] for row, classes in enumerate(found)] == [
        [round(PROBABILITIES[row, k].item(), 3) for k in classes] for row, classes in enumerate(expected)
    ]  # classes 2 and 3 of the first image are as probable, so they may change places
    assert all(len(set(classes)) == len(classes) for classes in found)


def test_numbers_that_are_not_finite_are_reported_and_not_left_out():
    choice = ClassChoice.of(network(), None, 1, 0.5)
    assert choice.of_images(torch.full((1, 5), float("nan"))) != [[]]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"top": 0}, "top is 0"),
        ({"top": 6}, "net has 5 classes"),
        ({"min_probability": 1.5}, r"min_probability is 1\.5; a number in 0 … 1"),
        ({"min_probability": -0.1}, "a number in 0 … 1"),
        ({"min_probability": float("nan")}, "min_probability is nan"),
    ],
)
def test_choices_that_cannot_be_had_are_refused(photos, tmp_path, choice, message):
    with pytest.raises(OptionError, match=message):
        list(attend_images(network(), photos, tmp_path, **choice))


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("top", [None, 2])
def test_every_class_above_the_threshold_has_its_files(photos, tmp_path, monkeypatch, size, top):
    """Images of one batch have different numbers of classes, and one has none."""
    monkeypatch.setattr(explanation, "_batch_size", lambda _: size)
    model = network()
    with torch.no_grad():
        pixels = torch.cat([model.prepare(read_image(photo))[0] for photo in photos])
        wanted = 1 / (1 + (-model.module(pixels).double()).exp())
    least = float(wanted.max(1).values.sort().values[:2].mean())  # the best of one image is below it
    (tmp_path / "out").mkdir()
    results = list(attend_images(model, photos, tmp_path / "out", top=top, min_probability=least, method="gradient"))
    assert [result.image for result in results] == photos
    assert all(result.error is None for result in results)
    written = set()
    for photo, row, result in zip(photos, wanted.tolist(), results, strict=True):
        enough = sorted((k for k in range(5) if row[k] >= least), key=lambda k: -row[k])[:top]
        assert [file.name for file in result.files] == [
            f"{photo.stem}.{k}.{suffix}" for k in enough for suffix in ("png", "json")
        ]
        written |= set(result.files)
        for k in enough:
            record = json.loads((tmp_path / "out" / f"{photo.stem}.{k}.json").read_text())
            assert record["probability"] == pytest.approx(row[k], abs=1e-6)
            assert record["output"] == "multilabel_logits"
            assert record["targets"] == [{"index": each, "name": "abcde"[each]} for each in enough]
        if not enough:
            assert result.notes == (
                f"{photo}: no class has a probability of {least:g} or more; the best is "
                f"{'abcde'[max(range(5), key=lambda k, row=row: row[k])]} · {max(row):.1%}",
            )
    assert set((tmp_path / "out").iterdir()) == written
    assert 0 < len(written) < 2 * 4 * (top or 5)


def test_named_classes_are_those_of_each_by_itself(photos, tmp_path):
    model = network()
    for folder in ("all", "alone"):
        (tmp_path / folder).mkdir()
    list(attend_images(model, photos, tmp_path / "all", target=[4, 0], method="gradient"))
    for k in (4, 0):
        list(attend_images(model, photos, tmp_path / "alone", target=k, method="gradient"))
    assert len(list((tmp_path / "all").iterdir())) == 16
    for file in (tmp_path / "all").glob("*.png"):
        assert file.read_bytes() == (tmp_path / "alone" / file.name).read_bytes()


def test_a_model_with_other_names_than_scores_is_refused(photos, tmp_path):
    model = replace(network(NetworkOutput(), 1), classes=("no", "yes"))
    with pytest.raises(ModelError, match="2 class names for net, which has 1 outputs; give one each"):
        list(attend_images(model, photos, tmp_path))
    binary = replace(model, output=NetworkOutput("binary_logit"))
    (tmp_path / "out").mkdir()
    results = list(attend_images(binary, photos, tmp_path / "out", top=2, method="gradient"))
    assert all(len(result.files) == 4 for result in results)


def test_a_class_whose_numbers_cannot_be_used_costs_only_its_own_files(photos, tmp_path):
    model = network()
    with torch.no_grad():
        model.module[-1].bias[2] = float("nan")
    (tmp_path / "out").mkdir()
    (result,) = attend_images(model, photos[:1], tmp_path / "out", target=[1, 2], method="gradient")
    assert isinstance(result.error, InputError)
    assert [file.name for file in result.files] == [f"{photos[0].stem}.1.png", f"{photos[0].stem}.1.json"]

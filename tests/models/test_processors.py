"""Image processors of transformers: each gives a preprocessing that makes the processor's own inputs, or is refused."""

import pytest
import torch

from looktwice import read_image
from looktwice.errors import ModelError
from looktwice.models.preprocessing import Preprocessing
from looktwice.models.processors import preprocessing_of_processor

transformers = pytest.importorskip("transformers")
HALF = (0.5, 0.5, 0.5)


def made(kind, **options):
    return getattr(transformers, f"{kind}ImageProcessor")(**options)


@pytest.mark.parametrize(
    ("kind", "options", "resize", "crop", "squash"),
    [
        ("ViT", {}, (224, 224), 224, True),
        ("ViT", {"size": {"height": 384, "width": 384}}, (384, 384), 384, True),
        ("ViT", {"size": {"height": 192, "width": 320}}, (192, 320), (192, 320), True),
        ("Beit", {}, (224, 224), 224, True),
        ("DeiT", {}, (256, 256), 224, False),
        ("Bit", {"size": {"shortest_edge": 256}}, 256, 224, False),
        ("CLIP", {}, 224, 224, False),
        ("MobileNetV2", {}, 256, 224, False),
        ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 256, 224, False),
        ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.9}, 248, 224, False),
        ("ConvNext", {"size": {"shortest_edge": 384}}, 384, 384, True),
        ("PoolFormer", {"crop_pct": 0.9}, 248, 224, False),
        ("Levit", {}, 256, 224, False),
        ("MobileViT", {"size": {"shortest_edge": 288}, "do_flip_channel_order": False}, 288, 256, False),
        ("EfficientNet", {}, (346, 346), 346, True),
    ],
)
def test_inputs_are_the_processors_own(kind, options, resize, crop, squash):
    processor = made(kind, **options)
    found = preprocessing_of_processor(processor, "hf:x")
    assert (found.resize, found.crop, found.squash) == (resize, crop, squash)
    image = read_image("examples/images/cat.jpg")
    theirs = processor(images=image, return_tensors="pt")["pixel_values"]
    ours, _ = found.prepare(image)
    difference = (theirs - ours) * torch.tensor(found.std).view(3, 1, 1)
    assert difference.abs().mean() < 0.01


def test_an_odd_margin_is_no_obstacle():
    """Some processors round half a pixel of it down, others up."""
    found = preprocessing_of_processor(made("ConvNext", size={"shortest_edge": 224}, crop_pct=0.95), "hf:x")
    assert (found.resize, found.crop) == (235, 224)


@pytest.mark.parametrize(
    ("options", "mean", "std"),
    [
        ({"do_normalize": False}, (0, 0, 0), (1, 1, 1)),
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, HALF, (0.2, 0.2, 0.2)),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}, HALF, HALF),
    ],
)
def test_mean_and_std_are_for_values_from_0_to_1(options, mean, std):
    found = preprocessing_of_processor(made("ViT", **options), "hf:x")
    assert (found.mean, found.std) == (pytest.approx(mean), pytest.approx(std))


def test_efficientnets_offset_is_a_part_of_the_mean():
    processor = made(
        "EfficientNet", rescale_offset=True, rescale_factor=1 / 127.5, do_normalize=False, include_top=False
    )
    assert preprocessing_of_processor(processor, "hf:x") == Preprocessing(
        (346, 346), 346, HALF, HALF, "bicubic", squash=True
    )


@pytest.mark.parametrize(("number", "name"), [(0, "nearest"), (1, "lanczos"), (2, "bilinear"), (3, "bicubic")])
def test_interpolation_is_pillows(number, name):
    assert preprocessing_of_processor(made("ViT", resample=number), "hf:x").interpolation == name


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("MobileViT", {"size": {"shortest_edge": 288}}),  # blue, green, red
        ("ViT", {"do_resize": False}),
        ("Levit", {"size": {"shortest_edge": 224}, "do_center_crop": False}),
    ],
    ids=["other order of channels", "no size", "no square"],
)
def test_what_is_not_possible_is_refused(kind, options):
    with pytest.raises(ModelError, match=rf"hf:x: its {kind}ImageProcessor prepares .* FILE\.py:FACTORY"):
        preprocessing_of_processor(made(kind, **options), "hf:x")


def test_a_processor_that_fails_is_one_line():
    with pytest.raises(ModelError, match=r"hf:x: its Broken fails on a picture \(first second\)"):
        preprocessing_of_processor(Broken(), "hf:x")


class Broken:
    """A processor that cannot prepare any picture."""

    size = {"height": 64, "width": 64}  # noqa: RUF012 - as transformers has it
    do_rescale = True

    def __call__(self, **_):
        raise ValueError("first\nsecond")

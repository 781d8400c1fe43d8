"""How an image becomes a network's input."""

import re
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import models as tv
from torchvision.transforms import functional as TF
from torchvision.transforms._presets import ImageClassification

from looktwice.errors import InputError, OptionError
from looktwice.images import Window
from looktwice.models import IMAGENET, Preprocessing, load_model
from noise import noise
from own_networks import small_net


def photo(width, height):
    return Image.fromarray(skimage.data.chelsea()).resize((width, height))


def assert_same_pixels(ours, theirs, std):
    """Equal but for the rounding between Pillow's two passes, whose order it chooses by the sizes."""
    levels = (ours - theirs).abs() * 255 * torch.tensor(std).view(3, 1, 1)
    assert ours.shape == theirs.shape
    assert levels.max() < 2.01
    assert levels.mean() < 0.2


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([(232, 224), (342, 299), (256, 224)]))
def test_crop_is_torchvisions(width, height, sizes):
    if max(width, height) > 30 * min(width, height):
        width = height  # torchvision would resize such a strip as a whole
    resize, crop = sizes
    image = photo(width, height)
    ours, _ = Preprocessing(resize, crop, IMAGENET.mean, IMAGENET.std).prepare(image)
    theirs = ImageClassification(resize_size=resize, crop_size=crop)(image)
    assert_same_pixels(ours[0], theirs, IMAGENET.std)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "regnet_y_400mf", "googlenet"])
def test_preprocessing_is_read_from_the_published_weights(name):
    published = tv.get_model_weights(name).DEFAULT.transforms()
    image = photo(301, 257)
    batch, _ = load_model(name, weights="random").prepare(image)
    assert_same_pixels(batch[0], published(image), published.std)


def test_bicubic_crop_is_torchvisions(lite):
    image = photo(317, 411)
    resized = TF.resize(image, 256, TF.InterpolationMode.BICUBIC)
    expected = (TF.pil_to_tensor(TF.center_crop(resized, 224)).float() - 127) / 128
    assert_same_pixels(lite.prepare(image)[0][0], expected, (128 / 255,) * 3)


def test_window_of_a_crop_by_hand():
    # 400 × 300 → 341 × 256 (400 · 256 / 300 = 341.3); 58 = round((341 − 224) / 2 = 58.5) to even, 16 = (256 − 224) / 2.
    window = IMAGENET.window(400, 300)
    x, y = 400 / 341, 300 / 256
    assert window == Window(
        pytest.approx(58 * x), pytest.approx(16 * y), pytest.approx(282 * x), pytest.approx(240 * y), 400, 300
    )


def test_window_is_what_the_network_sees():
    """A white square of the picture comes back where the window says, through the pixels and not the formula."""
    pixels = np.zeros((300, 500, 3), dtype=np.uint8)
    pixels[100:180, 200:320] = 255
    batch, window = IMAGENET.prepare(Image.fromarray(pixels))
    bright = np.argwhere(np.asarray(batch[0, 0]) > 0)
    (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
    np.testing.assert_allclose(window.to_image([left, top, right, bottom], 224, 224), [200, 100, 320, 180], atol=1.2)


def test_squash_keeps_the_whole_image():
    image = noise(400, 300)
    batch, window = replace(IMAGENET, squash=True).prepare(image)
    assert window == Window.whole(400, 300)
    pixels = TF.pil_to_tensor(TF.resize(image, [224, 224], TF.InterpolationMode.BILINEAR)).float() / 255
    torch.testing.assert_close(batch[0], TF.normalize(pixels, IMAGENET.mean, IMAGENET.std))


@pytest.mark.parametrize("size", [(1, 1), (10_000, 50), (2, 200_000), (223, 225)])
@pytest.mark.parametrize("squash", [False, True])
def test_extreme_proportions_cost_no_memory(size, squash):
    batch, window = replace(IMAGENET, squash=squash).prepare(Image.new("RGB", size, "red"))
    assert batch.shape == (1, 3, 224, 224)
    assert batch.isfinite().all()
    assert 0 <= window.left < window.right <= size[0] + 1e-6
    assert 0 <= window.top < window.bottom <= size[1] + 1e-6


@pytest.mark.parametrize("image", [Image.new("L", (9, 9)), Image.new("RGBA", (9, 9)), np.zeros((9, 9, 3)), None])
def test_only_rgb_pictures_are_prepared(lite, image):
    with pytest.raises(InputError, match="read_image"):
        lite.prepare(image)


def test_crop_beyond_the_resized_image_is_refused():
    with pytest.raises(OptionError, match="crop"):
        Preprocessing(resize=200, crop=224, mean=IMAGENET.mean, std=IMAGENET.std)


def test_input_has_the_dtype_of_the_weights(lite):
    double = replace(lite, module=small_net().double())
    assert double.prepare(noise(40, 40))[0].dtype == torch.float64


WRONG = {
    "an unknown interpolation": ({"interpolation": "area"}, "interpolation is 'area'; one of nearest, box, bilinear"),
    "an interpolation of another type": ({"interpolation": 2}, "interpolation is 2; one of"),
    "a mean of one number": ({"mean": 0.5}, "mean is 0.5; three finite numbers are needed, for R, G and B"),
    "a mean of a gray image": ({"mean": (0.5,)}, "mean is (0.5,); three finite numbers"),
    "a mean of four channels": ({"mean": (0.5,) * 4}, "three finite numbers"),
    "a mean of texts": ({"mean": ("a", "b", "c")}, "three finite numbers"),
    "a mean that is NaN": ({"mean": (0.5, float("nan"), 0.5)}, "three finite numbers"),
    "a mean for bytes": ({"mean": (123.7, 116.3, 103.5)}, "which is for pixels in 0 … 255; divide it by 255"),
    "a zero in std": ({"std": (0.2, 0.0, 0.2)}, "three finite numbers above 0"),
    "a negative std": ({"std": (0.2, -0.2, 0.2)}, "three finite numbers above 0"),
    "an infinite std": ({"std": (0.2, float("inf"), 0.2)}, "three finite numbers above 0"),
    "a std for bytes": ({"std": (58.4, 57.1, 57.4)}, "divide it by 255"),
    "a negative crop": ({"crop": -1}, "crop is -1; a whole number from 1 to 256 is needed"),
    "a crop of half pixels": ({"crop": 63.5}, "crop is 63.5; a whole number"),
    "a crop of two sides": ({"crop": (64, 64)}, "crop is (64, 64); a whole number"),
    "no resize": ({"resize": 0}, "resize is 0; a whole number"),
    "a resize that is NaN": ({"resize": float("nan")}, "resize is nan; a whole number"),
    "a resize beyond all memory": ({"resize": 10**6}, "resize is 1000000; a whole number from 1 to 16384"),
    "a squash that is a text": ({"squash": "no"}, "squash is 'no'; True or False"),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_that_are_not_possible_are_refused(case):
    given, said = WRONG[case]
    with pytest.raises(OptionError, match=re.escape(said)):
        replace(IMAGENET, **given)


@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_every_interpolation_that_is_offered_resizes(name):
    batch, _ = replace(IMAGENET, interpolation=name).prepare(noise(300, 280))
    assert batch.shape == (1, 3, 224, 224)


def test_numbers_of_numpy_and_lists_are_taken():
    same = Preprocessing(np.int64(256), np.int32(224), np.array(IMAGENET.mean), list(IMAGENET.std))
    assert same == IMAGENET
    assert type(same.mean[0]) is float

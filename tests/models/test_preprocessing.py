"""How an image becomes a network's input."""

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
from own_networks import picture, small_net


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
    image = picture(400, 300)
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
    assert double.prepare(picture(40, 40))[0].dtype == torch.float64

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
    "a mean of one number": ({"mean": 0.5}, "mean is 0.5; a finite number for each channel is needed: three for R, G"),
    "a mean of no number": ({"mean": ()}, "mean is (); a finite number for each channel"),
    "a mean of a gray image alone": (
        {"mean": (0.5,)},
        "mean has 1 number and std has 3 numbers; one of each",
    ),
    "a mean of four channels alone": ({"mean": (0.5,) * 4}, "mean has 4 numbers and std has 3 numbers"),
    "a mean of texts": ({"mean": ("a", "b", "c")}, "a finite number for each channel"),
    "a mean that is NaN": ({"mean": (0.5, float("nan"), 0.5)}, "a finite number for each channel"),
    "a mean for bytes": ({"mean": (123.7, 116.3, 103.5)}, "which is for pixels in 0 … 255; divide it by 255"),
    "a zero in std": ({"std": (0.2, 0.0, 0.2)}, "a finite number above 0 for each channel"),
    "a negative std": ({"std": (0.2, -0.2, 0.2)}, "a finite number above 0 for each channel"),
    "an infinite std": ({"std": (0.2, float("inf"), 0.2)}, "a finite number above 0 for each channel"),
    "a std for bytes": ({"std": (58.4, 57.1, 57.4)}, "divide it by 255"),
    "a negative crop": ({"crop": -1}, "crop is -1; a whole number from 1 to 16384 is needed"),
    "a crop of half pixels": ({"crop": 63.5}, "crop is 63.5; a whole number"),
    "a crop above resize": ({"crop": 257}, "crop is 257; a whole number from 1 to 256 is needed, which is resize"),
    "a crop of three sides": ({"crop": (64, 64, 3)}, "crop is (64, 64, 3); one whole number is needed, or a pair"),
    "a crop with a side of 0": ({"crop": (64, 0)}, "crop is (64, 0); a whole number from 1"),
    "a crop in a text": ({"crop": "64x64"}, "crop is '64x64'; a whole number"),
    "a crop wider than the shorter side": ({"crop": (64, 300)}, "crop is 64×300, and the resized image may have only"),
    "a crop higher than the pair": ({"resize": (64, 300), "crop": (65, 10)}, "may have only 64×300 pixels"),
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


WIDE = Preprocessing(resize=(48, 96), crop=(48, 96), mean=(0.0,) * 3, std=(1.0,) * 3)


def test_a_pair_of_sides_squashes_to_exactly_this_size():
    image = noise(400, 300)
    batch, window = WIDE.prepare(image)
    assert window == Window.whole(400, 300)
    expected = TF.pil_to_tensor(TF.resize(image, [48, 96], TF.InterpolationMode.BILINEAR)).float() / 255
    torch.testing.assert_close(batch[0], expected)


def test_a_crop_of_a_pair_is_cut_from_the_centre_of_a_pair():
    # 400 × 300 → 120 × 60; rows (60 − 40) / 2 = 10 … 50, columns (120 − 90) / 2 = 15 … 105.
    window = replace(WIDE, resize=(60, 120), crop=(40, 90)).window(400, 300)
    x, y = 400 / 120, 300 / 60
    assert window == Window(*map(pytest.approx, (15 * x, 10 * y, 105 * x, 50 * y)), 400, 300)


def test_a_crop_that_is_not_square_of_the_shorter_side():
    # 400 × 300 → 133 × 100; rows (100 − 40) / 2 = 30 … 70, columns round((133 − 90) / 2 = 21.5) = 22 … 112.
    window = replace(WIDE, resize=100, crop=(40, 90)).window(400, 300)
    x, y = 400 / 133, 300 / 100
    assert window == Window(*map(pytest.approx, (22 * x, 30 * y, 112 * x, 70 * y)), 400, 300)


def test_squash_resizes_to_a_crop_that_is_not_square():
    batch, window = replace(WIDE, resize=200, crop=(40, 90), squash=True).prepare(noise(70, 50))
    assert (batch.shape, window) == ((1, 3, 40, 90), Window.whole(70, 50))


@pytest.mark.parametrize("sizes", [{}, {"resize": (60, 120)}, {"resize": 100, "crop": (40, 90)}])
def test_the_window_is_what_a_network_with_an_input_that_is_not_square_sees(sizes):
    pixels = np.zeros((300, 500, 3), dtype=np.uint8)
    pixels[120:180, 200:320] = 255
    choices = replace(WIDE, **sizes)
    batch, window = choices.prepare(Image.fromarray(pixels))
    _, height, width = choices.input_shape
    assert batch.shape == (1, *choices.input_shape)
    bright = np.argwhere(np.asarray(batch[0, 0]) > 0.5)
    (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
    found = window.to_image([left, top, right, bottom], width, height)
    np.testing.assert_allclose(found, [200, 120, 320, 180], atol=4)  # a pixel of the input is up to 6 of the picture


def test_a_square_pair_is_the_same_as_one_number_for_crop_and_is_stored_so():
    assert replace(IMAGENET, crop=(224, 224)) == IMAGENET
    assert replace(IMAGENET, crop=[224, 224]).crop == 224
    assert replace(IMAGENET, resize=[256, 256]).resize == (256, 256)  # exactly, and not the shorter side


GRAY = Preprocessing(resize=64, crop=64, mean=(0.25,), std=(0.5,), squash=True)


def test_one_channel_gets_the_gray_picture():
    image = noise(90, 70)
    batch, _ = GRAY.prepare(image)
    expected = TF.pil_to_tensor(TF.resize(image.convert("L"), [64, 64], TF.InterpolationMode.BILINEAR)).float() / 255
    torch.testing.assert_close(batch, (expected[None] - 0.25) / 0.5)
    torch.testing.assert_close(GRAY.prepare(image.convert("L"))[0], batch)


def test_four_channels_get_the_transparency_and_the_colours_below_it():
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[..., :3], pixels[:4, :, 3] = (200, 100, 50), 255
    choices = Preprocessing((4, 4), 4, (0.0,) * 4, (1.0,) * 4, "box")
    (batch,), _ = choices.prepare(Image.fromarray(pixels, "RGBA"))
    torch.testing.assert_close(batch[:3].amin((1, 2)), torch.tensor([200.0, 100.0, 50.0]) / 255)
    torch.testing.assert_close(batch[:3].amax((1, 2)), torch.tensor([200.0, 100.0, 50.0]) / 255)
    assert batch[3].tolist() == [[1.0] * 4] * 2 + [[0.0] * 4] * 2


@pytest.mark.parametrize(("channels", "mode"), [(4, "RGB"), (4, "L"), (1, "RGBA"), (3, "L")])
def test_a_picture_of_another_kind_is_refused(channels, mode):
    choices = Preprocessing(8, 8, (0.5,) * channels, (0.5,) * channels)
    needed = "RGBA" if channels == 4 else "RGB"
    with pytest.raises(InputError, match=f"an {needed} PIL image is needed, not one of mode {mode}; read files with"):
        choices.prepare(Image.new(mode, (9, 9)))


@pytest.mark.parametrize("channels", [2, 5, 6])
def test_channels_that_no_picture_has_are_refused_in_a_line(channels):
    choices = Preprocessing(8, 8, (0.5,) * channels, (0.5,) * channels)
    with pytest.raises(OptionError, match=rf"has {channels} channels, and an image file gives 1 .*looktwice\.attend"):
        choices.prepare(Image.new("RGB", (9, 9)))


HAVING = {
    "a size is the crop too": ({"resize": 64}, {"resize": 64, "crop": 64}),
    "an exact size is the crop too": ({"resize": (48, 96)}, {"resize": (48, 96), "crop": (48, 96)}),
    "a size with a crop": ({"resize": 72, "crop": 64}, {"resize": 72, "crop": 64}),
    "a crop alone": ({"crop": 64}, {"crop": 64}),
    "one number for three channels": ({"mean": (0.5,), "std": (0.25,), "channels": 3}, {"mean": (0.5,) * 3}),
    "one channel": ({"mean": (0.5,), "std": (0.25,)}, {"mean": (0.5,), "std": (0.25,)}),
    "an interpolation": ({"interpolation": "lanczos"}, {"interpolation": "lanczos"}),
    "nothing": ({}, {}),
    "the channels that there are": ({"channels": 3}, {}),
}


@pytest.mark.parametrize("case", HAVING)
def test_choices_replace_what_there_is(case):
    given, expected = HAVING[case]
    changed = IMAGENET.having(**given)
    assert {name: getattr(changed, name) for name in expected} == expected
    kept = {"resize", "crop", "mean", "std", "interpolation"} - set(expected) - set(given)
    assert all(getattr(changed, name) == getattr(IMAGENET, name) for name in kept)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"channels": 1}, "channels is 1, and the model's mean has 3 numbers; give a mean and a std"),
        ({"channels": 4, "mean": (0.5,) * 3}, "channels is 4, and mean has 3 numbers"),
        ({"channels": 1, "mean": (0.5,)}, "channels is 1, and the model's std has 3 numbers"),
        ({"mean": (0.5,)}, "mean has 1 number and std has 3 numbers"),
        ({"channels": 0}, "channels is 0; a whole number from 1"),
        ({"crop": 300}, "crop is 300; a whole number from 1 to 256 is needed"),
    ],
)
def test_choices_that_do_not_fit_are_refused(given, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        IMAGENET.having(**given)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({}, "shorter side 256, centre 224×224; bilinear; mean 0.485 0.456 0.406; std 0.229 0.224 0.225"),
        ({"squash": True}, "squashed to 224×224; bilinear"),
        ({"resize": (48, 96), "crop": (48, 96)}, "squashed to 48×96; bilinear"),
        ({"resize": (60, 96), "crop": 48}, "squashed to 60×96, centre 48×48; bilinear"),
    ],
)
def test_it_says_in_words_what_it_does(choices, said):
    assert str(replace(IMAGENET, **choices)).startswith(said)


def test_numbers_of_numpy_and_lists_are_taken():
    same = Preprocessing(np.int64(256), np.int32(224), np.array(IMAGENET.mean), list(IMAGENET.std))
    assert same == IMAGENET
    assert type(same.mean[0]) is float

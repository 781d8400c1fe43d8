"""Files that must open, files that must be refused in one line, and the window against a picture of coordinates."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from looktwice.errors import InputError
from looktwice.images import MAX_PIXELS, Window, find_images, read_image


def save(path: Path, pixels: Image.Image, **options) -> Path:
    pixels.save(path, **options)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def refusal(path: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


# ---- files that must open ------------------------------------------------------------------------------------------


def test_rgb_is_read_bit_by_bit(tmp_path):
    pixels = noise(5, 7, 3)
    image = read_image(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_gray_repeats_in_three_channels(tmp_path):
    pixels = noise(5, 7)
    image = read_image(save(tmp_path / "a.png", Image.fromarray(pixels)))
    np.testing.assert_array_equal(np.asarray(image), np.repeat(pixels[:, :, None], 3, axis=2))


def test_bilevel_is_black_and_white(tmp_path):
    image = read_image(save(tmp_path / "a.png", Image.fromarray(np.eye(3, dtype=bool))))
    np.testing.assert_array_equal(np.asarray(image)[:, :, 0], 255 * np.eye(3, dtype=np.uint8))


def test_cmyk_cyan_is_cyan(tmp_path):
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (255, 0, 0, 0)), quality=100)
    red, green, blue = read_image(path).getpixel((4, 4))
    assert red < 10
    assert min(green, blue) > 245


def test_palette_is_looked_up(tmp_path):
    pixels = Image.new("P", (2, 1))
    pixels.putpalette([10, 20, 30, 200, 100, 50])
    pixels.putpixel((1, 0), 1)
    image = read_image(save(tmp_path / "a.png", pixels))
    assert [image.getpixel((x, 0)) for x in range(2)] == [(10, 20, 30), (200, 100, 50)]


def test_palette_transparency_is_white(tmp_path):
    pixels = Image.new("P", (2, 1))
    pixels.putpalette([10, 20, 30, 200, 100, 50])
    pixels.putpixel((1, 0), 1)
    image = read_image(save(tmp_path / "a.png", pixels, transparency=0))
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (200, 100, 50)]


@pytest.mark.parametrize(("mode", "color"), [("RGBA", (0, 0, 0, 128)), ("LA", (0, 128))])
def test_alpha_lies_on_white(tmp_path, mode, color):
    image = read_image(save(tmp_path / "a.png", Image.new(mode, (1, 1), color)))
    # 0 · 128/255 + 255 · 127/255
    assert image.getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path, suffix):
    values = np.array([[0, 128, 129, 256, 257, 32768, 65407, 65535]], dtype=np.uint16)
    image = read_image(save(tmp_path / f"a.{suffix}", Image.fromarray(values)))
    expected = [round(int(value) * 255 / 65535) for value in values[0]]
    assert expected == [0, 0, 1, 1, 1, 128, 255, 255]
    assert [image.getpixel((x, 0)) for x in range(8)] == [(value,) * 3 for value in expected]


def test_big_endian_16_bit_gray(tmp_path):
    pixels = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 257, 65535))
    image = read_image(save(tmp_path / "a.tif", pixels))
    assert [image.getpixel((x, 0))[0] for x in range(2)] == [1, 255]


def test_exif_rotation_is_applied_only_when_upright(tmp_path):
    pixels = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 0]]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: the first row is the right-hand side
    path = save(tmp_path / "a.png", pixels, exif=exif)
    assert read_image(path).size == (1, 2)
    assert read_image(path).getpixel((0, 0)) == (255, 0, 0)
    assert read_image(path, upright=False).size == (2, 1)
    assert read_image(path, upright=False).getpixel((0, 0)) == (255, 0, 0)


def test_exif_half_turn_moves_the_first_pixel_last(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = noise(3, 4, 3)
    path = save(tmp_path / "a.png", Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(path)), pixels[::-1, ::-1])
    np.testing.assert_array_equal(np.asarray(read_image(path, upright=False)), pixels)


@pytest.mark.parametrize("size", [(1, 1), (10_000, 50), (50, 10_000)])
def test_extreme_sizes(tmp_path, size):
    assert read_image(save(tmp_path / "a.png", Image.new("RGB", size, "red"))).size == size


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_content_counts_not_the_suffix(tmp_path):
    path = save(tmp_path / "a.bin", Image.new("RGB", (3, 2), "blue"), format="PNG")
    assert read_image(str(path)).getpixel((0, 0)) == (0, 0, 255)


# ---- files that must be refused ------------------------------------------------------------------------------------


def test_missing_folder_and_empty_files_are_named(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert "no such file" in refusal(tmp_path / "missing.jpg")
    assert "is a folder" in refusal(tmp_path)
    assert "0 bytes" in refusal(empty)


def test_text_is_no_image(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("no picture at all, but long enough to have a header")
    assert "is not an image" in refusal(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "ppm"])
def test_a_file_cut_in_half_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(noise(64, 64, 3)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path)


def test_flipped_bytes_are_refused(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(noise(64, 64, 3)))
    broken = bytearray(path.read_bytes())
    broken[100:140] = bytes(40)
    path.write_bytes(broken)
    assert "damaged" in refusal(path)


def claim(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("side", [10_001, 12_000, 14_000, 40_000])
def test_a_bomb_is_refused_from_its_header(tmp_path, side):
    assert side * side > MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Had it been decoded, the message would be of damaged data.
        assert "more than the 100,000,000 allowed" in refusal(claim(tmp_path / "a.png", side, side))


def test_the_limit_is_the_last_size_allowed(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (30, 20)))
    assert read_image(path, max_pixels=600).size == (30, 20)
    assert "30 × 20 pixels are more than the 599 allowed" in refusal(path, max_pixels=599)


def test_pixels_without_a_defined_white_are_refused(tmp_path):
    assert "floating-point" in refusal(save(tmp_path / "f.tif", Image.fromarray(np.ones((2, 2), dtype=np.float32))))
    deep = Image.fromarray(np.array([[70_000]], dtype=np.int32))
    assert "32-bit" in refusal(save(tmp_path / "i.tif", deep))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


def test_no_permission_is_said(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.new("RGB", (1, 1)))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in refusal(path)


# ---- folders and globs ---------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    for name in ("b.JPEG", "a.jpg", "deep/er/c.PNG", "notes.txt", "._a.jpg"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def test_a_folder_is_searched_recursively_and_sorted(tree):
    assert find_images([tree]) == [tree / "a.jpg", tree / "b.JPEG", tree / "deep/er/c.PNG"]


def test_globs_files_and_folders_come_once_in_the_order_given(tree):
    found = find_images([tree / "deep", str(tree / "*.J*"), tree / "a.jpg", str(tree / "**/*.PNG")])
    assert found == [tree / "deep/er/c.PNG", tree / "b.JPEG", tree / "a.jpg"]


def test_a_single_file_needs_no_known_suffix_and_may_be_missing(tree):
    assert find_images([tree / "notes.txt", tree / "gone.jpg"]) == [tree / "notes.txt", tree / "gone.jpg"]


def test_a_file_with_brackets_in_its_name_is_no_pattern(tree):
    (tree / "a[1].jpg").touch()
    assert find_images([tree / "a[1].jpg"]) == [tree / "a[1].jpg"]


def test_a_relative_glob(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert find_images(["*.jpg"]) == [Path("a.jpg")]


@pytest.mark.parametrize("name", ["folder.png", "*.bmp"])
def test_a_folder_or_glob_without_images_is_an_error(tree, name):
    with pytest.raises(InputError, match="no image there"):
        find_images([tree / "a.jpg", tree / name])


def test_one_file_by_several_spellings_comes_once_in_its_first_spelling(tree, monkeypatch):
    monkeypatch.chdir(tree)
    given = ["a.jpg", "b.JPEG", "./a.jpg", "deep/../a.jpg", str(tree / "a.jpg"), "deep//er/c.PNG", "*.jpg"]
    assert find_images(given) == [Path("a.jpg"), Path("b.JPEG"), Path("deep/er/c.PNG")]


def test_a_link_to_an_image_is_an_image_of_its_own(tree):
    (tree / "link.jpg").symlink_to(tree / "a.jpg")
    (tree / "same").symlink_to(tree)
    assert find_images([tree / "a.jpg", tree / "link.jpg", tree / "same/a.jpg"]) == [tree / "a.jpg", tree / "link.jpg"]


def test_an_empty_name_is_not_the_current_folder(tree, monkeypatch):
    monkeypatch.chdir(tree)
    with pytest.raises(InputError, match=r"name of an image is empty.* or \. for the current folder"):
        find_images([""])
    assert find_images(["."])[0] == Path("a.jpg")


def test_a_name_that_no_file_can_have_is_one_line(tmp_path):
    for name in ("a\0.jpg", "\ud800.jpg", "x" * 300 + ".jpg"):
        assert refusal(tmp_path / name)


def test_no_path_at_all_is_an_error():
    with pytest.raises(InputError, match="no image was named"):
        find_images([])


# ---- windows -------------------------------------------------------------------------------------------------------


def test_a_squashed_image_scales_its_axes_apart():
    window = Window.whole(400, 100)
    np.testing.assert_array_equal(window.to_image([0, 0, 10, 10], 10, 10), [0, 0, 400, 100])
    np.testing.assert_array_equal(window.to_image([[1, 2, 3, 4]], 10, 10), [[40, 20, 120, 40]])


def test_a_crop_by_hand():
    # 400×200, halved to 200×100; its middle 100×100 are columns 100 … 300 of the original.
    window = Window.cropped(400, 200, resized=(200, 100), crop=(50, 0, 150, 100))
    assert (window.left, window.top, window.right, window.bottom) == (100, 0, 300, 200)
    np.testing.assert_array_equal(window.to_image([5, 5, 6, 6], 10, 10), [200, 100, 220, 120])


def test_the_central_crop_by_hand():
    # 500 × 375 becomes 341 × 256; of that, columns 58 … 281 (58.5 is rounded to even) and rows 16 … 239 are kept.
    window = Window.of_crop(500, 375, resize=256, crop=224)
    across, down = 500 / 341, 375 / 256
    assert (window.left, window.right) == pytest.approx((58 * across, 282 * across))
    assert (window.top, window.bottom) == pytest.approx((16 * down, 240 * down))
    assert Window.of_crop(500, 375, resize=256, crop=224, squash=True) == Window.whole(500, 375)


def test_a_crop_of_an_image_whose_axes_scaled_apart():
    window = Window.cropped(400, 100, resized=(200, 200), crop=(50, 20, 150, 120))
    assert (window.left, window.top, window.right, window.bottom) == (100, 10, 300, 60)


def test_padding_is_clipped_away():
    # 100×100, no scaling, crop 120×120: ten pixels of padding on each side.
    window = Window.cropped(100, 100, resized=(100, 100), crop=(-10, -10, 110, 110))
    np.testing.assert_array_equal(window.to_image([[0, 0, 1, 1], [0, 0, 12, 12]], 12, 12), [[0] * 4, [0, 0, 100, 100]])


def test_whole_pixels_stay_whole_on_the_way_to_a_map():
    # Multiplying by the rounded 224/55 falls short of 224, dividing by the rounded 58/224 falls short of 112.
    for width, x, whole in [(55, 55, 224), (58, 29, 112), (72, 9, 28), (500, 125, 56)]:
        assert Window.whole(width, width).to_map([x] * 4, 224, 224).tolist() == [whole] * 4


def test_a_crop_against_a_picture_of_coordinates():
    ramp = np.tile(np.arange(360, dtype=np.float32), (240, 1))
    resized, crop = (180, 120), (48, 8, 144, 104)
    across = np.asarray(Image.fromarray(ramp).resize(resized, Image.Resampling.BILINEAR).crop(crop))
    window = Window.cropped(360, 240, resized=resized, crop=crop)
    for column in (0, 40, 95):
        x1, _, x2, _ = window.to_image([column, 0, column + 1, 1], 96, 96)
        assert across[50, column] == pytest.approx((x1 + x2) / 2 - 0.5, abs=1e-3)


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_to_map_undoes_to_image(width, height, map_width, map_height, shares):
    window = Window(0.1 * width, 0.2 * height, 0.7 * width, 0.9 * height, width, height)
    box = np.array(shares) * np.array([map_width, map_height] * 2)
    there = window.to_image(box, map_width, map_height)
    np.testing.assert_allclose(window.to_map(there, map_width, map_height), box, atol=1e-9 * max(width, height))

"""Which files are opened, which memory that takes, and what is said of doubtful ones."""

import resource
import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile, PngImagePlugin

import looktwice
from looktwice import decoding
from looktwice.decoding import FORMATS, TooLargeError, decode
from looktwice.errors import InputError
from looktwice.images import SUFFIXES, read_annotated, read_image, read_picture


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def png(image, **options):
    content = BytesIO()
    image.save(content, "PNG", **options)
    return content.getvalue()


# ---- kinds of files ------------------------------------------------------------------------------------------------


def test_an_eps_file_named_jpg_starts_no_program(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **more: started.append(given))
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with Image.open(path) as opened:
        assert opened.format == "EPS"  # Pillow would go on with it
    with pytest.raises(InputError, match="is not an image that can be read"):
        read_image(path)
    assert not started


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "PPM"])
def test_a_picture_that_is_cut_anywhere_is_damaged_and_not_of_an_unknown_kind(kind):
    buffer = BytesIO()
    Image.fromarray(noise(40, 30, 3)).save(buffer, kind)
    content = buffer.getvalue()
    # The last bytes of some kinds say nothing about the pixels.
    for length in [32, 40, 64, 128, 200, len(content) // 4, len(content) // 2]:
        with pytest.raises(InputError, match=r"^a: damaged or cut short \(.*\); fetch the file again or leave it out$"):
            decode(BytesIO(content[:length]), "a")


@pytest.mark.parametrize("text", [b"II. A chapter" * 9, b"RIFF, a reef" * 9, b"PNG is a kind" * 9, b"GIF" * 9])
def test_a_text_that_begins_nearly_like_a_picture_is_no_image(text):
    with pytest.raises(InputError, match="is not an image that can be read"):
        decode(BytesIO(text), "a")


def test_every_suffix_that_a_folder_is_searched_for_is_of_a_kind_that_is_opened():
    Image.init()
    in_containers = {".avif", ".heic", ".heif", ".hif"}  # see test_heif.py
    assert in_containers < SUFFIXES
    assert {Image.EXTENSION[suffix] for suffix in SUFFIXES - in_containers} == set(FORMATS)


# ---- texts ---------------------------------------------------------------------------------------------------------


def with_chunk(content, kind, data, at=33):
    """A PNG with one more chunk: after its header, or somewhere else."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content[:at] + chunk + content[at:]


LARGE = bytes(PngImagePlugin.MAX_TEXT_CHUNK + 1)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"zTXt", b"key\0\0" + zlib.compress(LARGE)),
        (b"iTXt", b"key\0\1\0\0\0" + zlib.compress(LARGE)),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LARGE)),
        (b"iCCP", b"key\0\0" + zlib.compress(LARGE)),
    ],
)
def test_a_png_with_a_large_text_is_read(tmp_path, kind, data):
    pixels = noise(9, 7, 3)
    path = tmp_path / "a.png"
    path.write_bytes(with_chunk(png(Image.fromarray(pixels)), kind, data))
    with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"), Image.open(path) as opened:
        opened.load()
    np.testing.assert_array_equal(np.asarray(read_image(path)), pixels)
    assert len(LARGE) == PngImagePlugin.MAX_TEXT_CHUNK + 1  # Pillow's own limit is left as it was


def test_a_text_after_the_pixels_is_left_out_too():
    pixels = noise(9, 7, 3)
    content = with_chunk(png(Image.fromarray(pixels)), b"zTXt", b"key\0\0" + zlib.compress(LARGE), at=-12)
    np.testing.assert_array_equal(np.asarray(decode(BytesIO(content), "a").image), pixels)


def test_the_orientation_in_an_xmp_text_is_kept():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    content = with_chunk(png(Image.new("RGB", (3, 2))), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    assert decode(BytesIO(content), "a").image.size == (2, 3)
    content = with_chunk(content, b"zTXt", b"key\0\0" + zlib.compress(LARGE))
    assert decode(BytesIO(content), "a").image.size == (2, 3)


def test_a_damaged_png_with_a_large_text_is_still_damaged():
    content = with_chunk(png(Image.fromarray(noise(64, 64, 3))), b"zTXt", b"key\0\0" + zlib.compress(LARGE))
    with pytest.raises(InputError, match=r"^a: damaged or cut short"):
        decode(BytesIO(content[:-4000]), "a")


# ---- depth ---------------------------------------------------------------------------------------------------------


def deep(bits, channels=1, suffix=".png"):
    """A 16-bit image that holds data of fewer bits."""
    shape = (8, 9) if channels == 1 else (8, 9, channels)
    values = np.random.default_rng(1).integers(0, 2**bits, shape).astype(np.uint16)
    values.flat[: max(channels, 1)] = 2**bits - 1
    if channels == 4:
        values[..., 3] = 65535
    return BytesIO(cv2.imencode(suffix, values)[1].tobytes())


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("bits", "look", "factor"), [(10, "nearly black", 64), (12, "nearly black", 16), (14, "dark", 4)]
)
def test_data_of_few_bits_in_a_16_bit_file_is_said(bits, look, factor, channels, suffix):
    (note,) = decode(deep(bits, channels, suffix), "a").notes
    assert f"are below {2**bits:,} of 65,535, so it is {look}; if it holds {bits}-bit data, " in note
    assert f"multiply the values by {factor} and" in note


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_16_bit_picture_with_a_bright_pixel_is_no_doubt(channels):
    assert decode(deep(16, channels), "a").notes == ()


def test_a_black_8_bit_picture_is_no_doubt():
    assert decode(BytesIO(png(Image.new("RGB", (4, 4)))), "a").notes == ()
    assert decode(BytesIO(png(Image.new("L", (4, 4)))), "a").notes == ()


def test_a_pgm_says_itself_what_is_white():
    picture = decode(BytesIO(b"P5\n4 4\n4095\n" + np.full((4, 4), 2000, ">u2").tobytes()), "a")
    assert picture.image.getpixel((0, 0)) == (125, 125, 125)  # 2000 / 4095
    dark = decode(BytesIO(b"P5\n4 4\n4095\n" + np.full((4, 4), 20, ">u2").tobytes()), "a")
    assert (dark.image.getpixel((0, 0)), dark.notes) == ((1, 1, 1), ())


def test_read_image_warns_of_what_is_doubtful(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(deep(12).getvalue())
    with pytest.warns(UserWarning, match=r"a\.png: all its 16-bit values are below 4,096"):
        read_image(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_picture(path).notes) == 1


def tiff(values, bits, *, white_is_zero=False):
    """An uncompressed gray TIFF, little-endian."""
    height, width = values.shape
    if bits == 12:
        whole = "".join(f"{value:012b}" for value in values.ravel())
        data = int(whole, 2).to_bytes(len(whole) // 8, "big")
    else:
        data = values.astype("<u2").tobytes()
    photometric = 0 if white_is_zero else 1
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return BytesIO(
        struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


def test_a_12_bit_tiff_is_scaled_by_12_bits():
    values = np.array([[0, 16, 2048, 4095]] * 2)
    picture = decode(tiff(values, 12), "a")
    assert [picture.image.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]
    assert picture.notes == ()


def test_a_16_bit_tiff_whose_white_is_zero_is_no_negative():
    values = np.array([[0, 257, 65278, 65535]] * 2)
    picture = decode(tiff(values, 16, white_is_zero=True), "a")
    assert [picture.image.getpixel((x, 0))[0] for x in range(4)] == [255, 254, 1, 0]
    assert [decode(tiff(values, 16), "a").image.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 254, 255]


# ---- orientation ---------------------------------------------------------------------------------------------------


def turned(value, form, size=(3, 2)):
    """A stored picture with an EXIF orientation, whose first stored pixel is red."""
    image = Image.new("RGB", size)
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = value
    content = BytesIO()
    options = {"tiffinfo": {274: value}} if form == "TIFF" else {"exif": exif, "lossless": True}
    image.save(content, form, **options)
    return content.getvalue()


CORNERS = {1: (0, 0), 2: (2, 0), 3: (2, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 2), 8: (0, 2)}
"""Where the first stored pixel of a 3 × 2 picture is when it is upright, by orientation."""


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_upright_and_stored_pixels_of_every_orientation(tmp_path, value, form):
    path = tmp_path / "a"
    path.write_bytes(turned(value, form))
    upright, stored = read_image(path), read_image(path, upright=False)
    assert upright.size == ((2, 3) if value >= 5 else (3, 2))
    assert upright.getpixel(CORNERS[value]) == (255, 0, 0)
    assert stored.size == (3, 2)
    assert stored.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_a_picture_says_how_it_is_stored_from_a_file_and_from_bytes(tmp_path, value, form):
    path = tmp_path / "a"
    path.write_bytes(turned(value, form))
    expected = None if value == 1 else decoding.Orientation(value, (3, 2))
    for picture in (read_picture(path), read_picture("shard.tar/a", path.read_bytes())):
        assert picture.orientation == expected
        assert picture.image.size == ((2, 3) if value >= 5 else (3, 2))


def test_bytes_that_are_no_picture_are_called_by_the_name_they_have():
    with pytest.raises(InputError, match=r"shard\.tar/a: is not an image"):
        read_picture("shard.tar/a", b"no picture")


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("value", [5, 6, 7, 8])
def test_a_photo_is_read_as_the_stated_size_counts_its_pixels(tmp_path, value, form):
    path = tmp_path / "a"
    path.write_bytes(turned(value, form))
    as_drawn = read_annotated(path, (2, 3))
    assert (as_drawn.image.size, as_drawn.image.getpixel(CORNERS[value]), as_drawn.notes) == ((2, 3), (255, 0, 0), ())
    as_stored = read_annotated(path, (3, 2))
    assert (as_stored.image.size, as_stored.image.getpixel((0, 0)), as_stored.notes) == ((3, 2), (255, 0, 0), ())


@pytest.mark.parametrize(
    ("value", "size", "stated"),
    [
        (6, (3, 2), None),  # nothing is stated
        (6, (3, 2), (30, 20)),  # neither size
        (6, (2, 2), (2, 2)),  # a square
        (3, (3, 2), (3, 2)),  # half a turn
        (2, (3, 2), (3, 2)),  # mirrored
    ],
)
def test_a_turned_photo_whose_size_does_not_tell_is_said(tmp_path, value, size, stated):
    path = tmp_path / "a"
    path.write_bytes(turned(value, "PNG", size))
    picture = read_annotated(path, stated)
    assert (picture.image.size, picture.image.getpixel((0, 0))) == (size, (255, 0, 0))  # as stored
    (note,) = picture.notes
    assert f"(EXIF orientation {value})" in note
    assert "save the photo upright" in note


def test_an_upright_photo_is_no_doubt_whatever_is_stated(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(turned(1, "PNG"))
    for stated in (None, (3, 2), (2, 3)):
        assert read_annotated(path, stated).notes == ()


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_broken_exif_data_does_not_break_the_pixels(exif):
    pixels = noise(8, 8, 3)
    content = png(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(BytesIO(content), "a").image), pixels)


# ---- memory --------------------------------------------------------------------------------------------------------


def huge(kind, side, path):
    """A small file of many equal pixels."""
    if kind == "palette with alpha":
        image = Image.new("P", (side, side), 1)
        image.putpalette([10, 20, 30] * 256)
        image.save(path, "PNG", transparency=bytes([128] * 256))
    elif kind == "progressive":
        Image.new("RGB", (side, side), "red").save(path, "JPEG", progressive=True, subsampling=0)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (side, side), "red").save(path, "JPEG", exif=exif)
    elif kind == "one strip":
        Image.new("RGB", (side, side), "red").save(path, "TIFF", compression="tiff_lzw", tiffinfo={278: side})
    elif kind == "WEBP":
        Image.new("RGBA", (side, side), "red").save(path, "WEBP", lossless=True, method=0)
    else:
        Image.new(kind, (side, side)).save(path, "PNG")
    return path


PEAK = """
import resource, sys
from looktwice.images import read_image
import numpy
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_image(sys.argv[1])
image.resize((224, 224), box=(0, 0, image.width, image.height))
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def peak(path):
    """The bytes that another process needs to read an image and to make a network's input from it."""
    environment = {"PYTHONPATH": str(Path(looktwice.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", PEAK, path], env=environment, capture_output=True, text=True, check=True
    )
    return int(found.stdout)


BYTES_A_PIXEL = {"palette with alpha": 5, "RGB": 4, "RGBA": 8, "LA": 8, "I;16": 6, "1": 5, "turned": 8, "one strip": 8}
MORE = 60_000_000
"""Bytes for libraries and strips."""


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF"), reason="nothing tells the peak here")
@pytest.mark.parametrize("kind", ["palette with alpha", "RGB", "RGBA"])
def test_a_small_file_of_many_pixels_takes_no_copies_of_them(tmp_path, kind):
    side = 6000
    path = huge(kind, side, tmp_path / "a")
    assert path.stat().st_size < 200_000
    assert peak(path) < BYTES_A_PIXEL[kind] * side**2 + MORE


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*BYTES_A_PIXEL, "progressive"])
def test_100_megapixels_of_any_kind_take_less_than_a_gigabyte(tmp_path, kind):
    assert peak(huge(kind, 10_000, tmp_path / "a")) < min(BYTES_A_PIXEL.get(kind, 10) * 1e8 + MORE, 1.05e9)


@pytest.mark.slow
def test_pixels_that_take_more_than_a_gigabyte_are_refused(tmp_path):
    path = huge("WEBP", 8_000, tmp_path / "a")
    with pytest.raises(TooLargeError, match=r"8,000 × 8,000 pixels of this kind take 1\.0 GB of memory, and 1 GB is"):
        read_image(path)


def test_memory_is_estimated_from_the_header(monkeypatch):
    content = BytesIO()
    Image.new("RGB", (100, 10)).save(content, "WEBP", lossless=True)
    assert decode(content, "a").image.size == (100, 10)
    monkeypatch.setattr(decoding, "MAX_BYTES", 15_999)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(TooLargeError, match="scale the image down first"):
        decode(content, "a")


def test_a_tile_larger_than_its_image_is_refused_from_the_header(monkeypatch):
    content = tiff(np.zeros((4, 4), dtype=np.int64), 16).getvalue()
    for tag, instead, value in ((278, 322, 65536), (279, 323, 65536)):
        at = content.index(struct.pack("<HHI", tag, 4, 1))
        content = content[:at] + struct.pack("<HHII", instead, 4, 1, value) + content[at + 12 :]
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(TooLargeError, match=r"take 17\.2 GB"):
        decode(BytesIO(content), "a")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "needs more memory than there is"),
        (OSError(5, "Input/output error"), "cannot be read (Input/out"),
    ],
)
def test_what_is_no_fault_of_the_file_is_not_called_damage(monkeypatch, error, said):
    content = png(Image.new("RGB", (3, 3)))

    def fail(image):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(InputError) as caught:
        decode(BytesIO(content), "a")
    assert said in str(caught.value)
    assert "fetch the file again" not in str(caught.value)


def test_a_warning_holds_no_escape_code(tmp_path):
    path = tmp_path / "red\x1b[31m.png"
    path.write_bytes(deep(12).getvalue())
    with pytest.warns(UserWarning, match=r"red\\x1b\[31m\.png: all its 16-bit"):
        read_image(path)


# ---- pictures with transparency ------------------------------------------------------------------------------------


def translucent(mode):
    pixels = noise(30, 40, 4)
    pixels[:10, :, 3] = 0
    image = Image.fromarray(pixels, "RGBA")
    return image if mode == "RGBA" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_rgba_keeps_transparency_and_the_colours_below_it(mode, tmp_path):
    image = translucent(mode)
    file = tmp_path / ("a.tif" if mode == "LA" else "a.png")
    image.convert("RGBA" if mode == "PA" else mode).save(file)
    found = read_image(file, mode="RGBA")
    assert found.mode == "RGBA"
    assert np.array_equal(np.asarray(found), np.asarray(image.convert("RGBA")))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16", "1"])
def test_rgba_of_an_opaque_picture_is_its_rgb_and_opaque(mode, tmp_path):
    image = Image.fromarray(noise(30, 40))
    image = Image.fromarray(noise(30, 40).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "a.png")
    found, plain = read_image(tmp_path / "a.png", mode="RGBA"), read_image(tmp_path / "a.png")
    assert np.array_equal(np.asarray(found)[..., :3], np.asarray(plain))
    assert np.asarray(found)[..., 3].min() == 255


def test_rgba_is_turned_upright_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    translucent("RGBA").save(tmp_path / "a.png", exif=exif)
    assert read_picture(tmp_path / "a.png", mode="RGBA").image.size == (30, 40)


def test_rgba_of_a_large_picture_comes_in_strips(monkeypatch, tmp_path):
    translucent("LA").save(tmp_path / "a.png")
    whole = np.asarray(read_image(tmp_path / "a.png", mode="RGBA"))
    monkeypatch.setattr(decoding, "_STRIP", 200)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png", mode="RGBA")), whole)

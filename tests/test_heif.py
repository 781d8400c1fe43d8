"""Pictures in AVIF and HEIC."""

import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import looktwice
from looktwice import heif
from looktwice.decoding import TooLargeError, decode
from looktwice.errors import InputError
from looktwice.images import find_images, read_image, read_picture

pillow_heif = pytest.importorskip("pillow_heif")
pytestmark = pytest.mark.skipif(not features.check("avif"), reason="needs Pillow 11.3")

KINDS = ["AVIF", "HEIC"]
RED, BLUE, GREEN, WHITE = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)


def corners(*, size=(64, 48), mode="RGB"):
    """Red, blue, green and white quarters."""
    width, height = size
    image = Image.new(mode, size, RED)
    image.paste(BLUE, (width // 2, 0, width, height // 2))
    image.paste(GREEN, (0, height // 2, width // 2, height))
    image.paste(WHITE, (width // 2, height // 2, width, height))
    return image


def saved(image, kind, **options):
    content = BytesIO()
    if kind == "AVIF":
        image.save(content, "AVIF", quality=95, **options)
    else:
        made = pillow_heif.from_pillow(image)
        made.save(content, quality=95, **options)
    return content.getvalue()


def shown(image):
    """The colours of the four quarters: top left, top right, bottom left, bottom right."""
    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    places = [
        (height // 4, width // 4),
        (height // 4, -width // 4),
        (-height // 4, width // 4),
        (-height // 4, -width // 4),
    ]
    names = {RED: "red", BLUE: "blue", GREEN: "green", WHITE: "white"}
    return " ".join(
        names[min(names, key=lambda colour: np.abs(pixels[place].astype(int) - colour).sum())] for place in places
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_from_a_file_and_from_memory(tmp_path, kind):
    content = saved(corners(), kind)
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(content)
    read = read_image(file)
    assert (read.mode, read.size, shown(read)) == ("RGB", (64, 48), "red blue green white")
    assert decode(BytesIO(content), "a").image.tobytes() == read.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_tells_the_kind_and_not_the_suffix(tmp_path, kind):
    file = tmp_path / "a.jpg"
    file.write_bytes(saved(corners(), kind))
    assert shown(read_image(file)) == "red blue green white"


def test_a_folder_is_searched_for_them(tmp_path):
    for name in ("a.avif", "b.HEIC", "c.heif", "d.hif", "e.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [Path(file).name for file in find_images([tmp_path])] == ["a.avif", "b.HEIC", "c.heif", "d.hif"]


UPRIGHT = {1: "red blue green white", 3: "white green blue red", 6: "green red white blue", 8: "blue white red green"}
"""The quarters after the turn of an EXIF orientation."""


@pytest.mark.parametrize("value", UPRIGHT)
def test_an_avif_is_turned_once(value):
    exif = Image.Exif()
    exif[0x0112] = value  # Pillow writes it as the container's own turn too
    read = decode(BytesIO(saved(corners(), "AVIF", exif=exif)), "a")
    assert shown(read.image) == UPRIGHT[value]
    assert read.image.size == ((48, 64) if value >= 5 else (64, 48))


def with_turn(content, quarters):
    """A HEIC file whose container says that the picture is turned by so many quarters, against the clock.

    The property ``irot`` is added to ``ipco``, and the first item is associated with it.
    """
    at = content.index(b"ipco") - 4
    size = int.from_bytes(content[at : at + 4], "big")
    boxes, place, count = content[at + 8 : at + size], 0, 0
    while place < len(boxes):
        place += int.from_bytes(boxes[place : place + 4], "big")
        count += 1
    irot = struct.pack(">I4sB", 9, b"irot", quarters)
    ipma = content.index(b"ipma") - 4
    length = int.from_bytes(content[ipma : ipma + 4], "big")
    entry = bytearray(content[ipma : ipma + length])
    assert entry[8:12] == b"\0\0\0\0"
    assert int.from_bytes(entry[12:16], "big") == 1
    entry[18] += 1  # associations of the only item, after its id of 2 bytes
    entry += bytes([0x80 | (count + 1)])
    entry[:4] = len(entry).to_bytes(4, "big")
    added = len(irot) + 1
    made = bytearray(content[:ipma] + bytes(entry) + content[ipma + length :])
    made[at + size : at + size] = irot
    for name, more in ((b"ipco", len(irot)), (b"iprp", added), (b"meta", added)):
        start = made.index(name) - 4
        made[start : start + 4] = (int.from_bytes(made[start : start + 4], "big") + more).to_bytes(4, "big")
    iloc = made.index(b"iloc") - 4
    end = iloc + int.from_bytes(made[iloc : iloc + 4], "big")
    data = content.index(b"mdat") + 4
    for start in range(iloc + 12, end - 3):  # offsets into the file move too
        offset = int.from_bytes(made[start : start + 4], "big")
        if offset == data:
            made[start : start + 4] = (offset + added).to_bytes(4, "big")
    return bytes(made)


@pytest.mark.parametrize(("quarters", "value"), [(1, 8), (2, 3), (3, 6)])
@pytest.mark.parametrize("with_exif", [False, True])
def test_a_heic_is_turned_once(quarters, value, with_exif):
    """Telephones write the turn twice: into the container, which counts, and into EXIF, which is for information."""
    exif = Image.Exif()
    exif[0x0112] = value
    with_both = saved(corners(), "HEIC", exif=exif.tobytes())
    content = with_both if with_exif else with_turn(saved(corners(), "HEIC"), quarters)
    assert (b"Exif" in content, b"irot" in content) == (with_exif, True)
    read = decode(BytesIO(content), "a")
    assert shown(read.image) == UPRIGHT[value]
    assert read.image.size == ((48, 64) if value >= 5 else (64, 48))
    assert read.orientation is None  # whoever opens the file gets it upright


@pytest.mark.parametrize("value", UPRIGHT)
def test_a_heic_that_only_exif_turns_stays_as_it_is_stored(value):
    """The standard says that the container alone turns a picture, and EXIF is for information."""
    exif = Image.Exif()
    exif[0x0112] = value
    content = bytearray(saved(corners(), "HEIC", exif=exif.tobytes()))
    if b"irot" in content:  # pillow-heif writes the turn into the container too
        content[content.index(b"irot") + 4] = 0
    assert (b"Exif" in content, b"imir" in content) == (True, False)
    read = decode(BytesIO(bytes(content)), "a")
    assert (shown(read.image), read.image.size) == (UPRIGHT[1], (64, 48))
    assert read.orientation is None


@pytest.mark.parametrize("kind", KINDS)
def test_transparent_parts_are_white_unless_they_are_asked_for(kind):
    image = corners(mode="RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    image.paste((255, 0, 0, 255), (0, 0, 32, 24))
    content = saved(image, kind)
    assert shown(decode(BytesIO(content), "a").image) == "red white white white"
    clear = decode(BytesIO(content), "a", mode="RGBA").image
    assert clear.mode == "RGBA"
    assert clear.getpixel((48, 36))[3] == 0
    assert clear.getpixel((16, 12))[3] == 255


@pytest.mark.parametrize("bits", [10, 12])
def test_deeper_heics_are_scaled_to_8_bits(bits, monkeypatch):
    values = np.zeros((48, 64, 3), np.uint16)
    values[:, :32] = 65535
    values[:, 32:] = 32768
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    content = BytesIO()
    pillow_heif.encode("RGB;16", (64, 48), values.tobytes(), content, quality=95)
    assert pillow_heif.open_heif(BytesIO(content.getvalue()), convert_hdr_to_8bit=False).info["bit_depth"] == bits
    read = decode(BytesIO(content.getvalue()), "a")
    assert read.notes == ()
    assert read.image.mode == "RGB"
    assert np.abs(np.asarray(read.image)[24, [16, 48]].astype(int) - [[255] * 3, [128] * 3]).max() <= 3


@pytest.mark.parametrize("mode", ["L", "LA"])
@pytest.mark.parametrize("kind", KINDS)
def test_gray_pictures_become_rgb(mode, kind):
    read = decode(BytesIO(saved(Image.new(mode, (64, 48), 100 if mode == "L" else (100, 255)), kind)), "a").image
    assert read.mode == "RGB"
    assert np.abs(np.asarray(read).astype(int) - 100).max() <= 2


def test_an_animation_gives_its_first_frame():
    content = BytesIO()
    corners().save(content, "AVIF", save_all=True, append_images=[Image.new("RGB", (64, 48), BLUE)])
    assert shown(decode(content, "a").image) == "red blue green white"


def test_a_heic_of_several_pictures_gives_its_main_one():
    made = pillow_heif.from_pillow(Image.new("RGB", (64, 48), BLUE))
    made.add_from_pillow(corners())
    content = BytesIO()
    made.save(content, quality=95, primary_index=1)
    assert shown(decode(content, "a").image) == "red blue green white"


# ---- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_and_many_broken_bytes_are_one_line(kind):
    content = saved(corners(), kind)
    random = np.random.default_rng(0)
    broken = [content[:length] for length in range(1, len(content), max(1, len(content) // 150))]
    for _ in range(150):
        bytes_ = bytearray(content)
        for place in random.integers(0, len(content), 3):
            bytes_[place] = random.integers(256)
        broken.append(bytes(bytes_))
    for case in broken:
        assert is_read_or_refused(case)


def is_read_or_refused(content):
    try:
        return decode(BytesIO(content), "a.heic").image.mode == "RGB"
    except InputError as error:
        return str(error).startswith("a.heic: ") and "\n" not in str(error)


def claiming(content, width, height):
    """The file with another size in its ``ispe``."""
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", width, height) + content[at + 8 :]


PEAK = """
import resource, sys
from io import BytesIO
from pathlib import Path
import pillow_heif
from looktwice.decoding import decode
from looktwice.errors import InputError
content = BytesIO(Path(sys.argv[1]).read_bytes())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(content, "a")
except InputError as error:
    print(error)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def decoded_alone(file):
    """What another process says of a file, and the bytes that it needs."""
    environment = {"PYTHONPATH": str(Path(looktwice.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PEAK, file]
    *said, peak = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )[:-1]
    return said, int(peak)


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (2**31, 2**31), (12_000, 12_000), (0, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_claims_many_pixels_is_one_line_in_little_memory(tmp_path, kind, width, height):
    file = tmp_path / "bomb"
    file.write_bytes(claiming(saved(corners(), kind), width, height))
    said, peak = decoded_alone(file)
    assert len(said) == 1
    assert said[0].startswith("a: ")
    assert peak < 60_000_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_real_pixels_take_no_more_memory_than_is_estimated(tmp_path, kind):
    file = tmp_path / "large"
    side = 3000
    cat = Image.open(Path(looktwice.__file__).parents[2] / "examples" / "images" / "cat.jpg").resize((side, side))
    file.write_bytes(saved(cat, kind, **({"speed": 10} if kind == "AVIF" else {})))
    said, peak = decoded_alone(file)
    assert said == []
    assert peak < 16 * side**2 + 60_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_pixels_are_refused_from_the_header(kind):
    with pytest.raises(TooLargeError, match="64 × 48 pixels are more than the 1,000 allowed"):
        decode(BytesIO(saved(corners(), kind)), "a", max_pixels=1000)


def test_an_old_pillow_is_one_line(monkeypatch):
    monkeypatch.setattr(heif.features, "check", lambda _: False)
    with pytest.raises(
        InputError, match=r"^a\.avif: is an AVIF picture, and this Pillow cannot read it; install Pillow 11.3"
    ):
        decode(BytesIO(saved(corners(), "AVIF")), "a.avif")


def test_without_the_extra_its_name_is_said(monkeypatch, tmp_path):
    file = tmp_path / "a.heic"
    file.write_bytes(saved(corners(), "HEIC"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"a\.heic: is a HEIC picture, .* pip install 'looktwice\[heic\]'; or save"):
        read_picture(file)


def test_other_files_of_this_container_are_no_images():
    film = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"mp41") + bytes(50)
    with pytest.raises(InputError, match="is not an image that can be read"):
        decode(BytesIO(film), "a")


def test_nobody_elses_pillow_is_changed():
    script = (
        "import sys; from io import BytesIO; from PIL import Image; from looktwice.images import read_image; "
        "read_image(sys.argv[1]); print('HEIF' in Image.OPEN)"
    )
    file = Path(looktwice.__file__).parents[2] / "examples" / "images" / "cat.jpg"
    environment = {"PYTHONPATH": str(Path(looktwice.__file__).parents[1])}
    ran = subprocess.run(
        [sys.executable, "-c", script, file], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"

"""The mark of results: every reader skips it, and it tells them from files of users."""

import json
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from looktwice.errors import InputError
from looktwice.export.results import is_result, write_result
from looktwice.figures.animation import animated_gif
from looktwice.figures.encode import png_bytes
from noise import noise


def test_a_png_says_which_software_made_it(tmp_path):
    file = write_result(tmp_path / "a.png", png_bytes(noise()))
    with Image.open(file) as image:
        assert image.info["Software"] == "looktwice"
        assert np.array_equal(np.asarray(image), np.asarray(noise()))
    assert is_result(file)


def test_a_marked_animation_plays(tmp_path):
    file = write_result(tmp_path / "a.gif", animated_gif([noise(seed=seed) for seed in range(3)]))
    with Image.open(file) as image:
        assert image.n_frames == 3
        image.seek(2)
        image.load()
    assert is_result(file)


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_marked_vector_pictures_are_whole(tmp_path, form):
    matplotlib = pytest.importorskip("matplotlib.figure")
    data = BytesIO()
    matplotlib.Figure().savefig(data, format=form)
    file = write_result(tmp_path / f"a.{form}", data.getvalue())
    assert is_result(file)
    if form == "svg":
        assert ElementTree.fromstring(file.read_bytes()).tag.endswith("svg")
    else:
        assert file.read_bytes().rstrip().endswith(b"%%EOF\n% Made by looktwice")


def test_a_marked_video_plays(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    from looktwice.figures.animation import video

    file = write_result(tmp_path / "a.mp4", video([noise(64, 48, seed=seed) for seed in range(2)]))
    assert is_result(file)
    frames, seconds = ffmpeg.count_frames_and_secs(str(file))
    assert frames > 2
    assert seconds > 0


def test_results_are_replaced_and_files_of_users_are_not(tmp_path):
    file = tmp_path / "a.png"
    write_result(file, png_bytes(noise(seed=1)))
    write_result(file, png_bytes(noise(seed=2)))
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(noise(seed=2)))
    noise().save(file)
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"a\.png is there already and is no result of looktwice; move it"):
        write_result(file, png_bytes(noise()))
    assert file.read_bytes() == before


OTHERS = {
    "a picture": ("a.png", lambda: png_bytes(noise())),
    "an empty file": ("a.png", bytes),
    "a picture of other software": ("a.png", lambda: b"\x89PNG\r\n\x1a\n" + b"tEXtSoftware\0paint" * 9),
    "a text": ("a.json", lambda: b"{"),
    "a list": ("a.json", lambda: b"[1]"),
    "a record of other software": ("a.json", lambda: b'{"boxes": []}'),
    "options for this program": ("a.json", lambda: b'{"looktwice": {"steps": 3}}'),
    "nesting without end": ("a.json", lambda: b"[" * 10**6),
    "an animation": ("a.gif", lambda: animated_gif([noise(), noise()])),
    "a drawing that tells of this program": (
        "a.svg",
        lambda: b"<svg><!-- Made by looktwice -->" + b" " * 99 + b"</svg>",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_result(tmp_path, case):
    name, content = OTHERS[case]
    (tmp_path / name).write_bytes(content())
    assert not is_result(tmp_path / name)
    with pytest.raises(InputError):
        write_result(tmp_path / name, content())


def test_a_folder_and_nothing_are_no_results(tmp_path):
    (tmp_path / "a.png").mkdir()
    assert not is_result(tmp_path / "a.png")
    with pytest.raises(InputError, match="there already"):
        write_result(tmp_path / "a.png", png_bytes(noise()))
    assert not is_result(tmp_path / "b.png")


def test_results_of_versions_without_marks_are_known_by_their_records(tmp_path):
    noise().save(tmp_path / "cat.3.png")
    assert not is_result(tmp_path / "cat.3.png")
    record = {"looktwice": "0.1.0", "boxes": []}
    (tmp_path / "cat.3.json").write_text(json.dumps(record))
    assert is_result(tmp_path / "cat.3.png")
    (tmp_path / "cat.3.json").write_text(json.dumps(record | {"activations": {}}))
    assert not is_result(tmp_path / "cat.3.png")

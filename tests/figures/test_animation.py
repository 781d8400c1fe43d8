"""Animations read back: as many frames, as long, and looking as what went in."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from looktwice.figures.animation import animated_gif, video


def frames(count=3, size=(101, 61)):
    """A white sheet with a smooth picture that stays and a square that changes."""
    width, height = size
    made = []
    for number in range(count):
        pixels = np.full((height, width, 3), 255, np.uint8)
        pixels[10:50, 5:45] = np.linspace(0, 200, 40, dtype=np.uint8)[:, None]
        pixels[10:50, 55:95] = [(220, 30, 30), (30, 160, 30), (30, 30, 220)][number % 3]
        made.append(Image.fromarray(pixels))
    return made


def difference(one, other):
    return np.abs(np.asarray(one).astype(int) - np.asarray(other)).max(axis=2)


def test_a_gif_has_every_frame_for_its_time_and_starts_again():
    made = frames()
    with Image.open(io.BytesIO(animated_gif(made))) as gif:
        shown = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
        assert gif.info["loop"] == 0
    assert [duration for _, duration in shown] == [800, 800, 2400]
    for (picture, _), wanted in zip(shown, made, strict=True):
        assert picture.size == wanted.size
        assert np.percentile(difference(picture, wanted), 99) < 24


def test_what_stays_does_not_flicker_and_the_paper_is_white():
    with Image.open(io.BytesIO(animated_gif(frames()))) as gif:
        shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
    for picture in shown:
        assert (picture[:8] == 255).all()
        assert (picture[:50, :48] == shown[0][:50, :48]).all()


def test_one_frame_is_a_gif_too():
    with Image.open(io.BytesIO(animated_gif(frames(1)))) as gif:
        assert gif.size == (101, 61)


def test_a_video_has_every_frame_for_its_time(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    made = frames()
    file = tmp_path / "video.mp4"
    file.write_bytes(video(made))
    reader = ffmpeg.read_frames(str(file))
    facts = next(reader)
    assert (facts["codec"], facts["size"], facts["fps"]) == ("h264", (102, 62), 10)  # even sizes
    shown = [np.frombuffer(frame, np.uint8).reshape(62, 102, 3)[:61, :101] for frame in reader]
    assert len(shown) == 8 + 8 + 24
    for number, wanted in [(4, made[0]), (12, made[1]), (39, made[2])]:
        assert np.percentile(difference(shown[number], wanted), 90) < 24

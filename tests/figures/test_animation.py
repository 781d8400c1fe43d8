"""Animations read back: as many frames, as long, and looking as what went in."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from looktwice.figures.animation import animated_gif, video
from looktwice.figures.frames import draw_boxes
from looktwice.images import Window


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


@pytest.mark.parametrize("ground", [(255, 255, 255), (0, 0, 0), (128, 128, 128)])
def test_a_frame_is_seen_in_an_animation_on_every_side(ground):
    """The light line stays light and its edges stay dark, though all frames share 256 colours."""
    ground = Image.new("RGB", (160, 90), ground)
    picture = draw_boxes(ground, [(0, 0, 160, 90), (60, 30, 100, 60)], Window.whole(160, 90))
    with Image.open(io.BytesIO(animated_gif([picture, *frames(2, picture.size)]))) as gif:
        shown = np.asarray(gif.convert("RGB")).astype(int)
    for light, dark in [((45, 1), (45, 0)), ((45, -2), (45, -1)), ((1, 80), (0, 80)), ((-2, 80), (-1, 80))]:
        assert shown[light].min() > 230
        assert shown[dark].max() < 25
    assert shown[45, 60].min() > 230
    assert max(shown[45, 59].max(), shown[45, 61].max()) < 25

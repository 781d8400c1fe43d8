"""Pictures of one size, one after the other, as an animated GIF or an MP4 video."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from looktwice.errors import MissingExtraError

SECONDS = 0.8
"""How long each frame stands,"""


LAST_SECONDS = 2.4
"""and the last, which is the result."""


_WHITE = 255
"""Place of white, the paper of a sheet, in the palette of a GIF."""


_RATE = 10
"""Frames of a video a second; a picture that stands longer is repeated, since players expect an even rate."""


def animated_gif(frames: Sequence[Image.Image]) -> bytes:
    """Frames → a GIF that goes on for ever."""
    palette = _shared_palette(frames)
    first, *others = [_indexed(frame, palette) for frame in frames]
    data = BytesIO()
    durations = [round(1000 * seconds) for seconds in _durations(len(frames))]
    first.save(data, "GIF", save_all=True, append_images=others, duration=durations, loop=0, disposal=1)
    return data.getvalue()


def _shared_palette(frames: Sequence[Image.Image]) -> Image.Image:
    """256 colours for all frames alike: with a palette each, what does not change would flicker."""
    samples = [frame.resize((max(1, frame.width // 3), max(1, frame.height // 3))) for frame in frames]
    together = Image.fromarray(np.concatenate([np.asarray(sample) for sample in samples]))
    palette = together.quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=1)
    colours = (palette.getpalette() or [])[: 3 * _WHITE]
    palette.putpalette([*colours, *[0] * (3 * _WHITE - len(colours)), 255, 255, 255])
    return palette


def _indexed(frame: Image.Image, palette: Image.Image) -> Image.Image:
    """A frame in the colours of a palette, dithered; but what is white stays white, which Pillow's search may miss."""
    indexed = frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    white = (np.asarray(frame) == 255).all(axis=2)
    indexed.paste(_WHITE, mask=Image.fromarray(white))
    return indexed


def require_ffmpeg() -> Any:
    """The package that brings ffmpeg, which is loaded here and not before.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            "MP4 is written by imageio-ffmpeg, which is missing: pip install 'looktwice[figures]', or take GIF"
        ) from error
    return imageio_ffmpeg


def video(frames: Sequence[Image.Image]) -> bytes:
    """Frames → an MP4 (H.264, 4:2:0) that browsers and slides play.

    Raises:
        MissingExtraError: imageio-ffmpeg is not installed.
    """
    ffmpeg = require_ffmpeg()
    width, height = (length + length % 2 for length in frames[0].size)  # 4:2:0 takes even sizes only
    with TemporaryDirectory(prefix="looktwice-") as folder:
        file = Path(folder) / "video.mp4"
        writer = ffmpeg.write_frames(
            str(file),
            (width, height),
            fps=_RATE,
            codec="libx264",
            quality=8,
            macro_block_size=2,
            ffmpeg_log_level="error",
        )
        writer.send(None)
        for frame, seconds in zip(frames, _durations(len(frames)), strict=True):
            even = Image.new("RGB", (width, height), "white")
            even.paste(frame)
            for _ in range(round(seconds * _RATE)):
                writer.send(np.asarray(even).tobytes())
        writer.close()
        return file.read_bytes()


def _durations(count: int) -> list[float]:
    return [SECONDS] * (count - 1) + [LAST_SECONDS]

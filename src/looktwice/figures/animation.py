"""Animations: pictures of one size as an animated GIF or an MP4 video."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from looktwice.errors import MissingExtraError

SECONDS = 0.8
"""How long each frame but the last is shown."""


LAST_SECONDS = 2.4
"""How long the last frame, the result, is shown."""


_WHITE = 255
"""Index of white, the background of a sheet, in the palette of a GIF."""


_RATE = 10
"""Frames in each second of a video. Players expect an even rate, so a picture is repeated until its time is over."""


def animated_gif(frames: Sequence[Image.Image]) -> bytes:
    """Frames → an animated GIF that starts again after the last frame.

    Args:
        frames: RGB pictures of one size, at least one.

    Returns:
        The file's bytes.
    """
    palette = _shared_palette(frames)
    first, *others = [_indexed(frame, palette) for frame in frames]
    data = BytesIO()
    durations = [round(1000 * seconds) for seconds in _durations(len(frames))]
    first.save(data, "GIF", save_all=True, append_images=others, duration=durations, loop=0, disposal=1)
    return data.getvalue()


def _shared_palette(frames: Sequence[Image.Image]) -> Image.Image:
    """One palette of 256 colours for all frames. With a palette for each, parts that do not change would flicker."""
    samples = [frame.resize((max(1, frame.width // 3), max(1, frame.height // 3))) for frame in frames]
    together = Image.fromarray(np.concatenate([np.asarray(sample) for sample in samples]))
    palette = together.quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=1)
    colours = (palette.getpalette() or [])[: 3 * _WHITE]
    palette.putpalette([*colours, *[0] * (3 * _WHITE - len(colours)), 255, 255, 255])
    return palette


def _indexed(frame: Image.Image, palette: Image.Image) -> Image.Image:
    """A frame in the colours of a palette, dithered. White stays white: Pillow's search for a colour can miss it."""
    indexed = frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    white = (np.asarray(frame) == 255).all(axis=2)
    indexed.paste(_WHITE, mask=Image.fromarray(white))
    return indexed


def require_ffmpeg() -> Any:
    """Loads the package that brings ffmpeg, imageio-ffmpeg.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            "MP4 files need imageio-ffmpeg, which is not installed: pip install 'looktwice[figures]', or take GIF"
        ) from error
    return imageio_ffmpeg


def video(frames: Sequence[Image.Image]) -> bytes:
    """Frames → an MP4 video (H.264, 4:2:0) that browsers and presentation programs can play.

    Args:
        frames: RGB pictures of one size, at least one. An odd width or height gets one more line of white pixels.

    Returns:
        The file's bytes.

    Raises:
        MissingExtraError: imageio-ffmpeg is not installed.
    """
    ffmpeg = require_ffmpeg()
    width, height = (length + length % 2 for length in frames[0].size)  # 4:2:0 needs even sizes
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

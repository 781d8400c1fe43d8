"""What the gallery's cards show: small pictures, maps to lie over them, and the data set they come from."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from looktwice.datasets.load import load_dataset
from looktwice.datasets.records import Dataset, ImageContent, Sample
from looktwice.errors import InputError, LooktwiceError, printable
from looktwice.figures.encode import data_uri
from looktwice.images import Window, as_pair, read_annotated
from looktwice.report.finished_run import FinishedRun, Subject
from looktwice.runs.folder import PartReader
from looktwice.runs.manifest import Manifest, PreprocessingFacts
from looktwice.runs.saved_maps import read_maps
from looktwice.runs.small_maps import LEVELS, heat_of

THUMBNAIL = 320
"""Longer side of a picture, in pixels: enough to be enlarged once. 120 photos take about 4 MB of the page."""


MAP_SIDE = 56
"""Longer side of a map, in pixels: a map is smooth, so it is enlarged without loss."""


Heats = Mapping[tuple[str, int], Mapping[str, NDArray[np.floating]]]
"""By sample and target, the map (H, W) of each method."""


def small_heats(run: FinishedRun, subjects: Sequence[Subject]) -> Heats:
    """The small maps of these subjects that the run's rows have; runs of older versions have none."""
    found: dict[tuple[str, int], dict[str, NDArray[np.floating]]] = {}
    wanted = {(subject.sample, subject.target) for subject in subjects}
    reader, columns = PartReader(run.folder), ("sample", "target", "method", "rank", "small_map")
    for part in sorted({subject.order // run.manifest.run.batch_size for subject in subjects}):
        rows = reader.read(part, columns)
        values = (rows[name].to_pylist() for name in columns)
        for sample, target, method, rank, content in zip(*values, strict=True):
            heat = heat_of(content) if content is not None and rank == 0 and (sample, target) in wanted else None
            if heat is not None:
                found.setdefault((sample, target), {})[method] = heat
    return found


def saved_heats(run: FinishedRun, subjects: Sequence[Subject]) -> Heats:
    """The maps that the run saved of these subjects.

    Raises:
        RunError: a file of maps is damaged.
    """
    wanted = {(subject.sample, subject.target) for subject in subjects}
    found: dict[tuple[str, int], dict[str, NDArray[np.floating]]] = {}
    for part in run.manifest.run.parts:
        saved = read_maps(run.folder, part, wanted)
        if saved:
            keys = zip(saved["sample"].tolist(), saved["target"].tolist(), strict=True)
            methods = [method for method in run.methods if method in saved]
            found |= {key: {method: saved[method][row] for method in methods} for row, key in enumerate(keys)}
    return found


def map_picture(heat: NDArray[np.floating], window: Window) -> bytes:
    """A map (H, W) as a PNG the shape of its image: opaque where it is hot, clear where cold and outside ``window``."""
    scale = MAP_SIDE / max(window.width, window.height)
    width, height = (max(1, round(scale * side)) for side in (window.width, window.height))
    across, down = width / window.width, height / window.height
    left, top = round(window.left * across), round(window.top * down)
    right, bottom = max(left + 1, round(window.right * across)), max(top + 1, round(window.bottom * down))
    shrinks = heat.shape[1] > right - left
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    inner = cv2.resize(heat.astype(np.float32), (right - left, bottom - top), interpolation=how)
    seen = inner[max(0, -top) : height - top, max(0, -left) : width - left]  # a window may reach out of its image
    levels = np.zeros((height, width), dtype=np.uint8)
    left, top = max(0, left), max(0, top)
    levels[top : top + len(seen), left : left + seen.shape[1]] = (np.clip(seen, 0, 1) * (LEVELS - 1)).round()
    picture = Image.fromarray(levels)
    shares = np.linspace(0, 1, LEVELS)
    ramp = (255 * shares[None]).round().astype(np.uint8)
    picture.putpalette(cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO)[0, :, ::-1].tobytes())
    content = BytesIO()
    # The exponent is that of figures.overlay: a map is peaked, and its lower half must be seen too.
    picture.save(content, "PNG", optimize=True, transparency=bytes((204 * shares**0.75).round().astype(np.uint8)))
    return content.getvalue()


def thumbnail(path: Path, size: tuple[int, int], content: ImageContent | None = None) -> str | None:
    """An image file as a small JPEG in a data URI; None if it cannot be read.

    Args:
        path: the file.
        size: (width, height) in the run. It tells whether the run read the image upright or as it is stored.
        content: how its bytes are read, if it lies in no file of its own.
    """
    try:
        image = read_annotated(path, size, content=None if content is None else content.read()).image
    except (InputError, OSError):
        return None
    return _as_jpeg(image)


def square_thumbnail(cells: Sequence[Sample], preprocessing: PreprocessingFacts) -> str | None:
    """The four images of a square, each as the network saw it, as a small JPEG; None if one cannot be read."""
    crop_height, crop_width = as_pair(preprocessing.crop)
    scale = THUMBNAIL / (2 * max(crop_height, crop_width))
    width, height = max(1, round(scale * crop_width)), max(1, round(scale * crop_height))
    square = Image.new("RGB", (2 * width, 2 * height))
    for place, sample in enumerate(cells):
        try:
            content = None if sample.content is None else sample.content.read()
            image = read_annotated(sample.image, sample.stated_size, content=content).image
        except (InputError, OSError):
            return None
        window = preprocessing.window(*image.size)
        left, top, right, bottom = (round(side) for side in (window.left, window.top, window.right, window.bottom))
        seen = image.convert("RGB").crop((left, top, right, bottom))
        square.paste(seen.resize((width, height), Image.Resampling.BILINEAR), (place % 2 * width, place // 2 * height))
    return _as_jpeg(square)


def _as_jpeg(image: Image.Image) -> str:
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = BytesIO()
    image.save(content, "JPEG", quality=72, optimize=True)
    return data_uri("jpeg", content.getvalue())


def find_dataset(manifest: Manifest, folder: Path | None) -> tuple[Dataset | None, str | None]:
    """The data set of a run, or None and the reason.

    Args:
        manifest: of the run; it tells where the run found the data set.
        folder: where the data set is now; None: where the run found it. The classes file and the metadata folder are
            looked for in it too, if they are not where the run found them.
    """
    about = manifest.about
    gone = "The cards have neither pictures nor annotated boxes."
    if (folder is None and about.root is None) or about.layout is None:
        return None, f"The run does not tell where its images are. {gone} Name their folder with --data."
    old = None if about.root is None else Path(about.root)
    root = folder or old
    assert root is not None
    places = {"classes file": about.classes, "metadata folder": about.metadata}
    now = {what: None if place is None else _moved(Path(place), old, root) for what, place in places.items()}
    if not root.exists():
        return None, printable(f"The data set {root} does not exist. {gone} Name its folder with --data.")
    for what, place in now.items():
        if place is not None and not place.exists():
            return None, printable(f"The {what} {place} does not exist. {gone} Put it back there, or into {root}.")
    classes, metadata = now.values()
    try:
        dataset = load_dataset(root, about.layout, split=about.split, classes=classes, metadata=metadata)
    except (LooktwiceError, OSError) as error:
        return None, printable(f"The data set cannot be read ({error}). {gone} Name its folder with --data.")
    if dataset.fingerprint() != manifest.run.data.fingerprint:
        reason = f"{root} does not hold the images and boxes of the run."
        return None, printable(f"{reason} {gone} Name its folder with --data.")
    return dataset, None


def _moved(place: Path, old: Path | None, new: Path) -> Path:
    """Where a file of the data set is if the data set has moved from ``old`` to ``new``."""
    if old is None or place.exists():
        return place
    before = old.parent if old.suffix == ".csv" else old
    after = new if new.is_dir() else new.parent
    inside = after / (place.relative_to(before) if place.is_relative_to(before) else place.name)
    return inside if inside.exists() else place

"""The report's gallery: which images to show of a run, and each as a card with picture, boxes and maps.

Pictures and annotated boxes come from the data set, when it is still where the run found it; predicted boxes and maps
from the run. Whatever is gone is left out, and the gallery says so.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from looktwice.datasets.load import load_dataset
from looktwice.datasets.records import Dataset, Sample, fit_to_image
from looktwice.errors import InputError, LooktwiceError
from looktwice.images import Window, data_uri, read_image
from looktwice.localization.boxes import locate
from looktwice.report.finished_run import Corners, FinishedRun, Seen
from looktwice.runs.folder import COMPARED

THUMBNAIL = 220
"""Longer side of a picture, in pixels."""


MAP_SIDE = 56
"""Longer side of a map: it is smooth, and drawn enlarged."""


MAP_LEVELS = 32
"""Colours of a map."""


_GAIN = ("global_feedback", "feedback")
"""What a gain is of, over what."""


Heats = Mapping[tuple[str, int], Mapping[str, NDArray[np.floating]]]
"""By sample and target, each method's map (H, W)."""


@dataclass(frozen=True)
class View:
    """What a method found: IoU at the threshold that counts, the boxes, and the map as a data URI.

    ``drawn_elsewhere``: for want of a map, the boxes are those of another threshold, which the run drew.
    """

    iou: float
    hit: bool
    boxes: tuple[Corners, ...]
    drawn_elsewhere: bool
    heat: str | None


@dataclass(frozen=True)
class Card:
    """An image of the gallery; ``views`` by method."""

    sample: str
    width: int
    height: int
    shown_class: str
    looked_for: str
    predicted: str
    probability: float
    picture: str | None
    truths: tuple[Corners, ...]
    views: Mapping[str, View]

    @property
    def hits(self) -> int:
        """How many methods found the object."""
        return sum(view.hit for view in self.views.values())

    @property
    def gain(self) -> float | None:
        """IoU of global feedback less that of local feedback; None where one of them is missing."""
        if not set(_GAIN) <= set(self.views):
            return None
        first, second = (self.views[method].iou for method in _GAIN)
        return first - second

    @property
    def disagreed(self) -> bool:
        """Some methods found the object and some did not."""
        return 0 < self.hits < len(self.views)


@dataclass(frozen=True)
class Gallery:
    """Cards out of all that the run ``reported``, and what the reader must know of them."""

    cards: tuple[Card, ...]
    reported: int
    has_maps: bool
    notes: tuple[str, ...]

    @property
    def has_gains(self) -> bool:
        """Both methods of a gain are in the run."""
        return any(card.gain is not None for card in self.cards)


def make_gallery(run: FinishedRun, limit: int, data: Path | None = None) -> Gallery:
    """A balanced choice of at most ``limit`` images of a run as cards, the same whenever it is made.

    The data set is taken from ``data``, and where that is None from where the run found it.
    """
    chosen = select(run, limit)
    dataset, trouble = _dataset(run.manifest, data)
    samples = {sample.id: sample for sample in dataset.samples} if dataset else {}
    heats = _heats(run, [run.seen[index] for index in chosen])
    names = dataset.class_names if dataset else {}
    cards = tuple(_card(run, index, samples.get(run.seen[index].sample), names, heats) for index in chosen)
    missing = sum(card.picture is None for card in cards)
    if dataset and missing:
        trouble = f"{missing} of the pictures cannot be read; their cards have only boxes."
    notes = [trouble] if trouble else []
    elsewhere = [method for method in run.methods if not _drawn_as_judged(run, method)]
    if elsewhere and not heats:
        notes.append(
            f"The run kept no maps, and boxes at a threshold of {run.drawn_at[elsewhere[0]]:.2f}; these are the dashed "
            "ones. IoU, hit and miss are told at the threshold that counts. With evaluate --save-maps all is shown."
        )
    return Gallery(cards, len(run.seen), bool(heats), tuple(notes))


def select(run: FinishedRun, limit: int) -> list[int]:
    """Places of at most ``limit`` maps: gains, losses, disagreements, hits and misses, as many of each as there are.

    Gains and losses the largest first, disagreements the evenest split first, the others by a hash of the name.
    """
    gain = gains(run)
    hits = np.sum([run.hits(method) for method in run.methods], axis=0)
    split = np.minimum(hits, len(run.methods) - hits)
    drawn = sorted(range(len(run.seen)), key=lambda index: _lot(run.seen[index]))
    groups = [
        [index for index in drawn if split[index] > 0],
        [index for index in drawn if hits[index] == len(run.methods)],
        [index for index in drawn if hits[index] == 0],
    ]
    groups[0].sort(key=lambda index: -split[index])
    if gain is not None:
        by_gain = sorted(drawn, key=lambda index: -gain[index])
        best = [index for index in by_gain if gain[index] > 0]
        worst = [index for index in reversed(by_gain) if gain[index] < 0]
        groups = [best, worst, *groups]
    return _in_turns(groups, min(limit, len(run.seen)))


def gains(run: FinishedRun) -> NDArray[np.float64] | None:
    """IoU (U,) of global feedback less that of local feedback; None where one of them is missing."""
    if not set(_GAIN) <= set(run.methods):
        return None
    first, second = (run.iou[method].astype(np.float64) for method in _GAIN)
    return np.asarray(first - second)


def _lot(seen: Seen) -> bytes:
    return hashlib.sha256(f"{seen.sample}\n{seen.target}".encode()).digest()


def _in_turns(groups: Sequence[Sequence[int]], limit: int) -> list[int]:
    """The next of each group that no other has given yet, in turns."""
    chosen: dict[int, None] = {}
    queues = [iter(group) for group in groups]
    while queues and len(chosen) < limit:
        for queue in list(queues):
            following = next((index for index in queue if index not in chosen), None)
            if following is None:
                queues.remove(queue)
            elif len(chosen) < limit:
                chosen[following] = None
    return list(chosen)


def _card(run: FinishedRun, index: int, sample: Sample | None, names: Mapping[int, str], heats: Heats) -> Card:
    seen = run.seen[index]
    views = {method: _view(run, index, method, heats.get((seen.sample, seen.target), {})) for method in run.methods}
    return Card(
        sample=seen.sample,
        width=seen.width,
        height=seen.height,
        shown_class=_class_name(seen.judged, names),
        looked_for=_class_name(seen.target, names),
        predicted=_class_name(seen.predicted, names),
        probability=seen.predicted_probability,
        picture=_picture(sample.image) if sample else None,
        truths=fit_to_image(sample, seen.width, seen.height)[0].boxes_of(seen.judged) if sample else (),
        views=views,
    )


def _class_name(index: int, names: Mapping[int, str]) -> str:
    return names.get(index, f"class {index}").split(",")[0]


def _view(run: FinishedRun, index: int, method: str, heats: Mapping[str, NDArray[np.floating]]) -> View:
    seen, heat = run.seen[index], heats.get(method)
    boxes = run.boxes_of(method, index)
    elsewhere = not _drawn_as_judged(run, method)
    drawing = None
    if heat is not None:
        choices = {name: run.manifest[COMPARED]["preprocessing"][name] for name in ("resize", "crop", "squash")}
        window = Window.of_crop(seen.width, seen.height, **choices)
        if elsewhere:
            boxes = tuple(box.corners for box in locate(heat, window, run.rule_of(method)))
        drawing = data_uri("png", map_picture(heat, window))
    if run.manifest[COMPARED]["box"]["boxes"] == "largest":
        boxes = boxes[:1]
    return View(
        float(run.iou[method][index]), bool(run.hits(method)[index]), boxes, elsewhere and heat is None, drawing
    )


def _drawn_as_judged(run: FinishedRun, method: str) -> bool:
    return run.drawn_at[method] == run.rule_of(method).threshold


def map_picture(heat: NDArray[np.floating], window: Window) -> bytes:
    """A map (H, W) as it lies on its image, as PNG: the hotter, the less lets it through; clear beyond the window."""
    scale = MAP_SIDE / max(window.width, window.height)
    width, height = (max(1, round(scale * side)) for side in (window.width, window.height))
    across, down = width / window.width, height / window.height
    left, top = round(window.left * across), round(window.top * down)
    right, bottom = max(left + 1, round(window.right * across)), max(top + 1, round(window.bottom * down))
    inner = cv2.resize(heat.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    levels = np.zeros((height, width), dtype=np.uint8)
    levels[top:bottom, left:right] = (np.clip(inner, 0, 1) * (MAP_LEVELS - 1)).round()
    picture = Image.fromarray(levels)
    shares = np.linspace(0, 1, MAP_LEVELS)
    ramp = (255 * shares[None]).round().astype(np.uint8)
    picture.putpalette(cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO)[0, :, ::-1].tobytes())
    content = BytesIO()
    # As figures.overlay has it: below 1, since a map is peaked and its lower half counts as well.
    picture.save(content, "PNG", optimize=True, transparency=bytes((204 * shares**0.75).round().astype(np.uint8)))
    return content.getvalue()


def _picture(path: Path) -> str | None:
    try:
        image = read_image(path, upright=False)  # annotations count pixels as stored
    except (InputError, OSError):
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = BytesIO()
    image.save(content, "JPEG", quality=72, optimize=True)
    return data_uri("jpeg", content.getvalue())


def _dataset(manifest: Mapping[str, Any], elsewhere: Path | None) -> tuple[Dataset | None, str | None]:
    """The data set that the run was of, from ``elsewhere`` or where the run found it, or why there is none."""
    about = manifest["about"]
    gone = "the cards have neither pictures nor annotated boxes."
    remedy = "Name its folder with --data"
    root = elsewhere or about.get("root")
    if root is None or "layout" not in about:
        return None, f"The run does not tell where its images are: {gone} {remedy}."
    further = {name: about.get(name) for name in ("split", "classes", "metadata")}
    try:
        dataset = load_dataset(root, about["layout"], **further)
    except (LooktwiceError, OSError) as error:
        return None, f"The data set cannot be read ({error}): {gone} {remedy}."
    if dataset.fingerprint() != manifest[COMPARED]["data"]["fingerprint"]:
        return None, f"{root} does not hold the images and boxes of the run: {gone} {remedy}."
    return dataset, None


def _heats(run: FinishedRun, wanted: Sequence[Seen]) -> Heats:
    """The maps that the run saved of these."""
    keys = {(seen.sample, seen.target) for seen in wanted}
    found: dict[tuple[str, int], dict[str, NDArray[np.floating]]] = {}
    for part in run.parts:
        path = run.folder / "maps" / f"part-{part:06d}.npz"
        if not path.exists():
            continue
        with np.load(path) as arrays:
            there = list(zip(arrays["sample"].tolist(), arrays["target"].tolist(), strict=True))
            rows = {key: row for row, key in enumerate(there) if key in keys}
            if not rows:
                continue
            for method in set(run.methods) & set(arrays.files):
                maps = arrays[method]
                for key, row in rows.items():
                    found.setdefault(key, {})[method] = maps[row].copy()  # not the whole part's
    return found

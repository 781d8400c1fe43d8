"""The report's gallery: which images of a run to show, and a card for each, with picture, boxes and maps.

Pictures and annotated boxes come from the data set, if it is still where the run found it. Found boxes and small maps
come from the run. What is missing is left out, and a note in the gallery says so.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from looktwice.report.card_pictures import find_dataset, saved_heats, small_heats
from looktwice.report.cards import GAIN, Card, Material, make_card, number_title
from looktwice.report.finished_run import FinishedRun, Subject

_NO_MAPS = "An older version made the run, which kept no maps."


@dataclass(frozen=True)
class Gallery:
    """The cards of a run.

    Attributes:
        cards: the chosen images.
        reported: how many images they were chosen from.
        value: what the cards are ordered by: "IoU", or the title of another number; empty if there is none.
        judges_boxes: whether the cards have judged boxes, so hits and misses.
        has_maps: whether a card has a map.
        notes: what the reader must know.
    """

    cards: tuple[Card, ...]
    reported: int
    value: str
    judges_boxes: bool
    has_maps: bool
    notes: tuple[str, ...]

    @property
    def has_gains(self) -> bool:
        """Both methods of a gain are in the run, with numbers."""
        return any(card.gain is not None for card in self.cards)


def make_gallery(run: FinishedRun, limit: int, data: Path | None = None) -> Gallery:
    """A balanced choice of at most ``limit`` images of a run as cards; the same run always gives the same choice.

    Args:
        run: the run.
        limit: the largest number of cards.
        data: the folder of the images; None: the folder in which the run found them.

    Raises:
        RunError: a file of maps is damaged.
    """
    chosen = select(run, limit)
    dataset, trouble = find_dataset(run.manifest, data)
    samples = {sample.id: sample for sample in dataset.samples} if dataset else {}
    subjects = [run.subjects[index] for index in chosen]
    saved, small = saved_heats(run, subjects), small_heats(run, subjects)
    names = dataset.class_names if dataset else {}
    cards = tuple(
        make_card(run, index, Material(samples, names, saved.get(key, {}), small.get(key, {})))
        for index in chosen
        for key in [(run.subjects[index].sample, run.subjects[index].target)]
    )
    missing = sum(card.picture is None for card in cards)
    if dataset and missing:
        trouble = f"{missing} of the pictures cannot be read. Their cards have only boxes."
    notes = [trouble] if trouble else []
    views = [view for card in cards for view in card.views.values()]
    unknown = sum(not view.has_boxes for view in views)
    if unknown:
        notes.append(
            f"The run did not keep {unknown} of the boxes that were judged, so they are not drawn. Their IoU, hit and "
            "miss are right. To see these boxes, evaluate into a new folder (another --output) with --save-maps."
        )
    has_maps = any(view.heat is not None for view in views)
    mapless = sum(card.lacks_maps for card in cards)
    if mapless:
        lacking = "1 card lacks a map" if mapless == 1 else f"{mapless} cards lack maps"
        why = f"{lacking}, since rows of older versions have none." if has_maps else _NO_MAPS
        notes.append(f"{why} To see all maps, evaluate into a new folder (another --output).")
    return Gallery(cards, len(run.subjects), _value_title(run), run.judges_boxes, has_maps, tuple(notes))


def _value_title(run: FinishedRun) -> str:
    if run.judges_boxes:
        return "IoU"
    return number_title(run.shown_numbers[0]) if run.shown_numbers else ""


def select(run: FinishedRun, limit: int) -> list[int]:
    """Indices of at most ``limit`` maps, taken in turns from gains, losses, disagreements, plain hits, plain misses.

    The largest gains and losses come first, and the most even disagreements. The others come in the order of a hash.
    Without judged boxes there are gains and losses only, then all others.
    """
    gain = gains(run)
    drawn = sorted(range(len(run.subjects)), key=lambda index: _hash(run.subjects[index]))
    groups = [drawn]
    if run.judges_boxes:
        hits = np.sum([run.hits(method) for method in run.methods], axis=0)
        split = np.minimum(hits, len(run.methods) - hits)
        groups = [
            sorted((index for index in drawn if split[index] > 0), key=lambda index: -split[index]),
            [index for index in drawn if hits[index] == len(run.methods)],
            [index for index in drawn if hits[index] == 0],
        ]
    if gain is not None:
        by_gain = sorted(drawn, key=lambda index: -gain[index])
        best = [index for index in by_gain if gain[index] > 0]
        worst = [index for index in reversed(by_gain) if gain[index] < 0]
        groups = [best, worst, *groups]
    return _in_turns(groups, min(limit, len(run.subjects)))


def gains(run: FinishedRun) -> NDArray[np.float64] | None:
    """The value (U,) of global feedback less that of local feedback; None if one of them is not in the run."""
    if not set(GAIN) <= set(run.methods):
        return None
    first, second = (run.value_of(method) for method in GAIN)
    return np.nan_to_num(first - second)


def _hash(subject: Subject) -> bytes:
    return hashlib.sha256(f"{subject.sample}\n{subject.target}".encode()).digest()


def _in_turns(groups: Sequence[Sequence[int]], limit: int) -> list[int]:
    """One from each group in turns, each index once, until there are ``limit`` or no more."""
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

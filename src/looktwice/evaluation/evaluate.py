"""A data set through a network and its methods: rows that no kill can lose, from any number of processes.

The unit of work is a chunk: a fixed batch of images in the run's fixed order. Chunk i belongs to the process with rank
i modulo their number, unless its part is there already. What else is in a batch changes an image's numbers by their
last bits; since no chunk ever changes, neither do the rows, whoever computes them. So a run goes on with more or fewer
processes than it began with, and these need not talk to each other.
"""

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import cv2
import numpy as np
import PIL
import torch
import torchvision  # type: ignore[import-untyped]

from looktwice import __version__
from looktwice.atomic_files import remove_unfinished, write_atomically
from looktwice.attention.api import attend
from looktwice.attention.methods import METHODS, resolve_options
from looktwice.datasets.records import Dataset, Sample, shuffled, split_by_hash
from looktwice.errors import DatasetError, OptionError, RunError
from looktwice.evaluation.chunks import Chunks, EvaluationImage, MeasurementPlan, decoded_chunks
from looktwice.evaluation.pipeline import for_network, look, measuring, repeatable
from looktwice.evaluation.processes import Shard
from looktwice.localization.boxes import BoxRule
from looktwice.localization.sweep import grid_index
from looktwice.metrics.judged_maps import Target, Thresholds
from looktwice.models.load import Model
from looktwice.models.weights import weights_hash
from looktwice.options import check_known
from looktwice.runs.columns import BASELINES, COLUMNS, options_hash
from looktwice.runs.folder import (
    MANIFEST,
    PROBLEMS,
    differences,
    is_complete,
    open_run,
    part_path,
    read_manifest,
    read_rows,
    read_summary,
    row_schema,
)
from looktwice.runs.json_forms import to_json
from looktwice.runs.manifest import (
    About,
    Boxes,
    BoxFacts,
    DataFacts,
    ImageFacts,
    Manifest,
    NetworkFacts,
    PreprocessingFacts,
    RunFacts,
    SaveFacts,
)
from looktwice.runs.scoring import Scoring
from looktwice.runs.summarise import RunStatus, choose_thresholds, write_summary

Progress = Callable[[int, int], None]
"""Told how many of this process's images are done, and how many it has."""


def evaluate(
    dataset: Dataset,
    model: Model,
    run: str | os.PathLike[str],
    *,
    methods: Mapping[str, Mapping[str, Any]],
    target: Target = "predicted",
    rule: BoxRule | None = None,
    boxes: Boxes = "largest",
    tune_on: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 8,
    save_maps: bool = False,
    save_npy: bool = False,
    strict: bool = False,
    workers: int | None = None,
    shard: Shard | None = None,
    about: Mapping[str, str] = MappingProxyType({}),
    progress: Progress | None = None,
) -> RunStatus:
    """Evaluates methods on a data set, or goes on where an earlier call with the same choices was stopped.

    Args:
        dataset: its classes must be the model's.
        model: on the device to be used.
        run: the folder to write to.
        methods: names of ``METHODS``, each with the options that differ from its defaults.
        target: the class of a map: ``"predicted"``, ``"true"`` (each label) or ``"top5"`` (five maps an image).
        rule: how boxes are drawn; its threshold must be one of 0.00, 0.01 … 0.99.
        boxes: whether a map's largest box counts or the best of all.
        tune_on: choose thresholds on other images: ``"hash:0.4"`` sets 40 % of the images aside for it, else the folder
            of a finished run with the same model and methods. ``None``: the rule's threshold is taken as given.
        limit: only so many images, the first in the order that ``seed`` gives.
        seed: which order.
        batch_size: images in one pass of the network.
        save_maps: also write RUN/maps/part-000000.npz, in half precision.
        save_npy: also write RUN/npy/METHOD/ID.npy, which wsolevaluation reads; images must be squashed.
        strict: stop at an image that cannot be decoded; else it leaves rows with the error.
        workers: processes that decode, and as many that measure; 0 does both in this one. At most 4 by default.
        shard: which process of how many; the environment says so by default.
        about: told in the manifest, compared with nothing.
        progress: called after each chunk.

    Raises:
        OptionError: a choice that is unknown or outside its range.
        RunError: the folder holds another evaluation, or cannot be written; what differs is named.
        ModelError: no activation call to gate.
        DatasetError: ``strict``, and an image cannot be decoded.
    """
    folder = Path(run)
    shard = Shard.from_environment() if shard is None else shard
    rule = BoxRule() if rule is None else rule
    options = _resolved(methods)
    _check_choices(rule, target, boxes, batch_size, limit, save_npy, model)
    pictures = _in_order(dataset.samples, seed, limit, _tuning_share(tune_on))
    _check_labels(pictures, len(model.classes))
    facts = RunFacts(
        versions=_versions(),
        model=NetworkFacts(model.name, weights_hash(model.module), len(model.classes)),
        preprocessing=PreprocessingFacts(**asdict(model.preprocessing)),
        data=DataFacts(dataset.fingerprint(), len(dataset.samples), len(dataset.problems)),
        images=ImageFacts(len(pictures), limit, seed, _tuning_share(tune_on)),
        methods=options,
        baselines=BASELINES,
        target=target,
        box=BoxFacts(**asdict(rule), boxes=boxes),
        batch_size=batch_size,
        device=_device(model).type,
        save=SaveFacts(save_maps, save_npy),
    )
    thresholds = _thresholds(tune_on, rule, facts, pictures)
    facts = replace(facts, box=replace(facts.box, thresholds=thresholds))
    _begin(folder, model, options, Manifest(_about(model, about), facts), dataset.problems)

    sheet = _sheet(folder, options, rule, thresholds, save_maps, save_npy)
    chunks = Chunks(pictures, batch_size, model.preprocessing)
    mine = range(shard.rank, len(chunks), shard.world_size)
    todo = _unfinished(folder, mine, chunks, tuple(sheet.rules))
    counter = _Counter(chunks, mine, todo, progress)
    if todo:
        _work(model, chunks, todo, sheet, options, target, strict, workers, counter)
    return write_summary(folder)


def _resolved(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each method's options, those left out as their defaults."""
    if not methods:
        raise OptionError(f"no method is named; there are {', '.join(METHODS)}")
    return {method: resolve_options(method, chosen) for method, chosen in methods.items()}


def _check_choices(
    rule: BoxRule, target: str, boxes: str, batch_size: int, limit: int | None, save_npy: bool, model: Model
) -> None:
    check_known("target", target, get_args(Target))
    check_known("choice of boxes", boxes, get_args(Boxes))
    grid_index(rule.threshold)
    if rule.rule == "energy" and boxes == "any":
        raise OptionError("an energy box is the only one of its map; choose the largest box, or contours")
    if batch_size < 1:
        raise OptionError(f"batch size is {batch_size}; 1 or more is needed")
    if limit is not None and limit < 1:
        raise OptionError(f"limit is {limit}; 1 image or more is needed")
    if save_npy and not model.preprocessing.squash:
        raise OptionError("wsolevaluation's maps cover whole images, and these only their centres; squash the images")


def _tuning_share(tune_on: str | None) -> float | None:
    """0.4 of "hash:0.4"."""
    if tune_on is None or not tune_on.startswith("hash:"):
        return None
    try:
        share = float(tune_on.removeprefix("hash:"))
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise OptionError(f"tune on {tune_on!r}: a share between 0 and 1 is needed, as in hash:0.4, or a run's folder")
    return share


def _in_order(
    samples: Sequence[Sample], seed: int, limit: int | None, tuning_share: float | None
) -> tuple[EvaluationImage, ...]:
    """The run's images in its order, those to choose thresholds on first."""
    chosen = shuffled(samples, seed)[:limit]
    tuning, judged = split_by_hash(chosen, tuning_share or 0.0)
    if tuning_share is not None and not (tuning and judged):
        raise RunError(
            f"of {len(chosen)} images {len(tuning)} are to choose thresholds on and {len(judged)} to judge; "
            "take more images or another share"
        )
    return tuple(EvaluationImage(sample, order, order < len(tuning)) for order, sample in enumerate(tuning + judged))


def _check_labels(pictures: Sequence[EvaluationImage], classes: int) -> None:
    for picture in pictures:
        for label in picture.sample.labels:
            if label >= classes:
                raise DatasetError(
                    f"{picture.sample.id} is of class {label}, and the network has 0 … {classes - 1}; "
                    "give a classes file that names the network's index of each class"
                )


def _thresholds(
    tune_on: str | None, rule: BoxRule, facts: RunFacts, pictures: Sequence[EvaluationImage]
) -> dict[str, Thresholds] | None:
    """By method; None where they are chosen on this run's own tuning images, once these have rows."""
    if tune_on is None:
        return dict.fromkeys(facts.names, Thresholds.given(rule))
    return None if _tuning_share(tune_on) is not None else _chosen_elsewhere(Path(tune_on), rule, facts, pictures)


def _chosen_elsewhere(
    run: Path, rule: BoxRule, facts: RunFacts, pictures: Sequence[EvaluationImage]
) -> dict[str, Thresholds]:
    """Thresholds chosen on a finished run with the same network and methods and other images."""
    manifest = read_manifest(run)
    read_summary(run)
    there = manifest.run
    matter = ("model", "preprocessing", "methods", "baselines", "target")
    theirs, ours = ({key: to_json(getattr(each, key)) for key in matter} for each in (there, facts))
    found = differences(theirs, ours)
    if found:
        raise RunError(f"{run} was of something else, so its thresholds do not carry over: {'; '.join(found)}")
    if rule.by == "energy" and there.box.by != "energy":
        raise RunError(f"{run} kept no curves by energy; evaluate it with --threshold-by energy too")
    scoring = replace(Scoring.of_manifest(manifest), rule=rule, boxes=facts.box.boxes)
    rows = read_rows(run, there.parts, scoring.columns)
    shared = {picture.sample.id for picture in pictures} & set(rows["sample"].to_pylist())
    if shared:
        raise RunError(
            f"{len(shared)} images of this run are in {run} too ({min(shared)}); thresholds must be chosen on others"
        )
    return choose_thresholds(rows, scoring)


def _versions() -> dict[str, str]:
    packages = {"torch": torch, "torchvision": torchvision, "numpy": np, "opencv": cv2, "pillow": PIL}
    return {"looktwice": __version__} | {name: str(package.__version__) for name, package in packages.items()}


def _about(model: Model, told: Mapping[str, str]) -> About:
    device = _device(model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    own = {
        "begun": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "weights": model.weights,
        "device": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    return About.of(dict(told) | own)


def _device(model: Model) -> torch.device:
    return next((weight.device for weight in model.module.parameters()), torch.device("cpu"))


def _sheet(
    run: Path,
    options: Mapping[str, Mapping[str, Any]],
    rule: BoxRule,
    thresholds: Mapping[str, Thresholds] | None,
    save_maps: bool,
    save_npy: bool,
) -> MeasurementPlan:
    """Boxes are drawn at the thresholds that count; where these are chosen later, at the rule's own."""
    everyone = {**options, **BASELINES}
    rules = {name: rule if thresholds is None else replace(rule, threshold=thresholds[name].box) for name in everyone}
    hashes = {name: options_hash(name, values) for name, values in everyone.items()}
    return MeasurementPlan(run, rules, hashes, save_maps, save_npy)


def _begin(
    run: Path,
    model: Model,
    options: Mapping[str, Mapping[str, Any]],
    manifest: Manifest,
    problems: Sequence[str],
) -> None:
    if not (run / MANIFEST).exists():
        # Each method sees a blank image first: a mistake must show before there is a manifest that holds it fast.
        side = model.preprocessing.crop
        blank = for_network(model, torch.zeros(1, 3, side, side))
        for method, chosen in options.items():
            attend(model.module, blank, 0, method=method, **chosen)
    open_run(run, manifest)
    remove_unfinished(run)
    if problems:
        write_atomically(run / PROBLEMS, "".join(f"{line}\n" for line in problems).encode())


def _unfinished(run: Path, mine: Iterable[int], chunks: Chunks, methods: Sequence[str]) -> list[int]:
    """Which chunks have no part yet. One that cannot be used is removed, lest another process take it for done."""
    schema = row_schema(COLUMNS)
    todo = []
    for index in mine:
        keys = {(picture.sample.id, method) for picture in chunks.pictures(index) for method in methods}
        if not is_complete(run, index, keys, schema):
            part_path(run, index).unlink(missing_ok=True)
            todo.append(index)
    return todo


def _work(
    model: Model,
    chunks: Chunks,
    todo: Sequence[int],
    sheet: MeasurementPlan,
    options: Mapping[str, Mapping[str, Any]],
    target: Target,
    strict: bool,
    workers: int | None,
    counter: "_Counter",
) -> None:
    if workers is None:
        workers = min(4, os.cpu_count() or 1)
    # Sums split over threads round differently, so all processes of a run take as many as the one that began it.
    threads = read_manifest(sheet.run).about.threads
    with measuring(sheet, workers=workers, done=counter.advance) as measure, repeatable(threads, _device(model)):
        for decoded in decoded_chunks(chunks, todo, workers=workers):
            broken = [picture.error for picture in decoded.pictures if picture.error is not None]
            if strict and broken:
                raise DatasetError(f"{broken[0]} (strict: mend it, or evaluate without strict to go on)")
            measure(look(model, decoded, options, target))


class _Counter:
    """Tells how many images are done."""

    def __init__(self, chunks: Chunks, mine: Sequence[int], todo: Sequence[int], progress: Progress | None) -> None:
        self._chunks, self._progress = chunks, progress
        self._total = sum(len(chunks.pictures(index)) for index in mine)
        self._done = self._total - sum(len(chunks.pictures(index)) for index in todo)
        self._tell()

    def advance(self, index: int) -> None:
        self._done += len(self._chunks.pictures(index))
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total)

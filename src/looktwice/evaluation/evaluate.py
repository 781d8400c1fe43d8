"""The life of an evaluation: it begins or goes on, works, and ends with a summary. No kill loses a written row.

The unit of work is a chunk: a fixed batch of images in the run's fixed order. With n processes, chunk i belongs to the
process with rank i modulo n, unless its part is there already. What else is in a batch changes the last bits of an
image's numbers; but a chunk never changes, so the rows do not depend on who computes them. So a run may go on with more
or fewer processes than it began with, and the processes do not talk to each other.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from looktwice.atomic_files import remove_unfinished
from looktwice.datasets.records import Dataset
from looktwice.errors import DatasetError, LooktwiceWarning, OptionError
from looktwice.evaluation.chunks import (
    Chunks,
    EvaluationImage,
    MeasurementPlan,
    RunImages,
    decoded_chunks,
    images_in_order,
)
from looktwice.evaluation.facts import about_run, run_facts
from looktwice.evaluation.grid import squares_of_run
from looktwice.evaluation.pipeline import attend_chunk, measuring, rehearse, repeatable
from looktwice.evaluation.plan import EvaluationPlan
from looktwice.evaluation.processes import Shard
from looktwice.evaluation.progress import ChunkCounter, Progress
from looktwice.evaluation.thresholds import run_thresholds
from looktwice.evaluation.workers import telling_killed_decoders
from looktwice.localization.boxes import BoxRule
from looktwice.metrics.judged_maps import Thresholds
from looktwice.metrics.perturbation import step_counts
from looktwice.models.model import Model
from looktwice.runs.columns import BASELINES, columns_of
from looktwice.runs.folder import (
    MANIFEST,
    SUMMARY,
    check_is_still,
    open_run,
    part_fault,
    part_path,
    read_manifest,
    row_schema,
)
from looktwice.runs.manifest import Manifest
from looktwice.runs.part_checks import OTHER_IMAGES, OTHER_OPTIONS, options_of
from looktwice.runs.problems import add_problems, write_problems
from looktwice.runs.summarise import RunStatus, write_summary


def evaluate(
    dataset: Dataset,
    model: Model,
    run: str | os.PathLike[str],
    plan: EvaluationPlan,
    *,
    strict: bool = False,
    workers: int | None = None,
    shard: Shard | None = None,
    about: Mapping[str, str] = MappingProxyType({}),
    progress: Progress | None = None,
) -> RunStatus:
    """Evaluates methods on a data set, or goes on where an earlier call with the same plan was stopped.

    Args:
        dataset: its classes must be the network's.
        model: the network, on the device to be used.
        run: the folder to write to.
        plan: the methods, the images, and how maps are judged.
        strict: stop at an image that cannot be decoded. By default it leaves rows with the error.
        workers: processes that decode, and as many that measure; with 0 this process does both. At most 4 by default.
        shard: which process of how many this one is; the environment tells it by default.
        about: further facts for the manifest, compared with nothing.
        progress: called after each chunk.

    Returns:
        Where the summary is, or how much of the run is missing.

    Raises:
        OptionError: a choice that is not possible for this network.
        RunError: the folder holds another evaluation (what differs is named), or it cannot be written.
        ModelError: the network has no activation that can be gated.
        DatasetError: a label that the network does not have; or ``strict``, and an image cannot be decoded.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> import looktwice
        >>> from looktwice.datasets import Dataset, Sample
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "red.png"
        >>> Image.new("RGB", (300, 200), "red").save(file)
        >>> dataset = Dataset((Sample("red.png", file, labels=(7,), boxes=(((100.0, 50.0, 200.0, 150.0),),)),))
        >>> model = looktwice.load_model("squeezenet1_1", weights="random")
        >>> plan = looktwice.EvaluationPlan({"gradient": {}, "feedback": {"steps": 1}}, target="true")
        >>> status = looktwice.evaluate(dataset, model, Path(folder.name) / "run", plan, workers=0)
        >>> status.missing, status.summary.name
        (0, 'summary.json')
        >>> folder.cleanup()
    """
    folder = Path(run)
    shard = Shard.from_environment() if shard is None else shard
    if plan.save_npy and not model.preprocessing.squash:
        raise OptionError(
            "wsolevaluation's maps cover whole images, and these cover only their centres; squash the images"
        )
    model.preprocessing.mode  # noqa: B018 - it refuses an input that no picture gives
    if plan.faithfulness is not None:
        height, width = model.preprocessing.input_shape[1:]
        step_counts(height * width, plan.faithfulness.steps)  # it refuses more steps than there are pixels
    images = images_in_order(dataset.samples, seed=plan.seed, limit=plan.limit, tuning_share=plan.tuning_share)
    _check_labels(images, len(model.classes))
    workers = min(4, os.cpu_count() or 1) if workers is None else workers
    of = RunImages(images, model.preprocessing.input_shape)
    if plan.grid is not None:
        of = squares_of_run(folder, model, images, plan.grid, batch_size=plan.batch_size, workers=workers)
    unreadable = () if of.grid is None else of.grid.unreadable
    if strict and unreadable:
        raise _strict(unreadable[0])
    facts = run_facts(dataset, model, plan, of)
    thresholds = run_thresholds(plan, facts, {image.sample.id for image in of.images})
    facts = replace(facts, box=replace(facts.box, thresholds=thresholds))
    begun = (folder / MANIFEST).exists()
    doubts: tuple[str, ...] = ()
    if not begun:  # a manifest would keep a mistake for good
        doubts = rehearse(model, plan.chosen, of.example(model.preprocessing))
    manifest = open_run(folder, Manifest(about_run(model, dataset, plan, about, doubts), facts))
    remove_unfinished(folder)
    add_problems(folder, manifest.identity, [*dataset.problems, *unreadable])

    measurement = _measurement_plan(folder, plan, manifest, thresholds)
    chunks = Chunks(of.images, plan.batch_size, model.preprocessing, of.decode)
    own = range(shard.rank, len(chunks), shard.world_size)
    missing = _unfinished(measurement, own, chunks)
    counter = ChunkCounter(chunks, own, missing, progress)
    if missing and begun and of.grid is not None:  # so that each process measures the network on the same square
        rehearse(model, plan.chosen, of.example(model.preprocessing))
    if missing:
        _work(model, chunks, missing, plan, measurement, strict=strict, workers=workers, done=counter.advance)
    check_is_still(folder, manifest.identity)
    status = write_summary(folder)
    if status.summary is not None:
        write_problems(folder, [*dataset.problems, *status.problems])
    if strict and status.problems:
        raise _strict(status.problems[0])
    return status


def _strict(problem: str) -> DatasetError:
    return DatasetError(f"{problem} (strict: repair it, or evaluate without strict to go on)")


def _check_labels(images: Sequence[EvaluationImage], classes: int) -> None:
    for image in images:
        for label in image.sample.labels:
            if label >= classes:
                raise DatasetError(
                    f"{image.sample.id} is of class {label}, and the network has 0 … {classes - 1}; "
                    "give a classes file that names the network's index of each class"
                )


def _measurement_plan(
    run: Path,
    plan: EvaluationPlan,
    manifest: Manifest,
    thresholds: Mapping[str, Thresholds] | None,
) -> MeasurementPlan:
    rules = {name: _rule_of(name, plan, thresholds) for name in manifest.run.names}
    options = options_of(manifest)
    return MeasurementPlan(
        run,
        rules,
        options,
        plan.save_maps,
        plan.save_npy,
        columns_of(manifest.run),
        identity=manifest.identity,
    )


def _rule_of(name: str, plan: EvaluationPlan, thresholds: Mapping[str, Thresholds] | None) -> BoxRule:
    """Boxes are drawn at the thresholds that count. If these are chosen later, they are drawn at the rule's own.

    Where objects are drawn, the baseline in the middle still has its usual box. The score of objects knows nothing of
    a map that looks at no picture.
    """
    if not plan.rule.has_threshold:
        return BoxRule("contour") if name in BASELINES else plan.rule
    at = None if thresholds is None else thresholds[name].box
    return plan.rule if at is None else replace(plan.rule, threshold=at)


def _unfinished(measurement: MeasurementPlan, own: Iterable[int], chunks: Chunks[EvaluationImage]) -> list[int]:
    """The chunks that have no part yet, or one that cannot be used.

    A part that cannot be used stays until its new one is whole, but the summary of all parts goes at once: else a run
    that is stopped now would pass as finished.
    """
    run, schema = measurement.run, row_schema(measurement.columns)
    faults: dict[int, str] = {}
    for index in own:
        keys = {(image.sample.id, method) for image in chunks.images(index) for method in measurement.rules}
        fault = part_fault(run, index, keys, schema, measurement.options)
        if fault is not None:
            faults[index] = fault
    if faults:
        (run / SUMMARY).unlink(missing_ok=True)
    unusable = {part_path(run, index): fault for index, fault in faults.items() if part_path(run, index).exists()}
    if unusable:
        part, fault = next(iter(unusable.items()))
        told = "1 part cannot be used and is" if len(unusable) == 1 else f"{len(unusable)} parts cannot be used and are"
        warnings.warn(f"{run}: {told} computed again ({part.name}: {fault})", LooktwiceWarning, stacklevel=3)
    for part, fault in unusable.items():
        # A process with other chunks cannot see these faults, and would count the part.
        if fault in (OTHER_IMAGES, OTHER_OPTIONS):
            part.unlink()
    return list(faults)


def _work(
    model: Model,
    chunks: Chunks[EvaluationImage],
    missing: Sequence[int],
    plan: EvaluationPlan,
    measurement: MeasurementPlan,
    *,
    strict: bool,
    workers: int,
    done: Callable[[int], None],
) -> None:
    """Decodes, attends to and measures the missing chunks."""
    # Sums that are split over threads round differently, so all processes of a run use as many as the first one.
    threads = read_manifest(measurement.run).about.threads
    problems: list[str] = []
    try:
        with (
            telling_killed_decoders(),
            measuring(measurement, workers=workers, done=done) as measure,
            repeatable(threads, model.device),
        ):
            for decoded in decoded_chunks(chunks, missing, workers=workers):
                problems += (found := decoded.problems)
                if strict and found:
                    raise _strict(found[0])
                measure(attend_chunk(model, decoded, plan))
    finally:
        add_problems(measurement.run, measurement.identity, problems)

"""The life of a labelled data set: looking begins or goes on, then its forms are written. No kill loses a part.

As in an evaluation, the unit of work is a chunk: a fixed batch of images in the data set's order. With n processes,
chunk i belongs to the process with rank i modulo n. The forms are written from the parts, by every process that finds
all parts there, and each writes the same bytes.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from looktwice.atomic_files import as_json, remove_unfinished, write_atomically
from looktwice.datasets.records import Dataset, Sample, shuffled, split_by_hash
from looktwice.errors import DatasetError, LooktwiceError, LooktwiceWarning, OptionError, RunError, printable
from looktwice.evaluation.chunks import Chunks, decoded_chunks
from looktwice.evaluation.pipeline import rehearse, repeatable
from looktwice.evaluation.processes import Shard
from looktwice.evaluation.progress import ChunkCounter, Progress
from looktwice.evaluation.workers import handing_over, telling_killed_decoders
from looktwice.explain.doubt import IMPROBABLE
from looktwice.export.forms import FORMS
from looktwice.export.label_set import LabelClass, LabelledImage, LabelSet
from looktwice.export.review import write_review
from looktwice.labelling.boxes import Credit, Workplace, write_chunk
from looktwice.labelling.classes import label_classes
from looktwice.labelling.facts import about_labels, label_facts
from looktwice.labelling.folder import (
    CLASSES,
    MANIFEST,
    PROBLEMS,
    LabelManifest,
    check_is_still,
    open_folder,
    part_path,
    read_part,
)
from looktwice.labelling.images import RunImage, decode_upright, is_changed
from looktwice.labelling.look import look_at_chunk
from looktwice.labelling.names import image_names
from looktwice.labelling.plan import LabelPlan
from looktwice.labelling.records import FoundImage
from looktwice.models.model import Model
from looktwice.options import check_known


@dataclass(frozen=True)
class LabelStatus:
    """How far the labels are.

    Attributes:
        folder: of the labels.
        missing: how many parts are not there yet; then all other numbers are 0 and nothing is written.
        parts: how many parts there are in all.
        labels: the labelled data set; ``None`` if parts are missing.
        boxes: how many boxes all images have.
        without_class: how many images have no class that is probable enough.
        without_box: how many further images have no box.
        improbable: how many boxes are of a class that is not given, and that the network gives less than
            ``explain.doubt.IMPROBABLE``.
        turned: how many images are stored turned. Their boxes are in pixels of the upright picture.
        problems: a line for each image that cannot be used.
        failures: a line for each form that cannot be written, for example because it cannot hold a name.
    """

    folder: Path
    missing: int
    parts: int
    labels: LabelSet | None = None
    boxes: int = 0
    without_class: int = 0
    without_box: int = 0
    improbable: int = 0
    turned: int = 0
    problems: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


def label_images(
    dataset: Dataset,
    model: Model,
    folder: str | os.PathLike[str],
    plan: LabelPlan | None = None,
    *,
    forms: Sequence[str] = ("coco",),
    split: float = 0.2,
    pictures: bool = False,
    workers: int | None = None,
    shard: Shard | None = None,
    progress: Progress | None = None,
    written: Callable[[Path], None] | None = None,
) -> LabelStatus:
    """Finds the objects in all images of a data set and writes them, or goes on where an earlier call was stopped.

    Args:
        dataset: the images. Those that have labels are looked at for these classes; the plan says what the others are
            looked at for.
        model: the network, on the device to be used.
        folder: a new or empty folder, or one that the same call began.
        plan: the method, the boxes, and the classes of images without a label; ``LabelPlan()`` if left out.
        forms: names of ``FORMS``. Further forms can be written later, without looking again; but ``wsol`` needs maps,
            and images whose map was not kept are looked at again.
        split: the share of the images that are for validation, in [0, 1).
        pictures: also write a picture with map and boxes for each image and class.
        workers: processes that decode, and as many that find boxes; with 0 this process does both. At most 4 by
            default.
        shard: which process of how many this one is; the environment tells it by default.
        progress: called after each chunk.
        written: called with each file or folder to open, as soon as it is written: one for each form, then the contact
            sheet.

    Returns:
        What was found, or how much is missing.

    Raises:
        OptionError: a choice that is not possible.
        RunError: the folder holds something else (what differs is named), or it cannot be written.
        ModelError: the network has no activation that can be gated.
        DatasetError: a label that the network does not have, or no image can be used.

    Warns:
        LooktwiceWarning: a form cannot be written; all others are.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> import looktwice
        >>> from looktwice.datasets import load_dataset
        >>> folder = tempfile.TemporaryDirectory()
        >>> Image.new("RGB", (300, 200), "red").save(Path(folder.name) / "red.png")
        >>> dataset = load_dataset(folder.name, "pictures", unlabelled=True)
        >>> model = looktwice.load_model("squeezenet1_1", weights="random", squash=True)
        >>> plan = looktwice.LabelPlan("gradient", target=(7,))
        >>> status = looktwice.label_images(dataset, model, Path(folder.name) / "labels", plan, workers=0)
        >>> status.labels.count, [each.name for each in status.labels.classes]
        (1, ['cock'])
        >>> folder.cleanup()
    """
    place, plan = Path(folder), plan or LabelPlan()
    shard = Shard.from_environment() if shard is None else shard
    workers = min(4, os.cpu_count() or 1) if workers is None else workers
    check_forms(forms, split)
    maps = any(FORMS[form].needs_maps for form in forms)
    if maps and not model.preprocessing.squash:
        raise OptionError(
            "wsolevaluation's maps cover whole images, and these cover only their centres; squash the images"
        )
    model.preprocessing.mode  # noqa: B018 - it refuses an input that no picture gives
    samples = dataset.samples
    classes = label_classes(samples, _class_names(dataset, model), plan)
    images = [RunImage(sample, name) for sample, name in zip(samples, image_names(samples), strict=True)]
    facts = label_facts(dataset, model, plan, classes)
    if not (place / MANIFEST).exists():  # a manifest would keep a mistake for good
        rehearse(model, [plan.chosen], torch.zeros(1, *model.preprocessing.input_shape))
    manifest = open_folder(place, LabelManifest(about_labels(model, dataset), facts))
    remove_unfinished(place)
    write_atomically(place / CLASSES, as_json({"classes": [vars(each) for each in classes]}))

    chunks = Chunks(images, plan.batch_size, model.preprocessing, decode_upright)
    own = range(shard.rank, len(chunks), shard.world_size)
    workplace = Workplace(
        place,
        manifest.identity,
        plan.rule,
        {each.index: each for each in classes},
        maps,
        Credit.of(model, plan.chosen) if pictures else None,
    )
    parts = _Parts(workplace, chunks)
    missing = parts.missing(own)
    counter = ChunkCounter(chunks, own, missing, progress)
    if missing:
        _work(model, chunks, missing, plan, workplace, workers=workers, threads=manifest.threads, done=counter.advance)
    check_is_still(place, manifest.identity)
    absent = len(parts.missing(index for index in range(len(chunks)) if index not in own))
    if absent:
        return LabelStatus(place, absent, len(chunks))
    status = _counted(place, parts, dataset, classes, manifest, split=split)
    return replace(status, failures=tuple(_write_forms(status, forms, written or (lambda _: None))))


def check_forms(forms: Sequence[str], split: float) -> None:
    """Checks the names of forms, and the share of images for validation.

    Raises:
        OptionError: an unknown form or none, or a share outside its range.
    """
    if not forms:
        raise OptionError(f"no form is named; there are {', '.join(FORMS)}")
    for form in forms:
        check_known("form", form, FORMS)
    if not 0 <= split < 1:
        raise OptionError(f"split is {split}; the share of images for validation is needed, from 0 to below 1")


def _class_names(dataset: Dataset, model: Model) -> list[str]:
    """The name of each class of the network: the data set's own where it names the class, as by a classes file."""
    return [dataset.class_names.get(index, name) for index, name in enumerate(model.classes)]


def _work(
    model: Model,
    chunks: Chunks[RunImage],
    missing: Sequence[int],
    plan: LabelPlan,
    place: Workplace,
    *,
    workers: int,
    threads: int,
    done: Callable[[int], None],
) -> None:
    """Decodes, looks at and writes the missing chunks."""
    with (
        telling_killed_decoders(),
        handing_over(partial(write_chunk, place), "finds boxes", workers=workers) as hand_over,
        repeatable(threads, model.device),
    ):
        for decoded in decoded_chunks(chunks, missing, workers=workers):
            chunk = look_at_chunk(model, decoded, plan, own_maps=place.credit is not None)
            hand_over(chunk, partial(done, decoded.index))


@dataclass(frozen=True)
class _Parts:
    """The parts of labels, read one by one."""

    place: Workplace
    chunks: Chunks[RunImage]

    def missing(self, indices: Iterable[int]) -> list[int]:
        """Those of the chunks whose part, or a file that is wanted beside it, is not there, or whose images changed."""
        return [index for index in indices if not self._is_there(index)]

    def _is_there(self, index: int) -> bool:
        try:
            found = self._read(index)
            written = part_path(self.place.folder, index).stat().st_mtime_ns
        except (RunError, OSError):
            return False
        has_all = all(path.is_file() for each in found for path in self.place.beside(each))
        return has_all and not any(is_changed(each.image, written) for each in found)

    def _read(self, index: int) -> list[FoundImage]:
        return read_part(self.place.folder, index, self.chunks.images(index), self.place.identity)

    def images(self) -> Iterator[LabelledImage]:
        """The images that can be used, in the data set's order."""
        for found in self.found():
            image = found.labelled()
            if image is not None:
                yield image

    def found(self) -> Iterator[FoundImage]:
        """What was found in each image."""
        for index in range(len(self.chunks)):
            yield from self._read(index)


def _counted(
    folder: Path,
    parts: _Parts,
    dataset: Dataset,
    classes: tuple[LabelClass, ...],
    manifest: LabelManifest,
    *,
    split: float,
) -> LabelStatus:
    """Counts what the parts hold, and writes the problems."""
    usable: list[Sample] = []
    problems = list(dataset.problems)
    boxes = without_class = without_box = improbable = turned = 0
    for found in parts.found():
        image = found.labelled()
        if image is None:
            problems.append(str(found.error))
            continue
        usable.append(found.image.sample)
        problems += image.notes
        boxes += len(image.objects)
        without_class += not image.classes
        without_box += bool(image.classes) and not image.objects
        unlikely = {each.id for each in image.classes if not each.given and each.probability < IMPROBABLE}
        improbable += sum(each.id in unlikely for each in image.objects)
        turned += image.orientation is not None
    _write_problems(folder, problems)
    if not usable:
        raise DatasetError(f"none of {len(dataset.samples)} images can be used; the first: {problems[0]}")
    labels = LabelSet(
        classes=classes,
        images=parts.images,
        count=len(usable),
        root=Path(dataset.source.root) if dataset.source is not None else folder,
        validation=_validation(usable, split),
        about=_told(manifest),
    )
    return LabelStatus(
        folder=folder,
        missing=0,
        parts=len(parts.chunks),
        labels=labels,
        boxes=boxes,
        without_class=without_class,
        without_box=without_box,
        improbable=improbable,
        turned=turned,
        problems=tuple(problems),
    )


def _write_forms(status: LabelStatus, forms: Sequence[str], written: Callable[[Path], None]) -> Iterator[str]:
    """Writes the forms and the contact sheet. A form that cannot be written does not keep the others from it.

    Yields:
        A line for each that cannot be written; it is warned of too.
    """
    assert status.labels is not None
    writers = {form: FORMS[form].write for form in forms} | {"review.html": write_review}
    for name, write in writers.items():
        failure = _failure(write, status.labels, status.folder, written)
        if failure is not None:
            warnings.warn(line := f"{name} is not written: {failure}", LooktwiceWarning, stacklevel=3)
            yield line


def _failure(
    write: Callable[[LabelSet, Path], Path], labels: LabelSet, folder: Path, written: Callable[[Path], None]
) -> LooktwiceError | None:
    """Writes a form; returns why it cannot be written."""
    try:
        path = write(labels, folder)
    except LooktwiceError as error:
        return error
    written(path)
    return None


def _validation(samples: Sequence[Sample], share: float) -> frozenset[str]:
    """The ids of the images for validation.

    A hash of the file's name decides, so an image stays on its side when others are added. If there are two images or
    more, one at least is on each side, unless no share is wanted.
    """
    if share == 0 or len(samples) < 2:
        return frozenset()
    chosen, _ = split_by_hash(samples, share)
    if not chosen:
        chosen = shuffled(samples, 0)[:1]
    elif len(chosen) == len(samples):
        chosen = shuffled(samples, 0)[1:]
    return frozenset(sample.id for sample in chosen)


def _told(manifest: LabelManifest) -> dict[str, Any]:
    """What the forms tell of how the labels were made."""
    facts = manifest.facts
    return {
        "looktwice": facts["versions"]["looktwice"],
        "model": facts["model"]["name"],
        "weights": manifest.about.get("weights"),
        "method": facts["method"],
        "box_rule": facts["box"],
    }


def _write_problems(folder: Path, problems: Sequence[str]) -> None:
    """Writes all problems, each once; no file if there are none."""
    lines = list(dict.fromkeys(printable(line) for line in problems))
    if not lines:
        (folder / PROBLEMS).unlink(missing_ok=True)
    else:
        write_atomically(folder / PROBLEMS, "".join(f"{line}\n" for line in lines).encode())

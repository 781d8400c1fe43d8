"""The command ``label``: a classifier and pictures → a labelled detection data set."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from looktwice.cli.inputs import (
    AS_PATH,
    BoxKindName,
    Device,
    MaxBoxes,
    MinScore,
    ModelName,
    OutputKindName,
    ScoresEntry,
    Threshold,
    ThresholdBy,
    Weights,
    WholePicture,
    box_rule,
    chosen_method,
    class_index,
    complain,
    load_network,
    named_path,
    tell,
)
from looktwice.cli.long_runs import complain_of, complain_of_missing, progress_bar, told_warnings
from looktwice.cli.preprocessing import (
    ChannelsOption,
    CropOption,
    InterpolationOption,
    MeanOption,
    SizeOption,
    StdOption,
    input_choices,
    names_of_outputs,
)
from looktwice.defaults import DEFAULT_METHOD, DEFAULT_MODEL
from looktwice.errors import DatasetError, OptionError

if TYPE_CHECKING:
    from looktwice.datasets.classes import Classes
    from looktwice.datasets.records import Dataset
    from looktwice.export.label_set import LabelSet
    from looktwice.labelling.label import LabelStatus
    from looktwice.models.model import Model


def label_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of pictures, a folder of class folders, or a data set.",
            show_default=False,
            parser=named_path,
            metavar="SOURCE",
        ),
    ],
    output: Annotated[Path, typer.Option(help="A new folder; the same command goes on with it.", **AS_PATH)],
    form: Annotated[
        str,
        typer.Option(help="Names with commas between: coco, yolo, voc, label-studio, csv, masks, wsol."),
    ] = "coco",
    layout: Annotated[
        str | None,
        typer.Option(
            help="How SOURCE is arranged: pictures (no labels), folders (a folder for each class), ilsvrc, wsol, voc, "
            "coco, csv, webdataset or huggingface. [default: found out]",
            show_default=False,
        ),
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Part of the data set. [default: the layout's own]")] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="File: the network's index of each class. [default: classes are found by name]", **AS_PATH),
    ] = None,
    model: ModelName = DEFAULT_MODEL,
    weights: Weights = "default",
    squash: WholePicture = True,
    size: SizeOption = None,
    crop: CropOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    interpolation: InterpolationOption = None,
    channels: ChannelsOption = None,
    output_kind: OutputKindName = None,
    scores: ScoresEntry = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What to look for in a picture without a label: predicted, top5, or a class by name or index; repeat "
            "it for several. [default: predicted]",
            show_default=False,
        ),
    ] = None,
    min_probability: Annotated[
        float,
        typer.Option(help="In a picture without a label, look only for classes with at least this probability."),
    ] = 0.0,
    method: Annotated[str, typer.Option(help="A name from `looktwice methods`, or FILE.py:METHOD.")] = DEFAULT_METHOD,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the method.", show_default=False)
    ] = None,
    box: BoxKindName = None,
    threshold: Threshold = None,
    threshold_by: ThresholdBy = None,
    min_score: MinScore = None,
    max_boxes: MaxBoxes = None,
    split: Annotated[float, typer.Option(help="Share of the pictures for validation, from 0 to below 1.")] = 0.2,
    pictures: Annotated[bool, typer.Option("--pictures", help="Also draw maps and boxes on the pictures.")] = False,
    check: Annotated[
        Path | None,
        typer.Option(
            help="A few boxes drawn by hand, as a file or folder: how good are the labels? Classes as in SOURCE.",
            **AS_PATH,
        ),
    ] = None,
    check_layout: Annotated[
        str | None, typer.Option(help="How the boxes drawn by hand are arranged. [default: found out]")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures in one pass of the network.", min=1)] = 8,
    device: Device = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode, and as many that find boxes. [default: up to 4]", min=0)
    ] = None,
) -> None:
    """Find the objects in a folder of pictures and write them as a labelled detection data set.

    The class of a picture is its label, if SOURCE has one; else what the network predicts. Boxes are in pixels of the
    upright picture. The same command goes on with a stopped run, and adds further forms without looking again. Under
    torchrun or SLURM the processes share the pictures.
    """
    forms = [name.strip() for name in form.split(",")]
    chosen = chosen_method(method, option or [])
    rule = box_rule(box, threshold, threshold_by, min_score=min_score, max_boxes=max_boxes)
    choices = input_choices(size, crop, mean, std, interpolation, channels)

    from looktwice.evaluation.processes import Shard
    from looktwice.labelling.label import check_forms, label_images
    from looktwice.labelling.plan import LabelPlan

    check_forms(forms, split)
    shard = Shard.from_environment()
    called = names_of_outputs(classes, model, weights)
    network = load_network(
        model,
        weights,
        squash=squash,
        device=device,
        classes=called,
        choices=choices,
        output_kind=output_kind,
        scores=scores,
    )
    plan = LabelPlan(
        method=chosen,
        rule=rule,
        target=_target(network, target),
        min_probability=min_probability,
        batch_size=batch_size,
    )
    known = _known(network)
    dataset = _read(source, layout, subset, classes, known, output)
    if classes is not None and called is None and not any(sample.labels for sample in dataset.samples):
        raise OptionError(
            f"--classes {classes} is for labels, and no picture of {source} has one that it names; leave it out, or "
            "name the folders or labels there"
        )
    truths = None if check is None else _truths(check, check_layout, classes, known, output)
    if shard.rank == 0:
        for note in dataset.notes:
            complain(note)
        complain_of(dataset.problems, f"{output}/problems.txt")
    with told_warnings(), progress_bar("pictures", shown=shard.rank == 0) as progress:
        status = label_images(
            dataset,
            network,
            output,
            plan,
            forms=forms,
            split=split,
            pictures=pictures,
            workers=workers,
            shard=shard,
            progress=progress,
            written=_tell_written,
        )
    _tell(status, dataset)
    if truths is not None and status.labels is not None:
        _check(status.labels, truths, output)
    if status.failures:
        raise typer.Exit(1)


def _target(network: "Model", texts: Sequence[str] | None) -> str | tuple[int, ...]:
    """What the options --target name."""
    from looktwice.labelling.plan import PREDICTED

    texts = ["predicted" if text == "auto" else text for text in texts or ["predicted"]]
    automatic = [text for text in texts if text in PREDICTED]
    if automatic and len(texts) > 1:
        raise OptionError(f"--target {automatic[0]} takes the network's own classes; leave the other --target out")
    return (
        automatic[0]
        if automatic
        else tuple(index for text in texts if (index := class_index(network, text)) is not None)
    )


def _known(network: "Model") -> "Classes":
    from looktwice.datasets.classes import known_classes

    return known_classes(network.classes)


def _read(
    source: Path, layout: str | None, subset: str | None, classes: Path | None, known: "Classes", output: Path
) -> "Dataset":
    """The pictures of SOURCE, those without a label too. A line says how it is read."""
    from looktwice.datasets.classes import read_classes
    from looktwice.datasets.find_layout import find_layout
    from looktwice.datasets.layouts import LAYOUTS
    from looktwice.datasets.load import load_dataset
    from looktwice.export.results import is_result

    if layout is None:
        named = known if classes is None else read_classes(classes)
        layout = find_layout(source, named, split=subset, leave_out=output)
    dataset = load_dataset(
        source, layout, split=subset, classes=classes, known=known, unlabelled=True, leave_out=output
    )
    drawn = [sample.id for sample in dataset.samples if sample.content is None and is_result(sample.image)]
    if len(drawn) == len(dataset.samples):
        raise DatasetError(f"{source} holds no picture but those that looktwice drew; name a folder with other ones")
    if drawn:
        complain(f"{source}: pictures that looktwice drew, left out: {len(drawn):,}; the first is {drawn[0]}")
        left_out = set(drawn)
        kept = tuple(sample for sample in dataset.samples if sample.id not in left_out)
        dataset = replace(dataset, samples=kept)
    labelled = sum(bool(sample.labels) for sample in dataset.samples)
    title = LAYOUTS[layout].title or layout
    complain(f"{source}: {title}; pictures: {len(dataset.samples):,}, with a label: {labelled:,}")
    return dataset


def _truths(check: Path, layout: str | None, classes: Path | None, known: "Classes", output: Path) -> "Dataset":
    """The boxes drawn by hand. They are read first: a mistake should not show after hours of work."""
    from looktwice.labelling.truths import read_truths

    return read_truths(check, layout, classes=classes, known=known, labels=output)


def _check(labels: "LabelSet", truths: "Dataset", output: Path) -> None:
    """Prints how good the labels are, and writes it to OUTPUT/check.json."""
    from looktwice.atomic_files import write_json
    from looktwice.labelling.check import check_labels
    from looktwice.labelling.check_table import check_table

    found = check_labels(labels, truths)
    write_json(output / "check.json", found.as_json())
    tell(f"\n{check_table(found)}")


def _tell_written(path: Path) -> None:
    """A line for each file or folder to open. If nobody reads on, the other forms are written all the same."""
    with suppress(BrokenPipeError):
        tell(path)


def _tell(status: "LabelStatus", dataset: "Dataset") -> None:
    """What was found, or how much is missing."""
    from looktwice.explain.doubt import IMPROBABLE

    if status.labels is None:
        complain_of_missing(status.folder, status.missing, status.parts)
        return
    told = set(dataset.problems)
    found = [line for line in status.problems if line not in told]
    complain_of(found, f"{status.folder}/problems.txt")
    complain(f"pictures: {status.labels.count:,}; boxes: {status.boxes:,}")
    for what, number in (
        (f"problems, in {status.folder}/problems.txt", len(status.problems)),
        ("pictures without a box, because no class is probable enough", status.without_class),
        ("pictures with a class, but without a box", status.without_box),
        (
            f"boxes of a class with a probability below {IMPROBABLE:.0%}, which is most likely not there; "
            "--min-probability leaves them out",
            status.improbable,
        ),
        ("pictures that are stored turned, with boxes in pixels of the upright picture", status.turned),
    ):
        if number:
            complain(f"{what}: {number:,}")

"""The commands that work on whole data sets: ``evaluate``, ``merge`` and ``table``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from looktwice.cli.inputs import (
    AS_PATH,
    AS_RUNS,
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
    box_rule,
    chosen_methods,
    complain,
    load_network,
    named_path,
    tell,
)
from looktwice.cli.long_runs import complain_of, complain_of_missing, own_command, progress_bar, told_warnings
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
from looktwice.defaults import DEFAULT_MODEL, FAITHFULNESS_STEPS, GRID_FINISH, GRID_PROBABILITY, GRID_SQUARES
from looktwice.errors import OptionError
from looktwice.labels import PAPER_METHODS
from looktwice.options import check_known

if TYPE_CHECKING:
    from looktwice.localization.boxes import BoxRule
    from looktwice.runs.summarise import RunStatus


def evaluate_command(
    root: Annotated[
        Path,
        typer.Argument(help="Folder or file of the data set.", show_default=False, parser=named_path, metavar="ROOT"),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on with it.", **AS_PATH)],
    layout: Annotated[
        str, typer.Option(help="ilsvrc, wsol, voc, coco, folders, csv, webdataset or huggingface.")
    ] = "ilsvrc",
    split: Annotated[str | None, typer.Option(help="Part of the data set. [default: the layout's own]")] = None,
    classes: Annotated[Path | None, typer.Option(help="File: the network's index of each class.", **AS_PATH)] = None,
    metadata: Annotated[Path | None, typer.Option(help="wsolevaluation's metadata folder.", **AS_PATH)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first thing wrong with the data.")] = False,
    model: ModelName = DEFAULT_MODEL,
    weights: Weights = "default",
    squash: Annotated[
        bool, typer.Option("--squash", help="Resize the whole image instead of cutting out its centre.")
    ] = False,
    size: SizeOption = None,
    crop: CropOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    interpolation: InterpolationOption = None,
    channels: ChannelsOption = None,
    output_kind: OutputKindName = None,
    scores: ScoresEntry = None,
    methods: Annotated[
        str, typer.Option(help="Names from `looktwice methods`, or FILE.py:METHOD, with commas between.")
    ] = ",".join(PAPER_METHODS),
    option: Annotated[
        list[str] | None, typer.Option(metavar="METHOD.KEY=VALUE", help="An option of a method.", show_default=False)
    ] = None,
    measure: Annotated[
        str,
        typer.Option(
            help="boxes: does a map's box find the object? grid: the grid pointing game. Four images of different "
            "classes make a square; which share of a map lies in the quarter of its class? Maps are then shares of the "
            "maximum without a blur, unless --option says otherwise."
        ),
    ] = "boxes",
    grids: Annotated[
        int | None,
        typer.Option(help=f"Squares of four images at most, for --measure grid. [default: {GRID_SQUARES}]", min=1),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(
            help="Least probability with which the network recognises each image of a square. "
            f"[default: {GRID_PROBABILITY}]"
        ),
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Also measure insertion and deletion: how probable is the class while the pixels that a map ranks "
            "first are put into a blurred picture, or are blurred? Each map takes "
            f"{2 * FAITHFULNESS_STEPS - 2} more passes of the network.",
        ),
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            help="Class of a map: predicted, true (every label) or top5 (five maps an image). "
            "[default: predicted; true for --measure grid]",
            show_default=False,
        ),
    ] = None,
    box: BoxKindName = None,
    threshold: Threshold = None,
    threshold_by: ThresholdBy = None,
    min_score: MinScore = None,
    max_boxes: MaxBoxes = None,
    boxes: Annotated[
        str, typer.Option(help="Which box of a map counts: largest (of objects the best one), or any.")
    ] = "largest",
    tune_on: Annotated[
        str | None,
        typer.Option(
            help="Choose thresholds on other images: hash:0.4 sets 40 % of them aside; or a finished run's folder. "
            "--measure grid has no threshold: there hash:0.4 leaves these images out."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="How many images at most.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Order of the images; so it decides which ones --limit takes.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Images in one pass of the network.", min=1)] = 8,
    device: Device = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode, and as many that measure. [default: up to 4]", min=0)
    ] = None,
    save_maps: Annotated[bool, typer.Option("--save-maps", help="Also write OUTPUT/maps, half precision.")] = False,
    save_npy: Annotated[
        bool, typer.Option("--save-npy", help="Also write OUTPUT/npy as wsolevaluation reads it; needs --squash.")
    ] = False,
) -> None:
    """Measure how well methods find objects, or whether a map is of its class alone, over a whole data set.

    It writes manifest.json, rows (one for each image, class and method) and, when everything is done, summary.json. It
    may be stopped at any moment: the same command goes on. Under torchrun or SLURM the processes share the images.
    """
    grid = _grid_choices(measure, grids, min_probability)
    chosen = chosen_methods(methods.split(","), option or [], usual={} if grid is None else GRID_FINISH)
    rule = _run_rule(box, threshold, threshold_by, min_score, max_boxes, tuned=tune_on is not None)
    choices = input_choices(size, crop, mean, std, interpolation, channels)

    from looktwice.datasets.load import load_dataset
    from looktwice.evaluation.evaluate import evaluate
    from looktwice.evaluation.plan import EvaluationPlan, FaithfulnessPlan, GridPlan
    from looktwice.evaluation.processes import Shard

    plan = EvaluationPlan(
        chosen,
        target=cast(Any, target or ("predicted" if grid is None else "true")),
        rule=rule,
        boxes=cast(Any, boxes),
        tune_on=tune_on,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        save_maps=save_maps,
        save_npy=save_npy,
        grid=None if grid is None else GridPlan(**grid),
        faithfulness=FaithfulnessPlan() if faithfulness else None,
    )
    shard = Shard.from_environment()
    dataset = load_dataset(root, layout, split=split, classes=classes, metadata=metadata, strict=strict)
    if shard.rank == 0:
        complain_of(dataset.problems, f"{output}/problems.txt")
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
    about = {"command": own_command()}
    with told_warnings(), progress_bar("images", shown=shard.rank == 0) as progress:
        status = evaluate(
            dataset, network, output, plan, strict=strict, workers=workers, shard=shard, about=about, progress=progress
        )
    _tell(status)


def merge_command(
    run: Annotated[list[Path], typer.Argument(help="Finished runs, two or more.", show_default=False, **AS_RUNS)],
    output: Annotated[Path, typer.Option(help="Folder of the new run; the same command goes on with it.", **AS_PATH)],
) -> None:
    """Join finished runs that differ only in their methods into one run with all methods.

    So a method can be added to finished work, and the others are not computed again. The new run has what one
    evaluation of all methods would have: the baselines once, and the differences between any two methods. If runs do
    not fit, what differs is named.
    """
    from looktwice.runs.merge import merge

    with progress_bar("parts", shown=True) as progress:
        status = merge(run, output, about={"command": own_command()}, progress=progress)
    _tell(status)


def table_command(
    run: Annotated[list[Path], typer.Argument(help="Finished runs.", show_default=False, **AS_RUNS)],
    form: Annotated[str, typer.Option(help="text, markdown, latex or csv.")] = "text",
) -> None:
    """Print the paper's two tables from finished runs, with the paper's numbers beside them and what differs."""
    from looktwice.report.paper_tables import paper_tables

    tell(paper_tables(run, form))


def _grid_choices(measure: str, grids: int | None, min_probability: float | None) -> dict[str, Any] | None:
    """What the options say of a grid pointing game; ``None`` if boxes are measured."""
    check_known("measure", measure, ("boxes", "grid"))
    given = {"squares": grids, "min_probability": min_probability}
    choices = {name: value for name, value in given.items() if value is not None}
    if measure == "grid":
        return choices
    if choices:
        raise OptionError("--grids and --min-probability are for --measure grid; add it, or leave them out")
    return None


def _run_rule(
    box: str | None,
    threshold: float | None,
    by: str | None,
    min_score: float | None,
    max_boxes: int | None,
    *,
    tuned: bool,
) -> "BoxRule":
    if tuned and threshold is not None:
        raise OptionError("--threshold gives the threshold, --tune-on chooses it; leave one of them out")
    rule = box_rule(box, threshold, by, min_score=min_score, max_boxes=max_boxes)
    if by == "energy" and threshold is None and not tuned:
        raise OptionError("--threshold-by energy has no usual share; give --threshold or --tune-on")
    return rule


def _tell(status: "RunStatus") -> None:
    """The measures and where the summary is, or how much is missing."""
    from looktwice.report.paper_tables import all_boxes, measures
    from looktwice.runs.folder import read_manifest, read_summary

    if status.summary is None:
        complain_of_missing(status.run, status.missing, status.parts)
        return
    complain_of(status.problems, f"{status.run}/problems.txt")
    others = [line for line in status.failures if line not in status.problems]
    complain_of(others, f"the column error of {status.run}/rows")
    run, summary = read_manifest(status.run).run, read_summary(status.run)
    tell(measures(summary, classes=run.model.classes, grid=run.grid))
    boxes = all_boxes(summary)
    if boxes:
        tell(f"\n{boxes}")
    if status.doubt is not None:
        complain(status.doubt)
    tell(status.summary)

"""The commands that work on whole data sets: ``evaluate``, ``merge`` and ``table``."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from looktwice.cli.inputs import box_rule
from looktwice.errors import OptionError
from looktwice.options import check_known, option_value

if TYPE_CHECKING:
    from looktwice.evaluation.evaluate import Progress
    from looktwice.localization.boxes import BoxRule
    from looktwice.runs.summarise import RunStatus


PAPER_METHODS = "gradient,guided_backprop,feedback,global_feedback"
"""The four that Fu et al. (2017) compare."""


SHOWN_PROBLEMS = 5


def evaluate_command(
    root: Annotated[Path, typer.Argument(help="Folder of the data set.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on with it.")],
    layout: Annotated[str, typer.Option(help="ilsvrc, wsol, voc, coco, folders or csv.")] = "ilsvrc",
    split: Annotated[str | None, typer.Option(help="Part of the data set. [default: the layout's own]")] = None,
    classes: Annotated[Path | None, typer.Option(help="File: the network's index of each class.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="wsolevaluation's metadata folder.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first thing wrong with the data.")] = False,
    model: Annotated[str, typer.Option(help="A name from `looktwice models`, or FILE.py:FACTORY.")] = (
        "efficientnet_lite0"
    ),
    weights: Annotated[str, typer.Option(help="default, random, or a .safetensors, .pth or .pt file.")] = "default",
    squash: Annotated[
        bool, typer.Option("--squash", help="Resize the whole image instead of cutting out its centre.")
    ] = False,
    methods: Annotated[str, typer.Option(help="Names from `looktwice methods`, commas between.")] = PAPER_METHODS,
    option: Annotated[
        list[str] | None, typer.Option(metavar="METHOD.KEY=VALUE", help="An option of a method.", show_default=False)
    ] = None,
    target: Annotated[
        str, typer.Option(help="Class of a map: predicted, true (every label) or top5 (five maps an image).")
    ] = "predicted",
    box: Annotated[str, typer.Option(help="contour: a box for each region; energy: one that holds the energy.")] = (
        "contour"
    ),
    threshold: Annotated[
        float | None,
        typer.Option(help="The share that counts as object. [default: 0.2 of the maximum; for --box energy 0.95]"),
    ] = None,
    threshold_by: Annotated[
        str | None, typer.Option(help="What a contour's share is of: max (of the map) or energy. [default: max]")
    ] = None,
    boxes: Annotated[str, typer.Option(help="Which box of a map counts: largest, or any.")] = "largest",
    tune_on: Annotated[
        str | None,
        typer.Option(help="Choose thresholds on other images: hash:0.4 sets 40 % aside, or a finished run's folder."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many images.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Order of the images, so also which ones --limit takes.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Images in one pass of the network.", min=1)] = 8,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps … [default: cuda where there is one]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode, and as many that measure. [default: up to 4]", min=0)
    ] = None,
    save_maps: Annotated[bool, typer.Option("--save-maps", help="Also write OUTPUT/maps, half precision.")] = False,
    save_npy: Annotated[
        bool, typer.Option("--save-npy", help="Also write OUTPUT/npy as wsolevaluation reads it; needs --squash.")
    ] = False,
) -> None:
    """Measure how well methods find objects, over a whole data set.

    Written are OUTPUT/rows (a row for each image, class and method), manifest.json and, when all is done, summary.json.
    Stopped at any moment, the same command goes on. Under torchrun or SLURM the images are split over the processes.
    """
    chosen = _method_options(methods.split(","), option or [])
    rule = _run_rule(box, threshold, threshold_by, tuned=tune_on is not None)

    from looktwice.datasets.load import load_dataset
    from looktwice.evaluation.evaluate import evaluate
    from looktwice.evaluation.processes import Shard
    from looktwice.models.device import default_device
    from looktwice.models.load import load_model

    shard = Shard.from_environment()
    dataset = load_dataset(root, layout, split=split, classes=classes, metadata=metadata, strict=strict)
    if shard.rank == 0:
        _complain(dataset.problems, f"{output}/problems.txt")
    network = load_model(model, weights=weights, squash=squash, device=default_device(device))
    about = {"command": _command(), "root": str(root), "layout": layout}
    with _progress("images", shown=shard.rank == 0 and sys.stderr.isatty()) as progress:
        outcome = evaluate(
            dataset,
            network,
            output,
            methods=chosen,
            target=cast(Any, target),
            rule=rule,
            boxes=cast(Any, boxes),
            tune_on=tune_on,
            limit=limit,
            seed=seed,
            batch_size=batch_size,
            save_maps=save_maps,
            save_npy=save_npy,
            strict=strict,
            workers=workers,
            shard=shard,
            about=about | ({"split": split} if split else {}),
            progress=progress,
        )
    _tell(outcome)


def merge_command(
    run: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Finished runs, two or more.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="Folder of the new run; the same command goes on with it.")],
) -> None:
    """Join finished runs that differ in nothing but their methods into one run with all of them.

    So a method is added to finished work without computing the others again. The new run has what one evaluation of all
    methods would have: the baselines once, and the differences between any two methods. What does not fit is named.
    """
    from looktwice.runs.merge import merge

    with _progress("parts", shown=sys.stderr.isatty()) as progress:
        outcome = merge(run, output, about={"command": _command()}, progress=progress)
    _tell(outcome)


def table_command(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs.", show_default=False)],
    form: Annotated[str, typer.Option(help="text, markdown, latex or csv.")] = "text",
) -> None:
    """Print the paper's two tables from finished runs, its own figures beside them, and what differs."""
    from looktwice.report.paper_tables import paper_tables

    typer.echo(paper_tables(run, form))


def _method_options(methods: Sequence[str], pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """METHOD.KEY=VALUE texts → each method's options, of their defaults' types."""
    from looktwice.attention.methods import METHODS

    for method in methods:
        check_known("method", method, METHODS)
    chosen: dict[str, dict[str, Any]] = {method: {} for method in methods}
    for pair in pairs:
        place, equals, text = pair.partition("=")
        method, dot, key = place.partition(".")
        if not (equals and dot):
            raise OptionError(f"--option {pair}: METHOD.KEY=VALUE is needed, such as global_feedback.steps=20")
        check_known("method of this run", method, chosen)
        defaults = METHODS[method].options
        check_known(f"option for {method}", key, defaults)
        chosen[method][key] = option_value(place, text, defaults[key])
    return chosen


def _run_rule(box: str, threshold: float | None, by: str | None, *, tuned: bool) -> "BoxRule":
    if tuned and threshold is not None:
        raise OptionError("--threshold gives what --tune-on would choose; leave one of them out")
    rule = box_rule(box, threshold, by)
    if by == "energy" and threshold is None and not tuned:
        raise OptionError("--threshold-by energy: no share is usual there; give --threshold or --tune-on")
    return rule


def _complain(problems: Sequence[str], where: str) -> None:
    for line in problems[:SHOWN_PROBLEMS]:
        typer.echo(f"looktwice: {line}", err=True)
    if len(problems) > SHOWN_PROBLEMS:
        typer.echo(f"looktwice: {len(problems)} problems in all; every one is in {where}", err=True)


def _command() -> str:
    return shlex.join(["looktwice", *sys.argv[1:]])


@contextmanager
def _progress(what: str, *, shown: bool) -> "Iterator[Progress]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(outcome: "RunStatus") -> None:
    from looktwice.report.paper_tables import measures
    from looktwice.runs.folder import read_summary

    if outcome.summary is None:
        typer.echo(
            f"{outcome.run}: {outcome.missing} of {outcome.parts} parts are still missing; other processes may be at "
            "work on them, else the same command goes on",
            err=True,
        )
        return
    _complain(outcome.failures, f"the column error of {outcome.run}/rows")
    typer.echo(measures(read_summary(outcome.run)))
    typer.echo(outcome.summary)

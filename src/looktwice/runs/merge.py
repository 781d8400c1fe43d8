"""Finished runs of the same images → one run with the methods of all, as if they had been evaluated together.

So a method can be added to finished work without computing the others again. The runs must agree in everything that
rows depend on, except their methods. Rows that several runs have (the baselines at least) must be the same to the last
bit. Then all other rows are also those that one evaluation of all methods would have written, except for the times. A
merged run is a run like any other: ``evaluate`` with the same methods goes on with it.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.atomic_files import remove_unfinished, write_atomically
from looktwice.errors import RunError
from looktwice.runs.columns import COLUMNS, FAITHFULNESS, MAY_LACK, TIMES, columns_of
from looktwice.runs.folder import (
    PROBLEMS,
    PartReader,
    differences,
    of_method,
    open_run,
    part_fault,
    read_manifest,
    read_summary,
    stacked,
    write_table,
)
from looktwice.runs.json_forms import to_json
from looktwice.runs.manifest import About, Manifest, RunFacts, SaveFacts
from looktwice.runs.saved_maps import WHOSE, read_maps, write_maps
from looktwice.runs.summarise import RunStatus, write_summary

Progress = Callable[[int, int], None]
"""Called with the number of parts that are done, and the number of all parts."""


COMPARABLE = tuple(name for name in COLUMNS if name not in TIMES)
"""The columns that are the same in two evaluations of the same images and methods."""


def merge(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    about: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> RunStatus:
    """Joins finished runs of different methods into a new run, or goes on where an earlier call was stopped.

    A method that several runs have, with the same options, is taken from the first of them. Maps that the runs saved
    are joined too. Maps in ``.npy`` files stay where they are.

    Args:
        folders: two runs or more; the methods come in their order.
        output: the folder of the new run.
        about: further facts for the new manifest, compared with nothing.
        progress: called after each part.

    Raises:
        RunError: there are fewer than two runs, one is not finished, or two do not fit (what differs is named); or the
            folder holds something else, or cannot be written.
    """
    if len(folders) < 2:
        raise RunError(f"{len(folders)} run to merge; two or more are needed")
    sources = [_Source.read(Path(folder)) for folder in folders]
    run = Path(output)
    manifest = _begin(run, Manifest(_about(sources, about or {}), _united(sources)), sources)
    for index in manifest.run.parts:
        _write_part(run, index, sources, manifest.identity)
        if progress is not None:
            progress(index + 1, len(manifest.run.parts))
    return write_summary(run)


@dataclass(frozen=True)
class _Source:
    """A finished run."""

    folder: Path
    manifest: Manifest
    parts: PartReader

    @classmethod
    def read(cls, folder: Path) -> "_Source":
        read_summary(folder)
        return cls(folder, read_manifest(folder), PartReader(folder))

    @property
    def run(self) -> RunFacts:
        return self.manifest.run


def _begin(run: Path, manifest: Manifest, sources: Sequence[_Source]) -> Manifest:
    """Begins the new run, or goes on with it. Returns the manifest in its folder."""
    begun = open_run(run, manifest)
    before = begun.about.merged
    if before != manifest.about.merged:
        told = "evaluated" if before is None else f"merged from {', '.join(each['run'] for each in before)}"
        raise RunError(f"{run} was {told}; name another --output, or the same runs in the same order to go on")
    remove_unfinished(run)
    problems = sources[0].folder / PROBLEMS
    if problems.exists():
        write_atomically(run / PROBLEMS, problems.read_bytes())
    return begun


def _united(sources: Sequence[_Source]) -> RunFacts:
    """The facts that one evaluation of all methods would have written."""
    united = sources[0].run
    for source in sources[1:]:
        _check_fits(united, source, sources)
        box, methods = united.box, source.run.methods
        if box.thresholds is not None:
            box = replace(box, thresholds={**(source.run.box.thresholds or {}), **box.thresholds})
        united = replace(united, methods={**methods, **united.methods}, box=box)
    order = dict.fromkeys(chain.from_iterable(source.run.methods for source in sources))
    maps = any(source.run.save.maps for source in sources)
    methods = {method: united.methods[method] for method in order}
    return replace(united, methods=methods, save=SaveFacts(maps=maps, npy=False))


def _check_fits(united: RunFacts, source: _Source, sources: Sequence[_Source]) -> None:
    common = {*united.methods} & {*source.run.methods} | {*united.baselines}
    found = differences(_of_methods(united, common), _of_methods(source.run, common))
    if found:
        others = ", ".join(str(each.folder) for each in sources[: sources.index(source)])
        raise RunError(
            f"{source.folder} does not fit {others}: {'; '.join(found)}; only runs that agree in all but their "
            "methods can be merged"
        )


def _of_methods(run: RunFacts, names: Collection[str]) -> dict[str, Any]:
    """The facts on which the rows of these methods depend."""

    def chosen(by_method: Mapping[str, Any]) -> dict[str, Any]:
        return {name: by_method[name] for name in sorted(names) if name in by_method}

    thresholds = None if run.box.thresholds is None else chosen(run.box.thresholds)
    kept = replace(run, methods=chosen(run.methods), box=replace(run.box, thresholds=thresholds), save=SaveFacts())
    plain: dict[str, Any] = to_json(kept)
    return plain


def _about(sources: Sequence[_Source], told: Mapping[str, str]) -> About:
    """What the first run told of itself, and everything that each run told."""
    each = [source.manifest.about for source in sources]
    labels = {name: label for about in reversed(each) for name, label in about.told.get("labels", {}).items()}
    return About.of(
        {
            **each[0].told,
            "begun": min(about.begun for about in each),
            "device": " and ".join(dict.fromkeys(about.device for about in each)),
            **({"labels": labels} if labels else {}),
            **told,
            "merged": [
                {"run": str(source.folder), "methods": list(source.run.methods), **source.manifest.about.told}
                for source in sources
            ],
        }
    )


def _write_part(run: Path, index: int, sources: Sequence[_Source], identity: str) -> None:
    """Writes the maps of a part, then the part; not if it is there already."""
    rows = _joined_rows(index, sources)
    keys = {*zip(rows["sample"].to_pylist(), rows["method"].to_pylist(), strict=True)}
    if part_fault(run, index, keys, rows.schema) is None:
        return
    maps = _joined_maps(index, sources)
    if maps:
        write_maps(run, index, maps, identity)
    write_table(run, index, rows, identity)


def _joined_rows(index: int, sources: Sequence[_Source]) -> Any:
    """Image after image the rows of all methods, then the rows of the baselines."""
    found: dict[str, tuple[_Source, Any]] = {}
    for source in sources:
        rows = source.parts.read(index, tuple(columns_of(source.run)))
        for name in source.run.names:
            own = of_method(rows, name)
            first, before = found.setdefault(name, (source, own))
            _check_same(name, before, own, f"{first.folder} and {source.folder}")
    baselines = sources[0].run.baselines
    methods = [name for name in found if name not in baselines]
    return stacked([found[name][1] for name in (*methods, *baselines)])


def _check_same(method: str, before: Any, now: Any, where: str) -> None:
    """Checks that two runs have the same rows of a method, as far as both have the columns."""
    for column in (name for name in (*COMPARABLE, *FAITHFULNESS) if name in before.column_names):
        empty = len(before) == len(now) and len(before) in (before[column].null_count, now[column].null_count)
        if not (empty and column in MAY_LACK) and not before[column].equals(now[column]):
            pairs = zip(before[column].to_pylist(), now[column].to_pylist(), strict=False)
            row = next((row for row, (one, other) in enumerate(pairs) if one != other), 0)
            place = f" of {before['sample'][row]}" if len(before) == len(now) else ""
            raise RunError(
                f"{where} do not have the same rows of {method}: {column}{place} differs; perhaps they were computed "
                "on other devices or with another number of threads: evaluate one of them again as the other was"
            )


def _joined_maps(index: int, sources: Sequence[_Source]) -> dict[str, NDArray[Any]]:
    """The maps that any of the runs saved of a part."""
    joined: dict[str, NDArray[Any]] = {}
    for source in sources:
        saved = read_maps(source.folder, index)
        if any(not np.array_equal(saved[name], joined.get(name, saved[name])) for name in WHOSE if saved):
            raise RunError(
                f"{source.folder}: the maps of part {index} are of other rows; evaluate it into another folder"
            )
        joined = saved | joined
    return joined

"""Finished runs of the same images → one run with the methods of all, as if they had been evaluated together.

So a method can be added to finished work without computing the others again. Runs must agree in all that rows depend
on but the methods, and the rows they have in common, those of the baselines at least, must be the same to the last bit;
then so is everything that one evaluation of all methods would have written, but for the times. The merged run is a run
like any other: ``evaluate`` with the same methods goes on with it.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looktwice.atomic_files import remove_unfinished, write_atomically
from looktwice.errors import RunError
from looktwice.runs.columns import COLUMNS, TIMES
from looktwice.runs.folder import (
    COMPARED,
    PROBLEMS,
    differences,
    is_complete,
    of_method,
    open_run,
    part_count,
    read_manifest,
    read_rows,
    read_summary,
    stacked,
    write_table,
)
from looktwice.runs.saved_maps import read_maps, write_maps
from looktwice.runs.summary import RunStatus, write_summary

Progress = Callable[[int, int], None]
"""Told how many parts are done, and how many there are."""


MERGED = "merged"
"""In a manifest's ``about``: the runs that a merged one was made of, and what their manifests told."""


COMPARABLE = tuple(name for name in COLUMNS if name not in TIMES)
"""The columns that two evaluations of the same have in common."""


_WHOSE = ("sample", "target", "rank")
"""What a file of maps holds besides them."""


def merge(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    about: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> RunStatus:
    """Joins finished runs of different methods into a new one, or goes on where an earlier call was stopped.

    A method that several runs have, with the same options, is taken from the first. Maps that the runs saved are joined
    too; ``.npy`` maps, a file for each image and method anyway, stay where they are.

    Args:
        folders: two runs or more; methods come in their order.
        output: the new run's folder.
        about: told in the new manifest besides what the runs' own told.
        progress: called after each part.

    Raises:
        RunError: fewer than two runs, one that is not finished, or two that do not fit, with what differs; or the
            folder holds something else, or cannot be written.
    """
    if len(folders) < 2:
        raise RunError(f"{len(folders)} run to merge; two or more are needed")
    sources = [_Source.read(Path(folder)) for folder in folders]
    run = Path(output)
    _begin(run, {"about": _about(sources, about or {}), COMPARED: _united(sources)}, sources)
    parts = range(part_count(read_manifest(run)))
    for index in parts:
        _write_part(run, index, sources)
        if progress is not None:
            progress(index + 1, len(parts))
    return write_summary(run)


@dataclass(frozen=True)
class _Source:
    """A finished run."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "_Source":
        read_summary(folder)
        return cls(folder, read_manifest(folder))

    @property
    def facts(self) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = self.manifest[COMPARED]
        return facts

    @property
    def names(self) -> tuple[str, ...]:
        """Methods and baselines, in the order of a picture's rows."""
        return (*self.facts["methods"], *self.facts["baselines"])


def _begin(run: Path, manifest: Mapping[str, Any], sources: Sequence[_Source]) -> None:
    open_run(run, manifest)
    before = read_manifest(run)["about"].get(MERGED)
    if before != manifest["about"][MERGED]:
        told = "evaluated" if before is None else f"merged from {', '.join(each['run'] for each in before)}"
        raise RunError(f"{run} was {told}; name another --output, or the same runs in the same order to go on")
    remove_unfinished(run)
    problems = sources[0].folder / PROBLEMS
    if problems.exists():
        write_atomically(run / PROBLEMS, problems.read_bytes())


def _united(sources: Sequence[_Source]) -> dict[str, Any]:
    """What one evaluation of all methods would have written of itself."""
    united = dict(sources[0].facts)
    for source in sources[1:]:
        common = {*united["methods"]} & {*source.facts["methods"]} | {*united["baselines"]}
        found = differences(_of_methods(united, common), _of_methods(source.facts, common))
        if found:
            others = ", ".join(str(each.folder) for each in sources[: sources.index(source)])
            raise RunError(
                f"{source.folder} does not fit {others}: {'; '.join(found)}; only runs that agree in all but their "
                "methods can be merged"
            )
        united["methods"] = source.facts["methods"] | united["methods"]
        if united["box"]["thresholds"] is not None:
            thresholds = source.facts["box"]["thresholds"] | united["box"]["thresholds"]
            united["box"] = united["box"] | {"thresholds": thresholds}
    order = dict.fromkeys(chain.from_iterable(source.facts["methods"] for source in sources))
    united["methods"] = {method: united["methods"][method] for method in order}
    maps = any(source.facts["save"]["maps"] for source in sources)
    return united | {"save": {"maps": maps, "npy": False}}


def _of_methods(facts: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What rows of these methods depend on."""

    def chosen(by_method: Mapping[str, Any]) -> dict[str, Any]:
        return {name: by_method[name] for name in sorted(names) if name in by_method}

    kept = {name: value for name, value in facts.items() if name != "save"}
    thresholds = facts["box"]["thresholds"]
    box = facts["box"] | {"thresholds": None if thresholds is None else chosen(thresholds)}
    return kept | {"methods": chosen(facts["methods"]), "box": box}


def _about(sources: Sequence[_Source], told: Mapping[str, str]) -> dict[str, Any]:
    """What the first run told of itself, and all of what each did."""
    each = [source.manifest["about"] for source in sources]
    return {
        **each[0],
        "begun": min(about["begun"] for about in each),
        "device": " and ".join(dict.fromkeys(about["device"] for about in each)),
        **told,
        MERGED: [
            {"run": str(source.folder), "methods": list(source.facts["methods"]), **source.manifest["about"]}
            for source in sources
        ],
    }


def _write_part(run: Path, index: int, sources: Sequence[_Source]) -> None:
    """A part and before it its maps; not where it is there already."""
    rows = _joined_rows(index, sources)
    keys = {*zip(rows["sample"].to_pylist(), rows["method"].to_pylist(), strict=True)}
    if is_complete(run, index, keys, rows.schema):
        return
    maps = _joined_maps(index, sources)
    if maps:
        write_maps(run, index, maps)
    write_table(run, index, rows)


def _joined_rows(index: int, sources: Sequence[_Source]) -> Any:
    """Picture after picture the rows of all methods, then those of the baselines."""
    found: dict[str, tuple[_Source, Any]] = {}
    for source in sources:
        rows = read_rows(source.folder, [index], tuple(COLUMNS))
        for name in source.names:
            own = of_method(rows, name)
            first, before = found.setdefault(name, (source, own))
            _check_same(name, before, own, f"{first.folder} and {source.folder}")
    baselines = sources[0].facts["baselines"]
    methods = [name for name in found if name not in baselines]
    return stacked([found[name][1] for name in (*methods, *baselines)])


def _check_same(method: str, before: Any, now: Any, where: str) -> None:
    for column in COMPARABLE:
        if not before[column].equals(now[column]):
            pairs = zip(before[column].to_pylist(), now[column].to_pylist(), strict=False)
            row = next((row for row, (one, other) in enumerate(pairs) if one != other), 0)
            place = f" of {before['sample'][row]}" if len(before) == len(now) else ""
            raise RunError(
                f"{where} do not have the same rows of {method}: {column}{place} differs; they were computed on other "
                "devices or with another number of threads, perhaps: evaluate one of them again as the other was"
            )


def _joined_maps(index: int, sources: Sequence[_Source]) -> dict[str, NDArray[Any]]:
    """The maps that any of the runs saved; nothing where none did."""
    joined: dict[str, NDArray[Any]] = {}
    for source in sources:
        saved = read_maps(source.folder, index)
        if any(not np.array_equal(saved[name], joined.get(name, saved[name])) for name in _WHOSE if saved):
            raise RunError(
                f"{source.folder}: the maps of part {index} are of other rows; evaluate it into another folder"
            )
        joined = saved | joined
    return joined

"""A run's folder: its manifest, the parts of its rows, its summary.

    RUN/manifest.json            what is evaluated; written first, never changed
    RUN/rows/part-000000.parquet a part for each chunk of images
    RUN/summary.json             written when all parts are there

A file gets its name only when it is complete and on the disk. So every file that exists is right, and a missing one can
be made at any time. Any number of processes may work in one folder, and none has to know of the others.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from looktwice.atomic_files import as_json, unwritable, write_atomically, write_once
from looktwice.errors import LooktwiceError, RunError, cut
from looktwice.metrics.measures import MAP_NUMBERS
from looktwice.runs.arrow import arrow
from looktwice.runs.columns import FAITHFULNESS, YOUNGER
from looktwice.runs.json_forms import to_json
from looktwice.runs.manifest import Manifest
from looktwice.runs.part_checks import (
    CHECKED,
    OTHER_IMAGES,
    OTHER_OPTIONS,
    WrongRowsError,
    check_lists,
    check_rows,
    check_schema,
)
from looktwice.runs.parts import DamagedPartError, Part, decode_part, encode_part, part_label
from looktwice.runs.summary import Summary

MANIFEST, SUMMARY, PROBLEMS = "manifest.json", "summary.json", "problems.txt"


class UnusablePartError(RunError):
    """A part is missing, damaged, or not its run's. ``why`` says what is wrong in a few words."""

    def __init__(self, text: str, why: str = "") -> None:
        super().__init__(text)
        self.why = why


def open_run(run: Path, manifest: Manifest) -> Manifest:
    """Begins a run with this manifest, or goes on with a run whose manifest has the same facts.

    Returns:
        The manifest in the folder.

    Raises:
        RunError: the folder belongs to another evaluation, and each difference is named; or it cannot be written.
    """
    path = run / MANIFEST
    try:
        run.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _remove_leftovers(run)
            write_once(path, as_json(manifest.as_json()))
    except OSError as error:
        raise unwritable(path, error) from error
    before = read_manifest(run)
    found = differences(to_json(before.run), to_json(manifest.run))
    if found:
        raise RunError(
            f"{run} holds another evaluation: {'; '.join(found)}; name another --output, or repeat the command that "
            f"began it: {before.about.command}"
        )
    return before


def _remove_leftovers(run: Path) -> None:
    """Removes what a run whose manifest is gone left beside its rows.

    Raises:
        RunError: there are files of these names, but no rows beside them: they are the user's own.
    """
    there = [run / name for name in (SUMMARY, PROBLEMS) if (run / name).exists()]
    if (run / MANIFEST).exists():
        return  # another process has just begun this run
    if there and not any(run.glob("rows/part-*.parquet")):
        raise RunError(f"{there[0]} is there already, and is no run's; name another --output")
    for file in there:
        file.unlink(missing_ok=True)


def read_manifest(run: Path) -> Manifest:
    """The manifest of the run in a folder.

    Raises:
        RunError: there is no run, or its manifest is damaged.
    """
    path = run / MANIFEST
    content = _read_json(path, f"{run} holds no run; name the folder that evaluate wrote to (--output)")
    try:
        return Manifest.from_json(content)
    except (ValueError, LooktwiceError) as error:
        raise RunError(f"{path} is no manifest of a run ({error}); name the folder that evaluate wrote to") from error


def read_summary(run: Path) -> Summary:
    """The summary of a finished run.

    Raises:
        RunError: the run is not finished, or the file is damaged.
    """
    read_manifest(run)
    path = run / SUMMARY
    content = _read_json(path, f"{run} is not finished; run the command that began it again, then this one")
    try:
        return Summary.from_json(content)
    except (ValueError, LooktwiceError) as error:
        raise RunError(
            f"{path} is no summary of a run ({error}); remove it, then run the command that began the run again"
        ) from error


def check_parts(run: Path) -> None:
    """Checks that all parts of a run are there, whole and its own.

    Raises:
        RunError: as ``PartReader.check``.
    """
    reader = PartReader(run)
    for index in read_manifest(run).run.parts:
        reader.check(index)


def read_finished(run: Path) -> tuple[Manifest, Summary]:
    """The manifest and the summary of a finished run.

    Raises:
        RunError: the run is not finished, a file is damaged, or the summary lacks a method of the manifest.
    """
    manifest, summary = read_manifest(run), read_summary(run)
    for method in manifest.run.names:
        if method not in summary.methods or method not in summary.thresholds:
            raise RunError(f"{run / SUMMARY} lacks {method}; remove it, then run the command that began the run again")
    return manifest, summary


def _read_json(path: Path, missing: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(missing) from error
    except (OSError, ValueError, RecursionError) as error:  # the last where brackets nest too deep
        raise RunError(f"{path} cannot be read ({error}); remove it if its run can be repeated") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no JSON object; remove it if its run can be repeated")
    return content


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """A line for each place where two JSON values differ.

    >>> differences({"batch_size": 8, "seed": 0}, {"batch_size": 16, "seed": 0})
    ['batch_size was 8, is 16']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line
            for key in keys
            for line in differences(before.get(key, "absent"), now.get(key, "absent"), f"{name}.{key}".lstrip("."))
        ]
    return [] if before == now else [f"{name} was {_shown(before)}, is {_shown(now)}"]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else cut(json.dumps(value, ensure_ascii=False), most=400)


def part_path(run: Path, index: int) -> Path:
    """The file of the rows of a chunk of images."""
    return run / "rows" / f"part-{index:06d}.parquet"


def write_part(run: Path, index: int, rows: Sequence[Mapping[str, Any]], schema: Any, identity: str) -> None:
    """Writes the rows of a chunk as its part; see ``write_table``."""
    write_table(run, index, arrow().Table.from_pylist(rows, schema=schema), identity)


def write_table(run: Path, index: int, table: Any, identity: str) -> None:
    """Writes a pyarrow table as the part of a chunk.

    Args:
        run: the run's folder.
        index: of the chunk.
        table: the rows.
        identity: of the run that they are for.

    Raises:
        RunError: the folder holds this run no more; or the file cannot be written.
    """
    with writing_into(run, identity) as manifest:
        write_atomically(part_path(run, index), encode_part(table, part_label(manifest.part_identity, index)))


@contextmanager
def writing_into(run: Path, identity: str) -> Iterator[Manifest]:
    """Checks that a folder is still this run's, before the files of the ``with`` are written and if one cannot be.

    Yields:
        The run's manifest.

    Raises:
        RunError: as ``check_is_still``; else the error of the file that cannot be written.
    """
    manifest = check_is_still(run, identity)
    try:
        yield manifest
    except RunError:
        check_is_still(run, identity)  # removed just now? That is the reason then, and not the folder's permissions.
        raise


def check_is_still(run: Path, identity: str) -> Manifest:
    """Checks that a folder still holds the run that this process works on, and returns the run's manifest.

    Raises:
        RunError: the manifest is gone, or is now another run's.
    """
    found = None
    with suppress(RunError):
        found = read_manifest(run)
    if found is None or found.identity != identity:
        now = "is gone or damaged" if found is None else "is now of another evaluation"
        raise RunError(
            f"{run}: the manifest of this run {now}, so this process stops, and no rows of two evaluations mix; "
            "repeat the command with another --output"
        )
    return found


def part_fault(
    run: Path,
    index: int,
    keys: Collection[tuple[str, str]],
    schema: Any,
    options: Mapping[str, str] | None = None,
) -> str | None:
    """Why the part of a chunk must be made: it is missing, changed, of another run, or rows are missing or twice.

    A part of an older version may lack younger columns: its rows are right, so they are not computed again.

    Args:
        run: the run's folder.
        index: of the chunk.
        keys: all (sample, method) of its rows.
        schema: of its rows.
        options: for each method and baseline the hash of its options.

    Returns:
        The fault in a few words; ``None`` if the part is complete.
    """
    try:
        table = PartReader(run, options, schema=schema).read(index)
    except UnusablePartError as error:
        return error.why
    found = zip(table["sample"].to_pylist(), table["method"].to_pylist(), strict=True)
    return None if set(found) == set(keys) else OTHER_IMAGES


def read_rows(run: Path, parts: Iterable[int], columns: Sequence[str]) -> Any:
    """Columns of all rows of these parts, as a pyarrow table.

    Raises:
        RunError: as ``PartReader.read``.
    """
    reader = PartReader(run)
    return arrow().concat_tables([reader.read(index, columns) for index in parts])


class PartReader:
    """Reads the parts of a run, and refuses those that are damaged or another run's.

    Args:
        run: the run's folder.
        options: for each method and baseline the hash of its options. Without it, it is that of the first part read.
        schema: what parts of this version have. A part that lacks more of it than younger columns is refused. Without
            it, only the columns that are read are needed.
    """

    def __init__(self, run: Path, options: Mapping[str, str] | None = None, *, schema: Any = None) -> None:
        self._run, self._manifest, self._schema = run, read_manifest(run), schema
        self._options = None if options is None else dict(options)

    def read(self, index: int, columns: Sequence[str] | None = None) -> Any:
        """Columns of the rows of a part, all by default, as a pyarrow table.

        Raises:
            RunError: the part is missing, damaged or of another run, or its rows are not those of its chunk.
        """
        with self._refusing(index):
            part = self._decoded(index, None if columns is None else {*columns, *CHECKED})
            options = check_rows(part.rows, self._manifest, index)
            self._options = self._options or options
            if options != self._options:
                raise WrongRowsError(OTHER_OPTIONS)
            rows = part.rows if columns is None else _with_all(part.rows, columns)
            check_lists(rows, rows.column_names)
        return rows

    def check(self, index: int) -> None:
        """Checks a part as ``read`` does, but quickly: the checksum of a part vouches for its rows.

        Raises:
            RunError: as ``read``.
        """
        if self._manifest.part_identity is None:
            self.read(index, ())
        with self._refusing(index):
            self._decoded(index, ())

    def _decoded(self, index: int, columns: Collection[str] | None) -> Part:
        part = decode_part(part_path(self._run, index).read_bytes(), columns)
        if part.label != part_label(self._manifest.part_identity, index):
            raise WrongRowsError("it is of another evaluation or chunk")
        if self._schema is not None:
            check_schema(part.schema, self._schema)
        return part

    @contextmanager
    def _refusing(self, index: int) -> Iterator[None]:
        """Turns everything that is wrong with a part into one line."""
        try:
            yield
        # An older part has no checksum: its texts may be no UTF-8, which is a ValueError.
        except (OSError, KeyError, ValueError, DamagedPartError, WrongRowsError, arrow().ArrowException) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UnusablePartError(
                f"{part_path(self._run, index)} cannot be read; run the command that began the run again to redo it "
                f"({why})",
                str(why),
            ) from error


def _with_all(table: Any, columns: Sequence[str]) -> Any:
    """The table with these columns in this order. What is younger than the run, or not measured, has no values."""
    optional = {name: number.kind for name, number in MAP_NUMBERS.items()} | dict(YOUNGER) | dict(FAITHFULNESS)
    missing = {name: kind for name, kind in optional.items() if name in columns and name not in table.column_names}
    for field in row_schema(missing):
        table = table.append_column(field, arrow().nulls(len(table), field.type))
    return table.select(list(columns))


def of_method(rows: Any, method: str) -> Any:
    """The rows of a method, of a pyarrow table."""
    return rows.filter(arrow("compute").equal(rows["method"], method))


def stacked(tables: Sequence[Any]) -> Any:
    """Tables of rows as one: image after image, and for each image the tables' rows in the order of the tables."""
    return arrow().concat_tables(tables).sort_by("order")  # a stable sort


def row_schema(columns: Mapping[str, str]) -> Any:
    """Column names and types → a pyarrow schema. A type is "int32", "list<float32>" … or "boxes"."""
    box = arrow().struct([(name, arrow().float64()) for name in ("x1", "y1", "x2", "y2", "score")])

    def parsed(text: str) -> Any:
        if text == "boxes":
            return arrow().list_(box)
        if text.startswith("list<"):
            return arrow().list_(parsed(text[5:-1]))
        return arrow().type_for_alias(text)

    return arrow().schema([(name, parsed(text)) for name, text in columns.items()])

"""A run's folder: its manifest, the parts of its rows, its summary.

    RUN/manifest.json            what is evaluated; written first, never changed
    RUN/rows/part-000000.parquet a part for each chunk of images
    RUN/summary.json             written when all parts are there

A file gets its name only when it is complete and on the disk. So every file that exists is right, and a missing one can
be made at any time. Any number of processes may work in one folder, and none has to know of the others.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from looktwice.atomic_files import as_json, claim, unfinished_path, unwritable, write_atomically, write_synced
from looktwice.errors import LooktwiceError, RunError
from looktwice.metrics.measures import MAP_NUMBERS
from looktwice.runs.arrow import arrow
from looktwice.runs.columns import FORMER_NAMES
from looktwice.runs.json_forms import to_json
from looktwice.runs.manifest import Manifest
from looktwice.runs.summary import Summary

MANIFEST, SUMMARY, PROBLEMS = "manifest.json", "summary.json", "problems.txt"


def open_run(run: Path, manifest: Manifest) -> None:
    """Begins a run with this manifest, or goes on with a run whose manifest has the same facts.

    Raises:
        RunError: the folder belongs to another evaluation, and each difference is named; or it cannot be written.
    """
    path = run / MANIFEST
    part = unfinished_path(path)
    try:
        run.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_synced(part, as_json(manifest.as_json()))
            claim(path, part)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    before = read_manifest(run)
    found = differences(to_json(before.run), to_json(manifest.run))
    if found:
        raise RunError(
            f"{run} holds another evaluation: {'; '.join(found)}; name another --output, or repeat the command that "
            f"began it: {before.about.command}"
        )


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
    except (OSError, ValueError) as error:
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
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def part_path(run: Path, index: int) -> Path:
    """The file of the rows of a chunk of images."""
    return run / "rows" / f"part-{index:06d}.parquet"


def write_part(run: Path, index: int, rows: Sequence[Mapping[str, Any]], schema: Any) -> None:
    """Writes the rows of a chunk as its part."""
    write_table(run, index, arrow().Table.from_pylist(rows, schema=schema))


def write_table(run: Path, index: int, table: Any) -> None:
    """Writes a pyarrow table as the part of a chunk."""
    content = arrow().BufferOutputStream()
    # A part is read as a whole and its numbers hardly repeat: an index and dictionaries would only make it larger.
    arrow("parquet").write_table(table, content, compression="zstd", use_dictionary=False, write_statistics=False)
    write_atomically(part_path(run, index), content.getvalue().to_pybytes())


def is_complete(run: Path, index: int, keys: Collection[tuple[str, str]], schema: Any) -> bool:
    """Whether the part of a chunk exists, can be read to its end, and has rows of exactly these (sample, method)."""
    try:
        table = _read_part(part_path(run, index))
    except (OSError, arrow().ArrowException):
        return False
    if not table.schema.equals(schema):
        return False
    found = zip(table["sample"].to_pylist(), table["method"].to_pylist(), strict=True)
    return set(found) == set(keys)


def read_rows(run: Path, parts: Iterable[int], columns: Sequence[str]) -> Any:
    """Columns of all rows of these parts, as a pyarrow table.

    Raises:
        RunError: a part is missing or damaged.
    """
    tables = []
    for index in parts:
        path = part_path(run, index)
        try:
            tables.append(_with_all(_read_part(path, columns), columns))
        except (OSError, KeyError, arrow().ArrowException) as error:
            raise RunError(f"{path} cannot be read; run the command that began the run again to redo it") from error
    return arrow().concat_tables(tables)


def _read_part(path: Path, columns: Collection[str] | None = None) -> Any:
    """The columns of a part that it has, all by default, under the names of today."""
    names = arrow("parquet").read_schema(path).names
    chosen = [name for name in names if columns is None or FORMER_NAMES.get(name, name) in columns]
    table = arrow("parquet").read_table(path, columns=chosen, partitioning=None)
    return table.rename_columns([FORMER_NAMES.get(name, name) for name in table.column_names])


def _with_all(table: Any, columns: Sequence[str]) -> Any:
    """The table with these columns in this order. A measure may be younger than the run: then it has no numbers."""
    for name, number in MAP_NUMBERS.items():
        if name in columns and name not in table.column_names:
            table = table.append_column(name, arrow().nulls(len(table), arrow().type_for_alias(number.kind)))
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

"""A run's folder: its manifest, its parts, and writing that a kill at any moment cannot spoil.

    RUN/manifest.json            what is evaluated; written first, never changed
    RUN/rows/part-000000.parquet a part for each chunk of images
    RUN/summary.json             when all parts are there

A file appears under its name only when it is complete and on the disk. So whatever exists is right, whatever is missing
can be made, and any number of processes may work in one folder without a word to each other.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from looktwice.atomic_files import as_json, claim, unfinished_path, unwritable, write_atomically, write_synced
from looktwice.errors import MissingExtraError, RunError

COMPARED = "run"
"""The part of a manifest on which rows depend; the rest only tells."""


MANIFEST, SUMMARY, PROBLEMS = "manifest.json", "summary.json", "problems.txt"


def open_run(run: Path, manifest: Mapping[str, Any]) -> None:
    """Begins a run with this manifest, or goes on with one that agrees in all that rows depend on.

    Raises:
        RunError: the folder belongs to another evaluation, each difference named; or it cannot be written.
    """
    path = run / MANIFEST
    part = unfinished_path(path)
    try:
        run.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_synced(part, as_json(manifest))
            claim(path, part)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    before = read_manifest(run)
    found = differences(before[COMPARED], json.loads(as_json(manifest))[COMPARED])
    if found:
        raise RunError(
            f"{run} holds another evaluation: {'; '.join(found)}; name another --output, or repeat the command that "
            f"began it: {before.get('about', {}).get('command')}"
        )


def read_manifest(run: Path) -> dict[str, Any]:
    """What the run in a folder evaluates.

    Raises:
        RunError: there is no run, or its manifest is damaged.
    """
    manifest = _read_json(run / MANIFEST, f"{run} holds no run; name the folder that evaluate wrote to (--output)")
    if not isinstance(manifest.get(COMPARED), dict):
        raise RunError(f"{run / MANIFEST} is no manifest of a run; name the folder that evaluate wrote to")
    return manifest


def read_summary(run: Path) -> dict[str, Any]:
    """The summary of a finished run.

    Raises:
        RunError: it is not finished, or the file is damaged.
    """
    read_manifest(run)
    return _read_json(run / SUMMARY, f"{run} is not finished; run the command that began it again, then this one")


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two JSON values differ, a line each: "batch_size was 8, is 16"."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line
            for key in keys
            for line in differences(before.get(key, "absent"), now.get(key, "absent"), f"{name}.{key}".lstrip("."))
        ]
    return [] if before == now else [f"{name} was {_shown(before)}, is {_shown(now)}"]


def part_count(manifest: Mapping[str, Any]) -> int:
    """How many parts the rows of a manifest's run have."""
    run = manifest[COMPARED]
    return math.ceil(int(run["images"]["count"]) / int(run["batch_size"]))


def part_path(run: Path, index: int) -> Path:
    """Where the rows of a chunk of images belong."""
    return run / "rows" / f"part-{index:06d}.parquet"


def write_part(run: Path, index: int, rows: Sequence[Mapping[str, Any]], schema: Any) -> None:
    """The rows of a chunk as its part."""
    arrow, _ = _arrow()
    write_table(run, index, arrow.Table.from_pylist(rows, schema=schema))


def write_table(run: Path, index: int, table: Any) -> None:
    """As ``write_part``, from a pyarrow table."""
    arrow, parquet = _arrow()
    content = arrow.BufferOutputStream()
    # A part is read whole, and its numbers hardly repeat: an index and dictionaries would only make it larger.
    parquet.write_table(table, content, compression="zstd", use_dictionary=False, write_statistics=False)
    write_atomically(part_path(run, index), content.getvalue().to_pybytes())


def is_complete(run: Path, index: int, keys: Collection[tuple[str, str]], schema: Any) -> bool:
    """Whether a chunk's part is there, can be read to its end, and has exactly these (sample, method) in it."""
    arrow, parquet = _arrow()
    try:
        table = parquet.read_table(part_path(run, index), partitioning=None)
    except (OSError, arrow.ArrowException):
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
    arrow, parquet = _arrow()
    tables = []
    for index in parts:
        path = part_path(run, index)
        try:
            tables.append(parquet.read_table(path, columns=list(columns), partitioning=None))
        except (OSError, arrow.ArrowException) as error:
            raise RunError(f"{path} cannot be read; run the command that began the run again to redo it") from error
    return arrow.concat_tables(tables)


def of_method(rows: Any, method: str) -> Any:
    """A method's rows of a pyarrow table."""
    from pyarrow import compute  # type: ignore[import-untyped]

    return rows.filter(compute.equal(rows["method"], method))


def stacked(tables: Sequence[Any]) -> Any:
    """Tables of rows as one: picture after picture, of each picture those of the first table first."""
    arrow, _ = _arrow()
    return arrow.concat_tables(tables).sort_by("order")  # a stable sort


def row_schema(columns: Mapping[str, str]) -> Any:
    """Column names and types → a pyarrow schema; a type is "int32", "list<float32>" … or "boxes"."""
    arrow, _ = _arrow()
    box = arrow.struct([(name, arrow.float64()) for name in ("x1", "y1", "x2", "y2", "score")])

    def parsed(text: str) -> Any:
        if text == "boxes":
            return arrow.list_(box)
        if text.startswith("list<"):
            return arrow.list_(parsed(text[5:-1]))
        return arrow.type_for_alias(text)

    return arrow.schema([(name, parsed(text)) for name, text in columns.items()])


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("evaluation writes Parquet files: pip install 'looktwice[evaluate]'") from error
    return pyarrow, parquet


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


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

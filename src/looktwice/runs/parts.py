"""A part of a run's rows as the bytes of a Parquet file, which tells its run and proves that no bit of it changed.

A part carries the identity of its run and its own number, so rows of another run or chunk cannot pass as its own. It
also carries a checksum of the whole file. Parquet's own checksums, which other readers know, leave out the headers of
pages and the footer.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from looktwice.runs.arrow import arrow
from looktwice.runs.columns import FORMER_NAMES

_LABEL, _CHECKSUM = b"looktwice.part", b"looktwice.checksum"


_PREFIX = b"sha256:"
_BLANK = _PREFIX + b"0" * 64
"""Stands for the checksum while the checksum is computed."""


class DamagedPartError(Exception):
    """A part's bytes are not those that were written. The text says what is wrong with them."""


@dataclass(frozen=True)
class Part:
    """A part that was read.

    Attributes:
        rows: the wanted columns that it has, under the names of today (a pyarrow table).
        schema: of all columns that it has, under the names of today (a pyarrow schema).
        label: which part of which run it was written as; ``None`` if an older version wrote it.
    """

    rows: Any
    schema: Any
    label: str | None


def part_label(identity: str | None, index: int) -> str | None:
    """What a part carries.

    Args:
        identity: of the run, as ``Manifest.part_identity`` gives it.
        index: of the part.
    """
    return None if identity is None else f"{identity}:{index}"


def encode_part(rows: Any, label: str | None) -> bytes:
    """The file of some rows (a pyarrow table).

    Args:
        rows: the rows.
        label: what the part carries, as ``part_label`` gives it.
    """
    own = {} if label is None else {_LABEL: label.encode()}
    table = rows.replace_schema_metadata({**own, _CHECKSUM: _BLANK})
    sink = arrow().BufferOutputStream()
    # A part is read as a whole and its numbers hardly repeat: an index and dictionaries would only make it larger.
    arrow("parquet").write_table(
        table, sink, compression="zstd", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    content: bytes = sink.getvalue().to_pybytes()
    at = content.rindex(_BLANK)  # in the footer, at the file's end
    return content[:at] + _checksum(content) + content[at + len(_BLANK) :]


def decode_part(content: bytes, columns: Collection[str] | None = None) -> Part:
    """The rows in a file.

    Args:
        content: the file's bytes.
        columns: the columns that are wanted; ``None`` is all.

    Raises:
        DamagedPartError: the file is not as it was written.
    """
    is_checked = _check(content)
    try:
        file = arrow("parquet").ParquetFile(arrow().BufferReader(content), page_checksum_verification=True)
        names = file.schema_arrow.names
        chosen = [name for name in names if columns is None or FORMER_NAMES.get(name, name) in columns]
        rows = file.read(columns=chosen)
        label = (file.schema_arrow.metadata or {}).get(_LABEL)
    except (OSError, KeyError, ValueError, arrow().ArrowException) as error:
        raise DamagedPartError("it is no whole Parquet file") from error
    if label is not None and not is_checked:
        raise DamagedPartError("its checksum is missing")
    rows = rows.rename_columns([FORMER_NAMES.get(name, name) for name in rows.column_names])
    schema = arrow().schema([field.with_name(FORMER_NAMES.get(field.name, field.name)) for field in file.schema_arrow])
    return Part(rows.replace_schema_metadata(None), schema, None if label is None else label.decode())


def _check(content: bytes) -> bool:
    """Whether the file has a checksum, which fits then."""
    found = [match.start() for match in re.finditer(_PREFIX + b"[0-9a-f]{64}", content)][-1:]
    for at in found:
        end = at + len(_BLANK)
        if content[at:end] != _checksum(content[:at] + _BLANK + content[end:]):
            raise DamagedPartError("its bytes have changed since it was written")
    return bool(found)


def _checksum(content: bytes) -> bytes:
    return _PREFIX + hashlib.sha256(content).hexdigest().encode()

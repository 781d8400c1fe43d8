"""A part of a run's rows as the bytes of a Parquet file, which tells its run and proves that no bit of it changed.

A part carries the identity of its run, so rows of another run cannot pass as this one's. It also carries a checksum of
the whole file. Parquet's own checksums, which other readers know, leave out the headers of pages and the footer.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from looktwice.runs.arrow import arrow
from looktwice.runs.columns import FORMER_NAMES

_IDENTITY, _CHECKSUM = b"looktwice.run", b"looktwice.checksum"


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
        identity: the run that it was written for; ``None`` if an older version wrote it.
    """

    rows: Any
    identity: str | None


def encode_part(rows: Any, identity: str | None) -> bytes:
    """The file of some rows (a pyarrow table).

    Args:
        rows: the rows.
        identity: what the run's parts carry, as ``Manifest.part_identity`` gives it.
    """
    own = {} if identity is None else {_IDENTITY: identity.encode()}
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
        identity = (file.schema_arrow.metadata or {}).get(_IDENTITY)
    except (OSError, KeyError, ValueError, arrow().ArrowException) as error:
        raise DamagedPartError("it is no whole Parquet file") from error
    if identity is not None and not is_checked:
        raise DamagedPartError("its checksum is missing")
    rows = rows.rename_columns([FORMER_NAMES.get(name, name) for name in rows.column_names])
    return Part(rows.replace_schema_metadata(None), None if identity is None else identity.decode())


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

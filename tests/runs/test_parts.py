"""A part's bytes: which run they are of, and that no bit of them has changed."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from looktwice.runs import parts
from looktwice.runs.parts import DamagedPartError, decode_part, encode_part, part_label


def rows():
    rng = np.random.default_rng(0)
    curves = [None if number == 3 else rng.random(100).astype(np.float32) for number in range(12)]
    return pa.table(
        {
            "sample": [f"{number}.png" for number in range(12)],
            "iou": pa.array([None, *rng.random(11)]),
            "curve": pa.array(curves, type=pa.list_(pa.float32())),
        }
    )


def test_rows_come_back_as_they_were():
    part = decode_part(encode_part(rows(), "a run:3"))
    assert part.rows.equals(rows())
    assert part.rows.schema.metadata is None
    assert part.label == "a run:3"
    some = decode_part(encode_part(rows(), part_label(None, 3)), ["iou", "no such column"])
    assert (some.rows.column_names, some.label) == (["iou"], None)


def test_other_readers_can_read_and_check_it(tmp_path):
    (tmp_path / "part.parquet").write_bytes(encode_part(rows(), "a run:3"))
    table = pq.read_table(tmp_path / "part.parquet", page_checksum_verification=True)
    assert table.equals(rows())


@pytest.mark.parametrize("label", ["a run:3", None])
def test_every_flipped_bit_is_found(label):
    content = encode_part(rows(), label)
    draw = random.Random(0)
    places = {draw.randrange(8 * len(content)) for _ in range(600)}
    places |= set(range(8 * (len(content) - 300), 8 * len(content), 3))  # the footer, which no page checksum is of
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        try:
            part = decode_part(bytes(flipped))
        except DamagedPartError:
            continue
        assert label is None  # then a bit of the checksum's own name may be flipped
        assert part.rows.equals(rows())


def test_pages_have_checksums_of_their_own(monkeypatch):
    """They still tell when the checksum of the file is not looked at, as other readers do not."""
    content = encode_part(rows(), "a run:3")
    monkeypatch.setattr(parts, "_check", lambda _: True)
    at = content.index(b"PAR1") + 200  # in a page
    with pytest.raises(DamagedPartError, match="no whole Parquet file"):
        decode_part(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def test_a_file_cut_short_is_damaged():
    content = encode_part(rows(), "a run:3")
    for end in (0, 4, len(content) // 2, len(content) - 1):
        with pytest.raises(DamagedPartError):
            decode_part(content[:end])


def test_rows_that_were_changed_and_written_again_are_not_those_that_were_written():
    content = encode_part(rows(), "a run:3")
    table = pq.read_table(pa.BufferReader(content))
    changed = table.set_column(1, "iou", pa.array([0.9] * 12))
    sink = pa.BufferOutputStream()
    pq.write_table(changed, sink)
    with pytest.raises(DamagedPartError, match="have changed since"):
        decode_part(sink.getvalue().to_pybytes())


def test_a_part_without_a_checksum_of_an_older_version_is_read():
    sink = pa.BufferOutputStream()
    pq.write_table(rows().rename_columns(["sample", "iou", "seconds_frame"]), sink)
    part = decode_part(sink.getvalue().to_pybytes())
    assert (part.rows.column_names, part.label) == (["sample", "iou", "overhead_seconds"], None)

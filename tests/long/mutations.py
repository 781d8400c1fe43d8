"""Broken copies of good files: bits flipped, bytes put in and taken out, huge numbers, deep nests, odd encodings.

Each function takes the source of chance (``random.Random``) and good content, and returns broken content. The same
chance always gives the same content.
"""

import io
import json
import struct
import zipfile
import zlib
from random import Random

NUMBERS = (
    *("", "0", "-0", "-1", "--5", "1.5", "1e400", "-1e400", "1e-400", "nan", "inf", "-inf", "NaN", "Infinity"),
    *("0x10", "1_000", "１２", "٣", "²", "1e308", "2147483648", "4294967295", "18446744073709551616", "007"),
    *("9" * 20, "9" * 400, "-" + "9" * 400, "9" * 5000, "1" + "0" * 310, "0." + "0" * 400 + "1"),
)
"""What stands where a number stood."""

TOKENS = (
    *(b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8"),
    *(
        b"\\ud800",
        b"\\u0000",
        b"\\",
        b'"',
        b"'",
        b"<",
        b">",
        b"&",
        b"&#0;",
        b"&#xD800;",
        b"&amp;",
        b"]]>",
        b"<![CDATA[",
    ),
    *(
        b"../",
        b"/etc/passwd",
        b"./",
        b"//",
        b",",
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b" ",
        b"\x1b[31m",
        b"caf\xe9",
        "\u202e".encode(),
    ),
    *(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"null", b"true", b"{}", b"[]", b"NaN", b"-", b"e", b".", b"a" * 5000),
)
"""What is put in, or stands for some bytes."""

NESTS = ((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b"<object>", b"</object>"), (b"(", b")"))

ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 2.5, 1e308, 10**20, 10**400, -(10**400), float("nan"), float("inf")),
    *("", "a", "0", "1", "\0", "\ud800", "\n", "../a", "/", ".", "a" * 5000, "nan", "1e400"),
    *([], {}, [[]], [None], [0, 0, 0, 0], [1e400] * 4, {"a": 1}, {"": None}, [[[[[[[]]]]]]]),
)
"""What stands where a value of a JSON file stood."""


def broken_bytes(chance: Random, content: bytes) -> bytes:
    """One to four changes of bytes, anywhere; one change is the most frequent."""
    for _ in range(min(chance.choice((1, 1, 1, 2, 3, 4)), 4)):
        content = chance.choice(_BYTE_CHANGES)(chance, content)
    return content


def broken_text(chance: Random, content: bytes) -> bytes:
    """Like ``broken_bytes``, with changes that texts can have: numbers, signs, nests, encodings."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        content = chance.choice(_TEXT_CHANGES)(chance, content)
    return content


def broken_json(chance: Random, content: bytes) -> bytes:
    """A JSON text in which some values are others, are missing or come twice; sometimes the text itself is broken."""
    if chance.random() < 0.4:
        return broken_text(chance, content)
    value = json.loads(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        value = _broken_value(chance, value)
    return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def broken_png(chance: Random, content: bytes) -> bytes:
    """A PNG whose chunks have right checksums, so that the change reaches whatever reads the chunks."""
    if chance.random() < 0.4 or not content.startswith(b"\x89PNG"):
        return broken_bytes(chance, content)
    chunks, place = [], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    index = chance.randrange(len(chunks))
    kind, body = chunks[index]
    if chance.random() < 0.8:
        chunks[index] = (kind, broken_bytes(chance, body or b"\0"))
    elif chance.random() < 0.5:
        chunks.insert(chance.randrange(len(chunks)), chance.choice(_EXTRA_CHUNKS))
    else:
        chance.shuffle(chunks)
    whole = [content[:8]]
    for kind, body in chunks:
        whole.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(whole)


def broken_npz(chance: Random, content: bytes) -> bytes:
    """An .npz file whose archive is sound and whose arrays are not; sometimes the archive itself is broken."""
    if chance.random() < 0.3:
        return broken_bytes(chance, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members, comment = [(name, archive.read(name)) for name in archive.namelist()], archive.comment
    index = chance.randrange(len(members))
    name, body = members[index]
    if chance.random() < 0.15:
        members.pop(index)
    elif chance.random() < 0.15:
        members[index] = (chance.choice(("sample.npy", "a.npy", "", "../a.npy", name + "x")), body)
    else:
        # Most of what can go wrong is in the header, which is the first 128 bytes.
        members[index] = (
            name,
            broken_text(chance, body[:128]) + body[128:] if chance.random() < 0.7 else broken_bytes(chance, body),
        )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.comment = comment
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name), body)
    return made.getvalue()


def _place(chance: Random, content: bytes) -> int:
    """A place in the content. Half of them are in the first 64 bytes, where headers are."""
    return chance.randrange(min(64, len(content)) + 1 if chance.random() < 0.5 else len(content) + 1)


def _flip(chance: Random, content: bytes) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[min(_place(chance, content), len(content) - 1)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _put_in(chance: Random, content: bytes) -> bytes:
    place = _place(chance, content)
    return content[:place] + chance.randbytes(chance.randrange(1, 9)) + content[place:]


def _take_out(chance: Random, content: bytes) -> bytes:
    place = _place(chance, content)
    return content[:place] + content[place + chance.choice((1, 2, 4, 16, 64)) :]


def _cut(chance: Random, content: bytes) -> bytes:
    return content[: _place(chance, content)]


def _swap(chance: Random, content: bytes) -> bytes:
    one, two, three = sorted(_place(chance, content) for _ in range(3))
    return content[:one] + content[two:three] + content[one:two] + content[three:]


def _repeat(chance: Random, content: bytes) -> bytes:
    start, stop = sorted((_place(chance, content), _place(chance, content)))
    return content[:stop] + content[start:stop] * chance.choice((1, 2, 20)) + content[stop:]


def _whole_number(chance: Random, content: bytes) -> bytes:
    """Writes a whole number of 1, 2, 4 or 8 bytes over what is there."""
    form = chance.choice((*"BHIQ", *"hiq"))
    least, most = (
        (0, 2 ** (8 * struct.calcsize(form)) - 1)
        if form.isupper()
        else (-(2 ** (8 * struct.calcsize(form) - 1)), 2 ** (8 * struct.calcsize(form) - 1) - 1)
    )
    value = chance.choice((least, most, 0, 1, most // 2, most - 1, chance.randint(0, min(most, 70000))))
    packed = struct.pack(chance.choice("<>") + form, value)
    place = _place(chance, content)
    return content[:place] + packed + content[place + len(packed) :]


def _number(chance: Random, content: bytes) -> bytes:
    """Puts an odd number where a number stands."""
    start = _place(chance, content)
    while start < len(content) and not 48 <= content[start] <= 57:
        start += 1
    stop = start
    while stop < len(content) and 48 <= content[stop] <= 57:
        stop += 1
    return content[:start] + chance.choice(NUMBERS).encode() + content[stop:]


def _token(chance: Random, content: bytes) -> bytes:
    place = _place(chance, content)
    return content[:place] + chance.choice(TOKENS) + content[place + chance.choice((0, 0, 1, 4)) :]


def _nest(chance: Random, content: bytes) -> bytes:
    opening, closing = chance.choice(NESTS)
    depth = chance.choice((1, 3, 100, 2000)) if chance.random() < 0.95 else 100_000
    start, stop = sorted((_place(chance, content), _place(chance, content)))
    inside = content[start:stop] if chance.random() < 0.8 else b""
    return (
        content[:start] + opening * depth + inside + closing * (depth if chance.random() < 0.7 else 0) + content[stop:]
    )


def _encode(chance: Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    name = chance.choice(("utf-16", "utf-16-be", "utf-32", "latin-1", "utf-8-sig", "utf-7", "cp500", "shift_jis"))
    if chance.random() < 0.5:
        text = f'<?xml version="1.0" encoding="{name}"?>{text}'
    return text.encode(name, "replace")


def _broken_value(chance: Random, value: object) -> object:
    """The value with one place changed; each step goes down to a part, or stops."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        what = chance.random()
        if what < 0.08:
            return {name: each for name, each in value.items() if name != key}
        if what < 0.14:
            return {chance.choice(("", "0", "\ud800", "a" * 300, key + " ")): value[key], **value}
        return value | {key: _broken_value(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.9:
        index = chance.randrange(len(value))
        what = chance.random()
        if what < 0.08:
            return value[:index] + value[index + 1 :]
        if what < 0.14:
            return value[: index + 1] + value[index:]
        return [*value[:index], _broken_value(chance, value[index]), *value[index + 1 :]]
    return chance.choice(ODD_VALUES)


_BYTE_CHANGES = (_flip, _flip, _put_in, _take_out, _cut, _swap, _repeat, _whole_number, _whole_number, _token)
_TEXT_CHANGES = (
    _flip,
    _put_in,
    _take_out,
    _cut,
    _swap,
    _repeat,
    _number,
    _number,
    _number,
    _token,
    _token,
    _nest,
    _encode,
)
_EXTRA_CHUNKS = (
    (b"acTL", struct.pack(">II", 2**31 - 1, 0)),
    (b"tRNS", b"\0"),
    (b"tRNS", b"\0" * 6),
    (b"PLTE", b"\0" * 9),
    (b"PLTE", b""),
    (b"iCCP", b"a\0\0" + zlib.compress(b"b" * 1000)),
    (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2_000_000)),
    (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"\0" * 200_000)),
    (b"tEXt", b"a\0" + b"b" * 100_000),
    (b"eXIf", b"II*\0\x08\0\0\0\1\0\x12\x01\x03\0\1\0\0\0\x06\0\0\0\0\0\0\0"),
    (b"eXIf", b"II*\0\xff\xff\xff\xff"),
    (b"gAMA", b""),
    (b"pHYs", b"\0"),
    (b"IHDR", b"\0" * 13),
    (b"IEND", b""),
)

"""The form ``yolo``: pictures, label files and data.yaml as ultralytics reads them."""

import re
from io import BytesIO
from pathlib import Path

from looktwice.decoding import Picture
from looktwice.export.claims import claimed
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.export.naming import class_names
from looktwice.export.placing import place, placed

_KINDS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Kinds of pictures that ultralytics opens. All others are written as PNG."""

_DECIMALS = 8

PRECISION = 10.0**-_DECIMALS
"""What the numbers of a label file are rounded to, as a share of the picture's size."""


def write(labels: LabelSet, folder: Path) -> Path:
    """Writes ``yolo/data.yaml``, ``yolo/images/`` and ``yolo/labels/``, both with the folders ``train`` and ``val``.

    Each label file has a line "class x_center y_center width height" for each object; all but the class are shares of
    the picture's size. A picture without an object has an empty label file: it is background. Scores are left out.

    Ultralytics needs both splits. Where one has no picture, ``data.yaml`` names the other one for it.

    Returns:
        ``data.yaml``, which is written last.

    Raises:
        InputError: a folder of the user's is there, a file was changed, or an image cannot be read.
        RunError: a file cannot be written.
    """
    root = folder / "yolo"
    path = root / "data.yaml"
    splits: dict[str, None] = {}
    with claimed(labels, root, folder) as mine:
        for image in labels.images():
            splits[split := _split(labels, image)] = None
            name = _safe(image.name)
            place(labels, image, root / "images" / split / name, mine, kinds=_KINDS, other="PNG")
            mine.write(root / "labels" / split / f"{name}.txt", _lines(image).encode())
        mine.write(path, _data(labels, splits).encode())
    return path


def packed(labels: LabelSet, data: bytes, picture: Picture, stream: BytesIO) -> dict[str, bytes]:
    """The files of a data set of one image, without a folder: the same names and bytes as ``write`` gives.

    Args:
        labels: with one image.
        data: the image's file.
        picture: what the file holds.
        stream: where the picture is encoded, if it must be; empty.
    """
    (image,) = labels.images()
    split, name = _split(labels, image), _safe(image.name)
    suffix, content = placed(data, picture, kinds=_KINDS, other="PNG", stream=stream)
    return {
        "data.yaml": _data(labels, {split: None}).encode(),
        f"images/{split}/{name}{suffix}": content,
        f"labels/{split}/{name}.txt": _lines(image).encode(),
    }


def _split(labels: LabelSet, image: LabelledImage) -> str:
    return "val" if image.id in labels.validation else "train"


def _safe(name: str) -> str:
    """The name as ultralytics finds it: no part begins with a dot, and none is "images".

    It skips hidden files. It replaces the last "/images/" of a picture's path to find its labels. Different names stay
    different.

    >>> _safe("a/images/.b"), _safe("a/images_/b")
    ('a/images_/_.b', 'a/images__/b')
    """
    parts = [f"{part}_" if re.fullmatch("images_*", part.lower()) else part for part in name.split("/")]
    return "/".join(f"_{part}" if re.match(r"_*\.", part) else part for part in parts)


def _lines(image: LabelledImage) -> str:
    lines: dict[str, None] = {}  # each once: ultralytics removes a line that comes twice, and warns
    for found in image.objects:
        x1, y1, x2, y2 = found.box.corners
        numbers = (
            (x1 + x2) / 2 / image.width,
            (y1 + y2) / 2 / image.height,
            (x2 - x1) / image.width,
            (y2 - y1) / image.height,
        )
        lines[f"{found.id} {' '.join(f'{number:.{_DECIMALS}f}' for number in numbers)}\n"] = None
    return "".join(lines)


def _data(labels: LabelSet, splits: dict[str, None]) -> str:
    """The text of ``data.yaml``. Without the key ``path``, the data set lies where the file does.

    All names are in quotation marks, so names like "no" and "1e3" stay texts.
    """
    train, val = (other if [*splits] == [other] else split for split, other in (("train", "val"), ("val", "train")))
    lines = [f"train: images/{train}", f"val: images/{val}", f"nc: {len(labels.classes)}", "names:"]
    lines += [f"  {number}: {_quoted(name)}" for number, name in enumerate(class_names(labels.classes))]
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    r"""A text in YAML's double quotation marks, in ASCII.

    >>> print(_quoted('a "b" ü 😀'))
    "a \"b\" \xfc \U0001f600"
    """
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    code = ord(letter)
    if " " <= letter <= "~":
        return f"\\{letter}" if letter in '"\\' else letter
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

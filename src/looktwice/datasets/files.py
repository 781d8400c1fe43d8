"""Reading the files of a data set: text, JSON, CSV and XML as PASCAL VOC has it.

A broken file that every record needs raises ``DatasetError``. A broken annotation of one image raises
``BadAnnotationError``.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from looktwice.datasets.records import Corners
from looktwice.errors import DatasetError


class BadAnnotationError(Exception):
    """The annotation of one image cannot be used. The text becomes a line of ``Dataset.problems``."""


@dataclass(frozen=True)
class Annotation:
    """The content of one XML file.

    Attributes:
        objects: (class name, half-open box) of each object.
        size: (width, height) of the image in pixels, or ``None`` if the file does not state it.
        difficult: how many objects are marked "difficult".
    """

    objects: tuple[tuple[str, Corners], ...]
    size: tuple[int, int] | None
    difficult: int


def read_text(path: Path) -> str:
    """The text of a file that every record needs.

    Raises:
        DatasetError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        remedy = "check the data set's folder, layout and split"
        raise DatasetError(f"{path} cannot be read ({why}), but the layout needs it; {remedy}") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without spaces at their ends; blank lines are left out.

    Raises:
        DatasetError: the file cannot be read, or is not UTF-8.
    """
    return [line for line in map(str.strip, read_text(path).split("\n")) if line]


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DatasetError: the file cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({error}); download or write the file again") from error


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line number and the cells of each row of a CSV file; blank rows are left out.

    Raises:
        DatasetError: the file cannot be read, or a line is not CSV.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DatasetError(f"{path} is not CSV (line {reader.line_num}: {error}); mend that line") from error


def read_annotation(path: Path, *, first_pixel: int) -> Annotation:
    """Reads one XML file, written as PASCAL VOC's. Its boxes are inclusive.

    Args:
        path: the file.
        first_pixel: the number that the file gives to the first pixel of a row, 0 or 1.

    Returns:
        Its objects and the size of the image.

    Raises:
        BadAnnotationError: the file cannot be read, is not XML, or an object has no name or no box.
    """
    try:
        content = path.read_bytes()
        # Entities can expand to gigabytes before a handler can stop the parser. Only a DOCTYPE can define them.
        # UTF-16 puts zero bytes between the letters. All other encodings that the parser knows spell them as ASCII.
        if b"<!DOCTYPE" in content.replace(b"\0", b""):
            raise ValueError("it has a DOCTYPE, which no annotation needs and which can be harmful")
        root = ElementTree.fromstring(content)
        nodes = root.findall("object")
        objects = tuple((_child(node, "name"), _bounding_box(node, first_pixel)) for node in nodes)
        size = root.find("size")
        stated = None if size is None else (int(_child(size, "width")), int(_child(size, "height")))
    except OSError as error:
        raise BadAnnotationError(f"the annotation cannot be read ({error.strerror}); image left out") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadAnnotationError(f"broken XML: {error}; image left out") from error
    return Annotation(objects, stated, sum(node.findtext("difficult") == "1" for node in nodes))


def half_open(numbers: Sequence[str], *, first_pixel: int) -> Corners:
    """An inclusive box → a half-open box counted from 0.

    Args:
        numbers: x1, y1, x2, y2 as text.
        first_pixel: the number of the first pixel of a row, 0 or 1.

    Returns:
        (x1, y1, x2, y2).

    Raises:
        ValueError: these are not four numbers.

    >>> half_open(["1", "1", "100", "80"], first_pixel=1)
    (0.0, 0.0, 100.0, 80.0)
    """
    x1, y1, x2, y2 = (float(number) - first_pixel for number in numbers)
    return x1, y1, x2 + 1, y2 + 1


def _bounding_box(node: ElementTree.Element, first_pixel: int) -> Corners:
    box = node.find("bndbox")
    if box is None:
        raise ValueError("an <object> without <bndbox>")
    return half_open([_child(box, side) for side in ("xmin", "ymin", "xmax", "ymax")], first_pixel=first_pixel)


def _child(node: ElementTree.Element, tag: str) -> str:
    text = (node.findtext(tag) or "").strip()
    if not text:
        raise ValueError(f"a <{node.tag}> without <{tag}>")
    return text

"""Reading the files of a data set: text, JSON, CSV and VOC-style XML.

A file on which every record depends raises DatasetError; one image's annotation raises BadAnnotationError.
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
    """One image's annotation cannot be used; the text becomes a problem line."""


@dataclass(frozen=True)
class Annotation:
    """A VOC-style XML file: (class name, half-open box) of each object, (width, height) where stated."""

    objects: tuple[tuple[str, Corners], ...]
    size: tuple[int, int] | None
    difficult: int


def read_text(path: Path) -> str:
    """Return the text of a file the whole data set depends on."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        remedy = "check the data set's folder, layout and split"
        raise DatasetError(f"{path} cannot be read ({why}), but the layout needs it; {remedy}") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines that are not blank, stripped."""
    return [line for line in map(str.strip, read_text(path).split("\n")) if line]


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({error}); download or write the file again") from error


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and stripped cells of each row that is not blank."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DatasetError(f"{path} is not CSV (line {reader.line_num}: {error}); mend that line") from error


def read_annotation(path: Path, *, first_pixel: int) -> Annotation:
    """Read one VOC-style XML file whose boxes are inclusive and whose corner pixel is called `first_pixel`."""
    try:
        content = path.read_bytes()
        # Only a DOCTYPE can define entities, and those can expand to gigabytes before a handler can stop the parser.
        # UTF-16 puts zero bytes between the letters; every other encoding the parser knows spells them as ASCII does.
        if b"<!DOCTYPE" in content.replace(b"\0", b""):
            raise ValueError("a DOCTYPE, which no annotation needs, is refused")
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
    """Turn inclusive (x1, y1, x2, y2), the corner pixel called `first_pixel`, into a half-open box counted from 0."""
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

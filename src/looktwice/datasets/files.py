"""Reading the files of a data set: text, JSON, CSV and XML as PASCAL VOC has it.

A broken file that every record needs raises ``DatasetError``. A broken annotation of one image raises
``BadAnnotationError``. A broken record in a file of many is left out, and the caller is told.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from looktwice.datasets.records import Corners
from looktwice.errors import DatasetError

MOST_DIGITS = 300
"""Whole numbers in a JSON file with more digits stay text: no float can hold them, and no size or box needs them."""


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


def list_ids(lines: Sequence[str], number: str, exists: Callable[[str], bool]) -> list[str]:
    """The image ids in a list of images that may have a number after each id. Ids may have blanks.

    The last word of a line is a number of the list if all lines have one. If only some have one, it belongs to the id,
    as in "cat 2". Where only the other reading names an image that exists, that reading is taken.

    Args:
        lines: of the list.
        number: a regular expression that matches such a number.
        exists: whether there is an image with this id.

    >>> list_ids(["my dog 1", "cat -1"], "-1|0|1", lambda name: True)
    ['my dog', 'cat']
    >>> list_ids(["my dog", "cat 1"], "-1|0|1", lambda name: True)
    ['my dog', 'cat 1']
    """
    last = re.compile(rf"\s+(?:{number})$")
    bare = [last.sub("", line) for line in lines]
    is_column = all(short != line for short, line in zip(bare, lines, strict=True))
    pairs = zip(bare, lines, strict=True) if is_column else zip(lines, bare, strict=True)
    return [second if first != second and not exists(first) and exists(second) else first for first, second in pairs]


def read_json(path: Path) -> Any:
    """The content of a JSON file. A whole number with more than ``MOST_DIGITS`` digits stays text.

    Raises:
        DatasetError: the file cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path), parse_int=lambda text: int(text) if len(text) <= MOST_DIGITS else text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({error}); download or write the file again") from error


def read_csv(path: Path, bad: Callable[[int, str], None] | None = None) -> Iterator[tuple[int, list[str]]]:
    """The line number and the cells of each row of a CSV file, with their blanks; blank rows are left out.

    Args:
        path: the file.
        bad: gets the number of each line that is not CSV, and what is wrong with it; the next line is read then.
            Without it such a line is an error.

    Raises:
        DatasetError: the file cannot be read; or a line is not CSV, and ``bad`` is not given.
    """
    # No name has a zero byte, and Python 3.10 reads no row with one.
    lines = io.StringIO(read_text(path).replace("\0", "\ufffd"), newline="").readlines()
    done = 0
    while done < len(lines):
        begun = done
        reader = csv.reader(islice(lines, begun, None), strict=True)
        try:
            for row in reader:
                done = begun + reader.line_num
                if any(map(str.strip, row)):
                    yield done, row
        except csv.Error as error:
            done += 1
            if bad is None:
                raise DatasetError(f"{path} is not CSV (line {done}: {error}); mend that line") from error
            bad(done, str(error))


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
        content = _read_bytes(path)
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


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except ValueError as error:  # a zero byte, for example
        raise BadAnnotationError("no file can have this name; image left out") from error


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

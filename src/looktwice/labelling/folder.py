"""The folder of a labelled data set while it is made: what is labelled, and the parts that are done.

    OUTPUT/labels.json             what is labelled and how; written first, never changed
    OUTPUT/classes.json            the id, name and network's index of each class
    OUTPUT/parts/part-000000.json  what was found in each chunk of images
    OUTPUT/problems.txt            a line for each image that cannot be used
    OUTPUT/…                       the forms, written when all parts are there

A file gets its name only when it is complete. Any number of processes may work in one folder.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from looktwice.atomic_files import as_json, unwritable, write_atomically, write_once
from looktwice.errors import RunError
from looktwice.labelling.images import RunImage
from looktwice.labelling.records import FoundImage, from_record, to_record
from looktwice.runs.folder import differences

_MOST_THREADS = 4096

MANIFEST, CLASSES, PROBLEMS = "labels.json", "classes.json", "problems.txt"


@dataclass(frozen=True)
class LabelManifest:
    """What is labelled, and how.

    Attributes:
        about: what is only told, such as the number of threads.
        facts: everything on which the boxes depend, as plain JSON values.
    """

    about: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def threads(self) -> Any:
        """How many threads torch uses on the CPU: sums that are split over another number round differently."""
        return self.about.get("threads", 1)

    @property
    def identity(self) -> str:
        """The SHA-256 of the facts, in hex digits; every part carries it."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()


def open_folder(folder: Path, manifest: LabelManifest) -> LabelManifest:
    """Begins to label into a folder, or goes on if its manifest has the same facts.

    Returns:
        The manifest in the folder.

    Raises:
        RunError: the folder holds other files or other labels, and each difference is named; or it cannot be written.
    """
    path = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder as --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _check_is_empty(folder)
            write_once(path, as_json({"about": manifest.about, "facts": manifest.facts}))
    except OSError as error:
        raise unwritable(path, error) from error
    before = read_manifest(folder)
    found = _differences(before.facts, json.loads(json.dumps(manifest.facts)))
    if found:
        raise RunError(
            f"{folder} holds other labels: {'; '.join(found)}; name another --output, or go on with the choices that "
            "began it"
        )
    return before


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each thing in which two data sets' facts differ, in words where hashes would tell nothing."""
    told = []
    for key, what in _COUNTED.items():
        earlier, later = _count(before.get(key)), _count(now.get(key))
        if earlier != later:
            told.append(f"there were {earlier} {what}, and there are {later} now")
        elif before.get(key) != now.get(key):
            told.append(f"the {what} are others than before")
    was, is_now = ({key: facts[key] for key in facts if key not in _COUNTED} for facts in (before, now))
    return told + differences(was, is_now)


_COUNTED: Mapping[str, str] = MappingProxyType({"data": "images", "classes": "classes"})
"""Facts that say most by their number."""


def _count(fact: Any) -> Any:
    """How many there are: the data set states it, classes are counted."""
    return fact.get("samples", len(fact)) if isinstance(fact, Mapping) else None


def _check_is_empty(folder: Path) -> None:
    there = sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(".tmp"))
    if there and MANIFEST not in there:  # another process may have written it just now
        raise RunError(f"{folder} holds other files, such as {there[0]}; name a new or empty folder as --output")


def read_manifest(folder: Path) -> LabelManifest:
    """The manifest in a folder.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        manifest = LabelManifest({**content["about"]}, {**content["facts"]})
        if manifest.threads not in range(1, _MOST_THREADS):
            raise ValueError(f"threads is {manifest.threads!r}")
        return manifest
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no labels; name the folder that label wrote to (--output)") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}); it is needed to go on: name another --output") from error


def part_path(folder: Path, index: int) -> Path:
    """The file of a chunk of images."""
    return folder / "parts" / f"part-{index:06d}.json"


def write_part(folder: Path, index: int, found: Sequence[FoundImage], identity: str) -> None:
    """Writes what was found in a chunk: a line that tells whose it is, with a checksum, and a line of records.

    Raises:
        RunError: the folder holds these labels no more; or the file cannot be written.
    """
    check_is_still(folder, identity)
    body = json.dumps([to_record(each) for each in found], separators=(",", ":")).encode()
    head = {"labels": identity, "part": index, "sha256": hashlib.sha256(body).hexdigest()}
    write_atomically(part_path(folder, index), json.dumps(head).encode() + b"\n" + body + b"\n")


def check_is_still(folder: Path, identity: str) -> None:
    """Checks that a folder still holds the labels that this process works on.

    Raises:
        RunError: the manifest is gone, or is now of other labels.
    """
    found = None
    with suppress(RunError):
        found = read_manifest(folder)
    if found is None or found.identity != identity:
        now = "is gone or damaged" if found is None else "is now of other labels"
        raise RunError(
            f"{folder}: the manifest of these labels {now}, so this process stops, and no labels of two runs mix; "
            "repeat the command with another --output"
        )


def read_part(folder: Path, index: int, images: Sequence[RunImage], identity: str) -> list[FoundImage]:
    """What was found in a chunk.

    Args:
        folder: of the labels.
        index: the chunk's number.
        images: the chunk's images.
        identity: of the labels.

    Raises:
        RunError: the part is missing, damaged or of other labels.
    """
    path = part_path(folder, index)
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        body = body.removesuffix(b"\n")
        expected = {"labels": identity, "part": index, "sha256": hashlib.sha256(body).hexdigest()}
        if json.loads(head) != expected:
            raise ValueError("it is damaged, or of other labels")
        records = json.loads(body)
        return [from_record(image, record) for image, record in zip(images, records, strict=True)]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{path} cannot be read ({why}); run the same command again to redo it") from error

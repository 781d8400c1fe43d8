"""Files of the forms, and the pictures that belong to them, below one output folder.

Some forms need the pictures in folders of their own. A picture that lies upright in a file is linked. One that is
stored turned, and one that lies in an archive, gets an upright file in the folder ``images``.

Nothing of the user's is overwritten: each file or folder is claimed when it is new, and only a claimed one is replaced.
Several processes may write the same data set into one folder at the same time.
"""

import os
import shutil
from collections.abc import Container, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL import Image

from looktwice.atomic_files import unfinished_path, unwritable, write_atomically
from looktwice.errors import InputError
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.images import SUFFIXES, read_picture

IMAGES = "images"
"""The folder for pictures that have no upright file of their own, and for links to the others."""

KINDS: Mapping[str, str] = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "GIF": ".gif",
    "PPM": ".ppm",
}
"""The usual suffix of each kind of image that is read."""

_QUALITY = 95
"""Of a JPEG that is written."""

_CLAIMS = ".looktwice-forms"
"""The folder with an empty file for each claimed path."""

_HEAD = 16
"""Bytes at the beginning of an image file that tell its kind."""


def claim(labels: LabelSet, path: Path, folder: Path) -> Path:
    """Makes sure that a file or folder may be replaced, and returns it.

    Args:
        labels: the data set. Its pictures must not lie there.
        path: the file or folder.
        folder: the output folder, which it lies in.

    Raises:
        InputError: something of the user's is there, or the pictures are.
        RunError: the folder cannot be written.
    """
    root = absolute(labels.root)
    if root.is_relative_to(absolute(path)):
        raise InputError(f"{labels.root}: the pictures lie where {path} would be written; name another output folder")
    mark = folder / _CLAIMS / "-".join(path.relative_to(folder).parts)
    if not mark.exists():
        # Another process of the same command may have marked it just now, and have written it then.
        if os.path.lexists(path) and not mark.exists():
            raise InputError(
                f"{path} is there already and was not written by looktwice; move it, or name another folder"
            )
        write_atomically(mark, b"", synced=False)
    return path


def sweep(folder: Path, kept: Container[str]) -> None:
    """Removes what an earlier writing left below a claimed folder: files that are not kept, and empty folders.

    Other processes may write the same data set there at the same time: they write the files that are kept.

    Args:
        folder: the folder.
        kept: the paths of the files that belong to the data set. All of them have been written.

    Raises:
        RunError: a file cannot be removed.
    """
    for parent, _, names in os.walk(folder, topdown=False):
        for path in (os.path.join(parent, name) for name in names):  # noqa: PTH118 - a text is what is compared
            if path not in kept:
                try:
                    Path(path).unlink(missing_ok=True)
                except OSError as error:
                    raise unwritable(Path(path), error) from error
        if parent != str(folder):
            with suppress(OSError):  # it is not empty
                Path(parent).rmdir()


def absolute(path: Path) -> Path:
    """The path from the root of the file system; links stay as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", and Path.resolve follows links


def pictures_root(labels: LabelSet) -> Path:
    """The folder that names of pictures start from: the root, or the folder of the file that lists them."""
    root = absolute(labels.root)
    return root.parent if root.is_file() else root


def write_file(path: Path, content: bytes, folder: Path) -> None:
    """Writes a file below the output folder, complete or not at all. It does not wait for the disk.

    Raises:
        RunError: the file cannot be written.
    """
    part = unfinished_path(folder / "part")  # a short name: the file's own may be as long as the file system allows
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def upright_file(labels: LabelSet, image: LabelledImage, folder: Path) -> Path:
    """The file with the upright picture: the image's own file, or one in the folder ``images``, which is written once.

    Raises:
        InputError: the image cannot be read, or something of the user's is in the way.
        RunError: the file cannot be written.
    """
    if image.content is None and image.orientation is None:
        return absolute(image.file)
    claim(labels, folder / IMAGES, folder)
    suffix = _suffix(image)
    if image.orientation is not None and suffix not in (".jpg", ".jpeg"):
        suffix = ".png"
    path = folder / IMAGES / f"{image.name}{suffix}"
    if path.is_symlink() or not path.exists():
        content = _read(image) if image.orientation is None else _turned(image, suffix)
        write_file(path, content, folder)
    return absolute(path)


def listed_file(labels: LabelSet, image: LabelledImage, folder: Path) -> Path:
    """The upright picture in the folder ``images``, as a link or a file; errors as ``upright_file``."""
    source = upright_file(labels, image, folder)
    if source.is_relative_to(absolute(folder / IMAGES)):
        return source
    claim(labels, folder / IMAGES, folder)
    path = folder / IMAGES / f"{image.name}{_suffix(image)}"
    link(path, source, folder)
    return absolute(path)


def place(
    labels: LabelSet, image: LabelledImage, stem: Path, folder: Path, *, kinds: tuple[str, ...], other: str
) -> Path:
    """Puts the upright picture beside its labels.

    Args:
        labels: the data set.
        image: the image.
        stem: where to, without a suffix.
        folder: the output folder.
        kinds: of ``KINDS`` those that are linked.
        other: the kind that all others are written in: "PNG" or "JPEG".

    Returns:
        The link or file, with the usual suffix of its kind.

    Raises:
        InputError: as ``upright_file``.
        RunError: as ``upright_file``.
    """
    source = upright_file(labels, image, folder)
    kind = _kind(_head(source))
    path = stem.with_name(stem.name + KINDS[kind if kind in kinds else other])
    if kind in kinds:
        link(path, source, folder)
    else:
        write_file(path, _encoded(read_picture(source).image, other), folder)
    return path


def link(path: Path, target: Path, folder: Path) -> None:
    """Links a file to a picture, or copies the picture where the file system has no links.

    A link to a picture inside the output folder is relative, so that the folder can be moved.

    Raises:
        InputError: the picture is gone.
        RunError: the file cannot be written.
    """
    try:
        target.stat()
    except OSError as error:
        raise _missing(target, error) from error
    inside = target.is_relative_to(absolute(folder))
    text = os.path.relpath(target, absolute(path).parent) if inside else str(target)
    part = unfinished_path(folder / "part")
    try:
        if path.is_symlink() and os.readlink(path) == text:  # noqa: PTH115 - Path would change the text
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            part.symlink_to(text)
        except OSError:
            shutil.copyfile(target, part)
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _suffix(image: LabelledImage) -> str:
    """The suffix of the image's file in lower case, or the usual one of its kind if its own says nothing."""
    own = image.file.suffix.lower()
    if own in SUFFIXES:
        return own
    head = _head(image.file) if image.content is None else _read(image)[:_HEAD]
    return KINDS.get(_kind(head), own)


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_HEAD)
    except OSError as error:
        raise _missing(file, error) from error


def _read(image: LabelledImage) -> bytes:
    try:
        return image.read()
    except OSError as error:
        raise _missing(image.file, error) from error


def _missing(file: Path, error: OSError) -> InputError:
    return InputError(f"{file}: cannot be read any more ({error.strerror}); put the picture back, then go on")


def _kind(head: bytes) -> str:
    """The kind of an image by its first bytes; empty if no kind that is read begins so."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    begins = {
        b"\xff\xd8\xff": "JPEG",
        b"\x89PNG": "PNG",
        b"BM": "BMP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"II+\0": "TIFF",
        b"MM\0+": "TIFF",
        b"GIF8": "GIF",
        **{f"P{number}".encode(): "PPM" for number in range(1, 7)},
    }
    return next((kind for start, kind in begins.items() if head.startswith(start)), "")


def _turned(image: LabelledImage, suffix: str) -> bytes:
    content = None if image.content is None else _read(image)
    return _encoded(read_picture(image.file, content).image, "PNG" if suffix == ".png" else "JPEG")


def _encoded(picture: Image.Image, kind: str) -> bytes:
    """The picture as a file of this kind, without metadata; the same pixels give the same bytes."""
    stream = BytesIO()
    picture.save(stream, kind, **({"quality": _QUALITY} if kind == "JPEG" else {}))
    return stream.getvalue()

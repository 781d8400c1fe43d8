"""The pictures that belong to the forms, below one output folder.

Some forms need the pictures in folders of their own. A picture that lies upright in a file is linked. One that is
stored turned, and one that lies in an archive, gets an upright file in the folder ``images``.

Several processes may write the same data set into one folder at the same time.
"""

import filecmp
import os
import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image

from looktwice.atomic_files import unfinished, unfinished_path
from looktwice.decoding import Picture
from looktwice.errors import InputError
from looktwice.export.claims import Claim, absolute, claim, write_file
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.image_kinds import HEAD_BYTES, kind_of_head
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
    "AVIF": ".avif",
    "HEIC": ".heic",
}
"""The usual suffix of each kind of image that is read."""

_QUALITY = 95
"""Of a JPEG that is written."""


def pictures_root(labels: LabelSet) -> Path:
    """The folder that names of pictures start from: the root, or the folder of the file that lists them."""
    root = absolute(labels.root)
    return root.parent if root.is_file() else root


def upright_file(labels: LabelSet, image: LabelledImage, folder: Path) -> Path:
    """The file with the upright picture: the image's own file, or one in the folder ``images``.

    The latter is written once, and anew if the image's file was replaced.

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
    if path.is_symlink() or not path.exists() or _is_newer(image, path):
        content = _read(image) if image.orientation is None else _turned(image, suffix)
        write_file(path, content, folder)
    return absolute(path)


def _is_newer(image: LabelledImage, path: Path) -> bool:
    """Whether the image's file was replaced since its upright picture was written. Archives are not asked."""
    try:
        return image.content is None and image.file.stat().st_ctime_ns > path.stat().st_mtime_ns
    except OSError as error:
        raise _missing(image.file, error) from error


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
    labels: LabelSet, image: LabelledImage, stem: Path, mine: Claim, *, kinds: tuple[str, ...], other: str
) -> None:
    """Puts the upright picture beside its labels, with the usual suffix of its kind.

    Args:
        labels: the data set.
        image: the image.
        stem: where to, without a suffix; in the form's folder.
        mine: the form's folder.
        kinds: of ``KINDS`` those that are linked.
        other: the kind that all others are written in: "PNG" or "JPEG".

    Raises:
        InputError: as ``upright_file``.
        RunError: as ``upright_file``.
    """
    source = upright_file(labels, image, mine.folder)
    kind = kind_of_head(_head(source))
    path = stem.with_name(stem.name + KINDS[kind if kind in kinds else other])
    if kind in kinds:
        mine.picture(path)
        link(path, source, mine.folder)
    else:
        mine.write(path, _encoded(read_picture(source).image, other))


def placed(data: bytes, picture: Picture, *, kinds: tuple[str, ...], other: str, stream: BytesIO) -> tuple[str, bytes]:
    """What ``place`` would put beside the labels, without any file.

    Args:
        data: the image's file.
        picture: what it holds.
        kinds: of ``KINDS`` those that are kept as they are, if they are upright.
        other: the kind that all others are written in: "PNG" or "JPEG".
        stream: where a picture is encoded, if it must be; empty.

    Returns:
        The suffix and the bytes.
    """
    kind = kind_of_head(data[:HEAD_BYTES])
    if picture.orientation is None and kind in kinds:
        return KINDS[kind], data
    written = other if picture.orientation is None else "JPEG" if kind == "JPEG" else "PNG"
    _encode(picture.image, written, stream)
    return KINDS[written], stream.getvalue()


def link(path: Path, target: Path, folder: Path) -> None:
    """Links a file to a picture, or copies the picture where the file system has no links.

    A link to a picture inside the output folder is relative, so that the folder can be moved.

    Raises:
        InputError: the picture is gone, or another picture is there.
        RunError: the file cannot be written.
    """
    try:
        target.stat()
    except OSError as error:
        raise _missing(target, error) from error
    inside = target.is_relative_to(absolute(folder))
    text = os.path.relpath(target, absolute(path).parent) if inside else str(target)
    with unfinished(path, unfinished_path(folder / "part")) as part:
        if path.is_symlink() and os.readlink(path) == text:  # noqa: PTH115 - Path would change the text
            return
        if path.exists() and not path.is_symlink():  # a copy, or a picture that the user put there
            if filecmp.cmp(path, target, shallow=False):
                return
            raise InputError(f"{path} is no longer the picture {target}; move it, or remove it to have it made anew")
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            part.symlink_to(text)
        except OSError:
            shutil.copyfile(target, part)
        part.replace(path)


def _suffix(image: LabelledImage) -> str:
    """The suffix of the image's file in lower case, or the usual one of its kind if its own says nothing."""
    own = image.file.suffix.lower()
    if own in SUFFIXES:
        return own
    head = _head(image.file) if image.content is None else _read(image)[:HEAD_BYTES]
    return KINDS.get(kind_of_head(head), own)


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(HEAD_BYTES)
    except OSError as error:
        raise _missing(file, error) from error


def _read(image: LabelledImage) -> bytes:
    try:
        return image.read()
    except OSError as error:
        raise _missing(image.file, error) from error


def _missing(file: Path, error: OSError) -> InputError:
    return InputError(f"{file}: cannot be read any more ({error.strerror}); put the picture back, then go on")


def _turned(image: LabelledImage, suffix: str) -> bytes:
    content = None if image.content is None else _read(image)
    return _encoded(read_picture(image.file, content).image, "PNG" if suffix == ".png" else "JPEG")


def _encoded(picture: Image.Image, kind: str) -> bytes:
    """The picture as a file of this kind, without metadata; the same pixels give the same bytes."""
    stream = BytesIO()
    _encode(picture, kind, stream)
    return stream.getvalue()


def _encode(picture: Image.Image, kind: str, stream: BytesIO) -> None:
    picture.save(stream, kind, **({"quality": _QUALITY} if kind == "JPEG" else {}))

"""Which file or folder holds the boxes drawn by hand, and in which layout.

Pictures may lie beside them, as in the exports of annotation tools. For a check they do not matter.
"""

from pathlib import Path

from looktwice.datasets.classes import Classes
from looktwice.datasets.files import read_json
from looktwice.datasets.find_layout import find_layout
from looktwice.errors import DatasetError, OptionError

_LAYOUT_OF_FILE = {".json": "coco", ".csv": "csv"}

_COCO_FILES = (
    "result.json",
    "coco.json",
    "annotations.json",
    "annotations/*.json",
    "_annotations.coco.json",
    "*/_annotations.coco.json",
)
"""Where annotation tools write COCO's file in a folder."""

_SHOWN = 3
"""Names that a message shows."""


def find_truths(path: Path, layout: str | None, split: str | None, known: Classes | None) -> tuple[Path, str]:
    """The file or folder to read, and its layout.

    A folder with one COCO file is COCO. A folder with VOC's XML files in ``Annotations`` is VOC, with lists or without.

    Args:
        path: a COCO file (.json), a CSV file (.csv), or a folder.
        layout: its layout, if the user names it.
        split: the part of the data set, if the user names it.
        known: the network's own classes, if they are known.

    Raises:
        OptionError: nothing tells the layout, it does not fit the file, or several files could be meant.
        DatasetError: the folder holds pictures and no boxes.
    """
    if not path.is_dir():
        return path, _layout_of_file(path, layout)
    if layout in (None, "coco") and split is None and not _is_usual_coco(path):
        found = _coco_files(path)
        if len(found) > 1:
            shown = ", ".join(str(file.relative_to(path)) for file in found[:_SHOWN])
            raise OptionError(f"{path} holds {len(found)} COCO files ({shown}); give the one with the boxes by hand")
        if found:
            return found[0], "coco"
    return path, layout or _layout_of_folder(path, split, known)


def _layout_of_file(path: Path, layout: str | None) -> str:
    own = _LAYOUT_OF_FILE.get(path.suffix.lower())
    if layout is None and own is None:
        raise OptionError(f"nothing tells the layout of {path}; name it, or give a .json file (COCO) or a .csv file")
    if layout is not None and own is not None and layout != own:
        raise OptionError(f"{path} is a file in layout {own!r}, not {layout!r}; leave the layout out")
    return layout or own or ""


def _layout_of_folder(path: Path, split: str | None, known: Classes | None) -> str:
    if not (path / "ImageSets").exists() and any((path / "Annotations").glob("*.xml")):
        return "voc"
    try:
        layout = find_layout(path, known or Classes({}, {}), split=split)
    except DatasetError as error:
        raise OptionError(
            f"nothing tells the layout of {path}; name it, or give a .json file (COCO) or a .csv file ({error})"
        ) from error
    if layout == "pictures":
        raise DatasetError(
            f"{path} has pictures and no file with boxes that is known; give the .json file (COCO) or the .csv file "
            "with the boxes that were drawn by hand"
        )
    return layout


def _is_usual_coco(folder: Path) -> bool:
    """Whether the layout ``coco`` finds its file itself."""
    return (folder / "_annotations.coco.json").is_file() or any((folder / "annotations").glob("instances_*.json"))


def _coco_files(folder: Path) -> list[Path]:
    files = {file for pattern in _COCO_FILES for file in folder.glob(pattern)}
    return sorted(file for file in files if _is_coco(file))


def _is_coco(file: Path) -> bool:
    try:
        content = read_json(file)
    except DatasetError:
        return False
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ("images", "categories"))

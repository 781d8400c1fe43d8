"""Images in the rows of Arrow files, as the package ``datasets`` of Hugging Face writes them."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from looktwice.errors import InputError, MissingExtraError, one_line


@dataclass(frozen=True, slots=True)
class ArrowTable:
    """A column of images in Arrow files.

    Attributes:
        files: the files, in the order of the rows.
        column: the name of the column.
        rows: how many rows there are.
    """

    files: tuple[str, ...]
    column: str
    rows: int


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """The image in a row.

    Attributes:
        table: where the row is.
        row: its number, from 0.
    """

    table: ArrowTable
    row: int

    def read(self) -> bytes:
        """The bytes of the image file.

        Raises:
            InputError: there are none, the file that the row names cannot be read, or the table was changed.
        """
        place = f"{self.table.files[0]}: row {self.row}"
        try:
            images = _opened(self.table)
            if len(images) != self.table.rows:
                raise InputError(f"{place}: the table was changed after its rows had been listed; start again")
            image = images[self.row][self.table.column]
        except (InputError, MissingExtraError):
            raise
        except Exception as error:  # a broken file makes Arrow raise many kinds
            raise InputError(f"{place}: cannot be read ({one_line(error)}); check the data set") from error
        return _content(image, place)


def _content(image: Any, place: str) -> bytes:
    if not image or not (image.get("bytes") or image.get("path")):
        raise InputError(f"{place}: has no image; fill it, or leave the row out")
    if image.get("bytes"):
        return bytes(image["bytes"])
    try:
        return Path(image["path"]).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{place}: its file {image['path']} cannot be read ({why}); check the path") from error


@lru_cache(maxsize=4)
def _opened(table: ArrowTable) -> Any:
    """The column, mapped into memory: rows are read from the disk when they are needed. Each process opens it once."""
    package = load_package()
    parts = [package.Dataset.from_file(file) for file in table.files]
    whole = package.concatenate_datasets(parts).select_columns([table.column])
    return whole.cast_column(table.column, package.Image(decode=False))


def load_package() -> Any:
    """The package ``datasets``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            "data sets of Hugging Face need the package datasets: pip install 'looktwice[huggingface]'"
        ) from error
    return datasets

"""The errors that users see, and how text becomes safe to print.

Each message says what was found, what is needed, and what to do.
"""

import re

_STEERING = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""Control characters, marks that turn the reading direction, and line separators."""

_NO_TEXT = "\ud800-\udfff"
"""Halves of characters, which stand for the bytes of a file name that are not UTF-8."""

FINITE_REMEDY = (
    "check that the network's scores of these images are finite; if they are, use double precision, model.double() and "
    "images.double()"
)
"""What to do where what is computed from a network's scores is NaN or infinite."""


def printable(text: object, *, keeps_bytes: bool = False) -> str:
    r"""Text as it can be printed and encoded, whatever it holds.

    File names may hold any bytes. Some are commands to a terminal, others are no text.

    Args:
        text: for example a file name, or an error that names a file.
        keeps_bytes: whether bytes that are no text stay as they are, for programs that read the name.

    Returns:
        The text in one line, with an escape for each character that is unsafe.

    >>> printable("red\x1b[31m.jpg"), printable("caf\udce9.jpg")
    ('red\\x1b[31m.jpg', 'caf\\xe9.jpg')
    """
    unsafe = f"[{_STEERING}]" if keeps_bytes else f"[{_STEERING}{_NO_TEXT}]"
    return re.sub(unsafe, lambda found: _escape(ord(found[0])), str(text))


def _escape(code: int) -> str:
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code  # how Python holds a byte that is not UTF-8
    return f"\\x{byte:02x}" if byte < 0x100 else f"\\u{byte:04x}"


def quoted(text: object, *, most: int = 60) -> str:
    """What a user wrote, in quotation marks; a long text is cut.

    >>> quoted("tabbi"), quoted("9" * 5000, most=3)
    ("'tabbi'", "'999…'")
    """
    return repr(cut(text, most=most))


def cut(text: object, *, most: int = 60) -> str:
    """A text of a user's, not longer than a message bears."""
    shown = str(text)
    return shown if len(shown) <= most else f"{shown[:most]}…"


def one_line(error: BaseException) -> str:
    """An error's text in one printable line, or the name of its class if it has no text."""
    return printable(" ".join(str(error).split())) or type(error).__name__


_LONGEST = 1500
"""Characters of a message at most. It quotes what was found, and a broken file can hold a word of millions."""


class LooktwiceError(Exception):
    """The base of every error that this library raises on purpose. The command line prints it in one line."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= _LONGEST else f"{text[:1000]} … {text[1003 - _LONGEST :]}"


class ModelError(LooktwiceError):
    """A network cannot be loaded, or a method cannot work on it (no activation calls, TorchScript)."""


class InputError(LooktwiceError, ValueError):
    """An image, a tensor or a target class cannot be used."""


class OptionError(LooktwiceError, ValueError):
    """An option has an unknown name, or a value outside its range."""


class DatasetError(LooktwiceError):
    """The files of a data set are missing, or are not as its layout needs them."""


class RunError(LooktwiceError):
    """An evaluation run on disk cannot be written, resumed or read."""


class MissingExtraError(LooktwiceError, ImportError):
    """An optional package is not installed. The message names the extra that installs it."""


class LooktwiceWarning(UserWarning):
    """A result that must not be taken for more than it is."""

"""Names in the forms: no two classes have the same name, and a name that a form cannot hold is refused."""

import re
from collections.abc import Callable, Sequence

from looktwice.datasets.classes import distinct_names
from looktwice.errors import InputError, quoted
from looktwice.export.label_set import LabelClass, LabelledImage, LabelSet

_NO_PLAIN_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Control characters, bytes that are not UTF-8, and two characters that XML does not allow."""


def class_names(classes: Sequence[LabelClass]) -> tuple[str, ...]:
    """The name of each class, each name once.

    Some forms know a class only by its name. ImageNet has two classes that are called "crane". Classes with the same
    name get their index after it.

    >>> class_names([LabelClass(0, "crane", 134), LabelClass(1, "tench", 0), LabelClass(2, "crane", 517)])
    ('crane (134)', 'tench', 'crane (517)')
    """
    return distinct_names([one.name for one in classes], [one.index for one in classes])


def plain_names(classes: Sequence[LabelClass], form: str) -> tuple[str, ...]:
    """As ``class_names``, for a form that holds plain text only.

    Raises:
        InputError: the form cannot hold a name.
    """
    return tuple(check_plain(name, "class name", form) for name in class_names(classes))


def check_images(labels: LabelSet, name: Callable[[LabelledImage], str], form: str, *, alone: bool = True) -> None:
    """As ``check_plain``, for the names of all images. A form asks it before it writes anything.

    Raises:
        InputError: the form cannot hold a name.
    """
    for image in labels.images():
        check_plain(name(image), "image name", form, alone=alone)


def check_plain(text: str, what: str, form: str, *, alone: bool = True) -> str:
    """Returns the text if a line of a text file and an XML element can hold it as it is.

    Args:
        text: the name.
        what: what it names, for the error.
        form: the form, for the error.
        alone: whether readers take it without blanks at its ends.

    Raises:
        InputError: it is empty, begins or ends with a blank, or has a character that is no plain text.
    """
    found = _NO_PLAIN_TEXT.search(text)
    if found:
        fault = f"has the character {found[0]!r}"
    elif not text:
        fault = "is empty"
    elif alone and text != text.strip():
        fault = "begins or ends with a blank"
    else:
        return text
    raise InputError(
        f"the {what} {quoted(text)} {fault}, which the form {form} cannot hold; rename it, or leave {form} out"
    )

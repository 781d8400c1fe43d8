"""The form of a request: its fields and its picture."""

import math
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Literal, cast, get_args

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from looktwice.attention.methods import METHODS
from looktwice.decoding import Picture, PictureMode, TooLargeError
from looktwice.decoding import decode as decode_image
from looktwice.defaults import DEFAULT_BOX, DEFAULT_METHOD, DEFAULT_MIN_SCORE, DEFAULT_THRESHOLDS
from looktwice.errors import OptionError, printable, quoted
from looktwice.localization.boxes import BoxKind, BoxRule
from looktwice.models.load import find_class
from looktwice.models.model import Model
from looktwice.options import check_known

View = Literal["whole", "centre"]
"""What the network sees of a picture."""


MOST_BOXES = 1000
"""Boxes of a map, or of an export, at most."""


_FIELDS = (
    "model", "class", "against", "methods", "view", "steps", "trace_weight", "trajectory",
    "box", "threshold", "min_score", "max_boxes",
)  # fmt: skip


NAME_LETTERS = 60
"""Letters of a file's name in a message, at most."""


FORM_BYTES = 64 * 1024
"""Room for the other fields and the boundaries between them, besides the picture."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how many requests may wait.

    Attributes:
        upload_bytes: size of the picture's file.
        pixels: of the picture.
        methods: in one request.
        steps: of the iterative methods.
        trajectory_steps: steps when the map after each step is asked for.
        seconds: until a request must be answered, its waiting included.
        waiting: requests that wait while the network works on another.
    """

    upload_bytes: int = 20_000_000
    pixels: int = 50_000_000
    methods: int = 6
    steps: int = 50
    trajectory_steps: int = 10
    seconds: float = 120.0
    waiting: int = 8


@dataclass(frozen=True)
class AttendRequest:
    """What a request asks for.

    Attributes:
        model: the network, which sees the picture as ``view`` says.
        target: the class; ``None`` is the predicted one.
        methods: names of ``METHODS``.
        rule: how boxes are drawn.
        against: a second class to compare with; ``None`` for none.
        view: what the network sees: the ``whole`` picture, squashed, or its ``centre``, undistorted.
        steps: of the iterative methods; ``None`` is each method's own number.
        trace_weight: λ as a multiple of each method's default.
        trajectory: whether the map after each step is wanted.
    """

    model: Model
    target: int | None
    methods: tuple[str, ...]
    rule: BoxRule
    against: int | None = None
    view: View = "whole"
    steps: int | None = None
    trace_weight: float = 1.0
    trajectory: bool = False


def asked_for(fields: Mapping[str, str], models: Mapping[str, Model], limits: Limits) -> AttendRequest:
    """What the form's fields ask for.

    Args:
        fields: of the form, without the picture.
        models: the networks by their names; the first is the default.
        limits: of a request.

    Raises:
        LooktwiceError: a field that is unknown, or a value that is not possible.
    """
    for name in fields:
        check_known("field", name, _FIELDS)
    model = known_model(fields.get("model", next(iter(models))), models)
    wanted, against = fields.get("class", "predicted"), fields.get("against")
    methods = tuple(dict.fromkeys(fields.get("methods", DEFAULT_METHOD).split(",")))
    for method in methods:
        check_known("method", method, METHODS)
    if len(methods) > limits.methods:
        raise OptionError(f"{len(methods)} methods are asked for; at most {limits.methods} are possible at once")
    view = fields.get("view", "whole")
    check_known("view", view, get_args(View))
    trajectory = number_field(fields, "trajectory", 0, most=1, whole=True) == 1
    most = limits.trajectory_steps if trajectory else limits.steps
    steps = int(number_field(fields, "steps", 0, most=most, whole=True)) if "steps" in fields else None
    return AttendRequest(
        model=_whole(model) if view == "whole" else model,
        target=None if wanted == "predicted" else find_class(model.classes, wanted),
        methods=methods,
        rule=_box_rule(fields),
        against=None if against is None else find_class(model.classes, against),
        view=cast(View, view),
        steps=steps,
        trace_weight=number_field(fields, "trace_weight", 1.0, most=100),
        trajectory=trajectory,
    )


def known_model(name: str, models: Mapping[str, Model]) -> Model:
    """The network of this name.

    Raises:
        OptionError: there is none.
    """
    check_known("model", name, models)
    return models[name]


def _whole(model: Model) -> Model:
    """The same network on whole pictures, as ``label`` looks at them."""
    return replace(model, preprocessing=replace(model.preprocessing, squash=True))


def _box_rule(fields: Mapping[str, str]) -> BoxRule:
    """The rule that the fields of the form name.

    Raises:
        OptionError: an unknown rule, or a number that is not possible.
    """
    meant = "objects" if "min_score" in fields else "contour" if "threshold" in fields else DEFAULT_BOX
    rule = fields.get("box", meant)
    most = int(number_field(fields, "max_boxes", 0, most=MOST_BOXES, whole=True)) if "max_boxes" in fields else None
    return BoxRule(
        cast(BoxKind, rule),
        number_field(fields, "threshold", DEFAULT_THRESHOLDS.get(rule, BoxRule.threshold), most=1),
        min_score=number_field(fields, "min_score", DEFAULT_MIN_SCORE, most=1),
        max_boxes=most,
    )


def number_field(fields: Mapping[str, str], name: str, default: float, *, most: float, whole: bool = False) -> float:
    """The number in a field.

    Args:
        fields: of the form.
        name: of the field.
        default: the number if the field is left out.
        most: the largest number that is possible; the smallest is 0.
        whole: whether it must be a whole number.

    Raises:
        OptionError: no such number.
    """
    if name not in fields:
        return default
    try:
        value = int(fields[name]) if whole else float(fields[name])
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise OptionError(f"{name} is {quoted(fields[name])}; {kind} from 0 to {most:g} is needed")
    return value


@dataclass(frozen=True)
class Upload:
    """A picture's file as a client sent it.

    Attributes:
        data: the file's bytes.
        name: what messages call it; see ``shown_name``.
        file_name: the file's own name without folders, as the client gave it; empty if it gave none.
    """

    data: bytes
    name: str
    file_name: str


def shown_name(file_name: str) -> str:
    r"""The name of an uploaded file as messages call it: without folders, on one line, and short.

    >>> shown_name(r"C:\\photos\\cat.jpg"), shown_name("../a\x1b.png"), shown_name("")
    ('cat.jpg', 'a\\x1b.png', 'the picture')
    """
    name = printable(" ".join(_last_part(file_name).split()))
    if len(name) > NAME_LETTERS:
        name = f"{name[: NAME_LETTERS - 12]}…{name[-11:]}"
    return name or "the picture"


def _last_part(path: str) -> str:
    """What comes after the last slash of either kind. Some browsers send folders too."""
    return re.split(r"[/\\]", path)[-1]


async def read_form(request: Request, limits: Limits, *, field_bytes: int = 4096) -> tuple[Upload, dict[str, str]]:
    """The picture and the other fields of a multipart form. No more is read than the limit allows.

    Args:
        request: with the form.
        limits: of a request.
        field_bytes: length of a field besides the picture, at most.

    Raises:
        HTTPException: 400 or 422 for what is no form or has no picture, 413 for an upload that is too large.
        OptionError: a field that stands in the form twice.
    """
    too_large = HTTPException(413, f"the upload is larger than {limits.upload_bytes / 1e6:g} MB; scale it down first")
    most = limits.upload_bytes + FORM_BYTES + field_bytes
    if _announced_bytes(request) > most:
        raise too_large
    _check_charset(request)

    async def counted() -> AsyncGenerator[bytes, None]:
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                raise too_large
            yield chunk

    parser = MultiPartParser(request.headers, counted(), max_files=1, max_fields=16, max_part_size=field_bytes)
    parser.spool_max_size = most + 1  # never to disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:  # what is no form at all raises nearly anything
        raise HTTPException(422, "a multipart form with one file, picture, is needed") from error
    try:
        fields = single_fields(form.multi_items(), "field")
        upload = form.get("picture")
        if not isinstance(upload, UploadFile):
            raise HTTPException(422, "the request has no picture; send one as the file field picture")
        data = await upload.read()
    finally:
        await form.close()
    if len(data) > limits.upload_bytes:
        raise too_large
    file_name = upload.filename or ""
    return Upload(data, shown_name(file_name), _last_part(file_name)), fields


def _announced_bytes(request: Request) -> int:
    """How long the request says that it is; 0 if it does not say."""
    length = request.headers.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,18}", length):
        raise HTTPException(400, f"the Content-Length is {quoted(length)}; a number of bytes is needed")
    return int(length)


def _check_charset(request: Request) -> None:
    """Refuses a form whose texts are not in UTF-8. Browsers send nothing else."""
    _, parameters = parse_options_header(request.headers.get("content-type", ""))
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise HTTPException(415, f"the charset is {quoted(charset)}; utf-8 is needed")


def single_fields(items: Iterable[tuple[str, Any]], kind: str) -> dict[str, str]:
    """The texts among the fields of a form or the parameters of an address.

    Raises:
        OptionError: one stands there twice: which is meant?
    """
    fields: dict[str, str] = {}
    for name, value in items:
        if isinstance(value, str):
            if name in fields:
                raise OptionError(f"the {kind} {quoted(name)} is given twice; leave one of them out")
            fields[name] = value
    return fields


def decode(upload: Upload, *, most_pixels: int, mode: PictureMode = "RGB") -> Picture:
    """An upload as an upright 8-bit picture, the same that ``images.read_image`` makes of a file.

    Args:
        upload: the file.
        most_pixels: more are refused. The header tells, so no pixel is decoded before.
        mode: RGB, or RGBA for a network with four channels.

    Raises:
        HTTPException: 413, too many pixels, or too much memory for them.
        InputError: not a picture, one of a kind that is not read here, or a damaged one.
        MissingExtraError: the kind needs a package that is not installed.
    """
    try:
        return decode_image(BytesIO(upload.data), upload.name, max_pixels=most_pixels, mode=mode)
    except TooLargeError as error:
        most = f"{most_pixels / 1e6:g} megapixels"
        raise HTTPException(
            413, f"{upload.name} has more than {most}, or needs too much memory; scale it down first"
        ) from error

"""The network's part of a request, in its own thread."""

import base64
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from looktwice.attention.api import attend_look
from looktwice.attention.look import Look, look_at
from looktwice.attention.maps import Attention
from looktwice.attention.methods import METHODS, resolve_options
from looktwice.errors import LooktwiceError, ModelError
from looktwice.figures.overlay import scaled
from looktwice.images import Window
from looktwice.localization.boxes import BoxRule, locate
from looktwice.web.forms import AttendRequest, Limits, decode

PREVIEW = 1024
"""Longer side, in pixels, of the picture that comes back to lie under the maps."""


GUESSES = 5
"""Predicted classes in an answer."""


class GivenUpError(LooktwiceError):
    """Nobody waits for the answer any more."""


def look(upload: bytes, wish: AttendRequest, limits: Limits, given_up: threading.Event) -> dict[str, Any]:
    """The answer of ``POST /api/attend``.

    Raises:
        LooktwiceError: the upload is no picture, or the network has no scores for it.
        HTTPException: the picture is too large.
        GivenUpError: the event was set meanwhile; the network stops at its next pass.
    """
    picture = decode(upload, most_pixels=limits.pixels)
    pixels, window = wish.model.prepare(picture)
    options = {method: _options(method, wish) for method in wish.methods}
    propagate = any(chosen["propagate"] for chosen in options.values())
    with _until(given_up, wish.model.module), look_at(wish.model.module, pixels, propagate=propagate) as seen:
        if not seen.scores.isfinite().all():
            raise ModelError("the network's scores for this picture are not finite; take another network or picture")
        probabilities = seen.probabilities()[0]
        target = int(probabilities.argmax()) if wish.target is None else wish.target
        shot = PreparedUpload(seen, torch.tensor([target], device=pixels.device), window)
        methods = [_finding_or_error(shot, method, options[method], wish) for method in wish.methods]

    def guess(index: int) -> dict[str, Any]:
        return {"index": index, "name": wish.model.classes[index], "probability": float(probabilities[index])}

    return {
        "model": wish.model.name,
        "weights": wish.model.weights,
        "picture": {"width": window.width, "height": window.height, "preview": _preview(picture)},
        "window": [window.left, window.top, window.right, window.bottom],
        "predicted": [guess(index) for index in probabilities.topk(min(GUESSES, len(probabilities))).indices.tolist()],
        "target": guess(target),
        "box_rule": asdict(wish.rule),
        "methods": methods,
    }


@contextmanager
def _until(given_up: threading.Event, module: nn.Module) -> Iterator[None]:
    """Every pass through the network inside the ``with`` first asks whether anybody still waits for it."""

    def check(*_: object) -> None:
        if given_up.is_set():
            raise GivenUpError("the request was given up")

    check()
    handle = module.register_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class PreparedUpload:
    """The look at a picture, the class to look for (1,), and the part of the picture that the network sees."""

    seen: Look
    target: Tensor
    window: Window


def _finding_or_error(
    shot: PreparedUpload, method: str, options: dict[str, Any], wish: AttendRequest
) -> dict[str, Any]:
    try:
        return _finding(shot, method, options, wish)
    except GivenUpError:
        raise
    except LooktwiceError as error:  # a package that is missing, a network this one method cannot be used on
        return {"name": method, "error": str(error)}
    except torch.OutOfMemoryError:
        return {"name": method, "error": "the device's memory is too small for this method on this network"}


def _finding(shot: PreparedUpload, method: str, options: dict[str, Any], wish: AttendRequest) -> dict[str, Any]:
    begun = time.perf_counter()
    attention = _attend(shot, method, options)
    seconds = time.perf_counter() - begun
    last = _drawn(attention, shot.window, wish.rule)
    trajectory = None
    if wish.trajectory and METHODS[method].optimise is not None:
        before = (_attend(shot, method, options | {"steps": steps}) for steps in range(options["steps"]))
        trajectory = [*(_drawn(earlier, shot.window, wish.rule) for earlier in before), last]
    return {
        "name": method,
        "source": METHODS[method].source,
        "options": options,
        "seconds": seconds,
        "scores": attention.scores[0].tolist(),
        **last,
        "trajectory": trajectory,
    }


def _options(method: str, wish: AttendRequest) -> dict[str, Any]:
    """All of a method's options. λ is asked for in units of the default, since each method measures it in its own."""
    options = resolve_options(method, {})
    if wish.steps is not None and METHODS[method].optimise is not None:
        options["steps"] = wish.steps
    if "trace_weight" in options:
        options["trace_weight"] *= wish.trace_weight
    return options


def _attend(shot: PreparedUpload, method: str, options: Mapping[str, Any]) -> Attention:
    attention = attend_look(shot.seen, shot.target, method, options)
    if not attention.scores.isfinite().all():
        raise ModelError("the score grew beyond all numbers; take fewer steps or a larger λ")
    return attention


def _drawn(attention: Attention, window: Window, rule: BoxRule) -> dict[str, Any]:
    heat = attention.maps[0].float().cpu().numpy()
    gray = Image.fromarray((heat * 255).round().astype(np.uint8))
    return {"map": _data_uri(gray, "PNG"), "boxes": [box.as_dict() for box in locate(heat, window, rule)]}


def _preview(picture: Image.Image) -> str:
    return _data_uri(scaled(picture, PREVIEW), "JPEG")


def _data_uri(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> str:
    buffer = BytesIO()
    image.save(buffer, kind, **({"quality": 88} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"

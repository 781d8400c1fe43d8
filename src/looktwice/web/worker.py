"""The network's part of a request. It runs in a thread of its own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from looktwice.attention.api import attend_look
from looktwice.attention.choice import ChosenMethod, choose_method
from looktwice.attention.look import Look, look_at
from looktwice.attention.maps import Attention
from looktwice.decoding import to_rgb
from looktwice.errors import LooktwiceError, ModelError
from looktwice.explain.explanation import gated_activations
from looktwice.figures.encode import data_uri, png_bytes
from looktwice.figures.overlay import scaled
from looktwice.gating.memory import is_out_of_memory
from looktwice.images import Window
from looktwice.localization.boxes import BoxRule, locate
from looktwice.models.model import Model
from looktwice.web.forms import AttendRequest, Limits, decode

PREVIEW = 1024
"""Longer side of the picture in an answer, which lies under the maps, in pixels."""


SHOWN_PREDICTIONS = 5
"""Predicted classes in an answer."""


class GivenUpError(LooktwiceError):
    """Nobody waits for the answer any more."""


def answer(upload: bytes, asked: AttendRequest, limits: Limits, given_up: threading.Event) -> dict[str, Any]:
    """The answer to ``POST /api/attend``.

    Args:
        upload: the picture's file.
        asked: the other fields of the form.
        limits: of a request.
        given_up: set by another thread when nobody waits any more. The network then stops at its next pass.

    Raises:
        LooktwiceError: the upload is not a picture, or the network's scores for it cannot be used.
        HTTPException: the picture is too large.
        GivenUpError: ``given_up`` was set.
    """
    model, methods = asked.model, [_with_choices(choose_method(name), asked) for name in asked.methods]
    pixels, window, preview = _prepared(upload, asked.model, limits)
    propagate = any(method.options["propagate"] for method in methods)
    _check(given_up)
    with (
        look_at(model.module, pixels, propagate=propagate, output=model.output) as look,
        _until(given_up, look.network),
    ):
        model.check_scores(look.scores)
        if not look.scores.isfinite().all():
            raise ModelError("the network's scores for this picture are not finite; take another network or picture")
        probabilities = look.probabilities()[0]
        target = int(probabilities.argmax()) if asked.target is None else asked.target
        seen = PreparedUpload(look, torch.tensor([target], device=pixels.device), window)
        rows = [_row_or_error(seen, method, asked) for method in methods]

    def prediction(index: int) -> dict[str, Any]:
        return {"index": index, "name": model.classes[index], "probability": float(probabilities[index])}

    best = probabilities.topk(min(SHOWN_PREDICTIONS, len(probabilities))).indices.tolist()
    return {
        "model": model.name,
        "weights": model.weights,
        "picture": {"width": window.width, "height": window.height, "preview": preview},
        "window": [window.left, window.top, window.right, window.bottom],
        "predicted": [prediction(index) for index in best],
        "target": prediction(target),
        "box_rule": asked.rule.as_dict(),
        "methods": rows,
    }


def _prepared(upload: bytes, model: Model, limits: Limits) -> tuple[Tensor, Window, str]:
    """The network's input, the part of the picture that it covers, and the preview. The picture itself is dropped."""
    picture = decode(upload, most_pixels=limits.pixels, mode=model.preprocessing.mode)
    return *model.prepare(picture), _preview(picture)


def _with_choices(method: ChosenMethod, asked: AttendRequest) -> ChosenMethod:
    """The method with the steps and λ that were asked for.

    λ is asked for as a multiple of the method's default, because each method measures λ in its own units.
    """
    changed: dict[str, Any] = {}
    if asked.steps is not None and method.steps:
        changed["steps"] = asked.steps
    if "trace_weight" in method.options:
        changed["trace_weight"] = method.options["trace_weight"] * asked.trace_weight
    return method.having(changed)


def _check(given_up: threading.Event) -> None:
    if given_up.is_set():
        raise GivenUpError("the request was given up")


@contextmanager
def _until(given_up: threading.Event, network: nn.Module) -> Iterator[None]:
    """Inside the ``with``, every pass of the frozen network first checks whether somebody still waits for it.

    The hook is not on the model itself: that would be a change, and a changed model is measured again.
    """
    handle = network.register_forward_pre_hook(lambda *_: _check(given_up))
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class PreparedUpload:
    """A picture after the plain pass.

    Attributes:
        look: the pass; the picture is its only image.
        target: the class to look for, int64 (1,).
        window: the part of the picture that the network sees.
    """

    look: Look
    target: Tensor
    window: Window


def _row_or_error(seen: PreparedUpload, method: ChosenMethod, asked: AttendRequest) -> dict[str, Any]:
    try:
        return _row(seen, method, asked)
    except GivenUpError:
        raise
    except LooktwiceError as error:  # a missing package, or a network on which only this method cannot be used
        return {"name": method.name, "error": str(error)}
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return {"name": method.name, "error": "the device's memory is too small for this method on this network"}


def _row(seen: PreparedUpload, method: ChosenMethod, asked: AttendRequest) -> dict[str, Any]:
    """What a method found, and how it came there."""
    begun = time.perf_counter()
    attention = _attend(seen, method)
    seconds = time.perf_counter() - begun
    last = _drawn(attention, seen.window, asked.rule)
    trajectory = None
    if asked.trajectory and method.method.has_gates:
        before = (_attend(seen, method.having({"steps": step})) for step in range(method.steps))
        trajectory = [*(_drawn(earlier, seen.window, asked.rule) for earlier in before), last]
    return {
        "name": method.name,
        "source": method.method.source,
        "options": dict(method.options),
        "seconds": seconds,
        "scores": attention.scores[0].tolist(),
        "gated": asdict(gated_activations(attention)),
        "notes": [*(text for _, text in attention.notes), *seen.look.doubts],
        **last,
        "trajectory": trajectory,
    }


def _attend(seen: PreparedUpload, method: ChosenMethod) -> Attention:
    attention = attend_look(seen.look, seen.target, method.method, method.options)
    if not attention.scores.isfinite().all():
        raise ModelError("the class score grew beyond all numbers; take fewer steps or a larger λ")
    return attention


def _drawn(attention: Attention, window: Window, rule: BoxRule) -> dict[str, Any]:
    """The map as a gray picture, and its boxes."""
    heat, extent = (maps[0].float().cpu().numpy() for maps in (attention.maps, attention.extents))
    gray = Image.fromarray((heat * 255).round().astype(np.uint8))
    boxes = [box.as_dict() for box in locate(extent, window, rule)]
    return {"map": data_uri("png", png_bytes(gray)), "boxes": boxes}


def _preview(picture: Image.Image) -> str:
    content = BytesIO()
    to_rgb(scaled(picture, PREVIEW)).save(content, "JPEG", quality=88)
    return data_uri("jpeg", content.getvalue())

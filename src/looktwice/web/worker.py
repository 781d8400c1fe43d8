"""The network's part of a request. It runs in the line's thread."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from looktwice.attention.api import attend_look, look_for
from looktwice.attention.choice import ChosenMethod, choose_method
from looktwice.attention.look import Look
from looktwice.attention.maps import Attention
from looktwice.decoding import to_rgb
from looktwice.defaults import DEFAULT_METHOD
from looktwice.errors import LooktwiceError, ModelError
from looktwice.explain.doubt import doubts
from looktwice.explain.explanation import gate_openness, gated_activations
from looktwice.figures.encode import data_uri, png_bytes
from looktwice.figures.overlay import scaled
from looktwice.gating.memory import is_out_of_memory
from looktwice.images import Window
from looktwice.localization.boxes import BoxRule, locate
from looktwice.models.model import Model
from looktwice.web.forms import AttendRequest, Limits, Upload, decode

PREVIEW = 1024
"""Longer side of the picture in an answer, which lies under the maps, in pixels."""


SHOWN_PREDICTIONS = 5
"""Predicted classes in an answer."""


class GivenUpError(LooktwiceError):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Event:
    """A part of an answer.

    Attributes:
        kind: ``waiting``, the request's place in the line; ``seen``, the picture and what the network predicts;
            ``map``, what one method found for one class; ``file``, an export.
        content: what JSON can hold; of a ``file`` also its bytes.
    """

    kind: str
    content: dict[str, Any]


def answers(upload: Upload, asked: AttendRequest, limits: Limits, given_up: threading.Event) -> Iterator[Event]:
    """The parts of the answer to ``POST /api/attend``, each as soon as it is known: one ``seen``, then the ``map``s.

    Args:
        upload: the picture's file.
        asked: the other fields of the form.
        limits: of a request.
        given_up: set by another thread when nobody waits any more. The network then stops at its next pass.

    Raises:
        LooktwiceError: the file is not a picture, or the network's scores for it cannot be used.
        HTTPException: the picture is too large.
        GivenUpError: ``given_up`` was set.
    """
    methods = [_with_choices(choose_method(name), asked) for name in asked.methods]
    pixels, window, preview = _prepared(upload, asked.model, limits)
    check(given_up)
    with (
        look_for(asked.model.module, pixels, methods, output=asked.model.output) as look,
        _until(given_up, look.network),
    ):
        asked.model.check_scores(look.scores)
        if not look.scores.isfinite().all():
            raise ModelError("the network's scores for this picture are not finite; take another network or picture")
        probabilities = look.probabilities()[0]
        target = int(probabilities.argmax()) if asked.target is None else asked.target
        classes = [target] if asked.against in (None, target) else [target, asked.against]
        picture = {"width": window.width, "height": window.height, "preview": preview}
        doubted = {index: _doubts(asked.model, look, probabilities, index) for index in classes}
        all_doubts = list(dict.fromkeys(line for lines in doubted.values() for line in lines))
        facts = {"picture": picture, "window": _corners(window), "doubts": all_doubts}
        yield Event("seen", {**_seen(asked, probabilities, classes), **facts})
        for method in methods:
            for index in classes:
                seen = PreparedUpload(look, torch.tensor([index], device=pixels.device), window)
                row = {"name": method.name, "class": index, "doubts": doubted[index]}
                yield Event("map", {**row, **_row_or_error(seen, method, asked)})


def joined(events: Iterable[Event]) -> dict[str, Any]:
    """The parts of an answer in one: what is ``seen``, and the maps as its ``methods``."""
    seen, *maps = events
    return {**seen.content, "methods": [event.content for event in maps]}


def _seen(asked: AttendRequest, probabilities: Tensor, classes: Sequence[int]) -> dict[str, Any]:
    """What the network says of the picture before any method looks at it."""
    model = asked.model

    def prediction(index: int) -> dict[str, Any]:
        return {"index": index, "name": model.classes[index], "probability": float(probabilities[index])}

    target, *others = [prediction(index) for index in classes]
    best = probabilities.topk(min(SHOWN_PREDICTIONS, len(probabilities))).indices.tolist()
    return {
        "model": model.name,
        "weights": model.weights,
        "view": asked.view,
        "predicted": [prediction(index) for index in best],
        "target": target,
        "against": others[0] if others else None,
        "box_rule": asked.rule.as_dict(),
    }


def _corners(window: Window) -> list[float]:
    return [window.left, window.top, window.right, window.bottom]


def _doubts(model: Model, look: Look, probabilities: Tensor, index: int) -> list[str]:
    """What a reader of this class's maps must be warned of, a sentence each."""
    return list(doubts(probabilities, index, model.classes, weights=model.weights, output=look.output))


def _prepared(upload: Upload, model: Model, limits: Limits) -> tuple[Tensor, Window, str]:
    """The network's input, the part of the picture that it covers, and the preview. The picture itself is dropped."""
    picture = decode(upload, most_pixels=limits.pixels, mode=model.preprocessing.mode).image
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


def check(given_up: threading.Event) -> None:
    """Ends the work if nobody waits for it any more.

    Raises:
        GivenUpError: so it is.
    """
    if given_up.is_set():
        raise GivenUpError("the request was given up")


@contextmanager
def _until(given_up: threading.Event, network: nn.Module) -> Iterator[None]:
    """Inside the ``with``, every pass of the frozen network first checks whether somebody still waits for it.

    The hook is not on the model itself: that would be a change, and a changed model is measured again.
    """
    handle = network.register_forward_pre_hook(lambda *_: check(given_up))
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
        return {"error": str(error)}
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return {"error": "the device's memory is too small for this method on this network"}


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
    """The map and the gates as gray pictures, and the boxes."""
    heat, extent = (maps[0].float().cpu().numpy() for maps in (attention.maps, attention.extents))
    boxes = [box.as_dict() for box in locate(extent, window, rule)]
    return {"map": _gray(heat), "boxes": boxes, **_drawn_gates(attention, heat.shape)}


def _drawn_gates(attention: Attention, size: tuple[int, ...]) -> dict[str, Any]:
    """How far the gates are open, as a gray picture relative to the most open place, and their mean."""
    found = gate_openness(attention.layers, attention.gates, (size[0], size[1]))
    if found is None:
        return {"gates": None, "open": None}
    openness = found[0].float().cpu().numpy()
    # In the end a few per cent of all gates are open. On a scale up to 1 all places would look the same.
    return {"gates": _gray(openness / (openness.max() or 1)), "open": float(openness.mean())}


def _gray(values: NDArray[np.floating]) -> str:
    """Values (H, W) in [0, 1] as a picture."""
    return data_uri("png", png_bytes(Image.fromarray((values * 255).round().astype(np.uint8))))


def _preview(picture: Image.Image) -> str:
    content = BytesIO()
    to_rgb(scaled(picture, PREVIEW)).save(content, "JPEG", quality=88)
    return data_uri("jpeg", content.getvalue())


def warm_up(model: Model, given_up: threading.Event) -> None:
    """Looks at a gray picture once. A network is measured at its first picture, and a user should not wait for that.

    Raises:
        LooktwiceError: the network cannot be used; a picture's answer will say so too.
        GivenUpError: ``given_up`` was set.
    """
    gray = BytesIO()
    Image.new("RGB", (64, 64), (127, 127, 127)).save(gray, "PNG")
    asked = AttendRequest(model, None, (DEFAULT_METHOD,), rule=BoxRule(), steps=1)
    for _ in answers(Upload(gray.getvalue(), "a gray picture", ""), asked, Limits(), given_up):
        pass

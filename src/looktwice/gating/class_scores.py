"""Which part of a network's output are its class scores."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from looktwice.errors import ModelError, cut, quoted

NAMES = (
    "logits",
    "scores",
    "class_scores",
    "cls_scores",
    "out",
    "output",
    "prediction",
    "predictions",
    "pred",
    "preds",
)
"""Names under which an output has its class scores, the surest first. Upper and lower case do not matter."""

REMEDY = "NetworkOutput(scores=NAME), or --scores NAME"
"""How a user says which entry the class scores are."""


@dataclass(frozen=True)
class FoundScores:
    """The class scores in what a network returned.

    Attributes:
        scores: (N, K).
        notes: what is doubtful about the choice, a line each.
    """

    scores: Tensor
    notes: tuple[str, ...] = ()


def class_scores(output: Any, count: int, place: str | int | None = None) -> FoundScores:
    """The class scores in what a network returned.

    - A tensor (N, K) is the scores. A tensor (N,) is one score for each image: (N, 1).
    - A tuple or list begins with the scores. If it begins with something else, its only tensor (N, K) is taken.
    - A dictionary, a named tuple, a dataclass or an object with ``.logits`` has them under one of ``NAMES``. Without
      such a name its only tensor (N, K) is taken.

    Args:
        output: what the network returned.
        count: N, the number of images.
        place: the entry that is the scores, if the user declares it. A name or a number, with dots between if it is
            nested. Then no other entry is taken.

    Raises:
        ModelError: no tensor is (N, K), or several are and no name says which one is meant. Or there is no entry of the
            declared name, or it is no class scores.
    """
    if place is not None:
        return FoundScores(_declared(output, count, str(place)))
    found = list(_candidates(output, count))
    if len({id(scores) for _, scores in found}) == 1:
        return FoundScores(_as_matrix(found[0][1]), tuple(_doubts(output, count, found[0][1])))
    if found:
        raise ModelError(
            f"the network returned several tensors that may be class scores: {_listed(found)}; return only the scores, "
            f"or a dictionary that has them as 'logits', or name them: {REMEDY}"
        )
    remedy = "" if isinstance(output, Tensor) else f"; if they are an entry of it, name it: {REMEDY}"
    raise ModelError(
        f"the network returned {_seen(output)} for {count} images; class scores (N, classes) are needed{remedy}"
    )


def _declared(output: Any, count: int, place: str) -> Tensor:
    """The entry of the name that the user declares."""
    try:
        entry = _entry(output, place)
    except LookupError:
        raise ModelError(f"the network's output has no entry {quoted(place)}; {_there_is(output)}") from None
    if isinstance(entry, Tensor) and entry.is_floating_point() and (_is_matrix(entry, count) or _is_flat(entry, count)):
        return _as_matrix(entry)
    raise ModelError(
        f"the entry {quoted(place)} of the network's output is {_seen(entry)} for {count} images; class scores "
        f"(N, classes) are needed; {_there_is(output)}"
    )


def _entry(output: Any, place: str) -> Any:
    """The entry at a place. A name may itself hold dots.

    Raises:
        LookupError: there is none.
    """
    parts = _parts(output)
    if place in parts:
        return parts[place]
    if isinstance(output, (tuple, list)) and place.isdecimal() and int(place) < len(output):
        return output[int(place)]  # a named tuple has numbers too
    for name, part in parts.items():
        if place.startswith(f"{name}."):
            return _entry(part, place.removeprefix(f"{name}."))
    head, dot, rest = place.partition(".")
    if isinstance(output, (Tensor, Mapping, tuple, list)) or head.startswith("_") or not hasattr(output, head):
        raise LookupError(place)
    return _entry(getattr(output, head), rest) if dot else getattr(output, head)


def _there_is(output: Any) -> str:
    """What entries an output has, for an error."""
    if isinstance(output, Tensor):
        return f"it is a single tensor {tuple(output.shape)}, so name no entry"
    entries = list(_tensors(output))
    return f"it has {_listed(entries)}" if entries else f"it is {type(output).__name__} without tensors"


def _tensors(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in an output with its place."""
    for key, part in _parts(output).items():
        place = f"{name}.{key}".lstrip(".")
        if isinstance(part, Tensor):
            yield place, part
        else:
            yield from _tensors(part, place)


def _candidates(output: Any, count: int, name: str = "", *, told: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that may be meant, with its name in the output. If nothing tells of it, (N,) is no candidate."""
    if isinstance(output, Tensor):
        if output.is_floating_point() and (_is_matrix(output, count) or (told and _is_flat(output, count))):
            yield name, output
        return
    parts = _parts(output)
    by_part = {
        key: list(_candidates(part, count, f"{name}.{key}".lstrip("."), told=key.casefold() in NAMES))
        for key, part in parts.items()
    }
    for usual in NAMES:
        for key, found in by_part.items():
            if key.casefold() == usual and found:
                yield from found
                return
    if by_part.get("0"):
        yield from by_part["0"]
        return
    others = [each for found in by_part.values() for each in found]
    first = parts.get("0")
    if isinstance(first, Tensor) and (first.ndim or not others):
        yield from _candidates(first, count, f"{name}.0".lstrip("."))
    yield from others


def _doubts(output: Any, count: int, taken: Tensor) -> Iterator[str]:
    """What to say if a tuple or list has more than one tensor that may be meant. Its first one is taken."""
    if hasattr(output, "_asdict") or not isinstance(output, (tuple, list)):
        return
    found = [
        (str(place), part) for place, part in enumerate(output) if isinstance(part, Tensor) and _is_matrix(part, count)
    ]
    if len({id(part) for _, part in found}) > 1 and found[0][1] is taken:
        yield (
            f"the network returned several tensors that may be class scores ({_listed(found, batch=False)}); the first "
            f"is taken; if another is meant, name it: {REMEDY.replace('NAME', '1')}"
        )


def _is_matrix(tensor: Tensor, count: int) -> bool:
    return tensor.ndim == 2 and len(tensor) == count


def _is_flat(tensor: Tensor, count: int) -> bool:
    """Whether it is one number for each image; ``squeeze`` also takes the batch away if that is a single image."""
    return tensor.shape == (count,) or (count == 1 and tensor.ndim == 0)


def _as_matrix(scores: Tensor) -> Tensor:
    return scores if scores.ndim == 2 else scores.reshape(-1, 1)


def _parts(output: Any) -> dict[str, Any]:
    """The parts of an output by name; those of a tuple or list by number."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if hasattr(output, "_asdict"):
        return dict(output._asdict())
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, SimpleNamespace):
        return dict(vars(output))
    if hasattr(output, "logits"):
        return {"logits": output.logits}
    return {str(place): value for place, value in enumerate(output)} if isinstance(output, (tuple, list)) else {}


def _listed(entries: list[tuple[str, Tensor]], *, batch: bool = True) -> str:
    """Entries with their shapes, for a message. Without the batch it is the same for every batch."""

    def shape(part: Tensor) -> str:
        shown = str(tuple(part.shape))
        return shown if batch else shown.replace(f"({len(part)},", "(N,")

    return cut(", ".join(f"{name} {shape(part)}" for name, part in entries), most=600)


def _seen(output: Any) -> str:
    """An output in a few words: the shape of its tensor, or of those in it."""
    if isinstance(output, Tensor):
        kind = "" if output.is_floating_point() else f" of {str(output.dtype).removeprefix('torch.')}"
        return f"{tuple(output.shape)}{kind}"
    shapes = [f"{key} {tuple(value.shape)}" for key, value in _parts(output).items() if isinstance(value, Tensor)]
    return " ".join([type(output).__name__, *([f"({', '.join(shapes)})"] if shapes else [])])

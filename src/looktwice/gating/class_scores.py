"""Which part of a network's output are its class scores."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from looktwice.errors import ModelError

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


def class_scores(output: Any, count: int) -> Tensor:
    """The class scores (N, K) in what a network returned.

    - A tensor is the scores.
    - A tuple or list begins with the scores. If it begins with something else, its only tensor (N, K) is taken.
    - A dictionary, a named tuple or an object with ``.logits`` has them under one of ``NAMES``. Without such a name its
      only tensor (N, K) is taken.

    Args:
        output: what the network returned.
        count: N, the number of images.

    Raises:
        ModelError: no tensor is (N, K), or several are and no name says which one is meant.
    """
    found = list(_candidates(output, count))
    if len({id(scores) for _, scores in found}) == 1:
        return found[0][1]
    if found:
        keys = ", ".join(f"{name} {tuple(scores.shape)}" for name, scores in found)
        raise ModelError(
            f"the network returned several tensors that may be class scores: {keys}; return only the scores, or a "
            "dictionary that has them as 'logits'"
        )
    raise ModelError(f"the network returned {_seen(output)} for {count} images; class scores (N, classes) are needed")


def _candidates(output: Any, count: int, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor (N, K) that may be meant, with its name in the output."""
    if isinstance(output, Tensor):
        if output.ndim == 2 and len(output) == count:
            yield name, output
        return
    parts = _parts(output)
    by_part = {key: list(_candidates(value, count, f"{name}.{key}".lstrip("."))) for key, value in parts.items()}
    for told in (*NAMES, "0"):
        for key, found in by_part.items():
            if key.casefold() == told and found:
                yield from found
                return
    for found in by_part.values():
        yield from found


def _parts(output: Any) -> dict[str, Any]:
    """The parts of an output by name; those of a tuple or list by number."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if hasattr(output, "logits"):
        return {"logits": output.logits}
    if hasattr(output, "_asdict"):
        return dict(output._asdict())
    return {str(place): value for place, value in enumerate(output)} if isinstance(output, (tuple, list)) else {}


def _seen(output: Any) -> str:
    """An output in a few words: the shape of its tensor, or of those in it."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    shapes = [f"{key} {tuple(value.shape)}" for key, value in _parts(output).items() if isinstance(value, Tensor)]
    return " ".join([type(output).__name__, *([f"({', '.join(shapes)})"] if shapes else [])])

"""Which classes of an image get a map."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from looktwice.errors import OptionError
from looktwice.explain.explanation import BatchLook
from looktwice.models.model import Model


@dataclass(frozen=True)
class ClassChoice:
    """Which classes of an image get a map.

    Attributes:
        targets: the classes that the user names, ``None`` for the prediction. Without any, the most probable ones.
        top: how many of the most probable classes at most.
        min_probability: the least probability of these.
    """

    targets: tuple[int | None, ...]
    top: int
    min_probability: float

    @classmethod
    def of(
        cls, model: Model, target: int | Sequence[int | None] | None, top: int | None, least: float | None
    ) -> "ClassChoice":
        """The choice that the arguments of ``attend_images`` name.

        Raises:
            OptionError: more classes than the network has, or no probability.
        """
        count = len(model.classes)
        if top is not None and not 1 <= top <= count:
            raise OptionError(f"top is {top}; {model.name} has {count} classes, so take 1 … {count}")
        if least is not None and not 0 <= least <= 1:
            raise OptionError(f"min_probability is {least}; a number in 0 … 1 is needed")
        targets = tuple(target) if isinstance(target, Sequence) else () if target is None else (target,)
        return cls(targets, top or (1 if least is None else count), 0.0 if least is None else least)

    def of_images(self, probabilities: Tensor) -> list[list[int]]:
        """The classes of each image, each once: those that are named, or the most probable ones, best first.

        Args:
            probabilities: (N, K). One that is NaN counts as enough, so that the network's fault is reported.
        """
        best = probabilities.topk(self.top)
        if self.targets:
            predicted = probabilities.argmax(1).tolist()
            return [list(dict.fromkeys(first if k is None else k for k in self.targets)) for first in predicted]
        enough = ~(best.values < self.min_probability)
        return [row[kept].tolist() for row, kept in zip(best.indices, enough, strict=True)]

    def missed(self, seen: BatchLook, place: int) -> str:
        """What to say of the image at a place of the batch if no class of it is probable enough."""
        probability, k = (each.item() for each in seen.probabilities[place].max(0))
        return (
            f"{seen.images[place].path}: no class has a probability of {self.min_probability:g} or more; the best is "
            f"{seen.model.classes[int(k)]} · {probability:.1%}"
        )

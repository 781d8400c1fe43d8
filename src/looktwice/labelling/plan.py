"""How a data set is labelled: every choice on which its boxes depend."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from looktwice.attention.choice import ChosenMethod, choose_method
from looktwice.defaults import DEFAULT_METHOD
from looktwice.errors import OptionError
from looktwice.localization.boxes import BoxRule
from looktwice.metrics.judged_maps import TOP_CLASSES
from looktwice.options import check_fields, check_kind, check_known, python_number

PREDICTED = {"predicted": 1, "top5": TOP_CLASSES}
"""How many of the most probable classes each of these targets takes."""


@dataclass(frozen=True)
class LabelPlan:
    """How a data set is labelled. The same data set, network and plan give the same boxes.

    Attributes:
        method: a name of ``METHODS``, or a method with its options.
        rule: how boxes are drawn.
        target: the classes that are looked for in an image without a label: ``"predicted"``, ``"top5"`` (the five most
            probable ones), or class indices of the network, each of which counts once. An image with labels is always
            looked at for its labels.
        min_probability: in [0, 1]. In an image without a label, a class with less is not looked for.
        batch_size: images in one pass of the network.

    Raises:
        OptionError: a choice that is unknown, outside its range or of another type.
    """

    method: str | ChosenMethod = DEFAULT_METHOD
    rule: BoxRule = field(default_factory=BoxRule)
    target: str | tuple[int, ...] = "predicted"
    min_probability: float = 0.0
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_fields(self, {"min_probability": float, "batch_size": int})
        if not isinstance(self.rule, BoxRule):
            raise OptionError(f"rule is {self.rule!r}; a BoxRule is needed")
        self._check_target()
        if not 0 <= self.min_probability <= 1:
            raise OptionError(f"min_probability is {self.min_probability}; a number in 0 … 1 is needed")
        if self.batch_size < 1:
            raise OptionError(f"batch size is {self.batch_size}; 1 or more is needed")
        _ = self.chosen

    def _check_target(self) -> None:
        target: object = self.target
        if isinstance(target, str):
            check_known("target", target, PREDICTED)
            return
        if not isinstance(target, Sequence):
            raise OptionError(f"target is {target!r}; class indices are needed, as in (3, 7), or predicted or top5")
        if not target:
            raise OptionError("no class is named as target; name one or more, or predicted")
        for index in target:
            check_kind("a class of target", index, int)
        object.__setattr__(self, "target", tuple(dict.fromkeys(map(python_number, target))))

    @cached_property
    def chosen(self) -> ChosenMethod:
        """The method with all of its options."""
        return choose_method(self.method)

    @property
    def named(self) -> tuple[int, ...]:
        """The classes that the user names for images without a label; empty if the network chooses."""
        return () if isinstance(self.target, str) else self.target

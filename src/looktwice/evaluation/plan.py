"""What an evaluation is: every choice on which its rows depend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args

from looktwice.attention.choice import ChosenMethod, choose_methods
from looktwice.attention.methods import Method
from looktwice.errors import OptionError
from looktwice.localization.boxes import BoxRule
from looktwice.localization.sweep import grid_index
from looktwice.metrics.judged_maps import Target
from looktwice.options import check_known
from looktwice.runs.columns import BASELINES
from looktwice.runs.manifest import Boxes


@dataclass(frozen=True)
class EvaluationPlan:
    """Which methods are evaluated, on which images, and how their maps are judged.

    Two evaluations of the same data set and network with the same plan have the same rows.

    Attributes:
        methods: for each method the options that differ from its defaults. The key is a name of ``METHODS``, or where a
            method of your own is: ``path/to/file.py:NAME``, which is called NAME in the run. Or the key is a new name
            and the value a ``Method`` of your own.
        target: the class of a map: ``"predicted"``, ``"true"`` (each label) or ``"top5"`` (five maps an image).
        rule: how boxes are drawn. Its threshold must be one of 0.00, 0.01 … 0.99.
        boxes: which box of a map counts: the ``"largest"``, or the best of ``"any"``.
        tune_on: choose thresholds on other images. ``"hash:0.4"`` sets 40 % of the images aside for it. Else it is the
            folder of a finished run with the same network and methods. ``None``: the rule's threshold is used.
        limit: how many images at most: the first ones in the order that ``seed`` gives.
        seed: the order of the images.
        batch_size: images in one pass of the network.
        save_maps: also write RUN/maps/part-000000.npz, in half precision.
        save_npy: also write RUN/npy/METHOD/ID.npy, which wsolevaluation reads; images must be squashed.

    Raises:
        OptionError: a choice that is unknown or outside its range.
        ModelError: a method of your own that cannot be found.
    """

    methods: Mapping[str, Mapping[str, Any] | Method | ChosenMethod]
    target: Target = "predicted"
    rule: BoxRule = field(default_factory=BoxRule)
    boxes: Boxes = "largest"
    tune_on: str | None = None
    limit: int | None = None
    seed: int = 0
    batch_size: int = 8
    save_maps: bool = False
    save_npy: bool = False

    def __post_init__(self) -> None:
        check_known("target", self.target, get_args(Target))
        check_known("choice of boxes", self.boxes, get_args(Boxes))
        grid_index(self.rule.threshold)
        if self.rule.rule == "energy" and self.boxes == "any":
            raise OptionError("a map has only one energy box; choose the largest box, or contours")
        if self.batch_size < 1:
            raise OptionError(f"batch size is {self.batch_size}; 1 or more is needed")
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"limit is {self.limit}; 1 image or more is needed")
        for method in self.chosen:
            if method.name in BASELINES:
                raise OptionError(f"the method {method.name} has the name of a baseline; give it another one")
        _ = self.tuning_share

    @cached_property
    def chosen(self) -> tuple[ChosenMethod, ...]:
        """The methods with all of their options."""
        return choose_methods(self.methods)

    @property
    def tuning_share(self) -> float | None:
        """The share of the images on which thresholds are chosen, in (0, 1): 0.4 for "hash:0.4"; else ``None``."""
        if self.tune_on is None or not self.tune_on.startswith("hash:"):
            return None
        try:
            share = float(self.tune_on.removeprefix("hash:"))
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise OptionError(
                f"tune on {self.tune_on!r}: a share between 0 and 1 is needed, as in hash:0.4, or a run's folder"
            )
        return share

"""What an evaluation is: every choice on which its rows depend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args

from looktwice.attention.choice import ChosenMethod, choose_methods
from looktwice.attention.methods import Method
from looktwice.defaults import FAITHFULNESS_BLUR, FAITHFULNESS_STEPS, GRID_FINISH, GRID_PROBABILITY, GRID_SQUARES
from looktwice.errors import OptionError
from looktwice.localization.boxes import BoxRule
from looktwice.localization.sweep import grid_index
from looktwice.metrics.judged_maps import Target
from looktwice.options import check_fields, check_known
from looktwice.runs.columns import BASELINES
from looktwice.runs.manifest import Boxes


@dataclass(frozen=True)
class GridPlan:
    """A grid pointing game (Böhle et al. 2021): how many squares of four images, and of which images.

    Attributes:
        squares: how many squares at most. There are fewer if the network recognises too few images.
        min_probability: the least probability that the network gives one of an image's labels, in (0, 1]. An image with
            less is left out.

    Raises:
        OptionError: a number outside its range, or no number.
    """

    squares: int = GRID_SQUARES
    min_probability: float = GRID_PROBABILITY

    def __post_init__(self) -> None:
        check_fields(self, {"squares": int, "min_probability": float})
        if self.squares < 1:
            raise OptionError(f"grids is {self.squares}; 1 square or more is needed")
        if not 0 < self.min_probability <= 1:
            raise OptionError(f"min_probability is {self.min_probability}; a number above 0 and up to 1 is needed")


@dataclass(frozen=True)
class FaithfulnessPlan:
    """Insertion and deletion (Petsiuk et al. 2018): in how many steps, and how blurred is the other picture.

    Each map takes 2 · (steps − 1) passes of the network.

    Attributes:
        steps: all pixels are replaced in this many steps of equally many pixels; 2 or more.
        blur: σ of the Gaussian that blurs the picture, as a share of the input's shorter side, in (0, 0.5].

    Raises:
        OptionError: a number outside its range, or no number.
    """

    steps: int = FAITHFULNESS_STEPS
    blur: float = FAITHFULNESS_BLUR

    def __post_init__(self) -> None:
        check_fields(self, {"steps": int, "blur": float})
        if self.steps < 2:
            raise OptionError(f"faithfulness has {self.steps} steps; 2 or more are needed")
        if not 0 < self.blur <= 0.5:
            raise OptionError(
                f"the blur of faithfulness is {self.blur}; a share of the shorter side in (0, 0.5] is needed"
            )


@dataclass(frozen=True)
class EvaluationPlan:
    """Which methods are evaluated, on which images, and how their maps are judged.

    Two evaluations of the same data set and network with the same plan have the same rows.

    Attributes:
        methods: for each method the options that differ from its defaults. The key is a name of ``METHODS``, or where a
            method of your own is: ``path/to/file.py:NAME``, which is called NAME in the run. Or the key is a new name
            and the value a ``Method`` of your own.
        target: the class of a map: ``"predicted"``, ``"true"`` (each label) or ``"top5"`` (five maps an image).
        rule: how boxes are drawn. Its threshold, if it has one, must be one of 0.00, 0.01 … 0.99.
        boxes: which box of a map counts: the ``"largest"`` (of objects: the one with the highest score), or the best of
            ``"any"``.
        tune_on: choose thresholds on other images. ``"hash:0.4"`` sets 40 % of the images aside for it. Else it is the
            folder of a finished run with the same network and methods. ``None``: the rule's threshold is used. Objects
            are drawn without a threshold; then only the thresholds of MaxBoxAcc are chosen.
        limit: how many images at most: the first ones in the order that ``seed`` gives.
        seed: the order of the images.
        batch_size: images in one pass of the network.
        save_maps: also write RUN/maps/part-000000.npz, in half precision.
        save_npy: also write RUN/npy/METHOD/ID.npy, which wsolevaluation reads; images must be squashed.
        faithfulness: also measure insertion and deletion for the maps of the judged images.
        grid: play the grid pointing game on squares of four images, instead of judging boxes. Its maps are of the true
            classes (``target="true"``). They are shares of the maximum without a blur, unless a method's options say
            otherwise. ``tune_on="hash:0.4"`` leaves out the images on which other runs choose thresholds.

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
    grid: GridPlan | None = None
    faithfulness: FaithfulnessPlan | None = None

    def __post_init__(self) -> None:
        self._check_kinds()
        check_known("target", self.target, get_args(Target))
        check_known("choice of boxes", self.boxes, get_args(Boxes))
        if self.rule.has_threshold:
            grid_index(self.rule.threshold)
        if self.rule.rule == "energy" and self.boxes == "any":
            raise OptionError("a map has only one energy box; choose the largest box, or contours")
        if self.rule.rule == "contour" and self.boxes == "any" and self.rule.max_boxes is not None:
            raise OptionError("any contour counts, so max_boxes has no use; choose the largest box, or objects")
        if self.batch_size < 1:
            raise OptionError(f"batch size is {self.batch_size}; 1 or more is needed")
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"limit is {self.limit}; 1 image or more is needed")
        for method in self.chosen:
            if method.name in BASELINES:
                raise OptionError(f"the method {method.name} has the name of a baseline; give it another one")
        _ = self.tuning_share
        self._check_grid()

    def _check_kinds(self) -> None:
        """Refuses values of another type, before one of them is compared or written."""
        check_fields(self, {"batch_size": int, "seed": int, "save_maps": bool, "save_npy": bool})
        optional: dict[str, type] = {"limit": int, "tune_on": str}
        check_fields(self, {name: kind for name, kind in optional.items() if getattr(self, name) is not None})
        parts: dict[str, type] = {"rule": BoxRule, "grid": GridPlan, "faithfulness": FaithfulnessPlan}
        for name, needed in parts.items():
            value = getattr(self, name)
            if not isinstance(value, needed) and (value is not None or name == "rule"):
                raise OptionError(f"{name} is {value!r}; a {needed.__name__} is needed")

    @cached_property
    def chosen(self) -> tuple[ChosenMethod, ...]:
        """The methods with all of their options."""
        chosen = choose_methods(self.methods)
        if self.grid is None:
            return chosen
        return tuple(_for_grid(method, given) for method, given in zip(chosen, self.methods.values(), strict=True))

    def _check_grid(self) -> None:
        """Refuses what a grid pointing game has no use for."""
        if self.grid is None:
            return
        if self.target != "true":
            raise OptionError(
                f"target is {self.target}; in the grid pointing game each of the four images has a map of its own "
                "class, so it is true"
            )
        if self.tune_on is not None and self.tuning_share is None:
            raise OptionError(
                f"tune on {self.tune_on!r}: the grid pointing game has no threshold; hash:0.4 leaves out the images on "
                "which other runs choose theirs"
            )
        if self.save_npy:
            raise OptionError("wsolevaluation reads maps of images, and a grid's maps are of squares; save maps only")
        if self.faithfulness is not None:
            raise OptionError(
                "faithfulness is measured on single images, and a grid pointing game has squares of four; measure "
                "boxes (--measure boxes), or leave out faithfulness"
            )

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


def _for_grid(method: ChosenMethod, given: Mapping[str, Any] | Method | ChosenMethod) -> ChosenMethod:
    """A method whose maps are finished as the grid pointing game needs them, as far as its options do not say how."""
    if isinstance(given, ChosenMethod):
        return method
    said = given if isinstance(given, Mapping) else {}
    return method.having({k: v for k, v in GRID_FINISH.items() if k in method.options and k not in said})

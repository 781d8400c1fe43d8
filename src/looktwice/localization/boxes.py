"""Map → boxes: for each external contour (Fu et al. 2017), around the energy (Cao et al. 2015), or for each object.

Negative values of a map (H, W) count as 0; the map is not shifted or scaled in any other way. The *energy* of a map is
the sum of its values. Boxes are half-open: pixel (x, y) is the box (x, y, x + 1, y + 1).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.defaults import DEFAULT_BOX, DEFAULT_MIN_SCORE
from looktwice.errors import OptionError
from looktwice.images import Window, check_map
from looktwice.localization.components import ComponentTree, component_tree, shares_of_maximum
from looktwice.localization.contours import trace_cuts
from looktwice.localization.objects import choose_regions, score_regions
from looktwice.localization.regions import Region
from looktwice.options import check_choice

Foreground = Literal["max", "energy"]
"""A threshold is a share of the map's maximum, or a share of its energy."""


BoxKind = Literal["objects", "contour", "energy"]
"""A box for each object, a box for each external contour, or one box around the pixels that hold the energy."""


ROUNDING_SLACK = 1 - 1e-12
"""A share of the energy is reached at this part of it. Sums round: without the slack, 0.7 of the energy of ten equal
pixels could take eight of them."""


_ONE_CUT = np.zeros(1, dtype=np.uint8)


@dataclass(frozen=True)
class Box:
    """A half-open rectangle in pixels, and what it was drawn around.

    Attributes:
        x1: the left edge.
        y1: the upper edge.
        x2: the right edge; the last column inside is the one before it.
        y2: the lower edge.
        score: 0 … 1. By the rule ``"objects"``: the probability that the box overlaps an object with an IoU of 0.5 or
            more. By the other rules: the share of the map's energy in what the box was drawn around.
        region: the pixels that the box was drawn around; None for a box that no map has. Two boxes with the same five
            numbers are equal, whatever their regions.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    region: Region | None = field(default=None, compare=False, repr=False)

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """(x1, y1, x2, y2)."""
        return self.x1, self.y1, self.x2, self.y2

    def as_dict(self) -> dict[str, float]:
        """The five numbers by name, as files and answers have them; without the region.

        >>> Box(0.0, 0.0, 2.0, 1.0, 0.5).as_dict()
        {'x1': 0.0, 'y1': 0.0, 'x2': 2.0, 'y2': 1.0, 'score': 0.5}
        """
        return {"x1": self.x1, "y1": self.y1, "x2": self.x2, "y2": self.y2, "score": self.score}


def _check_share(name: str, share: float, *, one_allowed: bool) -> None:
    if not 0 <= share <= 1 or (share == 1 and not one_allowed):
        raise OptionError(f"{name} is {share}; a share from 0 to {'1' if one_allowed else 'below 1'} is needed")


@dataclass(frozen=True)
class BoxRule:
    """How boxes are drawn.

    Attributes:
        rule: ``"objects"``: a box for each region that is probably an object; no threshold is needed. ``"contour"``: a
            box for each external contour. ``"energy"``: one box around the energy.
        threshold: for ``"contour"``: as ``contour_boxes`` has it. For ``"energy"``: the share of the energy that the
            box holds. ``"objects"`` has none.
        by: the threshold is a share of the map's maximum, or of its energy. It matters for ``"contour"`` only.
        smallest: contours with a smaller share of the map's area are left out. It matters for ``"contour"`` only.
        min_score: boxes with a lower score are left out, but the best box of a map always stays. Only
            ``"objects"`` has it.
        max_boxes: how many boxes a map has at most: the first ones. None: all of them.

    Raises:
        OptionError: an unknown name, a share outside its range, less than one box, or a choice of another rule.
    """

    rule: BoxKind = DEFAULT_BOX
    threshold: float = 0.2
    by: Foreground = "max"
    smallest: float = 0.01
    min_score: float = DEFAULT_MIN_SCORE
    max_boxes: int | None = None

    def __post_init__(self) -> None:
        check_choice("rule", self.rule, BoxKind)
        check_choice("by", self.by, Foreground)
        # No pixel is above the whole maximum, so 1 makes no sense there. The whole energy is held by all pixels.
        _check_share("threshold", self.threshold, one_allowed=self.rule == "energy" or self.by == "energy")
        _check_share("smallest", self.smallest, one_allowed=True)
        _check_share("min_score", self.min_score, one_allowed=True)
        whole = isinstance(self.max_boxes, Integral) and not isinstance(self.max_boxes, bool)
        if self.max_boxes is not None and not (whole and self.max_boxes >= 1):
            raise OptionError(
                f"max_boxes is {self.max_boxes!r}; a whole number from 1 is needed, or None for all boxes"
            )
        self._check_own()

    def _check_own(self) -> None:
        """Refuses a choice that only another rule has, since it would be without effect."""
        others = ("min_score",) if self.has_threshold else ("threshold", "by", "smallest")
        for name in others:
            if getattr(self, name) != getattr(BoxRule, name):
                shared = {"min_score": "objects have", "threshold": "contours and the energy box have"}
                rules = shared.get(name, "contours have")
                raise OptionError(
                    f"{name} is {getattr(self, name)}, and only {rules} one; leave it out, or name the rule: this is "
                    f"{self.rule}"
                )

    @property
    def has_threshold(self) -> bool:
        """Whether the threshold matters."""
        return self.rule != "objects"

    def as_dict(self) -> dict[str, Any]:
        """What matters of the rule, by name, as files and answers have it.

        >>> BoxRule("objects").as_dict()
        {'rule': 'objects', 'min_score': 0.2}
        """
        names = ["threshold", "by", "smallest"] if self.has_threshold else ["min_score"]
        names += [] if self.max_boxes is None else ["max_boxes"]
        return {name: getattr(self, name) for name in ["rule", *names]}


def locate(heat: ArrayLike, window: Window, rule: BoxRule = BoxRule()) -> tuple[Box, ...]:
    """The boxes of a map (H, W) in pixels of the image, clipped to the image.

    Args:
        heat: the map.
        window: the part of the image that the map covers.
        rule: how boxes are drawn.

    A box that lies entirely in a crop's padding, outside the image, is left out. The region of each box is in pixels of
    the image too.

    Raises:
        InputError: as ``check_map``.

    Example:
        >>> import looktwice, numpy as np
        >>> from looktwice.images import Window
        >>> heat = np.zeros((100, 100))
        >>> heat[20:60, 30:50] = 1
        >>> (box,) = looktwice.locate(heat, Window.whole(width=400, height=200))
        >>> box.corners
        (120.0, 40.0, 200.0, 120.0)
    """
    heat = check_map(heat)
    return to_image(find_boxes(heat, rule), window, width=heat.shape[1], height=heat.shape[0])


def to_image(boxes: Iterable[Box], window: Window, *, width: int, height: int) -> tuple[Box, ...]:
    """Boxes in pixels of a map (``width`` × ``height``) → boxes in pixels of the image, as ``locate`` gives them."""
    found = []
    for box in boxes:
        x1, y1, x2, y2 = window.to_image(box.corners, width, height).tolist()
        if x1 < x2 and y1 < y2:
            found.append(Box(x1, y1, x2, y2, box.score, box.region and box.region.to_image(window)))
    return tuple(found)


def find_boxes(heat: ArrayLike, rule: BoxRule = BoxRule()) -> tuple[Box, ...]:
    """The boxes of a map (H, W) in pixels of the map; none if no value is positive.

    Raises:
        InputError: as ``check_map``.
    """
    return _all_boxes(heat, rule)[: rule.max_boxes]


def _all_boxes(heat: ArrayLike, rule: BoxRule) -> tuple[Box, ...]:
    if rule.rule == "objects":
        return object_boxes(heat, min_score=rule.min_score)
    if rule.rule == "energy":
        box = energy_box(heat, energy=rule.threshold)
        return () if box is None else (box,)
    return contour_boxes(heat, threshold=rule.threshold, by=rule.by, smallest=rule.smallest)


def object_boxes(heat: ArrayLike, *, min_score: float = DEFAULT_MIN_SCORE) -> tuple[Box, ...]:
    """A map (H, W) → one box for each region that is probably an object, the best one first.

    Regions are the 8-connected components of the map at all thresholds. Each has a score: the probability that its box
    is right (IoU ≥ 0.5). Of all sets of disjoint regions, the one with the largest sum of (score − ``min_score``) is
    chosen. So an object and its parts never have boxes together.

    At least one box is drawn, around the best region, unless no value of the map is positive. A larger map is first
    reduced to 112 cells on its longer side. Boxes and regions lie on the borders of these cells.

    Args:
        heat: the map.
        min_score: boxes with a lower score (0 … 1) are left out, but never the best one.

    Raises:
        InputError: as ``check_map``.
        OptionError: the score is outside its range.
    """
    _check_share("min_score", min_score, one_allowed=True)
    values = check_map(heat)
    tree = component_tree(values)
    scores = score_regions(tree)
    chosen = choose_regions(tree, scores, min_score=min_score)
    whole = Window.whole(values.shape[1], values.shape[0])
    found = [_object_box(tree, index, float(scores[index])) for index in chosen]
    return to_image(found, whole, width=tree.values.shape[1], height=tree.values.shape[0])


def _object_box(tree: ComponentTree, index: int, score: float) -> Box:
    """The box of a region, in cells of the tree."""
    x1, y1, x2, y2 = tree.boxes[index].tolist()
    height, width = tree.values.shape
    # A copy: a view would keep the labels of all levels in memory.
    region = Region(tree.mask(index).astype(np.uint8), 1, x1, y1, (width, height))
    return Box(float(x1), float(y1), float(x2), float(y2), score, region)


def contour_boxes(
    heat: ArrayLike, *, threshold: float, by: Foreground = "max", smallest: float = 0.01
) -> tuple[Box, ...]:
    """A map (H, W) → one box for each external contour of its foreground, the largest area first.

    A contour is the outer border of an 8-connected region. Its area and its score (share of the map's energy) count all
    pixels inside: the border, and also holes and whatever lies in them.

    Args:
        heat: the map; a map without a positive value has no boxes.
        threshold: which pixels are foreground. ``by="max"``: those strictly above this share (0 ≤ t < 1) of the
            maximum. ``by="energy"``: the fewest highest pixels that hold this share (0 ≤ t ≤ 1) of the energy; pixels
            of equal value enter together.
        by: the threshold is a share of the maximum, or of the energy.
        smallest: contours with a smaller share of the map's area are left out.

    Raises:
        InputError: as ``check_map``.
        OptionError: an unknown ``by``, or a share outside its range.
    """
    rule = BoxRule("contour", threshold, by, smallest)
    shares = _shares_of_maximum(heat)
    foreground = shares > rule.threshold if by == "max" else _holding(shares, rule.threshold)
    outlines = trace_cuts(foreground.view(np.uint8), _ONE_CUT, cv2.RETR_EXTERNAL)
    areas = outlines.pixels_within.tolist()
    large = [index for index, area in enumerate(areas) if area >= smallest * shares.size]
    labels = np.zeros(shares.shape, dtype=np.int32)
    for label, index in enumerate(large, start=1):
        cv2.drawContours(labels, outlines.contours[index : index + 1], 0, label, cv2.FILLED)
    energy = np.bincount(labels.ravel(), weights=shares.ravel(), minlength=len(large) + 1)[1:] / (shares.sum() or 1.0)
    found = []
    for label, (index, score) in enumerate(zip(large, energy.tolist(), strict=True), start=1):
        x1, y1, x2, y2 = ends = _ends(outlines.rectangles[index])
        box = Box(float(x1), float(y1), float(x2), float(y2), min(score, 1.0), _region(labels, label, ends))
        found.append((areas[index], box))
    # Equal areas: more energy first, then upper left first. So the order does not depend on OpenCV's own.
    found.sort(key=lambda entry: (-entry[0], -entry[1].score, entry[1].y1, entry[1].x1))
    return tuple(box for _, box in found)


def energy_box(heat: ArrayLike, *, energy: float = 0.95) -> Box | None:
    """A map (H, W) → the tightest box around the fewest highest pixels that hold a share ``energy`` (0 … 1) of it.

    Cao et al., *Look and Think Twice* (ICCV 2015). Pixels of equal value enter together. The score is the share of the
    energy in the box; the region is the pixels that hold the energy. None if no value is positive.

    Raises:
        InputError: as ``check_map``.
        OptionError: the share is outside its range.
    """
    _check_share("energy", energy, one_allowed=True)
    shares = _shares_of_maximum(heat)
    inside = _holding(shares, energy)
    if not inside.any():
        return None
    columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    x1, x2, y1, y2 = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    score = min(float(shares[y1:y2, x1:x2].sum() / shares.sum()), 1.0)
    return Box(float(x1), float(y1), float(x2), float(y2), score, _region(inside.view(np.uint8), 1, (x1, y1, x2, y2)))


def _ends(rectangle: NDArray[np.int64]) -> tuple[int, int, int, int]:
    x, y, width, height = rectangle.tolist()
    return x, y, x + width, y + height


def _region(labels: NDArray[np.integer], label: int, ends: tuple[int, int, int, int]) -> Region:
    """The region with this label, which lies between these half-open ends."""
    x1, y1, x2, y2 = ends
    return Region(labels[y1:y2, x1:x2], label, x1, y1, (labels.shape[1], labels.shape[0]))


def _shares_of_maximum(heat: ArrayLike) -> NDArray[np.float64]:
    """The positive values as shares of the maximum, 0 … 1, so that the sum of a finite map cannot overflow."""
    return shares_of_maximum(check_map(heat).astype(np.float64))


def _holding(shares: NDArray[np.float64], energy: float) -> NDArray[np.bool_]:
    """The fewest highest pixels that hold this share of the energy; pixels that are 0 never belong to them."""
    descending = np.sort(shares, axis=None)[::-1]
    held = np.cumsum(descending)
    needed = energy * held[-1] * ROUNDING_SLACK
    return np.asarray((shares >= descending[np.searchsorted(held, needed)]) & (shares > 0))

"""A run's summary: what each method's measures are, and how methods differ."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from looktwice.localization.boxes import BoxKind, Foreground
from looktwice.metrics.judged_maps import Target, Thresholds, Undefined
from looktwice.metrics.measures import ALL_BOXES, MEASURES, TABLED, Measure
from looktwice.runs.json_forms import from_json, to_json
from looktwice.runs.manifest import Boxes


@dataclass(frozen=True)
class Score:
    """A measure over ``n`` images or maps, with its bootstrap 95 % interval."""

    value: float
    low: float
    high: float
    n: int = 0

    @property
    def negative(self) -> "Score":
        """The same difference taken the other way round."""
        return Score(-self.value, -self.high, -self.low, self.n)

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class MethodSummary:
    """A method's measures by name, and how many images they are of. A failed image is left out for all methods."""

    images: int = 0
    images_failed: int = 0
    scores: Mapping[str, Score | Undefined] = field(default_factory=dict)

    def score(self, measure: str) -> Score | None:
        """A measure; None if it has no number in this run."""
        found = self.scores.get(measure)
        return found if isinstance(found, Score) else None

    @classmethod
    def from_json(cls, content: Any) -> "MethodSummary":
        """From the content of a summary: measures stand beside the numbers of images."""
        counts = from_json(cls, content)
        scores = {name: _score(each) for name, each in content.items() if isinstance(each, dict)}
        return cls(counts.images, counts.images_failed, scores)

    def as_json(self) -> dict[str, Any]:
        """As a summary holds it."""
        scores = {name: _score_as_json(score) for name, score in self.scores.items()}
        return {"images": self.images, "images_failed": self.images_failed, **scores}


@dataclass(frozen=True)
class PairedDifferences:
    """``first`` − ``second`` by measure, image by image."""

    first: str
    second: str
    differences: Mapping[str, Score]


@dataclass(frozen=True)
class BoxChoice:
    """The box rule, and which boxes of a map count."""

    rule: BoxKind = "contour"
    by: Foreground = "max"
    boxes: Boxes = "largest"


@dataclass(frozen=True)
class Summary:
    """What is counted of a run's rows.

    Attributes:
        images: how many images are judged.
        images_failed: how many of them could not be used, with any method.
        images_with_notes: how many have an annotation that was mended.
        images_without_boxes: how many have no boxes, so that only their class is judged.
        images_tuned_on: how many other images thresholds were chosen on.
        target: the classes that the maps show.
        box: how boxes were drawn.
        thresholds: by method.
        drawn_at: by method, the threshold at which the boxes in the rows were drawn; the measures of all boxes are of
            these. None: the boxes have no threshold.
        methods: measures by method.
        paired: the differences between any two methods.
    """

    images: int = 0
    images_failed: int = 0
    images_with_notes: int = 0
    images_without_boxes: int = 0
    images_tuned_on: int = 0
    target: Target = "predicted"
    box: BoxChoice = BoxChoice()
    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)
    drawn_at: Mapping[str, float | None] = field(default_factory=dict)
    methods: Mapping[str, MethodSummary] = field(default_factory=dict)
    paired: tuple[PairedDifferences, ...] = ()

    @property
    def known_measures(self) -> list[Measure]:
        """The measures of a table that some method has a number of, the oracles last."""
        return self._known(TABLED)

    @property
    def known_class_errors(self) -> list[Measure]:
        """The network's own classification errors, as far as they are counted."""
        return self._known([measure for measure in MEASURES.values() if measure.kind == "network"])

    @property
    def known_box_measures(self) -> list[Measure]:
        """The measures of all boxes that some method has a number of."""
        return self._known(ALL_BOXES)

    @property
    def drawn_elsewhere(self) -> list[float]:
        """The thresholds, other than the ones that count, at which the boxes of some methods were drawn."""
        counting = {method: each.box for method, each in self.thresholds.items() if each.box is not None}
        drawn = {method: at for method, at in self.drawn_at.items() if at is not None and method in counting}
        return sorted({at for method, at in drawn.items() if at != counting[method]})

    def _known(self, measures: Iterable[Measure]) -> list[Measure]:
        methods = self.methods.values()
        return [measure for measure in measures if any(method.score(measure.name) is not None for method in methods)]

    def difference(self, first: str, second: str) -> dict[str, Score]:
        """``first`` − ``second`` by measure; nothing if they were not compared."""
        for pair in self.paired:
            if (pair.first, pair.second) == (first, second):
                return dict(pair.differences)
            if (pair.first, pair.second) == (second, first):
                return {measure: score.negative for measure, score in pair.differences.items()}
        return {}

    @classmethod
    def from_json(cls, content: Any) -> "Summary":
        """A summary from the content of its file.

        Raises:
            ValueError: it is no summary.
        """
        content = dict(content)
        methods = content.pop("methods", {})
        if not isinstance(methods, dict):
            raise ValueError(f"methods is {methods!r}")
        known = from_json(cls, content)
        by_method = {name: MethodSummary.from_json(each) for name, each in methods.items()}
        return cls(**{**vars(known), "methods": by_method})

    def as_json(self) -> dict[str, Any]:
        """The content of its file."""
        return {**to_json(self), "methods": {name: method.as_json() for name, method in self.methods.items()}}


def _score(content: dict[str, Any]) -> Score | Undefined:
    if content.get("value") is None:
        return Undefined(str(content.get("reason", "")))
    return from_json(Score, content)


def _score_as_json(score: Score | Undefined) -> dict[str, Any]:
    return {"value": None, "reason": score.reason} if isinstance(score, Undefined) else to_json(score)

"""What a table or a page says of a run: a measure of each method beside the paper's error, and how it came about."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from looktwice.images import input_text
from looktwice.labels import label_of
from looktwice.metrics.measures import MEASURES, Measure
from looktwice.runs.manifest import BoxFacts, GridFacts, Manifest, PreprocessingFacts
from looktwice.runs.summary import Score, Summary

PAPER_IMAGES = 50_000
"""The images of the paper: the ILSVRC 2014 validation set."""


TOP5_CLASSES = 10
"""With fewer classes a table leaves out the classification error of five guesses: blind guesses have a low one too."""


ENERGY_BOX = "feedback, energy box"
"""Local feedback with the box of Cao et al. (2015): a row of its own in Table 1."""


ENERGY_BOX_NAME = "box of 95 % of the energy"


ENERGY_BOX_TITLE = f"{label_of('feedback').title}, {ENERGY_BOX_NAME}"
"""What that row is called."""


PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "googlenet": MappingProxyType(
            {"gradient": 65.9, "guided_backprop": 64.8, "feedback": 61.2, ENERGY_BOX: 62.6, "global_feedback": 59.6}
        ),
        "resnet": MappingProxyType({"global_feedback": 58.8}),
    }
)
"""Localization errors in per cent of Fu et al. (2017), Tables 1 and 2: class predicted, external contours."""


@dataclass(frozen=True)
class Entry:
    """A method's measure in per cent, its interval, and the paper's localization error, if it has one."""

    network: str
    method: str
    value: float
    low: float
    high: float
    paper: float | None

    @property
    def ours(self) -> str:
        """The measure and its interval as printed."""
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"

    @property
    def published(self) -> str:
        """The paper's error as printed."""
        return "–" if self.paper is None else f"{self.paper:.1f}"


@dataclass(frozen=True)
class Conditions:
    """What a reader must know to compare a run with the paper, in words."""

    weights: str
    images: str
    preprocessing: str
    boxes: str
    target: str
    squares: str | None = None

    @property
    def by_name(self) -> dict[str, str]:
        """Under the names that tables print. A grid pointing game has squares and no boxes."""
        judged = {"boxes": self.boxes} if self.squares is None else {"squares": self.squares}
        told = {"weights": self.weights, "images": self.images, "preprocessing": self.preprocessing}
        return {**told, **judged, "class": self.target}


@dataclass(frozen=True)
class RunEntries:
    """A measure of a run's methods, and how its numbers came about."""

    network: str
    measure: Measure
    entries: tuple[Entry, ...]
    conditions: Conditions


def told_measures(manifest: Manifest, summary: Summary) -> tuple[Measure, ...]:
    """The measures that tables of a run are of, one or more.

    That is the localization error, or the share in the own quarter of a grid pointing game. A run without true boxes
    has insertion and deletion; or else only the network's own errors.
    """
    if manifest.run.grid is not None:
        return (MEASURES["grid_pointing_game"],)
    if MEASURES["top1_loc_error"] in summary.known_measures:
        return (MEASURES["top1_loc_error"],)
    found = summary.known_measures or class_errors(summary, manifest.run.model.classes)
    return tuple(found) or (MEASURES["top1_loc_error"],)


def class_errors(summary: Summary, classes: int | None) -> list[Measure]:
    """The network's own errors that say something.

    Args:
        summary: of the run.
        classes: how many classes the network has, if that is known; see ``TOP5_CLASSES``.
    """
    few = classes is not None and classes < TOP5_CLASSES
    return [measure for measure in summary.known_class_errors if not (few and measure.name == "top5_class_error")]


def run_entries(manifest: Manifest, summary: Summary, measure: Measure | None = None) -> RunEntries:
    """A measure of a run's methods; beside localization errors the paper's of the same network.

    Args:
        manifest: of the run.
        summary: of the run.
        measure: the measure; None: the first of ``told_measures``.
    """
    measure = measure or told_measures(manifest, summary)[0]
    network = manifest.run.model.short_name
    # The name of a user's own factory is the best hint there is: "googlenet_bn" and "resnet50" both tell.
    factory = network.rpartition(":")[2].lower()
    family = next((name for name in PUBLISHED if name in factory), "")
    published = PUBLISHED.get(family, {}) if measure.name == "top1_loc_error" else {}
    scores: dict[str, Score | None] = {}
    for method, found in summary.methods.items():
        scores[method] = found.score(measure.name)
        if method == "feedback" and manifest.run.box.rule != "energy" and measure.name == "top1_loc_error":
            scores[ENERGY_BOX] = found.score("top1_loc_error_energy_box")
    entries = tuple(
        Entry(network, method, 100 * score.value, 100 * score.low, 100 * score.high, published.get(method))
        for method, score in scores.items()
        if score is not None
    )
    return RunEntries(network, measure, entries, _conditions(manifest, summary))


def _conditions(manifest: Manifest, summary: Summary) -> Conditions:
    run = manifest.run
    targets = {"predicted": "predicted", "top5": "predicted, five guesses", "true": "true label"}
    boxed = MEASURES["top1_loc_error"] in summary.known_measures
    return Conditions(
        weights=f"{manifest.about.weights} (SHA-256 {run.model.weights_hash[:12]})",
        images=_images(summary, boxed=boxed) if run.grid is None else _images_in(run.grid),
        preprocessing=_preprocessing(run.preprocessing),
        boxes=_boxes(run.box, summary) if boxed else "no image has true boxes, so none was judged",
        target=targets[run.target],
        squares=None if run.grid is None else squares_text(run.grid),
    )


def _images_in(grid: GridFacts) -> str:
    return f"{sum(map(len, grid.squares)):,} in the squares"


def squares_text(grid: GridFacts) -> str:
    """How many squares a grid pointing game has, and how large they are, in words."""
    size = "at half size, as the network takes its own size only" if grid.halved else "at twice the network's input"
    count = len(grid.squares)
    text = f"{count:,} square{'s' * (count != 1)} of four images {size}"
    if len(grid.squares) < grid.wanted:
        text += f" ({grid.wanted:,} were asked for, and the network recognises too few images)"
    return text


def _images(summary: Summary, *, boxed: bool) -> str:
    text = f"{summary.images:,} where the paper has {PAPER_IMAGES:,}" if boxed else f"{summary.images:,}"
    if summary.images_failed:
        text += f", {summary.images_failed:,} of them not usable"
    return text


def _preprocessing(choices: PreprocessingFacts) -> str:
    return input_text(choices.resize, choices.crop, squash=choices.squash)


def _boxes(box: BoxFacts, summary: Summary) -> str:
    if box.rule == "objects":
        which = {"largest": "best object", "any": "any object"}[box.boxes]
        return f"{which}, with a score of {box.min_score:.2f} or more (the best one always counts); no threshold"
    kind = {"largest": "largest external contour", "any": "any external contour"}[box.boxes]
    if box.rule == "energy":
        kind = "tightest box"
    share = "the maximum" if box.rule == "contour" and box.by == "max" else "the energy"
    if summary.images_tuned_on:
        return f"{kind}, share of {share} chosen for each method on {summary.images_tuned_on:,} other images"
    shares = sorted({100 * each.box for each in summary.thresholds.values() if each.box is not None})
    if len(shares) > 1:
        return f"{kind}, share of {share} chosen for each method on another run"
    return f"{kind} at {shares[0]:.0f} % of {share}" if shares else kind

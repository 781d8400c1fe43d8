"""A run's manifest: what is evaluated, and how."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

from looktwice.images import InputSize, Window, as_pair
from looktwice.labels import Label, label_of, network_label
from looktwice.localization.boxes import BoxKind, BoxRule, Foreground
from looktwice.metrics.judged_maps import Target, Thresholds
from looktwice.metrics.measures import Subject
from looktwice.runs.json_forms import from_json, to_json

Boxes = Literal["largest", "any"]
"""The boxes of a map that count: the one of the largest contour (ILSVRC allows one box for each guess), or the best."""


@dataclass(frozen=True)
class NetworkFacts:
    """The network: its name, the hash of its weights, how many classes it has, and what is declared of its output.

    ``output_kind`` and ``scores`` are those of ``models.NetworkOutput``; None is not declared.
    """

    name: str
    weights_hash: str = ""
    classes: int = 0
    output_kind: str | None = None
    scores: str | None = None

    @property
    def short_name(self) -> str:
        """The network's own name, or the file and function that make it: "nets/own.py:build" → "own:build"."""
        return network_label(self.name)


@dataclass(frozen=True)
class PreprocessingFacts:
    """How an image becomes the network's input; see ``models.Preprocessing``."""

    resize: InputSize
    crop: InputSize
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        for size in (self.resize, self.crop):
            if (isinstance(size, tuple) and len(size) != 2) or min(as_pair(size)) < 1:
                raise ValueError(f"a size of the network's input is {size}")

    def window(self, width: int, height: int) -> Window:
        """The part of an image of that size that the network sees."""
        return Window.of_crop(width, height, resize=self.resize, crop=self.crop, squash=self.squash)


@dataclass(frozen=True)
class DataFacts:
    """The data set: its fingerprint, and how many samples and problems it has."""

    fingerprint: str = ""
    samples: int = 0
    problems: int = 0


@dataclass(frozen=True)
class ImageFacts:
    """The images of the run: their number, their order, and the share on which thresholds are chosen."""

    count: int = 0
    limit: int | None = None
    seed: int = 0
    tuning_share: float | None = None


@dataclass(frozen=True)
class GridCell:
    """A quarter of a square: the id of its image, and the class that the network recognises in it."""

    sample: str
    label: int


@dataclass(frozen=True)
class GridFacts:
    """The squares of a grid pointing game.

    The squares stand in the manifest, so every process of a run, and one that goes on after a kill, has the same ones.

    Attributes:
        wanted: how many squares were asked for.
        min_probability: the least probability with which the network recognises an image of a square.
        halved: whether images have half their size in a square, since the network takes its own size only.
        squares: four cells for each: upper left, upper right, lower left, lower right.
        unreadable: a line for each image that could not be decoded when the squares were chosen.
    """

    wanted: int = 10
    min_probability: float = 0.7
    halved: bool = False
    squares: tuple[tuple[GridCell, ...], ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class FaithfulnessFacts:
    """How insertion and deletion are measured: the number of steps, and σ of the blur as a share of the input's shorter
    side.
    """

    steps: int
    blur: float


@dataclass(frozen=True)
class BoxFacts:
    """How boxes are drawn and which count.

    ``thresholds`` are by method, None if they are chosen on the tuning images. ``scorer`` is the hash of the weights
    that score objects, None for another rule. The defaults are those of runs that do not state a fact: never change
    them.
    """

    rule: BoxKind = "contour"
    threshold: float = 0.2
    by: Foreground = "max"
    smallest: float = 0.01
    min_score: float = 0.2
    max_boxes: int | None = None
    scorer: str | None = None
    boxes: Boxes = "largest"
    thresholds: Mapping[str, Thresholds] | None = None

    @property
    def box_rule(self) -> BoxRule:
        """The box rule alone."""
        return BoxRule(self.rule, self.threshold, self.by, self.smallest, self.min_score, self.max_boxes)

    def __post_init__(self) -> None:
        self.box_rule  # noqa: B018 - a rule checks its own values


@dataclass(frozen=True)
class SaveFacts:
    """What is kept besides rows: maps in half precision, and maps as wsolevaluation reads them."""

    maps: bool = False
    npy: bool = False


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Everything on which rows depend: two runs with the same facts have the same rows.

    ``methods`` and ``baselines`` hold the options of each. ``grid`` is of a grid pointing game; then the run's images
    are its squares. ``faithfulness`` is of a run that measures it.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    model: NetworkFacts
    preprocessing: PreprocessingFacts
    data: DataFacts = DataFacts()
    images: ImageFacts = ImageFacts()
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    target: Target = "predicted"
    box: BoxFacts = BoxFacts()
    batch_size: int = 8
    device: str = "cpu"
    save: SaveFacts = SaveFacts()
    grid: GridFacts | None = None
    faithfulness: FaithfulnessFacts | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Methods and baselines, in the order of an image's rows."""
        return (*self.methods, *self.baselines)

    @property
    def subject(self) -> Subject:
        """What the rows are of."""
        return "images" if self.grid is None else "squares"

    @property
    def parts(self) -> range:
        """The numbers of the parts that the run's rows have."""
        return range(ceil(self.images.count / self.batch_size))


@dataclass(frozen=True)
class About:
    """What a manifest tells without being compared: ``told`` is all of it, the other fields are what is read again."""

    told: Mapping[str, Any]
    begun: str = ""
    weights: str = ""
    device: str = ""
    threads: int = 1
    command: str | None = None
    root: str | None = None
    layout: str | None = None
    split: str | None = None
    classes: str | None = None
    metadata: str | None = None
    doubts: tuple[str, ...] = ()
    merged: tuple[Mapping[str, Any], ...] | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "About":
        """Everything that is told, in its order.

        Raises:
            ValueError: a value that is read again has a wrong type.
        """
        return from_json(cls, {**to_json(told), "told": to_json(told)})


@dataclass(frozen=True)
class Manifest:
    """What a run evaluates.

    Attributes:
        about: what is only told.
        run: the facts on which rows depend.
        identity: the SHA-256 of these facts, in hex digits. Every part carries it, so rows of another evaluation cannot
            pass as this one's. It is computed if it is left out.
        has_identity: whether the file states the identity. Older versions wrote neither it nor parts that carry it.
    """

    about: About
    run: RunFacts
    identity: str = ""
    has_identity: bool = True

    def __post_init__(self) -> None:
        if not self.identity:
            object.__setattr__(self, "identity", _identity(_run_content(self.run)))

    @property
    def part_identity(self) -> str | None:
        """What the parts of this run carry; ``None`` in a run that an older version began."""
        return self.identity if self.has_identity else None

    @classmethod
    def from_json(cls, content: Any) -> "Manifest":
        """A manifest from the content of its file.

        Raises:
            ValueError: it is no manifest.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("about", {}), Mapping):
            raise ValueError("there are no facts of a run")
        about, run = About.of(content.get("about", {})), from_json(RunFacts, content.get("run"))
        if run.batch_size < 1:
            raise ValueError(f"batch_size is {run.batch_size}")
        if about.threads < 1:
            raise ValueError(f"threads is {about.threads}")
        identity = _identity(content["run"])  # of the file's own text: later versions may know more facts
        if content.get("identity", identity) != identity:
            raise ValueError("its facts are not those that it was written with")
        return cls(about, run, identity, "identity" in content)

    def label_of(self, method: str) -> Label:
        """How a method is shown. One of the user's own keeps the label of its row."""
        return self.about.labels.get(method) or label_of(method)

    def as_json(self) -> dict[str, Any]:
        """The content of its file."""
        identity = {"identity": self.identity} if self.has_identity else {}
        return {**identity, "about": dict(self.about.told), "run": _run_content(self.run)}


def _run_content(run: RunFacts) -> dict[str, Any]:
    """The facts as the file has them.

    What is not declared or not there is left out, and so is what does not matter for the box rule. So a run
    that does not use a younger fact has the identity that it always had.
    """
    content: dict[str, Any] = to_json(run)
    for part in ("grid", "faithfulness"):
        if content[part] is None:
            del content[part]
    declared = ("output_kind", "scores")
    content["model"] = {k: value for k, value in content["model"].items() if k not in declared or value is not None}
    scorer = {} if run.box.scorer is None else {"scorer": run.box.scorer}
    own = {"boxes": content["box"]["boxes"], "thresholds": content["box"]["thresholds"]}
    content["box"] = run.box.box_rule.as_dict() | scorer | own
    return content


def _identity(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

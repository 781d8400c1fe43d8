"""What a run's manifest says: the facts on which rows depend, and what is only told."""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import torch

from looktwice import __version__
from looktwice.attention.choice import ChosenMethod
from looktwice.attention.methods import METHODS
from looktwice.datasets.records import Dataset
from looktwice.errors import OptionError
from looktwice.evaluation.chunks import RunImages
from looktwice.evaluation.plan import EvaluationPlan
from looktwice.localization.objects import scorer_hash
from looktwice.models.model import Model
from looktwice.models.weights import weights_hash
from looktwice.runs.columns import BASELINES
from looktwice.runs.manifest import (
    About,
    BoxFacts,
    DataFacts,
    FaithfulnessFacts,
    ImageFacts,
    NetworkFacts,
    PreprocessingFacts,
    RunFacts,
    SaveFacts,
)


def run_facts(dataset: Dataset, model: Model, plan: EvaluationPlan, of: RunImages) -> RunFacts:
    """Everything on which rows depend, without the thresholds.

    Args:
        dataset: the data set.
        model: the network.
        plan: the plan.
        of: the run's images or squares.
    """
    return RunFacts(
        versions=versions(),
        model=network_facts(model),
        preprocessing=PreprocessingFacts(**asdict(model.preprocessing)),
        data=DataFacts(dataset.fingerprint(), len(dataset.samples), len(dataset.problems)),
        images=ImageFacts(len(of.images), plan.limit, plan.seed, plan.tuning_share),
        methods={method.name: method_facts(method) for method in plan.chosen},
        baselines=BASELINES if of.grid is None else {"full_image": BASELINES["full_image"]},
        target=plan.target,
        box=_box_facts(plan),
        batch_size=plan.batch_size,
        device=model.device.type,
        save=SaveFacts(plan.save_maps, plan.save_npy),
        grid=of.grid,
        faithfulness=None if plan.faithfulness is None else FaithfulnessFacts(**asdict(plan.faithfulness)),
    )


def _box_facts(plan: EvaluationPlan) -> BoxFacts:
    """What matters of the box rule; the rest has the values that a run without these facts has."""
    scorer = scorer_hash() if plan.rule.rule == "objects" else None
    return BoxFacts(**plan.rule.as_dict(), scorer=scorer, boxes=plan.boxes)


def method_facts(method: ChosenMethod) -> dict[str, Any]:
    """All options of a method; for one of the user's own also ``code``: its file's name and SHA-256.

    Raises:
        OptionError: an option's value cannot be written as JSON.
    """
    facts = {**method.options} | ({} if method.code is None else {"code": asdict(method.code)})
    for name, value in facts.items():
        if not _fits_json(value):
            raise OptionError(
                f"{method.name}.{name} is {value!r}, which a run cannot keep; a number, a text, true, false, none or a "
                "list of these is needed"
            )
    return facts


def _fits_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def about_run(
    model: Model, dataset: Dataset, plan: EvaluationPlan, about: Mapping[str, str], doubts: Sequence[str] = ()
) -> About:
    """What is only told: where its images are, where and when the run began, and how its own methods are shown.

    Args:
        model: the network.
        dataset: the data set.
        plan: the plan.
        about: further facts of the caller's.
        doubts: what is doubtful about the network's output.
    """
    facts = dict(about) | _where(dataset) | about_work(model) | ({"doubts": list(doubts)} if doubts else {})
    labels = {method.name: _label(method) for method in plan.chosen if method.name not in METHODS}
    return About.of(facts | ({"labels": labels} if labels else {}))


def about_work(model: Model) -> dict[str, Any]:
    """When and where work with a network begins, and with which weights; plain JSON values."""
    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "begun": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "weights": model.weights,
        "device": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _where(dataset: Dataset) -> dict[str, str]:
    """How the data set is read again, for a report with its pictures."""
    told = {} if dataset.source is None else asdict(dataset.source)
    return {name: value for name, value in told.items() if value is not None}


def _label(method: ChosenMethod) -> dict[str, str]:
    label = method.label
    return {"title": label.title, "short_name": label.short_name, "colour": label.colour}


def network_facts(model: Model) -> NetworkFacts:
    """The network, with the hash of its weights."""
    scores = None if model.output.scores is None else str(model.output.scores)
    return NetworkFacts(model.name, weights_hash(model.module), len(model.classes), model.output.kind, scores)


def versions() -> dict[str, str]:
    """The versions of the packages on which numbers depend."""
    packages = {"numpy": np, "opencv": cv2, "pillow": PIL}
    return {
        "looktwice": __version__,
        "torch": str(torch.__version__),
        "torchvision": _torchvision_version(),
        **{name: str(package.__version__) for name, package in packages.items()},
    }


def _torchvision_version() -> str:
    """The version of torchvision, read and not imported: that takes a second, and many networks need nothing of it."""
    found = find_spec("torchvision")
    for folder in (found and found.submodule_search_locations) or ():
        with suppress(OSError):
            text = (Path(folder) / "version.py").read_text(encoding="utf-8")
            if stated := re.search(r"^__version__ = ['\"](.+)['\"]$", text, re.MULTILINE):
                return stated[1]
    return version("torchvision")

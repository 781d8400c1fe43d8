"""What the manifest of labels says: the facts on which boxes depend, and what is only told."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from looktwice.datasets.records import Dataset
from looktwice.evaluation.facts import about_work, method_facts, network_facts, versions
from looktwice.export.label_set import LabelClass
from looktwice.labelling.plan import LabelPlan
from looktwice.localization.objects import scorer_hash
from looktwice.models.model import Model


def label_facts(dataset: Dataset, model: Model, plan: LabelPlan, classes: Sequence[LabelClass]) -> dict[str, Any]:
    """Everything on which the boxes depend, as plain JSON values.

    Args:
        dataset: the data set.
        model: the network.
        plan: the plan.
        classes: those that a box may have.
    """
    chosen = plan.chosen
    facts = {
        "versions": versions(),
        "model": asdict(network_facts(model)),
        "preprocessing": asdict(model.preprocessing),
        "data": {"fingerprint": dataset.fingerprint(), "samples": len(dataset.samples)},
        "classes": {str(each.index): each.name for each in classes},
        "method": {"name": chosen.name, **method_facts(chosen)},
        "box": plan.rule.as_dict() | ({"scorer": scorer_hash()} if plan.rule.rule == "objects" else {}),
        "target": plan.target,
        "min_probability": plan.min_probability,
        "batch_size": plan.batch_size,
        "device": model.device.type,
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def about_labels(model: Model, dataset: Dataset) -> dict[str, Any]:
    """What is only told: where the images are, and on what they are looked at. It has no time and no command.

    So the same work leaves the same files, wherever and however often it was stopped.

    Args:
        model: the network.
        dataset: the data set.
    """
    where = {} if dataset.source is None else asdict(dataset.source)
    return {**where, **{name: value for name, value in about_work(model).items() if name != "begun"}}

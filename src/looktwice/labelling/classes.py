"""The classes of a labelled data set, and which of them are looked for in an image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from looktwice.datasets.classes import distinct_names
from looktwice.datasets.records import Sample
from looktwice.errors import DatasetError, OptionError
from looktwice.export.label_set import LabelClass
from looktwice.labelling.plan import PREDICTED, LabelPlan


@dataclass(frozen=True)
class WantedClass:
    """A class that is looked for in an image.

    Attributes:
        image: the image's index in its chunk.
        index: the network's index of the class.
        probability: that the network gives it, in [0, 1].
        given: whether it is a label of the image.
    """

    image: int
    index: int
    probability: float
    given: bool


def label_classes(samples: Sequence[Sample], names: Sequence[str], plan: LabelPlan) -> tuple[LabelClass, ...]:
    """All classes that a box may have, in the order of the network's indices.

    These are known before any image is looked at, so their ids are the same however the work ends. They are the labels
    of the data set. If an image has no label, also those that its boxes may have: the classes that the user names, or
    else all classes of the network. Where two classes of the network have the same name, their indices come after it.

    Args:
        samples: of the data set.
        names: of the network's classes.
        plan: the plan.

    Raises:
        DatasetError: a label that the network does not have.
        OptionError: a named class that it does not have; or a choice that is for images without a label, and all
            images have one.
    """
    labels = {label for sample in samples for label in sample.labels}
    unlabelled = any(not sample.labels for sample in samples)
    if labels and max(labels) >= len(names):
        sample = next(sample for sample in samples if max(sample.labels, default=-1) >= len(names))
        raise DatasetError(
            f"{sample.id} is of class {max(sample.labels)}, and the network has 0 … {len(names) - 1}; give a classes "
            "file that names the network's index of each class"
        )
    for index in plan.named:
        if not 0 <= index < len(names):
            raise OptionError(f"target is class {index}, and the network has 0 … {len(names) - 1}")
    if not unlabelled and (plan.target != "predicted" or plan.min_probability > 0):
        name = "target" if plan.target != "predicted" else "min_probability"
        raise OptionError(
            f"{name} is for images without a label, and all {len(samples)} images have one; leave it out, or read the "
            "folder without its labels (--layout pictures)"
        )
    if unlabelled:
        labels |= set(plan.named or range(len(names)))
    own = distinct_names(names, range(len(names)))
    return tuple(LabelClass(number, own[index], index) for number, index in enumerate(sorted(labels)))


def wanted_classes(
    samples: Sequence[Sample], probabilities: NDArray[np.float64], plan: LabelPlan
) -> tuple[WantedClass, ...]:
    """The classes that are looked for in some images: the first class of each image, then the second of each …

    So every batch of them is of different images.

    Args:
        samples: N images.
        probabilities: of the network, (N, K).
        plan: the plan.
    """
    of_images = [list(_of_image(sample, own, plan)) for sample, own in zip(samples, probabilities, strict=True)]
    return tuple(
        WantedClass(image, index, float(probabilities[image, index]), bool(samples[image].labels))
        for rank in range(max(map(len, of_images), default=0))
        for image, indices in enumerate(of_images)
        for index in indices[rank : rank + 1]
    )


def _of_image(sample: Sample, probabilities: NDArray[np.float64], plan: LabelPlan) -> Iterator[int]:
    if sample.labels:
        yield from sample.labels
        return
    indices: Sequence[int] = plan.named
    if isinstance(plan.target, str):
        indices = np.argsort(-probabilities, kind="stable")[: PREDICTED[plan.target]].tolist()
    yield from (index for index in indices if not probabilities[index] < plan.min_probability)  # NaN stays, and is told

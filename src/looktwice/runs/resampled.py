"""A measure over all images and over bootstrap resamples of them → its score with an interval."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from looktwice.metrics.intervals import OfCounts, resampled_counts
from looktwice.metrics.judged_maps import PooledSample, Sample, Undefined
from looktwice.metrics.overlap import Floats
from looktwice.runs.summary import Score


@dataclass(frozen=True)
class Resampled:
    """A measure over all n images or maps, then over each bootstrap resample of them (1 + R,)."""

    draws: Floats
    n: int

    @property
    def score(self) -> Score:
        """The number over all images, and the ends of its 95 % interval."""
        low, high = np.quantile(self.draws[1:], [0.025, 0.975])
        # Nine digits: how a library splits a sum over processors must not show. Adding 0 makes −0 a 0.
        value, low, high = (round(float(number), 9) + 0.0 for number in (self.draws[0], low, high))
        return Score(value, low, high, self.n)


def resample(samples: Mapping[str, Sample | PooledSample | Undefined]) -> dict[str, Resampled | Undefined]:
    """Each measure over all images and over each resample of them; measures of as many images share the resamples."""
    found = {name: _undefined(sample) for name, sample in samples.items()}
    by_size: dict[int, dict[str, OfCounts]] = {}
    for name, sample in samples.items():
        if found[name] is None and not isinstance(sample, Undefined):
            by_size.setdefault(len(sample), {})[name] = sample.of_counts
    drawn: dict[str, Resampled] = {}
    for size, measures in by_size.items():
        parts: dict[str, list[Floats]] = {name: [] for name in measures}
        for counts in resampled_counts(size):
            for name, of_counts in measures.items():
                parts[name].append(of_counts(counts))
        drawn |= {name: Resampled(np.concatenate(each), size) for name, each in parts.items()}
    return {name: reason or drawn[name] for name, reason in found.items()}


def _undefined(sample: Sample | PooledSample | Undefined) -> Undefined | None:
    """Why a measure has no number, if it has none."""
    if isinstance(sample, Sample):
        if not len(sample):
            return Undefined(sample.empty)
        if not np.isfinite(np.asarray(sample.values, dtype=np.float64)).all():
            return Undefined("some maps have no number for it; evaluate into another folder to have it")
    return sample if isinstance(sample, Undefined) else None

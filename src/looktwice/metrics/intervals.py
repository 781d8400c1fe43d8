"""Many images: means with bootstrap intervals."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import InputError
from looktwice.metrics.overlap import Floats

Statistic = Callable[[Floats], Floats]
"""Means over images, one set a resample (R, …) → a number each (R,). ``best_share`` is one."""


@dataclass(frozen=True)
class Interval:
    """A number over all images, and between which ends its bootstrap resamples lie."""

    value: float
    low: float
    high: float


def class_mean(values: ArrayLike, classes: ArrayLike) -> float:
    """The mean over classes of the mean (N,) within each class, as the pointing game's accuracy is defined.

    Classes without an image do not count.
    """
    return bootstrap(values, classes=classes, resamples=0).value


def bootstrap(
    values: ArrayLike,
    statistic: Statistic | None = None,
    *,
    classes: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """The mean of values (N,) over N images and its percentile bootstrap interval (Efron 1979).

    Args:
        values: a number an image, or an array of numbers (N, …) for a ``statistic`` of their means.
        statistic: what to make of the means; such as ``best_share`` of ``box_hits``.
        classes: a class an image (N,); the mean is then over classes, each the mean of its images, instead of over
            images. Images are resampled all the same; a class that a resample misses does not count in it.
        seed: the same seed, values and order give the same interval.
        resamples: how many; with 0 the ends are the value.
        level: the share of resamples between the ends.

    Raises:
        InputError: no image, values that are not finite, or a different number of classes.
    """
    sample = _as_sample(values)
    groups = None if classes is None else _Groups.of(classes, len(sample))
    value = _summarised(np.ones((1, len(sample))), sample, groups, statistic)
    if not resamples:
        return Interval(float(value[0]), float(value[0]), float(value[0]))
    drawn = [_summarised(counts, sample, groups, statistic) for counts in _resampled(len(sample), resamples, seed)]
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value[0]), float(low), float(high))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    statistic: Statistic | None = None,
    *,
    classes: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """``first`` − ``second`` over the same N images in the same order, each resample taking both values of an image.

    Far sharper than two intervals side by side, as what makes an image hard makes it hard for both.

    Raises:
        InputError: as ``bootstrap``; or the two differ in shape.
    """
    a, b = _as_sample(first), _as_sample(second)
    if a.shape != b.shape:
        raise InputError(f"paired values must be of the same images, not {a.shape} and {b.shape}; keep the common ones")
    single = _itself if statistic is None else statistic
    return bootstrap(
        np.stack([a, b], axis=1),
        lambda means: single(means[:, 0]) - single(means[:, 1]),
        classes=classes,
        seed=seed,
        resamples=resamples,
        level=level,
    )


@dataclass(frozen=True)
class _Groups:
    """Images sorted by class: their order, where each class starts, and each image's class."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    member: NDArray[np.int64]

    @classmethod
    def of(cls, classes: ArrayLike, images: int) -> "_Groups":
        labels = np.asarray(classes)
        if labels.shape != (images,):
            raise InputError(f"classes must be one an image, ({images},), not {labels.shape}")
        _, member = np.unique(labels, return_inverse=True)
        order = np.argsort(member, kind="stable")
        return cls(order, np.flatnonzero(np.diff(member[order], prepend=-1)), member)

    def weights(self, counts: Floats) -> Floats:
        """Counts (R, N) → weights (R, N) with which a plain sum is the mean over the classes that were drawn."""
        held = np.add.reduceat(counts[:, self.order], self.starts, axis=1)
        share = 1 / (np.maximum(held, 1) * (held > 0).sum(axis=1, keepdims=True))
        return np.asarray(counts * share[:, self.member])


def _itself(means: Floats) -> Floats:
    return means


def _as_sample(values: ArrayLike) -> Floats:
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or sample.ndim == 0:
        raise InputError("no values to average; at least one image is needed")
    if not np.isfinite(sample).all():
        raise InputError("values to average are NaN or infinite; leave those images out")
    return sample


def _summarised(counts: Floats, sample: Floats, groups: _Groups | None, statistic: Statistic | None) -> Floats:
    """The statistic (R,) of R resamples, given how often each holds each image (R, N)."""
    weights, total = (counts, len(sample)) if groups is None else (groups.weights(counts), 1)
    means = (weights @ sample.reshape(len(sample), -1) / total).reshape(len(counts), *sample.shape[1:])
    return means if statistic is None else statistic(means)


def _resampled(images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each image is in each resample, (R, N), a few resamples at a time to bound the memory."""
    rng = np.random.default_rng(seed)
    at_once = max(1, 4_000_000 // images)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(0, images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)

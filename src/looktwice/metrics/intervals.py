"""From the values of many images to one number: means with bootstrap intervals."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from looktwice.errors import InputError
from looktwice.metrics.overlap import Floats

Statistic = Callable[[Floats], Floats]
"""A function of means over images: (R, …), one set of means for each resample → (R,). ``best_share`` is one."""


OfCounts = Callable[[Floats], Floats]
"""A function of resamples: how often each of them holds each image (R, N) → a number for each (R,)."""


@dataclass(frozen=True)
class Interval:
    """A number over all images, and the two ends between which it lies in most bootstrap resamples."""

    value: float
    low: float
    high: float


def class_mean(values: ArrayLike, classes: ArrayLike) -> float:
    """The mean over classes of the mean of each class's values (N,); the pointing game's accuracy is defined so.

    Classes without an image do not count.

    >>> class_mean([1, 0, 0, 1], [1, 1, 1, 2])
    0.6666666666666666
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
    """The mean of values (N,) over N images, and its percentile bootstrap interval (Efron 1979).

    Args:
        values: a number for each image, or an array of numbers (N, …) for a ``statistic`` of their means.
        statistic: a function of the means, such as ``best_share`` for ``box_hits``.
        classes: a class for each image (N,). The mean is then over classes, each the mean of its images. Images are
            resampled as without classes; a class that a resample misses does not count in it.
        seed: the same seed, values and order give the same interval.
        resamples: their number; with 0 both ends are the value.
        level: the share of resamples between the ends.

    Raises:
        InputError: there is no image, a value is not finite, or the number of classes is another one.
    """
    sample = _as_sample(values)
    of_counts = statistic_of_counts(sample, statistic, classes=classes)
    value, *drawn = map(of_counts, resampled_counts(len(sample), seed=seed, resamples=resamples))
    if not drawn:
        return Interval(float(value[0]), float(value[0]), float(value[0]))
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value[0]), float(low), float(high))


def resampled_means(
    values: ArrayLike, *, classes: ArrayLike | None = None, seed: int = 0, resamples: int = 1000
) -> Floats:
    """The means (1 + R, …) of values (N, …): over all images, then over each of R resamples, as in ``bootstrap``.

    The same number of images gives the same resamples. So the differences of two such arrays are paired.

    Raises:
        InputError: as ``bootstrap``.
    """
    sample = _as_sample(values)
    means = statistic_of_counts(sample, classes=classes)
    return np.concatenate(list(map(means, resampled_counts(len(sample), seed=seed, resamples=resamples))))


def statistic_of_counts(
    values: ArrayLike, statistic: Statistic | None = None, *, classes: ArrayLike | None = None
) -> OfCounts:
    """A function from ``resampled_counts`` (R, N) to a statistic of the means of values (N, …) → (R,).

    The arguments are those of ``bootstrap``. Without a ``statistic`` the means themselves are returned (R, …).

    Raises:
        InputError: as ``bootstrap``.
    """
    sample = _as_sample(values)
    groups = None if classes is None else _Groups.of(classes, len(sample))

    def of_counts(counts: Floats) -> Floats:
        means = _means(counts, sample, groups)
        return means if statistic is None else statistic(means)

    return of_counts


def resampled_counts(images: int, *, seed: int = 0, resamples: int = 1000) -> Iterator[Floats]:
    """How often each image is in all images, which is once (1, N); then in each resample (R, N), a few at a time.

    The same number of images and seed give the same resamples. Few at a time bound the memory.
    """
    yield np.ones((1, images))
    rng = np.random.default_rng(seed)
    at_once = max(1, 4_000_000 // images)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(0, images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


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
    """``first`` − ``second`` over the same N images in the same order; a resample takes both values of an image.

    This is far sharper than two intervals side by side: an image that is hard for one is often hard for the other. The
    arguments are those of ``bootstrap``.

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


def binomial_interval(hits: int, images: int, *, level: float = 0.95) -> Interval:
    """The share of images with a hit, and its score interval (Wilson 1927), which holds for few images too.

    Args:
        hits: how many images have a hit.
        images: how many there are.
        level: how often the interval holds the true share.

    Raises:
        InputError: there is no image.

    >>> round(binomial_interval(0, 20).high, 3)
    0.161
    """
    if images < 1:
        raise InputError("no images to take a share of; at least one image is needed")
    share, z = hits / images, NormalDist().inv_cdf((1 + level) / 2)
    middle = share + z**2 / (2 * images)
    half = z * math.sqrt(share * (1 - share) / images + (z / (2 * images)) ** 2)
    scale = 1 + z**2 / images
    return Interval(share, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


@dataclass(frozen=True)
class _Groups:
    """Images sorted by class: their order, the place where each class starts, and each image's class."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    member: NDArray[np.int64]

    @classmethod
    def of(cls, classes: ArrayLike, images: int) -> "_Groups":
        labels = np.asarray(classes)
        if labels.shape != (images,):
            raise InputError(f"classes must be one for each image, ({images},), not {labels.shape}")
        _, member = np.unique(labels, return_inverse=True)
        order = np.argsort(member, kind="stable")
        return cls(order, np.flatnonzero(np.diff(member[order], prepend=-1)), member)

    def weights(self, counts: Floats) -> Floats:
        """Counts (R, N) → weights (R, N) that make a sum of values the mean over the classes that were drawn."""
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


def _means(counts: Floats, sample: Floats, groups: _Groups | None) -> Floats:
    """The means (R, …) of R resamples, which hold each image as often as ``counts`` (R, N) says."""
    weights, total = (counts, len(sample)) if groups is None else (groups.weights(counts), 1)
    return (weights @ sample.reshape(len(sample), -1) / total).reshape(len(counts), *sample.shape[1:])

"""Whether a network is wrong so often that it probably sees other inputs than in its training, or other classes."""

from dataclasses import dataclass

from looktwice.metrics.intervals import binomial_interval

FEWEST_IMAGES = 20
"""With fewer images nothing is said: chance alone explains nearly any error."""


CHANCE_LEVEL = 0.8
"""Level of the interval that must lie above a blind guess. At 0.95 an honest network of two classes would often be
doubted on few images."""


HARDLY_EVER = 0.25
"""A network is hardly ever right if it is right for less than this part of what its own probabilities promise. A
network that is right for a quarter of the images is never doubted for that."""


NEARLY_ALL = 0.95
"""A network that names one class for this share of the images, and is wrong for half of them, does not see them."""


@dataclass(frozen=True)
class FirstGuesses:
    """How often a network's most probable class is right.

    Attributes:
        hits: how many images have their most probable class among their labels.
        images: how many images there are.
        blind: the share of hits that a blind guess would have.
        confidence: the mean probability of the most probable class.
        same: the share of images with the same most probable class, of that which most of them have.
    """

    hits: int
    images: int
    blind: float
    confidence: float
    same: float = 0.0

    @property
    def is_doubtful(self) -> bool:
        """Whether the network seems not to see the images, or to have other classes.

        It is no better than a blind guess, or hardly ever right though it is confident, or it names one class for
        nearly all images and is wrong for half of them.
        """
        if self.images < FEWEST_IMAGES or self.blind >= 1:
            return False
        is_chance = binomial_interval(self.hits, self.images, level=CHANCE_LEVEL).low <= self.blind
        is_hardly_ever = binomial_interval(self.hits, self.images).high < HARDLY_EVER * self.confidence
        is_blind = self.same >= NEARLY_ALL and 2 * self.hits <= self.images
        return is_chance or is_hardly_ever or is_blind

    @property
    def doubt(self) -> str | None:
        """What to check, in one line; ``None`` if the guesses are not doubtful."""
        if not self.is_doubtful:
            return None
        return (
            f"the network's first guess is wrong for {1 - self.hits / self.images:.0%} of the images (a blind guess: "
            f"{1 - self.blind:.0%}), its mean probability is {self.confidence:.0%}, and {self.same:.0%} of the images "
            "get the same class; if it should do better, check its preprocessing (--size, --crop, --mean, --std) and "
            "that the data have the network's class indices, in its order (--classes)"
        )

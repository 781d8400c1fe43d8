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


@dataclass(frozen=True)
class FirstGuesses:
    """How often a network's most probable class is right.

    Attributes:
        hits: how many images have their most probable class among their labels.
        images: how many images there are.
        blind: the share of hits that a blind guess would have.
        confidence: the mean probability of the most probable class.
    """

    hits: int
    images: int
    blind: float
    confidence: float

    @property
    def is_doubtful(self) -> bool:
        """Whether the network is no better than a blind guess, or hardly ever right though it is confident."""
        if self.images < FEWEST_IMAGES or self.blind >= 1:
            return False
        is_chance = binomial_interval(self.hits, self.images, level=CHANCE_LEVEL).low <= self.blind
        is_hardly_ever = binomial_interval(self.hits, self.images).high < HARDLY_EVER * self.confidence
        return is_chance or is_hardly_ever

    @property
    def doubt(self) -> str | None:
        """What to check, in one line; ``None`` if the guesses are not doubtful."""
        if not self.is_doubtful:
            return None
        return (
            f"the network's first guess is wrong for {1 - self.hits / self.images:.0%} of the images (a blind guess: "
            f"{1 - self.blind:.0%}), and its mean probability is {self.confidence:.0%}; if it should do better, check "
            "its preprocessing (--size, --crop, --mean, --std) and that the data have the network's class indices, in "
            "its order (--classes)"
        )

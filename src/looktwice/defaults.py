"""The choices that are made where a user makes none. No torch here: the command line's help shows them."""

from typing import Literal

DEFAULT_MODEL = "efficientnet_lite0"
"""The network whose weights come with the package, so it works offline."""


DEFAULT_METHOD = "global_feedback"


DEFAULT_BOX: Literal["objects", "contour", "energy"] = "objects"
"""How boxes are drawn; see ``localization.BoxKind``."""


DEFAULT_MIN_SCORE = 0.2
"""The score that a box of an object needs: the probability that it is right."""


DEFAULT_THRESHOLDS = {"contour": 0.2, "energy": 0.95}
"""For each kind of box the share that counts as object: of the map's maximum, and of its energy (Cao et al. 2015)."""


GRID_FINISH = {"values": "maximum", "blur": 0.0}
"""How maps are finished in a grid pointing game, unless an option says otherwise. It measures a share of a map's sum,
which cumulative shares or a blur would change."""


GRID_SQUARES = 10
"""How many squares of four images a grid pointing game has at most."""


GRID_PROBABILITY = 0.7
"""The least probability with which the network recognises each image of a square."""


FAITHFULNESS_STEPS = 28
"""In how many steps insertion and deletion replace all pixels."""


FAITHFULNESS_BLUR = 0.05
"""σ of the blurred picture of insertion and deletion, as a share of the input's shorter side. With less, networks still
recognise some of the blurred pictures."""

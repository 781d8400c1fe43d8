"""The choices that are made where a user makes none. No torch here: the command line's help shows them."""

DEFAULT_MODEL = "efficientnet_lite0"
"""The network whose weights come with the package, so it works offline."""


DEFAULT_METHOD = "global_feedback"


DEFAULT_THRESHOLDS = {"contour": 0.2, "energy": 0.95}
"""For each kind of box the share that counts as object: of the map's maximum, and of its energy (Cao et al. 2015)."""
